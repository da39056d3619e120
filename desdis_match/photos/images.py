"""Photos from disk: list, read as grey or in colour, resize, header and EXIF (formats.py has the decoders).

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
from .damage import DECODE_BYTES, too_large
from .depth import to_unit_range
from .formats import (
    RAW,
    TIFF_ORIENTATION,
    UnreadableImage,
    open_raw,
    read_stored,
    read_stored_colour,
    register_pillow_readers,
)
from .listing import look_through

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MIN_SIDE = 16
"""An image with a shorter side (pixels) holds no patch worth describing."""

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""Diagonal of the 35 mm film frame, to which EXIF's FocalLengthIn35mmFilm refers (CIPA DCG-001)."""


@dataclass(frozen=True)
class GrayImage:
    """A photo as the detectors see it."""

    pixels: NDArray[np.float32]  # (h, w) in [0, 1], perhaps smaller than the photo
    size: tuple[int, int]  # width, height of the photo as stored
    scale_xy: tuple[float, float]  # resized / original side, x and y; 1.0 where it was not resized


def list_images(folder: Path) -> list[str]:
    """Names of the images below `folder`: sorted POSIX paths relative to it (see listing.py).

    Raises InputError where there is no such folder, and for a name that is not UTF-8.
    """
    return list(look_through(folder).names)


def read_gray(
    path: Path, max_size: int | None = 1600, keep_damaged: bool = False, judged: bool = False
) -> GrayImage:
    """Read a photo of 8 or 16 bits, grey, colour or with alpha, and shrink its long side to `max_size`
    pixels.

    It is never enlarged. Raises UnreadableImage for what is not a usable picture: missing, empty, truncated,
    in no known format, smaller than MIN_SIDE, of one flat colour, too large for the memory, or (unless
    `keep_damaged`) damaged so that only a part of it could be decoded.
    judged: it was read before, so that nothing needs to be said of damage; the decoder's words, which go to
    descriptor 2, are left alone then, and photos can be read in several threads and beside COLMAP.
    """
    path = Path(path)
    header = read_header(path)  # a few bytes may claim gigabytes of pixels
    if header is not None and (why := too_large(header.size, DECODE_BYTES)):
        raise UnreadableImage(path, f"{why}; make a smaller copy of it")
    return gray_image(to_unit_range(read_stored_grey(path, keep_damaged, judged)), max_size, path)


def gray_image(pixels: NDArray[np.float32], max_size: int | None, path: Path) -> GrayImage:
    """Grey values (h, w) in [0, 1] as the detectors see them; `path` names the photo where it is none."""
    height, width = pixels.shape
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            path, f"is only {width}x{height} pixels; sides of {MIN_SIDE} and more are needed"
        )
    if pixels.min() == pixels.max():
        raise UnreadableImage(path, "has the same value in every pixel, so there is nothing to find in it")
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

    Photos of more bits are stretched as `read_gray` does. Raises UnreadableImage.
    """
    path = Path(path)
    stored = read_stored_colour(path)
    if stored.dtype != np.uint8:
        stored = (to_unit_range(stored) * 255 + 0.5).astype(np.uint8)
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def to_original(xy: NDArray[Any], image: GrayImage) -> NDArray[np.float32]:
    """Pixels (N, 2) of `image.pixels` -> pixels of the photo; pixel centres correspond to pixel centres."""
    return conventions.to_original(np.asarray(xy, np.float64), image.scale_xy).astype(np.float32)


def to_resized(xy: NDArray[Any], image: GrayImage) -> NDArray[np.float32]:
    """Pixels (N, 2) of the photo -> pixels of `image.pixels`; the inverse of `to_original`."""
    return conventions.to_resized(np.asarray(xy, np.float64), image.scale_xy).astype(np.float32)


_LIMIT_LIFTED = threading.Lock()


def open_header(path: Path) -> PillowImage:
    """Pillow's `Image.open` for size and EXIF, without its limit of 179 million pixels: none is decoded."""
    from PIL import Image

    register_pillow_readers(path)
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

    @property
    def orientation(self) -> int:
        """1 to 8: how the photo is turned, and with 2, 4, 5, 7 mirrored, to be shown; 1: not at all."""
        value = self.tags.get(TIFF_ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    @property
    def quarter_turns(self) -> int:
        """Turns by 90 degrees clockwise, as seen, that set the photo upright."""
        return QUARTER_TURNS[self.orientation]


QUARTER_TURNS = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}
"""Clockwise, of EXIF's Orientation; that 2, 4, 5 and 7 mirror as well is left out."""


def read_header(path: Path) -> PhotoHeader | None:
    """Size and EXIF without decoding; None for what Pillow cannot read."""
    from PIL import ExifTags

    damaged = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)
    try:
        raw_size = _raw_size(path) if path.suffix.lower() in RAW else None
    except UnreadableImage:
        return None
    try:
        with open_header(path) as image:
            size = raw_size or stored_size(image)
            try:  # while the file is open: of a TIFF, Pillow reads the Exif directory from it
                tags = image.getexif()
                return PhotoHeader(size, dict(tags), dict(tags.get_ifd(ExifTags.IFD.Exif)))
            except damaged:
                return PhotoHeader(size, {}, {})  # EXIF is a hint
    except (*damaged, UnreadableImage):
        # Whether the photo is readable is read_gray's business.
        return None if raw_size is None else PhotoHeader(raw_size, {}, {})


def _raw_size(path: Path) -> tuple[int, int]:
    """Of the developed picture; what Pillow opens of a camera RAW is its thumbnail."""
    with open_raw(path) as raw:
        return int(raw.sizes.iwidth), int(raw.sizes.iheight)


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


def _positive(value: Any) -> float | None:
    """An EXIF number if it is one and above zero; EXIF rationals may be 0/0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def read_stored_grey(path: Path, keep_damaged: bool = False, judged: bool = False) -> NDArray[Any]:
    """Grey pixels (h, w) as stored, of the file's own depth. Raises UnreadableImage as read_gray."""
    stored = read_stored(path, keep_damaged, judged)
    if stored.ndim == 2:
        return stored
    try:
        return cv2.cvtColor(stored, cv2.COLOR_BGRA2GRAY if stored.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    except cv2.error:  # colours of a depth that it does not know
        raise UnreadableImage(path, "is damaged or in a format that cannot be read") from None
