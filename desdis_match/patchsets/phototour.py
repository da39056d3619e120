"""Reader of the UBC/Brown PhotoTour patch sets (Brown, Hua and Winder, TPAMI 2011).

A set is a folder of mosaics `patches0000.bmp` ... (1024 x 1024, 16 x 16 patches of 64 x 64, row by row),
`info.txt` with a line a patch whose first number is its 3-D point, and `m50_*_*_0.txt` with labelled pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.progress import track
from .patchset import PatchSet, make_patch_set

SIDE = 64
"""Side of a patch, pixels."""
GRID = 16
"""Patches along a side of a mosaic."""
LICENCE = "PhotoTour (Brown, Hua, Winder), none stated"


def read_phototour(folder: str | Path, doubt: int = 0) -> PatchSet:
    """Read a set, mosaics in any format that OpenCV reads.

    doubt: ids that differ by this much or less may be one point (the published ids need 0).
    InputError when a file is missing, damaged or shorter than info.txt says.
    """
    folder = Path(folder)
    points = _read_info(folder / "info.txt")
    mosaics = sorted(
        path for path in folder.glob("patches*") if path.suffix.lower() in (".bmp", ".webp", ".png")
    )
    needed = -(-len(points) // GRID**2)
    if len(mosaics) < needed:
        raise InputError(
            f"{folder}: info.txt names {len(points)} patches, which takes {needed} mosaics patchesNNNN.bmp, "
            f"but there are {len(mosaics)}; fetch the missing ones"
        )
    patches = np.empty((len(points), SIDE, SIDE), np.uint8)
    for number, path in enumerate(track(mosaics[:needed], f"reading {folder.name}")):
        start = number * GRID**2
        stop = min(start + GRID**2, len(points))
        patches[start:stop] = _read_mosaic(path)[: stop - start]
    return make_patch_set(patches, points, f"phototour:{folder.name}", LICENCE, doubt=doubt)


def _read_info(path: Path) -> NDArray[np.int64]:
    try:
        table = np.loadtxt(path, dtype=np.int64, usecols=0, ndmin=1)
    except FileNotFoundError:
        raise InputError(f"there is no {path}; a PhotoTour folder holds info.txt and patches*.bmp") from None
    except (ValueError, IndexError, OSError) as error:
        raise InputError(f"{path} is damaged: expected a point id on every line ({error})") from error
    if not len(table):
        raise InputError(f"{path} is empty")
    return table


def _read_mosaic(path: Path) -> NDArray[np.uint8]:
    """(256, 64, 64) patches of a mosaic, row by row."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (GRID * SIDE, GRID * SIDE):
        found = "not readable" if image is None else f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"{path} is {found}; expected a whole {GRID * SIDE}x{GRID * SIDE} mosaic")
    tiles = image.reshape(GRID, SIDE, GRID, SIDE).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(GRID**2, SIDE, SIDE))


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of patches of a set, by row, and whether they show one point."""

    first: NDArray[np.int64]  # (M,)
    second: NDArray[np.int64]  # (M,)
    same: NDArray[np.bool_]  # (M,)


def read_labelled_pairs(path: str | Path) -> LabelledPairs:
    """Read an `m50_*.txt`: on a line patch, point, unused, patch, point, ...; same point, same label."""
    path = Path(path)
    try:
        table = np.loadtxt(path, dtype=np.int64, ndmin=2)
        first, first_point, second, second_point = table[:, (0, 1, 3, 4)].T
    except FileNotFoundError:
        raise InputError(f"there is no {path}") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged: expected 'patch point 0 patch point 0' on a line") from error
    return LabelledPairs(first, second, first_point == second_point)
