"""Model files of COLMAP looked through before COLMAP reads them, and after it has written them.

COLMAP's readers believe the counts in `cameras.bin`, `rigs.bin`, `frames.bin`, `images.bin` and
`points3D.bin`: of a file that was cut short they read for ever, fill the memory, or make up intrinsics. Its
writers report nothing on a full disk. Here each record is walked by its lengths; a file must end where its
last record does, and its numbers must be such as a model has. Layouts: COLMAP's
`scene/reconstruction_io_binary.cc` and `reconstruction_io_text.cc`.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..support.files import file_error, read_json, read_text, sync, write_text
from ..support.names import check_name
from ..support.native import pycolmap

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
"""Beside the numbered models that we write: CRC-32 of each of their files."""
STAMP = "made_by.json"
"""Beside them, too: what made them."""
PLY_POINT = 15
"""Bytes of a point in COLMAP's PLY: three floats, three bytes of colour."""


def check_model_files(folder: Path) -> dict[str, int]:
    """Records by file of a model (binary or text) whose files are whole; raises InputError, naming the file.

    Where we wrote the model, files that have changed since are a warning: another program may have done it.
    """
    folder = Path(folder)
    checks = _BINARY if (folder / "cameras.bin").is_file() else _TEXT
    found = {name: check(folder / name) for name, check in checks.items() if (folder / name).is_file()}
    if changed := changed_files(folder):
        names = ", ".join(changed)
        log.warning("%s in %s are not as desdis-match wrote them: edited or damaged", names, folder)
    return found


def changed_files(folder: Path) -> list[str]:
    """Files of a numbered model of ours that are missing or have other bytes than were written."""
    table = Path(folder).parent / CHECKSUMS
    if not table.is_file():
        return []
    known = read_json(table)
    prefix = f"{Path(folder).name}/"
    mine = {key.removeprefix(prefix): crc for key, crc in known.items() if key.startswith(prefix)}
    return sorted(name for name, crc in mine.items() if _crc(Path(folder) / name) != crc)


def read_stamp(path: Path) -> dict[str, Any]:
    """What made the models beside it. Raises InputError where it is damaged, or edited."""
    path = Path(path)
    content, table = read_json(path), path.parent / CHECKSUMS
    known = read_json(table).get(path.name) if table.is_file() else None
    if known is not None and known != _crc(path):
        raise InputError(f"{path} is not as it was written: damaged, or edited; reconstruct again")
    return content


def write_checksums(sparse: Path) -> None:
    """Note the CRC-32 of every file of the numbered models below `sparse`, and of what made them."""
    files = sorted(path for path in Path(sparse).glob("*/*.bin") if path.parent.name.isdigit())
    files += [path for path in [Path(sparse) / STAMP] if path.is_file()]
    table = {path.relative_to(sparse).as_posix(): _crc(path) for path in files}
    if table:
        write_text(Path(sparse) / CHECKSUMS, json.dumps(table, indent=1) + "\n")


def _crc(path: Path) -> int | None:
    if not path.is_file():
        return None
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def write_model(model: pycolmap.Reconstruction, folder: Path, text: bool = False) -> None:
    """Write a model into an existing folder and make sure that it is there whole: COLMAP does not say.

    Raises InputError (the disk is full) where a file is shorter than it must be.
    """
    folder = Path(folder)
    (model.write_text if text else model.write_binary)(folder)
    checks, end = (_TEXT, "txt") if text else (_BINARY, "bin")
    try:
        found = {}
        for name, check in checks.items():
            sync(folder / name)
            found[name] = check(folder / name)
    except (InputError, OSError) as error:
        raise disk_full(folder) from error
    wanted = {"cameras": model.num_cameras(), "frames": model.num_reg_frames()}
    wanted |= {"images": model.num_reg_images(), "points3D": model.num_points3D()}
    if any(found[f"{name}.{end}"] != count for name, count in wanted.items()):
        raise disk_full(folder)


def write_ply(model: pycolmap.Reconstruction, path: Path) -> None:
    """COLMAP's PLY of the points, whole. Raises InputError as write_model."""
    model.export_PLY(path)
    try:
        _, mark, points = path.read_bytes().partition(b"end_header\n")
    except OSError as error:
        raise disk_full(path) from error
    if not mark or len(points) != model.num_points3D() * PLY_POINT:
        raise disk_full(path)


def disk_full(path: Path) -> InputError:
    """What COLMAP's writers keep to themselves."""
    return file_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)


