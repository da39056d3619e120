"""Files that appear whole or not at all, and configurations as text that can be compared."""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

Config = Mapping[str, Any]
"""What made a file: JSON values, paths and NumPy scalars by field name."""


def canonical_json(config: Config) -> str:
    """One spelling for equal configurations: sorted keys, paths and tuples as text and lists."""
    return json.dumps(config, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a configuration holds {type(value).__name__}, which JSON cannot say")


def config_differences(old: Config | None, new: Config) -> list[str]:
    """`field: old -> new` for each field that differs, nested fields with dots; empty when equal.

    old: None for a file that carries no configuration, such as hloc's.
    """
    flat_old, flat_new = (dict(_flatten(json.loads(canonical_json(c)))) for c in (old or {}, new))
    fields = sorted(flat_old.keys() | flat_new.keys())
    shown = ((f, flat_old.get(f, "(absent)"), flat_new.get(f, "(absent)")) for f in fields)
    return [f"{field}: {a} -> {b}" for field, a, b in shown if a != b]


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it takes the place of `path` when the block ends well.

    The name is fixed, so what a killed run left is overwritten by the next. One writer per file. The file is
    on the disk, not only in the system's memory, before it takes its place. Raises InputError, and leaves
    `path` as it was, when the disk is full or the place must not be written.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file")
        if path.exists() and not path.is_file():  # taking its place would destroy a device
            raise InputError(f"{path} is no ordinary file; give another path")
    except OSError as error:  # a folder above it without rights, a name too long
        raise file_error(error, path, "written") from error
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        _check_kind(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise file_error(error, path, "written") from error
    except BaseException:
        _remove(temporary)
        raise


KINDS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"SQLite format 3\0": "a database",
    b"\xff\xd8\xff": "a photo",
    b"\x89PNG\r\n": "a picture",
    b"II*\0": "a photo",
    b"MM\0*": "a photo",
    b"RIFF": "a photo or film",
    b"PK\x03\x04": "an archive",
}
"""How files begin that a file of another kind never replaces."""
FTYP = slice(4, 8)
"""Where HEIC, AVIF, JPEG 2000 and films say that they are such."""


def kind_of(path: Path) -> str | None:
    """What a file is by its first bytes; None for text, what is unknown, and what is not there."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(16)
    if start[FTYP] in (b"ftyp", b"jP  "):
        return "a photo or film"
    return next((kind for first, kind in KINDS.items() if start.startswith(first)), None)


def _check_kind(path: Path, new: Path) -> None:
    """No photo, database or file of features is lost to a slip of the name."""
    kind = kind_of(path)
    if kind is not None and kind != kind_of(new):
        raise InputError(f"{path} is {kind}, which would be lost; give another name or delete it first")


def check_not_read(output: Path, *inputs: Path | None) -> None:
    """Raise InputError where a command would write over what it reads."""
    for path in inputs if Path(output).exists() else ():
        if path is not None and Path(path).exists() and os.path.samefile(output, path):
            raise InputError(f"{output} is what is read; give another name for what is written")


def check_new_folder(path: Path) -> None:
    """Raise InputError where a folder that is to be made is there and holds something."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is not empty; give a new folder")


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file lies on the disk; raises OSError where a delayed write fails."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def check_room(scratch: Path, num_bytes: int) -> None:
    """Raise OSError where a file of so many bytes cannot be written; `scratch` is made and deleted."""
    try:
        with open(scratch, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(num_bytes, 1))
            elif shutil.disk_usage(scratch.parent).free < num_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    finally:
        _remove(scratch)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Work on `path` that is not one file's: an OSError inside becomes an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise file_error(error, Path(path), "written") from error


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, the user's share of it, or the largest size of a file is used up."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def file_error(error: OSError, path: Path | None = None, done: str = "used") -> InputError:
    """What a user can do about an error of the file system, as one sentence; it names the file.

    path: what was being written or read, where the error itself does not say. done: "written", "read".
    """
    named = path or error.filename or "a file"
    if error.filename and path is not None and _is_other(Path(os.fsdecode(error.filename)), path):
        named = os.fsdecode(error.filename)
    if error.errno in FULL:
        named = "standard output, or a file," if named == "a file" else named
        return InputError(f"{named} cannot be written: the disk is full; free some space and run again")
    if error.errno in FORBIDDEN:
        return InputError(
            f"{named} cannot be {done} ({error.strerror}); change its rights or give another path"
        )
    return InputError(f"{named} cannot be {done} ({error.strerror or error}); give another path")


def _is_other(named: Path, path: Path) -> bool:
    """Whether an error is about another file than `path`, the temporary one beside it or its folders."""
    return named.name not in (path.name, f".{path.name}.tmp") and named not in path.parents


def read_text(path: Path, what: str = "a text file") -> str:
    """A text in UTF-8, with a byte order mark or without, or in UTF-16, as Windows programs write it.

    Raises InputError where it cannot be read or is something else.
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            text = data.decode("utf-16")
        elif data[1:2] == b"\0" and data[:1] != b"\0":  # no mark, but a letter and a zero
            text = data.decode("utf-16-le")
        else:
            text = data.decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")  # as a text file is read
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not {what}: it is not UTF-8 ({error.reason} at {error.start})"
        ) from error
    except OSError as error:
        raise file_error(error, Path(path), "read") from error


def read_rows(path: Path, what: str) -> Iterator[list[str]]:
    """The rows of comma-separated text, as read_text reads it; blanks after a comma do not count."""
    try:
        yield from csv.reader(io.StringIO(read_text(path, what)), skipinitialspace=True)
    except csv.Error as error:
        raise InputError(f"{path} is not {what}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where it cannot be read or is something else."""
    try:
        content = json.loads(read_text(path, "JSON"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON (damaged?): {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; is it another program's file?")
    return content


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A hidden folder for files that take their places in `folder`, beside others, at the end."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".new"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in sorted(temporary.iterdir()):
                os.replace(file, folder / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> Path:
    """A whole UTF-8 text file or none."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
