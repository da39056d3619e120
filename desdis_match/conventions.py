"""Conventions that several modules must agree on, each once: pixel centre, size of frames, angles, columns.

Ours: pixels of the original photo, x right, y down, (0, 0) the centre of the top-left pixel, so that a photo
covers -0.5 to its size - 0.5; a keypoint's scale is the radius of its described patch in pixels; angles are
radians of Kornia's sense, which turn against the clock as seen. COLMAP, nerfstudio and glue-factory have
(0.5, 0.5) at that pixel's centre, others give the blob's sigma for a scale and turn clockwise as seen.
Arrays keep their floating type.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

PIXEL_CENTRE = 0.5
"""COLMAP's coordinate of the centre of the top-left pixel."""

FRAME_SCALE = 12.0
"""Half side of the described patch in sigmas of its keypoint: twice Kornia's 6, by measurement."""

MEASURED_SIDE = 1600
"""Long side of a photo for which distances in pixels are meant (to lines, of moves); they grow with larger
ones."""

DEFAULT_SIGMA = 2.0
"""Sigma (pixels of the photo) of given keypoints that come without a scale."""

OURS_FROM_COLMAP = np.array([[1.0, 0, -PIXEL_CENTRE], [0, 1, -PIXEL_CENTRE], [0, 0, 1]])
"""(3, 3): intrinsics to COLMAP's pixels become intrinsics to ours by this from the left."""

Float = TypeVar("Float", bound=np.floating)
Array = TypeVar("Array", bound=Any)  # NumPy's or torch's


def pixel_of(side: float) -> float:
    """What counts as one pixel in a photo of this long side: 1 up to MEASURED_SIDE, then more."""
    return max(1.0, side / MEASURED_SIDE)


def to_colmap(xy: NDArray[Float]) -> NDArray[Float]:
    """Our pixels (..., 2) in COLMAP's frame."""
    return np.ascontiguousarray(xy + xy.dtype.type(PIXEL_CENTRE))


def from_colmap(xy: NDArray[Float]) -> NDArray[Float]:
    """COLMAP's pixels (..., 2) in ours; further columns (scale, orientation or affine shape) are left out."""
    return np.ascontiguousarray(xy[..., :2] - xy.dtype.type(PIXEL_CENTRE))


def to_resized(xy: Array, scale_xy: Any) -> Array:
    """Pixels (..., 2) of a photo -> of its copy resized by `scale_xy`; borders fall on borders."""
    resized: Array = (xy + PIXEL_CENTRE) * scale_xy - PIXEL_CENTRE
    return resized


def to_original(xy: Array, scale_xy: Any) -> Array:
    """The inverse of `to_resized`."""
    original: Array = (xy + PIXEL_CENTRE) / scale_xy - PIXEL_CENTRE
    return original


def resized_intrinsics(scale_xy: tuple[float, float]) -> NDArray[np.float64]:
    """(3, 3) `to_resized` as a matrix: intrinsics of the resized copy are this times those of the photo."""
    x, y = scale_xy
    return np.array([[x, 0, (x - 1) * PIXEL_CENTRE], [0, y, (y - 1) * PIXEL_CENTRE], [0, 0, 1]])


def inside(xy: NDArray[Any], size: tuple[int, int], margin: ArrayLike = 0.0) -> NDArray[np.bool_]:
    """(N,) which pixels (N, 2) lie in a photo of `size`, at least `margin` (one or N, 1) from its border."""
    low, high = xy - np.asarray(margin), xy + np.asarray(margin)
    within = (low >= -PIXEL_CENTRE) & (high <= np.array(size) - PIXEL_CENTRE)
    return np.asarray(within.all(axis=1))


def sigma_from_scale(scales: NDArray[Float]) -> NDArray[Float]:
    """A blob's sigma from the radius of its patch."""
    result: NDArray[Float] = scales / scales.dtype.type(FRAME_SCALE)
    return result


def scale_from_sigma(sigmas: NDArray[Float]) -> NDArray[Float]:
    """The radius of the patch of a blob."""
    result: NDArray[Float] = sigmas * sigmas.dtype.type(FRAME_SCALE)
    return result


def to_degrees(angles: NDArray[Float]) -> NDArray[Float]:
    """hloc's and OpenCV's degrees, clockwise as seen, of our angles."""
    result: NDArray[Float] = -np.rad2deg(angles)
    return result


def from_degrees(degrees: NDArray[Float]) -> NDArray[Float]:
    """Our angles of hloc's and OpenCV's degrees."""
    result: NDArray[Float] = -np.deg2rad(degrees)
    return result


class ColmapKeypoints(NamedTuple):
    """What COLMAP's columns say, in our conventions."""

    xy: NDArray[Any]  # (N, 2)
    scales: NDArray[Any]  # (N,) radius of the patch
    angles: NDArray[Any]  # (N,) radians


def to_colmap_columns(xy: NDArray[Float], scales: NDArray[Float], angles: NDArray[Float]) -> NDArray[Float]:
    """(N, 4) x, y, sigma, orientation (radians, clockwise as seen), as COLMAP's text features have them."""
    return np.column_stack([to_colmap(xy), sigma_from_scale(scales), -angles])


def from_colmap_columns(table: NDArray[Float]) -> ColmapKeypoints:
    """COLMAP's keypoints (N, 2), (N, 4: as above) or (N, 6: x, y, a11, a12, a21, a22).

    The affine shape's x axis is (a11, a21) in the photo. Without a scale the sigma is 1, without an
    orientation the angle 0.
    """
    sigmas, angles = np.ones(len(table), table.dtype), np.zeros(len(table), table.dtype)
    if table.shape[1] == 4:
        sigmas, angles = table[:, 2], -table[:, 3]
    elif table.shape[1] == 6:
        a11, a12, a21, a22 = table[:, 2:].T
        sigmas = np.sqrt(np.abs(a11 * a22 - a12 * a21))
        angles = -np.arctan2(a21, a11)
    return ColmapKeypoints(from_colmap(table), scale_from_sigma(sigmas), angles)
