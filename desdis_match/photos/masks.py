"""Masks: pictures that are black where nothing is to be found.

COLMAP's convention is `folder/NAME.jpg.png` for photo NAME.jpg; `folder/NAME.png` does as well, and a file
instead of a folder is the mask of every photo. A mask drawn on the photo as it is shown, turned by EXIF's
Orientation, is recognised by its size and turned back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .formats import UnreadableImage
from .images import GrayImage, read_header, read_stored_grey

log = logging.getLogger(__name__)


def mask_path(masks: Path, name: str) -> Path:
    """Where the mask of image `name` is: `sub/a.jpg` -> `masks/sub/a.jpg.png`, or `masks/sub/a.png`.

    The first where there is neither; `masks` itself where it is a file.
    """
    masks = Path(masks)
    if masks.is_file():
        return masks
    colmap, short = masks / f"{name}.png", masks / PurePosixPath(name).with_suffix(".png")
    return short if short.is_file() and not colmap.is_file() else colmap


def check_masks_exist(masks: Path) -> None:
    """Raise InputError where there is nothing of that name."""
    if not masks.exists():
        raise InputError(
            f"{masks} does not exist; give the folder of masks (NAME.png for image NAME) or a mask for all"
        )


def check_masks(masks: Path, names: Sequence[str]) -> None:
    """Say which photos have no mask. Raises InputError where there is nothing of that name."""
    check_masks_exist(masks)
    without = [name for name in names if not mask_path(masks, name).is_file()]
    if len(without) == len(names):
        place = mask_path(masks, names[0])
        log.warning("%s holds no mask of any photo; that of %s would be %s", masks, names[0], place)
    elif without:
        shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        log.warning("%d of %d photos have no mask: %s", len(without), len(names), shown)


def read_mask(
    masks: Path, name: str, image: GrayImage, photo: Path | None = None
) -> NDArray[np.bool_] | None:
    """The mask of image `name` on the grid of `image.pixels`: (h, w), False = ignore. None where there is
    none.

    photo: its file, for EXIF's Orientation. A resized pixel is kept only if every mask pixel below it is.
    Raises UnreadableImage for a damaged mask or one with another size than its photo.
    """
    path = mask_path(masks, name)
    if not path.is_file():
        return None
    try:
        mask = read_stored_grey(path)
    except UnreadableImage as error:
        raise UnreadableImage(Path(name), f"has a mask ({path}) that {error.why}") from error
    mask = _as_stored(mask, image.size, photo)
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


def _as_stored(mask: NDArray[Any], size: tuple[int, int], photo: Path | None) -> NDArray[Any]:
    """`mask` turned back where it has the size of the photo as shown and not as stored."""
    if mask.shape != size or size[0] == size[1] or photo is None:  # of the mask: height, width
        return mask
    header = read_header(photo)
    return np.rot90(mask, header.quarter_turns) if header is not None else mask
