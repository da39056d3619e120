"""The photos on a page: small, upright by EXIF, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import PIXEL_CENTRE
from ..photos.formats import TIFF_ORIENTATION, UnreadableImage
from ..photos.images import read_header, read_rgb
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
        value = None if header is None else header.tags.get(TIFF_ORIENTATION)
        orientations.append(value if isinstance(value, int) and 1 <= value <= 8 else 1)
        if not all(sizes[i]):
            sizes[i] = header.size if header is not None else _extent(run.source.keypoints(i))
    return sizes, orientations


def _extent(xy: Float32) -> tuple[int, int]:
    """(width, height) of the smallest photo that holds the keypoints; (0, 0) if there are none."""
    width, height = np.ceil(xy + PIXEL_CENTRE).max(axis=0, initial=0).astype(int).tolist()
    return width, height


def add_photo_files(
    blocks: Blocks,
    run: Shown,
    folders: Sequence[Path],
    rows: Sequence[dict[str, Any]],
    notes: list[str],
) -> None:
    """JPEG copies of the photos; their sizes go into the images' `rows`."""
    names = run.source.names
    pixels = PHOTO_BYTES / max(len(names), 1) / BYTES_PER_PIXEL
    side = int(np.clip(np.sqrt(pixels / 0.75), *PHOTO_SIDES))
    most = int(PHOTO_BYTES / BYTES_PER_PIXEL / (0.75 * PHOTO_SIDES[0] ** 2))
    chosen = spread(len(names), most)
    if len(chosen) < len(names):
        notes.append(f"{len(chosen):,} of {len(names):,} photos have a picture, evenly spread.")
    missing, reduced = [], False
    for i in track(chosen.tolist(), "photos", unit="photos"):
        found = (_small_photo(folder / names[i], side) for folder in folders)
        photo = next((photo for photo in found if photo is not None), None)
        if photo is None:
            missing.append(names[i])
            continue
        photo = turned_photo(photo, rows[i].get("turn", 1))
        jpeg = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        blocks.add_bytes(f"photo-{i}", jpeg.tobytes())
        reduced |= max(photo.shape[:2]) < max(rows[i]["width"], rows[i]["height"])
        rows[i]["photo"] = [photo.shape[1], photo.shape[0]]
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


def _small_photo(path: Path, side: int) -> NDArray[np.uint8] | None:
    """The photo (blue, green, red) as stored, long side at most `side`; None if unreadable."""
    try:
        photo = cv2.cvtColor(read_rgb(path), cv2.COLOR_RGB2BGR)
    except UnreadableImage:
        return None
    scale = side / max(photo.shape[:2])
    if scale < 1:
        size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return np.asarray(photo, np.uint8)
