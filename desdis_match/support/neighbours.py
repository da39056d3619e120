"""Nearest neighbours among points of few dimensions: OpenCV's exact k-d tree.

SciPy's is as exact, but takes four tenths of a second to load, a fiftieth of a small reconstruction.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Parameters = dict[str, bool | int | float | str]

SINGLE_TREE: Parameters = {"algorithm": 4, "leaf_max_size": 10}
"""FLANN's KDTREE_SINGLE, the only one of its trees that is exact."""

ALL_LEAVES: Parameters = {"checks": -1, "eps": 0.0, "sorted": True}

FARTHEST = 1e18
"""From the middle: squares of more would not fit single precision."""


def nearest_rows(points: NDArray[Any], queries: NDArray[Any], count: int) -> NDArray[np.int64]:
    """(M, count) rows of the points (N, D) that are nearest to each of the queries (M, D), nearest first.

    Distances are those of single precision about the points' middle. Raises ValueError for coordinates that
    are no numbers and where there are fewer points than asked for.
    """
    if not 0 < count <= len(points):
        raise ValueError(f"{count} of {len(points)} points are not to be had")
    middle = np.median(points, axis=0)
    places, asked = (
        np.clip(of - middle, -FARTHEST, FARTHEST).astype(np.float32, order="C") for of in (points, queries)
    )
    if np.isnan(places).any() or np.isnan(asked).any():  # in which FLANN would find anything
        raise ValueError("coordinates must be numbers")
    if not len(asked):
        return np.zeros((0, count), np.int64)
    rows, _ = cv2.flann.Index(places, SINGLE_TREE).knnSearch(asked, count, params=ALL_LEAVES)
    return np.asarray(rows, np.int64)
