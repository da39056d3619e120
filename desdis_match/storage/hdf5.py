"""HDF5 files of ours: whole or not at all, equal content giving equal bytes, and clear words about bad ones.

The root of a file carries `format`, `format_version` and, as JSON, `config`. Files without them (hloc's) are
read as well. Arrays have HDF5's own checksum (Fletcher-32), which every reader checks; what lies outside the
file (external links, external storage, virtual arrays) is not followed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import DesDisError, InputError
from ..support.files import Config, atomic_path, canonical_json, file_error
from .careful_file import CarefulFile

FORMAT_VERSION = 1
FEATURES_FORMAT = "desdis_match features"
MATCHES_FORMAT = "desdis_match matches"
TWO_VIEW_FORMAT = "desdis_match two-view geometries"

STAGES = {FEATURES_FORMAT: "extract", MATCHES_FORMAT: "match", TWO_VIEW_FORMAT: "verify"}
"""The command that makes a file."""

MAX_EXPANSION = 1100
"""Bytes of an array per byte of its file, at most: deflate's limit is 1032. More is damage or a trap."""

Reader = TypeVar("Reader", bound="H5Reader")


@contextmanager
def new_h5(path: Path, kind: str, config: Config) -> Iterator[h5py.File]:
    """A file to fill, which takes the place of `path` at the end; raises InputError where it cannot.

    Call `still_writable(file)` now and then.
    """
    with careful_h5(path, kind) as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["config"] = canonical_json(config)
        yield file


@contextmanager
def careful_h5(path: Path, kind: str) -> Iterator[h5py.File]:
    """A file with nothing but its `format`, which takes the place of `path` at the end.

    Raises InputError where it cannot, and for a file of ours of another format, which would be lost.
    On a full disk HDF5 itself would crash, so the file is written through a layer that keeps the error.
    """
    there = _format_of(path)
    if there not in (None, kind):
        raise InputError(f"{path} holds {there!r}, not {kind!r}, and would be lost; give another name")
    # The oldest object format carries no time stamps and is read by every HDF5.
    oldest = ("earliest", "v110")
    with atomic_path(path) as temporary, CarefulFile(temporary) as sink:
        with h5py.File(sink, "w", libver=oldest) as file:
            _SINKS[file.id.id] = sink
            file.attrs["format"] = kind
            try:
                yield file
            finally:
                del _SINKS[file.id.id]
        sink.check()


def _format_of(path: Path) -> str | None:
    """The format that an HDF5 file says it has; None for what says none or is no such file."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs["format"])
    except DAMAGED:
        return None


_SINKS: dict[int, CarefulFile] = {}
"""By HDF5's number of the open file, while careful_h5 writes it."""


def still_writable(file: h5py.File) -> None:
    """Raise the OSError that writing `file` met, if it has met one."""
    _SINKS[file.id.id].check()


def write_array(group: h5py.Group, name: str, array: NDArray[Any], pack: bool = False) -> h5py.Dataset:
    """An array with a checksum, in one chunk; pack: deflated too. Empty ones have nothing to check."""
    if not array.size:
        return group.create_dataset(name, data=array)
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if pack else {}
    return group.create_dataset(name, data=array, chunks=_chunks(array), fletcher32=True, **packed)


