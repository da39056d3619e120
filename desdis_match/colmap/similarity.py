"""Robust similarities between two sets of points, with the scale of the errors taken from the points.

Least median of squares over small samples, then least squares over what agrees (Rousseeuw, JASA 1984): it
needs no threshold, which GPS of a phone, of a drone and of a surveyor would each want another of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap

Points = NDArray[np.float64]  # (N, 3)

MAX_SAMPLES = 500
CONSISTENT = 1.4826
"""From the median of absolute errors to a Gaussian's standard deviation."""
INLIER = 2.5
"""Standard deviations."""


@dataclass(frozen=True)
class Fit:
    """target_from_source and how well it fits."""

    transform: pycolmap.Sim3d
    residuals: NDArray[np.float64]  # (N,) in units of the target
    inliers: NDArray[np.bool_]  # (N,)


def fit_similarity(source: Points, target: Points, up: NDArray[np.float64] | None = None) -> Fit | None:
    """Seven degrees of freedom from three points or more; with `up`, a direction of the source that is the
    target's z, five from two points or more. None where the points do not fix it.
    """
    size, estimate = (3, _free) if up is None else (2, _level(up))
    best, best_median = None, np.inf
    for rows in _samples(len(source), size):
        found = estimate(source[rows], target[rows])
        if found is None:
            continue
        median = float(np.median(_residuals(found, source, target)))
        if median < best_median:
            best, best_median = found, median
    if best is None:
        return None
    for _ in range(3):
        residuals = _residuals(best, source, target)
        limit = INLIER * CONSISTENT * max(float(np.median(residuals)), 1e-9)
        inliers = residuals <= limit
        found = estimate(source[inliers], target[inliers]) if inliers.sum() >= size else None
        best = found or best
    residuals = _residuals(best, source, target)
    limit = INLIER * CONSISTENT * max(float(np.median(residuals)), 1e-9)
    return Fit(best, residuals, residuals <= limit)


def _free(source: Points, target: Points) -> pycolmap.Sim3d | None:
    spread = np.linalg.svd(source - source.mean(0), compute_uv=False)
    if spread[1] < 1e-6 * max(spread[0], 1e-12):
        return None
    # Of points in a plane with the origin COLMAP finds none.
    aside, aside_too = _off_the_origin(source), _off_the_origin(target)
    found = pycolmap.estimate_sim3d(source + aside, target + aside_too)
    if found is None:
        return None
    translation = found.translation + found.scale * (found.rotation * aside) - aside_too
    return pycolmap.Sim3d(found.scale, found.rotation, translation)


def _off_the_origin(points: Points) -> NDArray[np.float64]:
    """(3,) a step that takes the plane nearest to points away from the origin, as far as they spread."""
    middle = points.mean(0)
    _, spread, axes = np.linalg.svd(points - middle)
    return np.asarray(spread[0] * axes[2] - middle)


def _level(up: NDArray[np.float64]) -> Callable[[Points, Points], pycolmap.Sim3d | None]:
    upright = rotation_to_z(up)

    def estimate(source: Points, target: Points) -> pycolmap.Sim3d | None:
        """A turn around z and a scale in the plane (complex numbers), then the heights."""
        a, b = source @ upright.T, target
        mean_a, mean_b = a.mean(0), b.mean(0)
        flat_a, flat_b = ((p - m)[:, 0] + 1j * (p - m)[:, 1] for p, m in ((a, mean_a), (b, mean_b)))
        power = float(np.sum(np.abs(flat_a) ** 2))
        if power < 1e-12:
            return None
        turn = complex(np.sum(np.conj(flat_a) * flat_b) / power)
        scale = abs(turn)
        if scale < 1e-12:
            return None
        c, s = turn.real / scale, turn.imag / scale
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ upright
        translation = mean_b - scale * rotation @ source.mean(0)
        return pycolmap.Sim3d(scale, pycolmap.Rotation3d(rotation), translation)

    return estimate


def rotation_to_z(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) the shortest rotation that takes `up` to z."""
    up = up / np.linalg.norm(up)
    axis, cosine = np.cross(up, [0, 0, 1.0]), float(up[2])
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1, -1])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    result: NDArray[np.float64] = np.eye(3) + skew + skew @ skew / (1 + cosine)
    return result


def _samples(num: int, size: int) -> list[NDArray[np.int64]]:
    """All samples where they are few, random ones of a fixed seed otherwise."""
    if num < size:
        return []
    if num <= 14:
        return [np.array(rows) for rows in combinations(range(num), size)]
    rng = np.random.default_rng(0)
    return [rng.choice(num, size, replace=False) for _ in range(MAX_SAMPLES)]


def _residuals(transform: pycolmap.Sim3d, source: Points, target: Points) -> NDArray[np.float64]:
    matrix = transform.matrix()
    return np.asarray(np.linalg.norm(source @ matrix[:, :3].T + matrix[:, 3] - target, axis=1))
