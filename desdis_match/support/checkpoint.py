"""Results of a running stage, kept so that a killed run goes on where it was.

A ShardFolder holds append-only logs, one per process that saves into it, so any number of workers may save at
once. A record is its header, a key and named arrays; it counts only when it is complete and its checksum is
right, so whatever a kill cut short is simply not there. The folder belongs to one configuration; opened with
another one it is emptied. Nothing is ever rewritten in place.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..types import Features, Matches
from .files import Config, atomic_path, canonical_json

FORMAT = "desdis_match shards 2"
_MAGIC = b"DDs2"
_HEADER = struct.Struct("<4sIQI")  # magic, bytes of the key, bytes of the arrays, CRC-32 of key and arrays
_ALIGN = (
    16  # bytes, of the arrays' places in a record; their names, types and shapes are JSON in its first line
)
_BLOCK = 1 << 18  # bytes read at a time to be checked

Arrays = Mapping[str, NDArray[Any]]


class ShardFolder:
    """Finished pieces of a stage by key. May be sent to worker processes; each writes a log of its own."""

    def __init__(self, path: Path, config: Config) -> None:
        """Open or make the folder; a folder of another configuration (or none) is emptied first."""
        self.path = Path(path).absolute()  # workers may be in another folder
        self.stamp = f"{FORMAT}\n{canonical_json(config)}\n"
        self._where: dict[str, tuple[Path, int, int]] = {}  # key -> log, offset and length of the arrays
        self._scanned: dict[Path, int] = {}  # log -> end of its last good record
        self._log: BinaryIO | None = None
        self._owner = -1
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stamp = self.path / "config.json"
            if not stamp.is_file() or stamp.read_text(encoding="utf-8") != self.stamp:
                # The stamp goes first: killed half-way through, the folder is emptied again next time.
                stamp.unlink(missing_ok=True)
                for log in self.path.glob("*.log"):
                    log.unlink()
                with atomic_path(stamp) as temporary:
                    temporary.write_text(self.stamp, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def save(self, key: str, arrays: Arrays) -> None:
        """Append one finished piece."""
        name, parts = key.encode("utf-8"), list(_packed(arrays))
        crc = zlib.crc32(name)
        for part in parts:
            crc = zlib.crc32(part, crc)
        log = self._open_log()
        log.write(_HEADER.pack(_MAGIC, len(name), sum(map(len, parts)), crc) + name)
        for part in parts:
            log.write(part)
        log.flush()

    def sync(self) -> None:
        """Have what was saved written to the disk, where other machines see it."""
        if self._log is not None and self._owner == os.getpid():
            os.fsync(self._log.fileno())

    def own(self, keys: Iterable[str] = ()) -> ShardFolder:
        """The same folder for another thread or process: with a log of its own, knowing where `keys` are."""
        other = copy(self)
        other._log, other._owner = None, -1
        other._where, other._scanned = {key: self._where[key] for key in keys}, {}
        return other

    def is_there(self) -> bool:
        """Whether the log that this process writes is still in the folder."""
        return self._log is not None and self._owner == os.getpid() and Path(self._log.name).exists()

    def done(self) -> set[str]:
        """Keys of all complete pieces, from every process, as of now."""
        for log in sorted(self.path.glob("*.log")):
            self._scan(log)
        return set(self._where)

    def load(self, key: str) -> dict[str, NDArray[Any]]:
        """The arrays of a finished piece; KeyError when it is not done."""
        if key not in self._where and key not in self.done():
            raise KeyError(key)
        path, offset, length = self._where[key]
        with path.open("rb") as file:
            file.seek(offset)
            payload = bytearray(length)
            file.readinto(payload)
        return _unpacked(payload)

    def close(self) -> None:
        """Close this process's log; a later save starts a new one."""
        if self._log is not None and self._owner == os.getpid():
            self._log.close()
        self._log = None

    def remove(self) -> None:
        """Delete the folder when its pieces are in their final file."""
        self.close()
        (self.path / "config.json").unlink(missing_ok=True)
        for log in self.path.glob("*.log"):
            log.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()
        self._where, self._scanned = {}, {}

    def _open_log(self) -> BinaryIO:
        """A log that no other process, living or dead, writes to."""
        if self._log is None or self._owner != os.getpid():
            number = 0
            while True:
                try:
                    self._log = (self.path / f"{os.getpid()}-{number}.log").open("xb")
                    break
                except FileExistsError:
                    number += 1
            self._owner = os.getpid()
        return self._log

    def _scan(self, path: Path) -> None:
        """Note the complete records of a log beyond those known."""
        end = self._scanned.get(path, 0)
        size = path.stat().st_size
        if end >= size:
            return
        with path.open("rb") as file:
            while end + _HEADER.size <= size:
                file.seek(end)
                magic, key_length, length, crc = _HEADER.unpack(file.read(_HEADER.size))
                start = end + _HEADER.size + key_length
                if magic != _MAGIC or start + length > size:
                    break
                name = file.read(key_length)
                if _crc_of(file, length, zlib.crc32(name)) != crc:
                    break
                self._where.setdefault(name.decode("utf-8"), (path, start, length))
                end = start + length
        self._scanned[path] = end

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_log": None, "_owner": -1}


