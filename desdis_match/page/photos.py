"""The photos on a page: small, upright by EXIF, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import PIXEL_CENTRE
from ..photos.formats import TIFF_ORIENTATION, UnreadableImage
from ..photos.images import PhotoHeader, read_header, read_rgb
from ..support.progress import track
from ..types import Float32
from .blocks import Blocks, spread
from .run import Shown

PHOTO_BYTES = 14_000_000
"""Of all photos together; their size follows from it."""
PHOTO_SIDES = (120, 1280)
"""Long side of a photo on the page: least and most, pixels."""
BYTES_PER_PIXEL = 0.17
"""Of a JPEG at the quality used here, for textured photos."""
JPEG_QUALITY = 78


def photo_folders(run: Shown, images: Path | None) -> list[Path]:
    """Where photos are looked for; empty without the run's own folder."""
    if images is None or not images.is_dir():
        return []
    return [images, *map(Path, run.report.added_folders)]


def sizes_and_orientations(run: Shown, folders: Sequence[Path]) -> tuple[list[tuple[int, int]], list[int]]:
    """(width, height) as stored and EXIF orientation (1 to 8) by image.

    A size that the run does not tell is the photo's own, else the keypoints' extent.
    """
    sizes, orientations = list(run.source.sizes), []
    for i, name in enumerate(run.source.names):
        headers = (read_header(folder / name) for folder in folders)
        header = next((header for header in headers if header is not None), None)
        orientations.append(_orientation(header))
        if not all(sizes[i]):
            sizes[i] = header.size if header is not None else _extent(run.source.keypoints(i))
    return sizes, orientations


def _extent(xy: Float32) -> tuple[int, int]:
    """(width, height) of the smallest photo that holds the keypoints; (0, 0) if there are none."""
    width, height = np.ceil(xy + PIXEL_CENTRE).max(axis=0, initial=0).astype(int).tolist()
    return width, height


@dataclass(frozen=True)
class Picture:
    """A photo as a page has it."""

    jpeg: bytes
    size: tuple[int, int]  # width, height, upright


class Pictures:
    """Pictures of photos that somebody reads anyway, for the page of so many photos; see `Look`."""

    def __init__(self, num_photos: int) -> None:
        self.side = picture_side(num_photos)
        self.made: dict[Path, Picture] = {}

    def __call__(self, path: Path, photo: NDArray[np.uint8]) -> None:
        """Make the picture of a photo (h, w, 3: red, green, blue) at `path`."""
        self.made[path] = _picture(photo, self.side, _orientation(read_header(path)))


def picture_side(num_photos: int) -> int:
    """Longest side of the pictures on a page, pixels."""
    pixels = PHOTO_BYTES / max(num_photos, 1) / BYTES_PER_PIXEL
    return int(np.clip(np.sqrt(pixels / 0.75), *PHOTO_SIDES))


def add_photo_files(
    blocks: Blocks,
    run: Shown,
    folders: Sequence[Path],
    rows: Sequence[dict[str, Any]],
    notes: list[str],
    pictures: Pictures | None = None,
) -> None:
    """JPEG copies of the photos; their sizes go into the images' `rows`.

    pictures: those that are made already.
    """
    names = run.source.names
    side = picture_side(len(names))
    made = pictures.made if pictures is not None and pictures.side == side else {}
    most = int(PHOTO_BYTES / BYTES_PER_PIXEL / (0.75 * PHOTO_SIDES[0] ** 2))
    chosen = spread(len(names), most)
    if len(chosen) < len(names):
        notes.append(f"{len(chosen):,} of {len(names):,} photos have a picture, evenly spread.")
    missing, reduced = [], False
    for i in track(chosen.tolist(), "photos", unit="photos"):
        paths = [folder / names[i] for folder in folders]
        found = (made.get(path) or _read_picture(path, side, rows[i].get("turn", 1)) for path in paths)
        picture = next((picture for picture in found if picture is not None), None)
        if picture is None:
            missing.append(names[i])
            continue
        blocks.add_bytes(f"photo-{i}", picture.jpeg)
        reduced |= max(picture.size) < max(rows[i]["width"], rows[i]["height"])
        rows[i]["photo"] = list(picture.size)
    if missing:
        notes.append(f"{len(missing)} photos are not in {folders[0]} any more, {missing[0]} for one.")
    if reduced:
        notes.append(f"Photos are shown with a long side of at most {side} pixels.")


def turned_photo(photo: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A photo (h, w, 3) as stored -> as EXIF's orientation shows it."""
    if orientation >= 5:
        photo = photo.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        photo = photo[:, ::-1]
    if orientation in (3, 4, 7, 8):
        photo = photo[::-1]
    return np.ascontiguousarray(photo)


def _orientation(header: PhotoHeader | None) -> int:
    value = None if header is None else header.tags.get(TIFF_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _read_picture(path: Path, side: int, orientation: int) -> Picture | None:
    """None if there is no readable photo."""
    try:
        return _picture(read_rgb(path), side, orientation)
    except UnreadableImage:
        return None


def _picture(photo: NDArray[np.uint8], side: int, orientation: int) -> Picture:
    """The photo (red, green, blue) turned by EXIF's orientation, long side at most `side`."""
    bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    scale = side / max(bgr.shape[:2])
    if scale < 1:
        size = (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale)))
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    upright = turned_photo(np.asarray(bgr, np.uint8), orientation)
    jpeg = cv2.imencode(".jpg", upright, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return Picture(jpeg.tobytes(), (upright.shape[1], upright.shape[0]))
