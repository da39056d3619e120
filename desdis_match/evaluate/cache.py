"""Predictions kept on disk under what they depend on: weights, options, data and the code that made them.

A run that was stopped goes on where it was, and scoring again with another threshold computes nothing anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .results import plain, write_atomically

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

PACKAGE = Path(__file__).resolve().parents[1]


def default_folder() -> Path:
    """Where predictions lie when no place is given: below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "desdis_match" / "evaluate"


class PredictionCache:
    """A folder of predictions; with no folder, every prediction is computed."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.hits = 0
        self.misses = 0

    def get(self, key: dict[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays stored under `key`, or `compute()`, stored for the next time.

        `key` must hold everything that the prediction depends on. A damaged file is computed again.
        """
        if self.folder is None:
            self.misses += 1
            return compute()
        text = json.dumps(plain(key), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / str(key.get("task", "other")) / name[:2] / f"{name[2:40]}.npz"
        stored = read(path, text)
        if stored is not None:
            self.hits += 1
            return stored
        self.misses += 1
        arrays = compute()
        stream = io.BytesIO()
        np.savez(stream, **{"key json": np.frombuffer(text.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
        write_atomically(path, stream.getvalue())
        return arrays


def read(path: Path, key: str) -> Arrays | None:
    """What `path` holds under `key`; None when there is no such file or it is not whole."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if arrays.pop("key json").tobytes().decode() == key:
            return arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        logger.warning("the stored prediction %s is damaged; it is computed again", path)
    return None


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _slow(stream)
        )


def _slow(stream: Any) -> str:
    """`hashlib.file_digest` for Python 3.10."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def combined_hash(parts: list[str]) -> str:
    """One SHA-256 for several texts in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=8)
def code_hash(*patterns: str) -> str:
    """SHA-256 of this package's source files that match the patterns: predictions change with the code."""
    files = sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)})
    return combined_hash([f"{path.relative_to(PACKAGE).as_posix()} {file_hash(path)}" for path in files])


DETECTING = ("devices", "detectors", "extract", "images", "orientation", "patches", "scalespace")
"""How the modules begin that decide what a detection or a described patch is, besides descriptors/."""


def describing_code() -> str:
    """SHA-256 of the source that detects, cuts patches and describes."""
    return code_hash(*(f"{name}*.py" for name in DETECTING), "descriptors/*.py", "weights/*")
