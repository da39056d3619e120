"""Photos from disk: list, read as grey, resize, masks, focal length from EXIF.

Pixels are as stored: EXIF rotation is not applied, as COLMAP does. (0, 0) is the centre of the top-left
pixel, also after resizing: `x_original = (x_resized + 0.5) / sx - 0.5`. Sizes are (width, height), arrays
[row, column].
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import conventions
from ..errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

EXTENSIONS = frozenset([".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm"])

MIN_SIDE = 16
"""An image with a shorter side (pixels) holds no patch worth describing."""

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""Diagonal of the 35 mm film frame, to which EXIF's FocalLengthIn35mmFilm refers (CIPA DCG-001)."""

TIFF_ORIENTATION = 274
"""TIFF 6.0's tag that says how to turn the picture for showing it."""


class UnreadableImage(InputError):
    """One image that cannot be used; the message names it and says why. The others can go on."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why

    def __reduce__(self):  # an exception with two arguments must say how it is rebuilt in another process
        return type(self), (self.path, self.why)


@dataclass(frozen=True)
class GrayImage:
    """A photo as the detectors see it."""

    pixels: NDArray[np.float32]  # (h, w) in [0, 1], perhaps smaller than the photo
    size: tuple[int, int]  # width, height of the photo as stored
    scale_xy: tuple[float, float]  # resized / original side, x and y; 1.0 where it was not resized


def list_images(folder: Path) -> list[str]:
    """Names of the images below `folder`: sorted POSIX paths relative to it.

    Raises InputError where there is no such folder, and for a name that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the photos")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:  # bytes that os.fsdecode could not read
            raise InputError(f"the file name {name!r} in {folder} is not UTF-8; rename the file") from None
    return names


def read_gray(path: Path, max_size: int | None = 1600) -> GrayImage:
    """Read a photo of 8 or 16 bits, grey, colour or with alpha, and shrink its long side to `max_size`
    pixels.

    It is never enlarged. Raises UnreadableImage for what is not a usable picture: missing, empty, truncated,
    in no known format, smaller than MIN_SIDE, or of one flat colour.
    """
    path = Path(path)
    stored = _decode(path, _read_bytes(path))
    height, width = stored.shape
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            path, f"is only {width}x{height} pixels; sides of {MIN_SIDE} and more are needed"
        )
    if stored.min() == stored.max():
        raise UnreadableImage(path, "has the same value in every pixel, so there is nothing to find in it")
    pixels = _to_unit_range(stored)
    if max_size is None or max(width, height) <= max_size:
        return GrayImage(pixels, (width, height), (1.0, 1.0))
    factor = max_size / max(width, height)
    new_width, new_height = max(1, round(width * factor)), max(1, round(height * factor))
    if min(new_width, new_height) < MIN_SIDE:
        raise UnreadableImage(path, f"is {width}x{height}, too thin to be shrunk to {max_size} pixels")
    shrunk = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_AREA).astype(
        np.float32, copy=False
    )
    return GrayImage(shrunk, (width, height), (new_width / width, new_height / height))


