"""The patch file that `build-patches` writes and the trainer reads.

HDF5: `patches` (N, S, S) uint8; `points`, `groups`, `doubt` (N,) int64 and `context` (N,) float32 as in
PatchSet. Attributes: `format`, `version`, `sources`, `licences`, `config` (JSON of what made it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..storage.hdf5 import careful_h5, open_h5, write_array
from .patchset import PatchSet

FORMAT = "desdis_match patches"
VERSION = 1
ROW_FIELDS = ("points", "groups", "doubt", "context")


def write_patch_file(path: str | Path, patches: PatchSet, config: Mapping[str, Any]) -> Path:
    """Write the set atomically; `config` (JSON) tells how it was made. InputError if it cannot be written."""
    path = Path(path)
    with careful_h5(path, FORMAT) as file:
        rows, side = patches.patches.shape[:2]
        how = {"chunks": (max(1, min(rows, 64)), side, side), "compression": "lzf", "fletcher32": True}
        file.create_dataset("patches", data=patches.patches, **how)
        for name in ROW_FIELDS:
            write_array(file, name, getattr(patches, name))
        file.attrs["version"] = VERSION
        file.attrs["sources"] = json.dumps(patches.sources)
        file.attrs["licences"] = json.dumps(patches.licences)
        file.attrs["config"] = json.dumps(dict(config), sort_keys=True)
    return path


def read_patch_file(path: str | Path) -> PatchSet:
    """Read a patch file. InputError when it is missing, truncated, of another format or inconsistent."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no patch file {path}; `desdis-match build-patches` makes one")
    try:
        with open_h5(path) as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise InputError(f"{path} is no patch file of version {VERSION}; make it with build-patches")
            pixels = np.asarray(file["patches"], dtype=np.uint8)
            rows = {name: np.asarray(file[name]) for name in ROW_FIELDS}
            sources = tuple(json.loads(file.attrs["sources"]))
            licences = tuple(json.loads(file.attrs["licences"]))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again with build-patches") from error
    if any(len(column) != len(pixels) for column in rows.values()):
        raise InputError(f"{path} is damaged: its columns differ in length; make it again with build-patches")
    return PatchSet(pixels, **rows, sources=sources, licences=licences)
