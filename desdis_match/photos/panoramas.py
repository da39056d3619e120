"""Whether a photo is a full panorama: 360 x 180 degrees, equirectangular, twice as wide as high.

Its file says so (XMP's GPano), or its pixels do: the left and the right side are neighbours, and each pole is
one point drawn out into a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .formats import UnreadableImage
from .images import open_header, read_gray

PROPORTIONS = (1.98, 2.02)
"""Width over height."""

SEAM = 2.0
"""How many times as different as neighbouring columns the left and right side may be."""

POLE = 0.35
"""Spread of grey values in the top or bottom row, as a share of what it is in the rows between."""

LOOK_AT = 512
"""Long side in pixels at which a photo is looked at."""


def is_panorama(path: Path, size: tuple[int, int]) -> bool:
    """Of a photo of `size` (width, height) as stored; others than 2:1 are not even opened."""
    if not PROPORTIONS[0] <= size[0] / max(size[1], 1) <= PROPORTIONS[1]:
        return False
    return _says_so(path) or _looks_so(path)


def _says_so(path: Path) -> bool:
    try:
        with open_header(path) as image:
            xmp = image.info.get("xmp", b"")
    except (OSError, SyntaxError, ValueError):
        return False
    return b"equirectangular" in (xmp if isinstance(xmp, bytes) else str(xmp).encode())


def _looks_so(path: Path) -> bool:
    try:
        pixels = read_gray(path, LOOK_AT).pixels
    except UnreadableImage:
        return False
    neighbours = np.abs(np.diff(pixels, axis=1)).mean()
    seam = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    between = np.median(pixels.std(axis=1))
    poles = max(pixels[0].std(), pixels[-1].std())
    return bool(seam <= SEAM * neighbours and poles <= POLE * between)
