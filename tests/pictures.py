"""Pictures without photos."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray


def blobs(
    size: tuple[int, int], sides: Sequence[int], seed: int, interpolation: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    """(height, width) float32 in [0, 1]: noise of n x n values for each n of `sides`, added up."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, n), np.float32), size, interpolation=interpolation) for n in sides]
    return cv2.normalize(sum(layers), None, 0, 1, cv2.NORM_MINMAX)
