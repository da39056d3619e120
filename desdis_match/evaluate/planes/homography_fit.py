"""Robust homographies from matches: OpenCV's MAGSAC++ and pycolmap's LO-RANSAC, both with a fixed seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
HomographyFit = Callable[[Float, Float, float], Float | None]

MAX_TRIALS = 10_000
CONFIDENCE = 0.9999
MIN_MATCHES = 4


def fit_opencv(xy0: Float, xy1: Float, pixels: float) -> Float | None:
    """(M, 2), (M, 2) matches -> (3, 3) or None (Barath et al., CVPR 2020)."""
    import cv2

    if len(xy0) < MIN_MATCHES:
        return None
    try:
        homography, _ = cv2.findHomography(
            xy0,
            xy1,
            cv2.USAC_MAGSAC,
            ransacReprojThreshold=pixels,
            maxIters=MAX_TRIALS,
            confidence=CONFIDENCE,
        )
    except cv2.error:  # raised for degenerate points, such as all on a line
        return None
    return None if homography is None else np.asarray(homography, np.float64)


def fit_pycolmap(xy0: Float, xy1: Float, pixels: float) -> Float | None:
    """(M, 2), (M, 2) matches -> (3, 3) or None (COLMAP's LO-RANSAC)."""
    from ...support.native import pycolmap

    if len(xy0) < MIN_MATCHES:
        return None
    options = pycolmap.RANSACOptions(
        max_error=pixels, max_num_trials=MAX_TRIALS, confidence=CONFIDENCE, random_seed=0
    )
    found = pycolmap.estimate_homography_matrix(xy0, xy1, options)
    return None if found is None else np.asarray(found["H"], np.float64)


FITS: dict[str, HomographyFit] = {"opencv": fit_opencv, "pycolmap": fit_pycolmap}