def _packed(arrays: Arrays) -> Iterator[memoryview]:
    """The bytes of arrays, in parts: a line that says what they are, then each, its end filled up."""
    whole = [np.asarray(array) for array in arrays.values()]
    table = [(name, array.dtype.str, array.shape) for name, array in zip(arrays, whole, strict=True)]
    line = json.dumps(table).encode()
    line += b" " * (-(len(line) + 1) % _ALIGN) + b"\n"
    for part in (np.frombuffer(line, np.uint8), *whole):
        flat = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        yield flat.data
        yield memoryview(bytes(-len(flat) % _ALIGN))


def _unpacked(payload: bytearray) -> dict[str, NDArray[Any]]:
    """Inverse of _packed; the arrays lie in `payload`."""
    offset = payload.index(b"\n") + 1
    arrays = {}
    for name, kind, shape in json.loads(payload[:offset]):
        arrays[name] = np.ndarray(shape, np.dtype(kind), payload, offset)
        offset += arrays[name].nbytes + -arrays[name].nbytes % _ALIGN
    return arrays


def _crc_of(file: BinaryIO, length: int, crc: int) -> int:
    """CRC-32 of the next `length` bytes, after what gave `crc`."""
    while length:
        block = file.read(min(length, _BLOCK))
        crc, length = zlib.crc32(block, crc), length - len(block)
    return crc


def features_to_arrays(features: Features) -> dict[str, NDArray[Any]]:
    """A Features record as the arrays of a shard, descriptors as features.h5 has them, (D, N) float16."""
    import torch

    half = torch.from_numpy(features.descriptors).half().numpy()  # NumPy takes twenty times as long
    return {
        "keypoints": features.keypoints,
        "descriptors": np.ascontiguousarray(half.T),
        "scores": features.scores,
        "scales": features.scales,
        "angles": features.angles,
        "image_size": np.asarray(features.image_size, np.int64),
    }


def features_from_arrays(arrays: Arrays) -> Features:
    """Inverse of features_to_arrays, but for the descriptors' type: they stay float16."""
    width, height = (int(v) for v in arrays["image_size"])
    columns = {name: arrays[name] for name in ("keypoints", "scores", "scales", "angles")}
    return Features(descriptors=arrays["descriptors"].T, image_size=(width, height), **columns)


def matches_to_arrays(matches: Matches) -> dict[str, NDArray[Any]]:
    """A Matches record as the arrays of a shard."""
    return {"indices": matches.indices, "scores": matches.scores}


def matches_from_arrays(arrays: Arrays) -> Matches:
    """Inverse of matches_to_arrays."""
    return Matches(arrays["indices"], arrays["scores"])
