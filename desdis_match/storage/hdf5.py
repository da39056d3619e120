"""HDF5 files of ours: whole or not at all, equal content giving equal bytes, and clear words about bad ones.

The root of a file carries `format`, `format_version` and, as JSON, `config`. Files without them (hloc's) are
read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
from numpy.typing import NDArray

from ..errors import InputError
from ..support.files import Config, atomic_path, canonical_json

FORMAT_VERSION = 1
FEATURES_FORMAT = "desdis_match features"
MATCHES_FORMAT = "desdis_match matches"

STAGES = {FEATURES_FORMAT: "extract", MATCHES_FORMAT: "match"}
"""The command that makes a file."""

Reader = TypeVar("Reader", bound="H5Reader")


@contextmanager
def new_h5(path: Path, kind: str, config: Config) -> Iterator[h5py.File]:
    """A file to fill, which takes the place of `path` at the end; raises InputError where it cannot."""
    try:
        # The oldest object format carries no time stamps and is read by every HDF5.
        oldest = ("earliest", "v110")
        with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=oldest) as file:
            file.attrs["format"] = kind
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["config"] = canonical_json(config)
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def open_h5(path: Path) -> h5py.File:
    """An HDF5 file to read. Raises InputError for one that is damaged or that another program writes to."""
    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        message = f"{path} is being written by another program; try again when that is done"
        raise InputError(message) from error
    except OSError as error:
        raise InputError(f"{path} is not a readable HDF5 file (damaged or cut short?): {error}") from error


def _open(path: Path, kind: str) -> h5py.File:
    """Open for reading, or say what is wrong with the file."""
    stage = STAGES[kind]
    if not path.is_file():
        raise InputError(f"{path} does not exist; `desdis-match {stage}` makes it")
    file = open_h5(path)
    found = file.attrs.get("format", kind)
    version = int(file.attrs.get("format_version", FORMAT_VERSION))
    if found != kind:
        file.close()
        raise InputError(f"{path} holds '{found}' where '{kind}' was expected; are two file names swapped?")
    if version > FORMAT_VERSION:
        file.close()
        raise InputError(
            f"{path} has format version {version}, this desdis-match reads up to {FORMAT_VERSION}; "
            f"update desdis-match or run `desdis-match {stage}` again into another file"
        )
    return file


def file_config(path: Path) -> dict[str, Any] | None:
    """The configuration that made a features or matches file; None for hloc's own files, which carry none.

    Raises InputError for a missing or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        with open_h5(path) as file:
            text = file.attrs.get("config")
        return None if text is None else json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


class H5Reader:
    """An HDF5 file opened on first use in each process, so that a reader may be sent to workers."""

    kind: str

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._owner = -1
        self.file()

    def file(self) -> h5py.File:
        """The open HDF5 file, this process's own."""
        if self._handle is None or self._owner != os.getpid():
            self._handle, self._owner = _open(self.path, self.kind), os.getpid()
        return self._handle

    def _array(self, group: h5py.Group, name: str) -> NDArray[Any]:
        try:
            return group[name][()]
        except (KeyError, OSError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path}: {group.name}/{name} is missing or damaged: {error}") from error

    @property
    def config(self) -> dict[str, Any] | None:
        """What `file_config` gives."""
        text = self.file().attrs.get("config")
        return None if text is None else json.loads(text)

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle = None

    def __enter__(self: Reader) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None, "_owner": -1}


def groups_with(group: h5py.Group, dataset: str, prefix: str = "") -> Iterator[str]:
    """Full names of the groups that hold `dataset`."""
    for key, child in group.items():
        if isinstance(child, h5py.Group):
            name = f"{prefix}/{key}" if prefix else key
            if dataset in child and isinstance(child[dataset], h5py.Dataset):
                yield name
            else:
                yield from groups_with(child, dataset, name)


def merge_h5(
    path: Path, kind: str, items: Iterable[tuple[str, int]], sources: Sequence[H5Reader], config: Config
) -> Path:
    with new_h5(path, kind, config) as file:
        for name, i in items:
            if name in file:
                raise InputError(f"{path}: '{name}' is in {sources[i].path} and in another file as well")
            sources[i].file().copy(name, file, name=name)
    return path
