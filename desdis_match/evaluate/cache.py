"""Predictions kept on disk under what they depend on: weights, options, data and the code that made them.

A run that was stopped goes on where it was, and scoring again with another threshold computes nothing anew.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..support.download import cache_folder
from ..support.files import sha256_of
from .results import plain, write_atomically

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

PACKAGE = Path(__file__).resolve().parents[1]


def default_folder() -> Path:
    """Where predictions lie when no place is given: below the user's cache folder."""
    return cache_folder() / "evaluate"


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


def combined_hash(parts: list[str]) -> str:
    """One SHA-256 for several texts in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def code_hash(*modules: ModuleType | str, root: Path = PACKAGE.parent) -> str:
    """SHA-256 of modules and of all that they import of their own package, directly or not.

    modules: the modules themselves or their dotted names; a package means all its files, data too.
    root: where the packages lie. Raises `ValueError` for a module that has no file.
    """
    return _code_hash(tuple(m if isinstance(m, str) else m.__name__ for m in modules), root)


def describing_code() -> str:
    """SHA-256 of what detects, cuts patches and describes: the source, and the weights of the package."""
    package = PACKAGE.name
    return code_hash(f"{package}.evaluate.shared", f"{package}.descriptors", f"{package}.weights")


@lru_cache(maxsize=16)
def _code_hash(names: tuple[str, ...], root: Path) -> str:
    waiting = [path for name in names for path in _files_of(name, root)]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imported(path, root) if path.suffix == ".py" else []
    return combined_hash([f"{path.relative_to(root).as_posix()} {sha256_of(path)}" for path in sorted(seen)])


def _files_of(name: str, root: Path) -> list[Path]:
    """The files of a module, or all below a package."""
    place = root.joinpath(*name.split("."))
    below = (path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = sorted(below) if place.is_dir() else [place.with_suffix(".py")]
    if not found or not found[0].is_file():
        raise ValueError(f"there is no module {name} below {root}, so what it does cannot be told by a hash")
    return found


def _imported(path: Path, root: Path) -> Iterator[Path]:
    """Files of the own package that a file imports, inside functions too; not the package's front door."""
    folder = list(path.relative_to(root).parent.parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names.update([source, *(f"{source}.{alias.name}" for alias in node.names)])
    for name in sorted(names):
        place = root.joinpath(*name.split("."))
        if name.startswith(f"{folder[0]}."):
            yield from (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())