def _chunks(array: NDArray[Any]) -> tuple[int, ...]:
    """The whole array, but below the 4 GiB that HDF5 allows."""
    rows = max(1, min(array.shape[0], (1 << 30) // max(array[0:1].nbytes, 1)))
    return (rows, *array.shape[1:])


def open_h5(path: Path) -> h5py.File:
    """An HDF5 file to read. Raises InputError for one that is damaged or that another program writes to."""
    try:
        file = h5py.File(path, "r")
        _bound_cache(file)
        return file
    except BlockingIOError as error:
        message = f"{path} is being written by another program; try again when that is done"
        raise InputError(message) from error
    except PermissionError as error:
        raise file_error(error, Path(path)) from error
    except DAMAGED as error:
        raise InputError(f"{path} is not a readable HDF5 file (damaged or cut short?): {error}") from error


def _bound_cache(file: h5py.File) -> None:
    """Hold what HDF5 keeps of groups it has seen below CACHE bytes; with its own 32 MB, which it counts too
    low, walking 60,000 pairs takes 200 MB, and no less time."""
    cache = file.id.get_mdc_config()
    cache.set_initial_size, cache.initial_size = True, CACHE
    cache.min_size, cache.max_size = CACHE // 4, CACHE
    file.id.set_mdc_config(cache)


CACHE = 1 << 20

DAMAGED = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    SystemError,
)
"""What h5py raises on damaged files, as the library's words happen to be sorted."""


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Whatever h5py raises inside becomes an InputError that names the file and what was read."""
    try:
        yield
    except DesDisError:
        raise
    except DAMAGED as error:
        where = f"{path}: {what}" if what else f"{path}"
        text = str(error).strip("\"'").splitlines()
        raise InputError(
            f"{where} is missing or damaged: {text[0] if text else 'unreadable'}; make it again"
        ) from error


def _open(path: Path, kind: str) -> h5py.File:
    """Open for reading, or say what is wrong with the file."""
    stage = STAGES[kind]
    if not path.is_file():
        raise InputError(f"{path} does not exist; `desdis-match {stage}` makes it")
    file = open_h5(path)
    try:
        with reading(path, "its head"):
            _check_head(file, path, kind)
    except BaseException:
        file.close()
        raise
    return file


def _check_head(file: h5py.File, path: Path, kind: str) -> None:
    stage = STAGES[kind]
    found = file.attrs.get("format", kind)
    version = int(file.attrs.get("format_version", FORMAT_VERSION))
    ours = [key in file.attrs for key in ("format", "format_version", "config")]
    if any(ours) and not all(ours):
        raise InputError(
            f"{path} is damaged: it has lost a part of its head; run `desdis-match {stage}` again"
        )
    if found != kind:
        raise InputError(f"{path} holds '{found}' where '{kind}' was expected; are two file names swapped?")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, this desdis-match reads up to {FORMAT_VERSION}; "
            f"update desdis-match or run `desdis-match {stage}` again into another file"
        )


def file_config(path: Path) -> dict[str, Any] | None:
    """The configuration that made a features or matches file; None for hloc's own files, which carry none.

    Raises InputError for a missing or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    with open_h5(path) as file:
        return _config(file, path)


def _config(file: h5py.File, path: Path) -> dict[str, Any] | None:
    with reading(path, "its configuration"):
        text = file.attrs.get("config")
        config = None if text is None else json.loads(text)
    if config is not None and not isinstance(config, dict):
        raise InputError(f"{path} is damaged: its configuration is no table")
    return config


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

    @property
    def is_ours(self) -> bool:
        """Whether this package wrote the file: then nothing in it is missing or means something else."""
        return "format" in self.file().attrs

    def _dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        """An array of numbers within this file, not read yet."""
        with reading(self.path, f"{group.name}/{name}"):
            found = linked(group, name, self.path)
            check_array(found, self.path)
        return found

    def _array(self, group: h5py.Group, name: str) -> NDArray[Any]:
        found = self._dataset(group, name)
        with reading(self.path, f"{group.name}/{name}"):
            return np.asarray(found[()])

    @property
    def config(self) -> dict[str, Any] | None:
        """What `file_config` gives."""
        return _config(self.file(), self.path)

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


def linked(group: h5py.Group, name: str, path: Path) -> Any:
    """What `group` has under `name`; raises InputError where that is a link to another place or file."""
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise InputError(f"{path}: {group.name}/{name} is a link, which is not followed; damaged?")
    return group[name]


def check_array(found: Any, path: Path) -> None:
    """Raise InputError for what is no array of numbers, lies in another file, or cannot be in this one."""
    name = getattr(found, "name", "an entry")
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{path}: {name} is a group where an array was expected; the file is damaged")
    if found.file.filename != found.parent.file.filename or found.external or found.is_virtual:
        raise InputError(f"{path}: {name} lies in another file, which is not read; copy it into this one")
    if found.dtype.kind not in "iuf" or not found.shape:
        raise InputError(f"{path}: {name} is no array of numbers ({found.dtype}, shape {found.shape})")
    if found.nbytes > MAX_EXPANSION * path.stat().st_size + (1 << 20):
        raise InputError(
            f"{path}: {name} claims {found.nbytes:,} bytes, more than the file can hold; damaged?"
        )


def groups_with(group: h5py.Group, dataset: str) -> Iterator[str]:
    """Full names of the groups that hold `dataset`, each once.

    Raises InputError for links out of the file and groups that contain themselves.
    """
    path = Path(group.file.filename)
    with reading(path, "its list of groups"):
        yield from _groups_with(group, dataset, "", path, set())


def _groups_with(group: h5py.Group, dataset: str, prefix: str, path: Path, seen: set[int]) -> Iterator[str]:
    for key in group:
        encoded = key.encode("utf-8")
        if group.id.links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
            raise InputError(f"{path}: {prefix}/{key} is a link to somewhere else, which is not followed")
        found = h5py.h5o.get_info(group.id, encoded)  # which opens nothing: listing takes half the time
        if found.type == h5py.h5o.TYPE_GROUP:
            name = f"{prefix}/{key}" if prefix else key
            if found.addr in seen:
                raise InputError(f"{path} has the group {name[:80]} in two places, which is not read")
            seen.add(found.addr)
            child = group[key]
            if _is_array(child, dataset):
                yield name
            else:
                yield from _groups_with(child, dataset, name, path, seen)


def _is_array(group: h5py.Group, name: str) -> bool:
    """Whether the group has a data set of this name; one that a link leads to is refused when it is read."""
    if name not in group:
        return False
    return bool(h5py.h5o.get_info(group.id, name.encode("utf-8")).type == h5py.h5o.TYPE_DATASET)


def merge_h5(
    path: Path, kind: str, items: Iterable[tuple[str, int]], sources: Sequence[H5Reader], config: Config
) -> Path:
    with new_h5(path, kind, config) as file:
        for name, i in items:
            if name in file:
                raise InputError(f"{path}: '{name}' is in {sources[i].path} and in another file as well")
            with reading(sources[i].path, name):
                sources[i].file().copy(name, file, name=name)
            still_writable(file)
    return path
