"""Patch sources by name: `kind:where[,option=value...]`, as `phototour:data/liberty` or `textures:24`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..patchsets.patchfile import read_patch_file
from ..patchsets.patchset import PatchSet, join_sets, make_patch_set, split
from ..patchsets.phototour import read_phototour
from .warps import make_textures, read_photos

HPATCHES_SIDE = 65
"""Side of a patch of HPatches, pixels."""
HPATCHES_FILES = ("ref", *(tier + str(number) for tier in "eht" for number in range(1, 6)))
"""Files of a sequence; row i of each shows point i."""


def read_hpatches(folder: str | Path) -> PatchSet:
    """Read HPatches' patch folders: a folder a sequence with HPATCHES_FILES, each 65 x 65 n.

    InputError when there is no sequence, or a file is missing, damaged or of another length than its ref.png.
    """
    import cv2

    folder = Path(folder)
    sequences = sorted(path.parent for path in folder.glob("*/ref.png"))
    if not sequences:
        raise InputError(f"{folder} holds no HPatches sequence (a folder with ref.png, e1.png ...)")
    patches, points, start = [], [], 0
    for sequence in sequences:
        count = None
        for name in HPATCHES_FILES:
            path = sequence / f"{name}.png"
            strip = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if strip is None or strip.shape[1] != HPATCHES_SIDE or strip.shape[0] % HPATCHES_SIDE:
                raise InputError(f"{path} is missing or damaged; expected patches of 65x65 in one column")
            count = count or len(strip) // HPATCHES_SIDE
            if len(strip) != count * HPATCHES_SIDE:
                raise InputError(f"{path} holds {len(strip) // HPATCHES_SIDE} patches, ref.png {count}")
            patches.append(strip.reshape(count, HPATCHES_SIDE, HPATCHES_SIDE))
            points.append(np.arange(start, start + count))
        start += count or 0
    return make_patch_set(
        np.concatenate(patches), np.concatenate(points), f"hpatches:{folder.name}", "HPatches, MIT"
    )


def _textures(where: str, seed: int = 0) -> PatchSet:
    return make_textures(int(where), seed=seed)


SOURCES: dict[str, Callable[..., PatchSet]] = {
    "phototour": read_phototour,
    "hpatches": read_hpatches,
    "patches": read_patch_file,
    "photos": read_photos,
    "textures": _textures,
}
"""Kind -> reader of what stands behind the colon; whole-number options become its keyword arguments."""


def read_source(spec: str) -> PatchSet:
    """Read one source. InputError when the kind or an option is unknown or the reader refuses."""
    kind, colon, rest = spec.partition(":")
    if kind not in SOURCES or not colon:
        raise InputError(f"'{spec}' is no patch source; give KIND:WHERE with a kind of {', '.join(SOURCES)}")
    where, *pairs = rest.split(",")
    try:
        options = {name: int(value) for name, value in (pair.split("=") for pair in pairs)}
        return SOURCES[kind](where, **options)
    except (ValueError, TypeError) as error:
        raise InputError(f"'{spec}': options are name=whole number after a comma ({error})") from error


def load_sources(
    specs: Sequence[str], held_back: float, scored: Sequence[str] = ()
) -> tuple[PatchSet, PatchSet]:
    """All sources as one training set and one held-back set, each source split for itself.

    `scored` sources belong to the held-back set as a whole.
    """
    if not specs:
        raise InputError("no patch source is given")
    parts = [split(read_source(spec), held_back) for spec in specs]
    held_parts = [held for _, held in parts] + [read_source(spec) for spec in scored]
    return join_sets([training for training, _ in parts]), join_sets(held_parts)
