"""Conventions that several modules must agree on, each once: pixel centre, size of frames, angles.

Ours: pixels of the original photo, x right, y down, (0, 0) the centre of the top-left pixel; a keypoint's
scale is the radius of its described patch in pixels; angles are radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIXEL_CENTRE = 0.5
"""COLMAP's coordinate of the centre of the top-left pixel."""


def to_colmap(keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
    """Our pixel frame to COLMAP's, (N, 2)."""
    return np.ascontiguousarray(np.asarray(keypoints, np.float32) + np.float32(PIXEL_CENTRE))


def from_colmap(keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
    """COLMAP's pixel frame to ours; further columns (scale, orientation or affine shape) are left out."""
    return np.ascontiguousarray(np.asarray(keypoints, np.float32)[:, :2] - np.float32(PIXEL_CENTRE))


FRAME_SCALE = 12.0
"""Half side of the described patch in sigmas of its keypoint: twice Kornia's 6, by measurement."""


DEFAULT_SIGMA = 2.0
"""Sigma (pixels of the photo) of given keypoints that come without a scale."""
