"""Errors of camera poses against true ones: pure functions over arrays.

A camera is a rotation (3, 3) camera-from-world and its centre (3,) in the world; x right, y down, z forward.
Errors of angles are in degrees; a camera that was not registered has infinite errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Float = NDArray[np.float64]

MIN_BASELINE = 1e-9
"""Cameras closer than this part of the scene's extent have no direction between them."""


@dataclass(frozen=True)
class Pose:
    """Where a camera is and where it looks."""

    rotation: Float  # (3, 3) camera-from-world
    center: Float  # (3,) world

    @property
    def translation(self) -> Float:
        """(3,) camera-from-world."""
        return np.asarray(-self.rotation @ self.center)


@dataclass(frozen=True)
class PairErrors:
    """Errors of the relative pose of each pair of images, degrees; infinite when one is not registered."""

    pairs: tuple[tuple[str, str], ...]
    rotation: Float  # (P,)
    translation: (
        Float  # (P,) of the direction between the cameras; nan when the true cameras are at one place
    )

    def pose(self) -> Float:
        """(P,) the larger of both; the rotation's alone where there is no direction."""
        return np.fmax(self.rotation, self.translation)


@dataclass(frozen=True)
class Alignment:
    """`y = scale * rotation @ x + translation`."""

    scale: float
    rotation: Float  # (3, 3)
    translation: Float  # (3,)

    def __call__(self, points: Float) -> Float:
        """(N, 3) points moved."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


def rotation_angle(rotation: Float) -> float:
    """Angle of a rotation matrix in degrees, exact for small ones too."""
    skew = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    return float(np.degrees(np.arctan2(np.linalg.norm(skew), np.trace(rotation) - 1)))


def angle_between(a: Float, b: Float) -> float:
    """Angle of two vectors in degrees, exact for small ones too (Kahan's formula)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))))


def relative_pose(pose0: Pose, pose1: Pose) -> tuple[Float, Float]:
    """`x1 = rotation @ x0 + translation`: (3, 3) and (3,)."""
    return pose1.rotation @ pose0.rotation.T, pose1.rotation @ (pose0.center - pose1.center)


def relative_errors(estimate: tuple[Float, Float], truth: tuple[Float, Float]) -> tuple[float, float]:
    """Degrees of rotation and of translation direction between two relative poses."""
    rotation = rotation_angle(estimate[0] @ truth[0].T)
    lengths = np.linalg.norm(estimate[1]), np.linalg.norm(truth[1])
    if not lengths[1]:
        return rotation, float("nan")
    return rotation, angle_between(estimate[1], truth[1]) if lengths[0] else 180.0


def pair_errors(estimate: Mapping[str, Pose], truth: Mapping[str, Pose]) -> PairErrors:
    """Errors over all pairs of the true cameras; names that are not in `estimate` are not registered."""
    if len(truth) < 2:
        raise InputError(f"relative poses need two true cameras or more, there are {len(truth)}")
    centers = np.array([pose.center for pose in truth.values()])
    extent = float(np.linalg.norm(centers.max(axis=0) - centers.min(axis=0)))
    pairs = tuple(combinations(sorted(truth), 2))
    errors = np.full((len(pairs), 2), np.inf)
    for i, (a, b) in enumerate(pairs):
        at_one_place = np.linalg.norm(truth[a].center - truth[b].center) <= MIN_BASELINE * max(extent, 1e-300)
        if a in estimate and b in estimate:
            true = relative_pose(truth[a], truth[b])
            errors[i] = relative_errors(relative_pose(estimate[a], estimate[b]), true)
        if at_one_place:
            errors[i, 1] = np.nan
    return PairErrors(pairs, errors[:, 0], errors[:, 1])


def fit_similarity(source: Float, target: Float) -> Alignment:
    """The similarity that takes points (N, 3) closest to others (N, 3), N >= 3 (Umeyama, TPAMI 1991).

    Raises `InputError` for points that leave it open: fewer than three, or all on a line.
    """
    if len(source) < 3:
        raise InputError(f"a similarity needs three cameras or more, there are {len(source)}")
    mean0, mean1 = source.mean(axis=0), target.mean(axis=0)
    centered0, centered1 = source - mean0, target - mean1
    for points in (centered0, centered1):
        spread = np.linalg.svd(points, compute_uv=False)
        if spread[1] <= 1e-9 * spread[0]:
            raise InputError("a similarity is open: all camera centres lie on a line")
    u, s, vt = np.linalg.svd(centered1.T @ centered0)
    sign = np.array([1, 1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((s * sign).sum() / np.square(centered0).sum())
    return Alignment(scale, rotation, mean1 - scale * rotation @ mean0)


def center_errors(estimate: Mapping[str, Pose], truth: Mapping[str, Pose]) -> dict[str, float]:
    """Distance of each registered centre from the true one after a similarity, in the unit of `truth`."""
    names = sorted(estimate.keys() & truth.keys())
    source = np.array([estimate[n].center for n in names]).reshape(-1, 3)
    target = np.array([truth[n].center for n in names]).reshape(-1, 3)
    apart = np.linalg.norm(fit_similarity(source, target)(source) - target, axis=1)
    return dict(zip(names, apart.tolist(), strict=True))


def essential(rotation: Float, translation: Float) -> Float:
    """(3, 3) with `x1^T E x0 = 0` for normalised image points."""
    x, y, z = translation / np.linalg.norm(translation)
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation


def epipolar_line_distance(matrix: Float, xy0: Float, xy1: Float) -> Float:
    """(M,) distance to the epipolar lines of a fundamental or essential matrix, mean of both images."""
    a = np.column_stack([xy0, np.ones(len(xy0))])
    b = np.column_stack([xy1, np.ones(len(xy1))])
    line1, line0 = a @ matrix.T, b @ matrix
    value = np.abs(np.einsum("ij,ij->i", b, line1))
    norms = [np.maximum(np.hypot(line[:, 0], line[:, 1]), 1e-300) for line in (line0, line1)]
    return np.asarray((value / norms[0] + value / norms[1]) / 2)
