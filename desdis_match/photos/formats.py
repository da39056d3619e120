"""Which files are photos, and their pixels as stored: OpenCV's readers, Pillow's, and LibRaw's of camera RAW.

HEIC, JPEG XL and RAW need packages of the extra `formats`. Pixels are as stored: no rotation is applied,
except that of HEIC's own transformations, which are part of its decoding.
"""

from __future__ import annotations

import io
import logging
import struct
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .damage import decoder_words

log = logging.getLogger(__name__)

JPEG = frozenset([".jpg", ".jpeg", ".jpe", ".jfif"])
PILLOW = frozenset([".jp2", ".j2k", ".jpf", ".jpx", ".avif"])
"""Read by Pillow where OpenCV was built without them."""
HEIC = frozenset([".heic", ".heif", ".hif"])
JPEG_XL = frozenset([".jxl"])
_RAW = "dng nef nrw cr2 cr3 crw arw srf sr2 rw2 orf raf pef srw 3fr erf iiq rwl x3f"
RAW = frozenset(f".{end}" for end in _RAW.split(" "))
OTHER = frozenset([".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm"])
EXTENSIONS = JPEG | PILLOW | HEIC | JPEG_XL | RAW | OTHER
"""Of photos, lower case; some of them only where a package of the extra `formats` is there."""

_FILMS = "mp4 mov avi mkv webm m4v mpg mpeg mts m2ts 3gp wmv insv"
FILMS = frozenset(f".{end}" for end in _FILMS.split(" "))
"""Files from which frames are taken (see video.py)."""

PACKAGES = {HEIC: "pillow_heif", JPEG_XL: "pillow_jxl", RAW: "rawpy"}
"""The module that reads a kind of file, of the extra `formats`."""

TIFF_ORIENTATION = 274
"""TIFF 6.0's tag that says how to turn the picture for showing it."""


class UnreadableImage(InputError):
    """One image that cannot be used; the message names it and says why. The others can go on."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why

    def __reduce__(
        self,
    ) -> tuple[Any, ...]:  # an exception with two arguments must say how it is rebuilt in another process
        return type(self), (self.path, self.why)


@dataclass(frozen=True)
class Unread:
    """A kind of file that lies among the photos and is not read."""

    kind: str
    way: str  # to have it nevertheless


def why_not_read(suffix: str) -> Unread | None:
    """Why files of this suffix (lower case) are not read; None for photos that are, and for what is none."""
    for kind, suffixes in {"HEIC": HEIC, "JPEG XL": JPEG_XL, "camera RAW": RAW}.items():
        if suffix in suffixes and find_spec(PACKAGES[suffixes]) is None:
            return Unread(kind, "pip install 'desdis-match[formats]' reads them")
    if suffix in FILMS:
        return Unread("film", "give the film itself to `desdis-match reconstruct --images`")
    converted = {".gif": "GIF", ".psd": "Photoshop", ".xcf": "GIMP", ".svg": "SVG", ".exr": "OpenEXR"}
    converted |= {".tga": "Targa", ".eps": "EPS", ".insp": "Insta360", ".hdr": "Radiance", ".pdf": "PDF"}
    if suffix in converted:
        return Unread(converted[suffix], "convert them to JPEG, PNG or TIFF")
    return None


def read_stored(path: Path, keep_damaged: bool = False, judged: bool = False) -> NDArray[Any]:
    """Grey (h, w) or blue, green, red (h, w, 3), perhaps with alpha, of the file's own depth.

    A JPEG is read as grey: its luma. Raises UnreadableImage, unless `keep_damaged` also for a photo of which
    the decoder could make out a part only. judged: as of `read_gray`.
    """
    suffix = path.suffix.lower()
    if suffix in RAW:
        return _read_raw(path)
    data = read_bytes(path)
    if is_cut_short(data.tobytes()):
        raise UnreadableImage(path, "is truncated: its end is missing")
    # A JPEG's luma is its grey picture. Other decoders weight the colours each in its own way: do it here.
    is_jpeg = data[:2].tobytes() == b"\xff\xd8"
    colour = cv2.IMREAD_GRAYSCALE if is_jpeg else cv2.IMREAD_ANYCOLOR
    with nullcontext() if judged else decoder_words() as words:
        stored = _decoded(path, data, colour | cv2.IMREAD_ANYDEPTH)
    if words:
        why = f"is damaged, some of its pixels are wrong ({words[0][:100]})"
        if not keep_damaged:
            raise UnreadableImage(path, f"{why}; --keep-damaged uses it nevertheless")
        log.warning("%s %s", path, why)
    return stored


def read_stored_colour(path: Path) -> NDArray[Any]:
    """Blue, green, red (h, w, 3) of the file's own depth, a grey photo's three times. UnreadableImage."""
    if path.suffix.lower() in RAW:
        return _read_raw(path)
    data = read_bytes(path)
    colours = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if colours is not None:
        return colours
    stored = _decoded(path, data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    # OpenCV makes no colours of grey floats.
    return cv2.cvtColor(stored, cv2.COLOR_GRAY2BGR) if stored.ndim == 2 else stored


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """The file's bytes. Raises UnreadableImage."""
    try:
        data = np.fromfile(path, np.uint8)  # bytes first: OpenCV's own reader fails on some file names
    except OSError as error:
        raise UnreadableImage(path, f"cannot be read ({error.strerror or error})") from error
    if data.size == 0:
        raise UnreadableImage(path, "is an empty file")
    return data


