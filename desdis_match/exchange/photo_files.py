"""Photos for other programs: under flat names, upright, undistorted where asked, and in smaller copies.

Names are unique up to their first dot, ASCII, and without folders: the readers of splat trainers take
`a/IMG_1.jpg` for `IMG_1`. Exported photos carry no EXIF, so that no Orientation can turn them again; one that
is shown turned is stored turned, and its camera with it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..photos.images import GrayImage, read_rgb
from ..photos.masks import read_mask

Key = TypeVar("Key")

SHRUNK = (2, 4, 8)
"""Copies of 1/2, 1/4 and 1/8 of the sides lie in images_2, images_4, images_8."""
MIN_SIDE = 16
"""No copy has a shorter side."""
JPEG_QUALITY = 97
JPEG, AS_IT_IS = (".jpg", ".jpeg"), (".jpg", ".jpeg", ".png")


def flat_names(names: Iterable[str]) -> dict[str, str]:
    """A file name for each photo: JPEG stays JPEG, everything else becomes PNG."""
    return unique_names({name: name for name in names})


def unique_names(wanted: Mapping[Key, str]) -> dict[Key, str]:
    """The same by any keys, from the names that are wanted."""
    taken: set[str] = set()
    flat = {}
    for key, name in sorted(wanted.items(), key=lambda item: item[1]):
        path = PurePosixPath(name)
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.with_suffix("").as_posix()).strip("_") or "photo"
        unique, number = stem, 1
        while unique.lower() in taken:
            number += 1
            unique = f"{stem}_{number}"
        taken.add(unique.lower())
        flat[key] = unique + (".jpg" if path.suffix.lower() in (*JPEG, ".jfif", ".jpe") else ".png")
    return flat


def write_photo(pixels: NDArray[np.uint8], path: Path) -> None:
    """Red, green, blue (h, w, 3) or a grey mask (h, w). Raises InputError where it cannot be written."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in JPEG else []
    ok, data = cv2.imencode(path.suffix, pixels, options)
    if not ok:
        raise InputError(f"{path} cannot be written as {path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def write_shrunk(pixels: NDArray[np.uint8], folder: Path, name: str) -> None:
    """`folder`_2/name, _4, _8 of a photo or, where `pixels` is a mask, of that."""
    height, width = pixels.shape[:2]
    for factor in SHRUNK:
        size = (width // factor, height // factor)
        if min(size) >= MIN_SIDE:
            how = cv2.INTER_AREA if pixels.ndim == 3 else cv2.INTER_NEAREST
            small = cv2.resize(pixels, size, interpolation=how)
            write_photo(np.asarray(small, np.uint8), folder.with_name(f"{folder.name}_{factor}") / name)


def bring_photo(photo: Path, target: Path, turns: int, reencode: bool, link: bool) -> NDArray[np.uint8]:
    """Copy (or link) a photo to `target`, turned clockwise by quarter turns; returns its pixels.

    A file that programs open as it is stays byte by byte what it was; others, and those whose EXIF would
    turn them, are written anew.
    """
    pixels = np.ascontiguousarray(np.rot90(read_rgb(photo), -turns), np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    if turns or reencode or photo.suffix.lower() not in AS_IT_IS:
        write_photo(pixels, target)
    elif link:
        target.symlink_to(photo.resolve())
    else:
        shutil.copyfile(photo, target)
    return pixels


def stored_mask(masks: Path, name: str, photo: Path, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """(h, w) 0 or 255, as the photo is stored, whose size is (width, height); None where it has no mask."""
    grid = GrayImage(np.zeros(size[::-1], np.float32), size, (1.0, 1.0))
    mask = read_mask(masks, name, grid, photo)
    return None if mask is None else np.where(mask, np.uint8(255), np.uint8(0))


def mask_name(photo_name: str) -> str:
    """Of the mask of an exported photo, in masks/ and masks_2/, ..."""
    return Path(photo_name).with_suffix(".png").name


def turned_size(size: tuple[int, int], turns: int) -> tuple[int, int]:
    """(width, height) after quarter turns."""
    return (size[1], size[0]) if turns % 2 else size


def turned_intrinsics(
    focal: tuple[float, float], centre: tuple[float, float], size: tuple[int, int], turns: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(fx, fy) and (cx, cy) after quarter turns clockwise; pixels with COLMAP's origin, `size` before."""
    for _ in range(turns % 4):
        focal = (focal[1], focal[0])
        centre = (size[1] - centre[1], centre[0])
        size = (size[1], size[0])
    return focal, centre


def turned_points(xy: NDArray[np.float64], size: tuple[int, int], turns: int) -> NDArray[np.float64]:
    """Pixels (N, 2), COLMAP's origin, of the photo turned clockwise; `size` (width, height) before."""
    for _ in range(turns % 4):
        xy = np.stack([size[1] - xy[:, 1], xy[:, 0]], axis=1)
        size = (size[1], size[0])
    return xy


def turned_from_camera(turns: int) -> NDArray[np.float64]:
    """(3, 3) rotation from the stored photo's camera to that of the photo turned clockwise."""
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return np.linalg.matrix_power(quarter, turns % 4)
