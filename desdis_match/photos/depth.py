"""From stored values to [0, 1]: photos of 16 and 32 bits are stretched to the range that they use.

Twelve bits in sixteen, temperatures from 29000 to 30000 or floats in any unit would else be a flat grey. The
range is that of all values but one in a thousand at either end, and a margin beyond it, so that single dead
pixels do not set it. What fills a fair part of its type's range stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import UnreadableImage, read_stored

OUTLIERS = 0.001
"""Share of the values at either end that does not count for the range."""
MARGIN = 0.05
"""Of the range, beyond either end."""
ENOUGH = 0.25
"""Share of the type's range that a photo must use to be taken as it is."""
SAMPLES = 1 << 20
"""Values that are looked at."""


def used_range(stored: NDArray[Any]) -> tuple[float, float] | None:
    """(low, high) to be stretched to 0 and 1; None where the values stay as they are, as all bytes do."""
    if stored.dtype == np.uint8:
        return None
    values = stored.reshape(-1)[:: max(1, stored.size // SAMPLES)]
    if np.issubdtype(stored.dtype, np.integer):
        full = float(np.iinfo(stored.dtype).max)
    else:
        values, full = values[np.isfinite(values)], 1.0
    if not values.size:
        return None
    low, high = (float(v) for v in np.quantile(values, [OUTLIERS, 1 - OUTLIERS]))
    if low >= 0 and high <= full and high - low >= ENOUGH * full:
        return None
    if high <= low:
        low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def to_unit_range(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Values of any depth in [0, 1]; what is no number is 0."""
    ends = used_range(stored)
    if ends is None:
        full = np.iinfo(stored.dtype).max if np.issubdtype(stored.dtype, np.integer) else 1
        values = stored.astype(np.float32)
        if full > 1:
            result: NDArray[np.float32] = values * np.float32(1.0 / full)
            return result
        return np.clip(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)
    low, high = ends
    scale = 1.0 / (high - low) if high > low else 0.0
    stretched = np.nan_to_num((stored.astype(np.float64) - low) * scale, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(stretched, 0, 1).astype(np.float32)


def stretched_range(path: Path) -> tuple[float, float] | None:
    """The used range of a photo that `read_gray` stretches; None for others, and for what cannot be read.

    Photos of 8 bits are told by their headers.
    """
    from .images import open_header

    try:
        with open_header(path) as image:
            if not image.mode.startswith(("I", "F")) and path.suffix.lower() not in (".tif", ".tiff"):
                deep = path.suffix.lower() == ".png" and path.open("rb").read(25)[24:] == b"\x10"
                if not deep:
                    return None
    except OSError:
        pass  # a TIFF of floats in colour is one that Pillow does not know
    if path.suffix.lower() not in (".png", ".tif", ".tiff", ".pgm", ".ppm", ".jp2", ".jxl"):
        return None
    try:
        return used_range(read_stored(path))
    except UnreadableImage:
        return None