def _decoded(path: Path, data: NDArray[np.uint8], flags: int) -> NDArray[Any]:
    stored = _imdecode(data, flags)
    if stored is None and path.suffix.lower() in PILLOW | HEIC | JPEG_XL:
        stored = _pillow_decode(path, data)
    if stored is None:
        raise UnreadableImage(path, "is damaged or in a format that cannot be read")
    return stored


def _imdecode(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """OpenCV's decoding of an image as stored, silent; None for what it cannot read."""
    data = _without_tiff_orientation(data)
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    return image if image is not None and image.size else None


def _pillow_decode(path: Path, data: NDArray[np.uint8]) -> NDArray[Any] | None:
    from PIL import Image

    register_pillow_readers(path)
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            grey = image.mode in ("L", "I;16")
            pixels = np.asarray(image if grey else image.convert("RGB"))
    except Exception:  # plugins raise all sorts of things on damaged files
        return None
    return pixels if grey else cv2.cvtColor(pixels, _RGB_TO_BGR)


_RGB_TO_BGR = cv2.COLOR_RGB2BGR


def register_pillow_readers(path: Path) -> None:
    """Make Pillow know the format of `path` where the extra `formats` brings it. Raises UnreadableImage."""
    suffix = path.suffix.lower()
    try:
        if suffix in HEIC:
            import pillow_heif

            pillow_heif.register_heif_opener()
        elif suffix in JPEG_XL:
            import pillow_jxl  # noqa: F401 - the import is the registration
    except ImportError:
        raise UnreadableImage(path, "needs the extra formats: pip install 'desdis-match[formats]'") from None


def open_raw(path: Path) -> Any:
    """A `rawpy.RawPy` to be closed. Raises UnreadableImage."""
    try:
        import rawpy
    except ImportError:
        raise UnreadableImage(path, "needs the extra formats: pip install 'desdis-match[formats]'") from None
    try:
        return rawpy.imread(str(path))
    except Exception as error:  # LibRaw's errors are many, and a missing file is one of them
        raise UnreadableImage(path, f"is no camera RAW that LibRaw can read ({error})") from error


def _read_raw(path: Path) -> NDArray[np.uint8]:
    """Blue, green, red of 8 bits, developed with the camera's white balance, not turned."""
    with open_raw(path) as raw:
        try:
            result: NDArray[np.uint8] = cv2.cvtColor(
                raw.postprocess(use_camera_wb=True, user_flip=0), _RGB_TO_BGR
            )
            return result
        except Exception as error:
            raise UnreadableImage(path, f"is a damaged camera RAW ({error})") from error


def _without_tiff_orientation(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A TIFF's bytes with Orientation 1 in its first directory, other files' as they are.

    OpenCV turns a TIFF's pixels whatever its flags say.
    """
    order = {b"II*\0": "<", b"II+\0": "<", b"MM\0*": ">", b"MM\0+": ">"}.get(data[:4].tobytes())
    if order is None:
        return data
    raw = data.tobytes()
    try:
        if b"*" in raw[2:4]:
            (at,) = struct.unpack_from(f"{order}I", raw, 4)
            (count,) = struct.unpack_from(f"{order}H", raw, at)
            first, entry = at + 2, struct.pack(f"{order}HHIHH", TIFF_ORIENTATION, 3, 1, 1, 0)
        else:  # BigTIFF
            (at,) = struct.unpack_from(f"{order}Q", raw, 8)
            (count,) = struct.unpack_from(f"{order}Q", raw, at)
            first, entry = at + 8, struct.pack(f"{order}HHQHHI", TIFF_ORIENTATION, 3, 1, 1, 0, 0)
        for start in range(first, first + len(entry) * count, len(entry)):
            if struct.unpack_from(f"{order}H", raw, start) == (TIFF_ORIENTATION,):
                raw = raw[:start] + entry + raw[start + len(entry) :]
                break
    except (struct.error, OverflowError):
        pass  # an offset beyond the end: the decoder says what is wrong
    return np.frombuffer(raw, np.uint8)


def is_cut_short(data: bytes) -> bool:
    """Whether a file's own end mark or length says that bytes are missing; decoders fill in grey for them."""
    if data[:2] == b"\xff\xd8":
        return data.find(b"\xff\xd9", _jpeg_scan_start(data)) < 0
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data.rfind(b"IEND") < 0
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if data[:2] == b"BM":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


def _jpeg_scan_start(data: bytes) -> int:
    """Offset of a JPEG's first scan, past the segments in which a thumbnail has an end mark of its own."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:
            return at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)