def read_rgb(path: Path | str) -> NDArray[np.uint8]:
    """A photo as (height, width, 3) red, green, blue of 8 bits, as stored: EXIF rotation is not applied.

    Raises UnreadableImage.
    """
    path = Path(path)
    image = _imdecode(_read_bytes(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UnreadableImage(path, "is damaged or in a format that cannot be read as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def to_original(xy: NDArray, image: GrayImage) -> NDArray[np.float32]:
    """Pixels (N, 2) of `image.pixels` -> pixels of the photo; pixel centres correspond to pixel centres."""
    return conventions.to_original(np.asarray(xy, np.float64), image.scale_xy).astype(np.float32)


def to_resized(xy: NDArray, image: GrayImage) -> NDArray[np.float32]:
    """Pixels (N, 2) of the photo -> pixels of `image.pixels`; the inverse of `to_original`."""
    return conventions.to_resized(np.asarray(xy, np.float64), image.scale_xy).astype(np.float32)


def mask_path(folder: Path, name: str) -> Path:
    """Where COLMAP looks for the mask of image `name`: `sub/a.jpg` -> `folder/sub/a.jpg.png`."""
    return Path(folder) / f"{name}.png"


def read_mask(folder: Path, name: str, image: GrayImage) -> NDArray[np.bool_] | None:
    """The mask of image `name` on the grid of `image.pixels`: (h, w), False = ignore. None where there is
    none.

    COLMAP's convention: `folder/NAME.png`, black = ignore. A resized pixel is kept only if every mask pixel
    below it is. Raises UnreadableImage for a damaged mask or one with another size than its photo.
    """
    path = mask_path(folder, name)
    if not path.is_file():
        return None
    try:
        mask = _decode(path, _read_bytes(path))
    except UnreadableImage as error:
        raise UnreadableImage(Path(name), f"has a mask ({path}) that {error.why}") from error
    height, width = mask.shape
    if (width, height) != image.size:
        raise UnreadableImage(
            Path(name), f"is {image.size[0]}x{image.size[1]}, but its mask ({path}) {width}x{height}"
        )
    if mask.shape == image.pixels.shape:
        return mask > 0
    height, width = image.pixels.shape
    share = cv2.resize((mask > 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share) > 0.999


_LIMIT_LIFTED = threading.Lock()


def open_header(path: Path) -> PillowImage:
    """Pillow's `Image.open` for size and EXIF, without its limit of 179 million pixels: none is decoded."""
    from PIL import Image

    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        # The limit is Pillow's own variable: one thread at a time lifts it, and puts it back.
        with _LIMIT_LIFTED:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(path)
            finally:
                Image.MAX_IMAGE_PIXELS = limit


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo's file says besides its pixels."""

    size: tuple[int, int]  # width, height as stored
    tags: Mapping[int, Any]  # EXIF's main directory: make, model, ...
    exif: Mapping[int, Any]  # its Exif directory: focal length, ...


def read_header(path: Path) -> PhotoHeader | None:
    """Size and EXIF without decoding; None for what Pillow cannot read."""
    from PIL import ExifTags

    damaged = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)
    try:
        with open_header(path) as image:
            size = stored_size(image)
            try:  # while the file is open: of a TIFF, Pillow reads the Exif directory from it
                tags = image.getexif()
                return PhotoHeader(size, dict(tags), dict(tags.get_ifd(ExifTags.IFD.Exif)))
            except damaged:
                return PhotoHeader(size, {}, {})  # EXIF is a hint
    except damaged:
        return None  # whether the photo is readable is read_gray's business


def stored_size(image: PillowImage) -> tuple[int, int]:
    """(width, height) as stored, of a photo opened by `open_header`; Pillow turns a TIFF's by Orientation."""
    from PIL import ExifTags

    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return image.size
    return int(tags[ExifTags.Base.ImageWidth]), int(tags[ExifTags.Base.ImageLength])


def header_focal(header: PhotoHeader) -> float | None:
    """Focal length in pixels of the stored photo from its EXIF, or None where EXIF does not tell it.

    From FocalLengthIn35mmFilm over the frame's diagonal, else from FocalLength and FocalPlaneXResolution.
    """
    from PIL import ExifTags

    (width, height), ifd = header.size, header.exif
    equivalent = _positive(ifd.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent:
        return equivalent * math.hypot(width, height) / FILM_DIAGONAL_MM
    focal_mm = _positive(ifd.get(ExifTags.Base.FocalLength))
    resolution = _positive(ifd.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}.get(ifd.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    if not (focal_mm and resolution and unit_mm):
        return None
    # The resolution counts pixels of the photo as it was taken; a copy that was shrunk or turned keeps it.
    taken_width = _positive(ifd.get(ExifTags.Base.ExifImageWidth))
    taken_height = _positive(ifd.get(ExifTags.Base.ExifImageHeight))
    if taken_width and taken_height:
        shrunk = max(width, height) / max(taken_width, taken_height)
    else:
        shrunk = width / (taken_width or width)
    return focal_mm * resolution / unit_mm * shrunk


def _positive(value) -> float | None:
    """An EXIF number if it is one and above zero; EXIF rationals may be 0/0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _read_bytes(path: Path) -> NDArray[np.uint8]:
    try:
        data = np.fromfile(path, np.uint8)  # bytes first: OpenCV's own reader fails on some file names
    except OSError as error:
        raise UnreadableImage(path, f"cannot be read ({error.strerror or error})") from error
    if data.size == 0:
        raise UnreadableImage(path, "is an empty file")
    return data


def _decode(path: Path, data: NDArray[np.uint8]) -> NDArray:
    """Grey pixels (h, w) as stored, uint8, uint16 or float."""
    if _is_cut_short(data.tobytes()):
        raise UnreadableImage(path, "is truncated: its end is missing")
    # A JPEG's luma is its grey picture. Other decoders weight the colours each in its own way: do it here.
    is_jpeg = data[:2].tobytes() == b"\xff\xd8"
    colour = cv2.IMREAD_GRAYSCALE if is_jpeg else cv2.IMREAD_ANYCOLOR
    stored = _imdecode(data, colour | cv2.IMREAD_ANYDEPTH)
    try:
        if stored is not None and stored.ndim == 3:
            stored = cv2.cvtColor(stored, cv2.COLOR_BGR2GRAY)
    except cv2.error:  # colours of a depth that it does not know
        stored = None
    if stored is None:
        raise UnreadableImage(path, "is damaged or in a format that cannot be read")
    return stored


def _imdecode(data: NDArray[np.uint8], flags: int) -> NDArray | None:
    """OpenCV's decoding of an image as stored, silent; None for what it cannot read."""
    data = _without_tiff_orientation(data)
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    return image if image is not None and image.size else None


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


def _to_unit_range(stored: NDArray) -> NDArray[np.float32]:
    if np.issubdtype(stored.dtype, np.integer):
        return stored.astype(np.float32) * np.float32(1.0 / np.iinfo(stored.dtype).max)
    finite = np.nan_to_num(stored.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(0.0, float(finite.min())), max(1.0, float(finite.max()))
    return (finite - low) / (high - low)  # a float image has no agreed white; [0, 1] passes unchanged


def _is_cut_short(data: bytes) -> bool:
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