class _Walk:
    """The records of a binary file, one after another, each by its lengths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise file_error(error, path, "read") from error
        self._at = 0
        self.count = self.take("<Q")[0]
        if self.count > len(self._data):  # every record has more bytes than one
            self.fail(f"it says that it holds {self.count} records, in {len(self._data)} bytes")

    def take(self, layout: str) -> tuple[Any, ...]:
        """The next numbers."""
        size = struct.calcsize(layout)
        if self._at + size > len(self._data):
            self.fail("it is cut short")
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += size
        return values

    def skip(self, size: int) -> bytes:
        """The next `size` bytes, as they are."""
        if size > len(self._data) - self._at:
            self.fail("it is cut short")
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def text(self) -> str:
        """The next text, which ends with a zero byte."""
        end = self._data.find(b"\0", self._at)
        if end < 0:
            self.fail("it is cut short")
        raw, self._at = self._data[self._at : end], end + 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a photo's name in it is not UTF-8")
            raise

    def end(self) -> int:
        """The count of records, once all are passed."""
        if self._at != len(self._data):
            self.fail(f"{len(self._data) - self._at} bytes follow its last record")
        result: int = self.count
        return result

    def finite(self, numbers: ArrayLike, what: str) -> None:
        """Fail for NaN and infinity."""
        if not np.isfinite(numbers).all():
            self.fail(f"{what} in it is not finite")

    def fail(self, why: str) -> None:
        """Raise InputError."""
        raise InputError(f"{self.path} is damaged: {why}; make the model again or bring back the file")


def _cameras(path: Path) -> int:
    walk = _Walk(path)
    for _ in range(walk.count):
        camera_id, model, width, height = walk.take("<IiQQ")
        if model not in _NUM_PARAMS:
            walk.fail(f"camera {camera_id} has a model, {model}, that COLMAP does not know")
        if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
            walk.fail(f"camera {camera_id} is {width} x {height} pixels")
        walk.finite(walk.take(f"<{_NUM_PARAMS[model]}d"), f"a parameter of camera {camera_id}")
    return walk.end()


def _rigs(path: Path) -> int:
    walk = _Walk(path)
    for _ in range(walk.count):
        _, num_sensors = walk.take("<II")
        for sensor in range(num_sensors):
            walk.take("<iI")
            if sensor and walk.take("<B")[0]:  # the first is the one that the others refer to
                walk.finite(walk.take("<7d"), "a sensor's pose")
    return walk.end()


def _frames(path: Path) -> int:
    walk = _Walk(path)
    for _ in range(walk.count):
        _, _, *pose, num_data = walk.take("<II7dI")
        walk.finite(pose, "a frame's pose")
        walk.skip(num_data * struct.calcsize("<iIQ"))
    return walk.end()


def _images(path: Path) -> int:
    walk = _Walk(path)
    names: set[str] = set()
    for _ in range(walk.count):
        _, *pose, _ = walk.take("<I7dI")
        walk.finite(pose, "a photo's pose")
        name = _new_name(walk.text(), names, path)
        (num_keypoints,) = walk.take("<Q")
        keypoints = np.frombuffer(walk.skip(num_keypoints * _KEYPOINT.itemsize), _KEYPOINT)
        walk.finite(keypoints["xy"], f"a keypoint of '{name}'")
    return walk.end()


def _new_name(name: str, names: set[str], path: Path) -> str:
    """A photo's name, noted in `names`: two photos of one name would be one file of an export."""
    if name in names:
        raise InputError(f"{path} names a photo '{name}' twice; give each a name of its own")
    names.add(check_name(name, path))
    return name


def _points(path: Path) -> int:
    walk = _Walk(path)
    sums = 0.0
    for _ in range(walk.count):
        _, x, y, z, _, _, _, error, length = walk.take("<Q3d3BdQ")
        sums += abs(x) + abs(y) + abs(z) + abs(error)
        walk.skip(8 * length)
    if not math.isfinite(sums):
        walk.fail("a point in it is not finite")
    return walk.end()


_KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<u8")])
MAX_SIDE = 1 << 20
"""Pixels of a photo's side; more is damage."""
_NUM_PARAMS = {
    int(model): len(pycolmap.Camera.create_from_model_id(1, model, 1.0, 1, 1).params)
    for name, model in pycolmap.CameraModelId.__members__.items()
    if name != "INVALID"
}
_BINARY: dict[str, Callable[[Path], int]] = {
    "cameras.bin": _cameras,
    "rigs.bin": _rigs,
    "frames.bin": _frames,
    "images.bin": _images,
    "points3D.bin": _points,
}


def _text_lines(path: Path) -> list[list[str]]:
    """Words of the lines that hold something; the count that stands in a comment is compared."""
    lines = read_text(path, "a COLMAP model").split("\n")
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def _check_words(path: Path, rows: list[list[str]], fits: Callable[[int], bool], text: int = -1) -> int:
    """Number of rows; InputError for one whose number of words cannot be, or whose numbers are none.

    text: the first word from which on a row holds text.
    """
    for row in rows:
        numbers = row if text < 0 else row[:text]
        try:
            good = fits(len(row)) and all(math.isfinite(float(word)) for word in numbers)
        except ValueError:
            good = False
        if not good:
            raise InputError(f"{path} is damaged: '{' '.join(row)[:60]}' is no line of such a file")
    return len(rows)


def _text_cameras(path: Path) -> int:
    rows = _text_lines(path)
    for row in rows:
        model = pycolmap.CameraModelId.__members__.get(row[1]) if len(row) > 3 else None
        if model is None or len(row) != 4 + _NUM_PARAMS.get(int(model), -1):
            raise InputError(f"{path} is damaged: '{' '.join(row)[:60]}' is no camera")
    _check_words(path, [row[:1] + row[2:] for row in rows], lambda num: num > 3)
    return len(rows)


def _text_any(path: Path) -> int:
    return len(_text_lines(path))


def _text_images(path: Path) -> int:
    """Two lines an image, of which the second, its keypoints, may be empty."""
    lines = iter(read_text(path, "a COLMAP model").split("\n"))
    heads, keypoints = [], []
    names: set[str] = set()
    for line in lines:
        if line.strip() and not line.startswith("#"):
            heads.append(line.split(maxsplit=9))
            if len(heads[-1]) > 9:
                _new_name(heads[-1][9].strip(), names, path)
            keypoints.append(next(lines, "").split())
    _check_words(path, keypoints, lambda num: num % 3 == 0)
    return _check_words(path, heads, lambda num: num == 10, text=9)


def _text_points(path: Path) -> int:
    return _check_words(path, _text_lines(path), lambda num: num >= 8 and num % 2 == 0)


_TEXT: dict[str, Callable[[Path], int]] = {
    "cameras.txt": _text_cameras,
    "rigs.txt": _text_any,
    "frames.txt": _text_any,
    "images.txt": _text_images,
    "points3D.txt": _text_points,
}
