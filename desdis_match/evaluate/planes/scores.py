"""Scores of detections and matches between two images that a homography joins: pure functions over arrays.

Pixels are those of the original images, (0, 0) the centre of the top-left one; sizes are (width, height).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...conventions import inside
from ...errors import InputError
from ...matching.nearest import mutual_rows
from ...support.metrics import precision_recall

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class NearestDescriptors:
    """Nearest neighbours of two images' descriptors, both ways."""

    index: Int  # (N0,) nearest in image 1, -1 when image 1 has no keypoint
    distance: Float  # (N0,) L2 to it
    second: Float  # (N0,) L2 to the second nearest, infinite when there is none
    back: Int  # (N1,) nearest in image 0

    def ratio(self) -> Float:
        """(N0,) distance to the nearest over that to the second; 1 where both are zero."""
        return np.divide(self.distance, self.second, out=np.ones_like(self.distance), where=self.second > 0)

    def mutual(self) -> Int:
        """(M, 2) pairs that are each other's nearest neighbour, by index in image 0."""
        if not len(self.back) or not len(self.index):
            return np.empty((0, 2), np.int64)
        rows = mutual_rows(self.index, self.back)
        return np.stack([rows, self.index[rows]], axis=1)


@dataclass(frozen=True)
class Geometry:
    """Where keypoints of two images lie in each other, from the true homography."""

    from0: Float  # (N0, 2) keypoints of image 0 in image 1
    from1: Float  # (N1, 2) keypoints of image 1 in image 0
    inside0: Bool  # (N0,) falls inside image 1
    inside1: Bool  # (N1,)
    nearest0: (
        Float  # (N0,) distance from there to the nearest keypoint of image 1, infinite when there is none
    )
    nearest1: Float  # (N1,)


def project_plane(homography: Float, xy: NDArray[np.floating]) -> Float:
    """(N, 2) points through a homography; points on or behind its horizon become infinite."""
    points = np.column_stack([np.asarray(xy, np.float64), np.ones(len(xy))]) @ homography.T
    # The sign of a homography is free: image 1's own pixels have the sign of the origin's neighbourhood.
    depth = points[:, 2] * np.sign(np.linalg.det(homography))
    with np.errstate(divide="ignore", invalid="ignore"):
        projected = points[:, :2] / points[:, 2:]
    projected[~(depth > 1e-12)] = np.inf
    return np.asarray(projected)


def covers(homography: Float, size0: tuple[int, int], size1: tuple[int, int], grid: int = 20) -> float:
    """Share of image 0 that falls into image 1, on a grid of points."""
    x, y = np.meshgrid(np.linspace(0, size0[0] - 1, grid), np.linspace(0, size0[1] - 1, grid))
    return float(inside(project_plane(homography, np.column_stack([x.ravel(), y.ravel()])), size1).mean())


def _nearest_distance(queries: Float, points: NDArray[np.floating]) -> Float:
    """(N,) distance of each query to the nearest point; infinite without points or for infinite queries."""
    distances = np.full(len(queries), np.inf)
    finite = np.isfinite(queries).all(axis=1)
    if len(points) and finite.any():
        distances[finite] = cKDTree(points).query(queries[finite])[0]
    return distances


def relate(
    homography: Float,
    xy0: NDArray[np.floating],
    xy1: NDArray[np.floating],
    size0: tuple[int, int],
    size1: tuple[int, int],
) -> Geometry:
    """Map keypoints (N0, 2), (N1, 2) into each other's image."""
    from0, from1 = (
        project_plane(homography, xy0),
        project_plane(np.asarray(np.linalg.inv(homography), np.float64), xy1),
    )
    return Geometry(
        from0,
        from1,
        inside(from0, size1),
        inside(from1, size0),
        _nearest_distance(from0, np.asarray(xy1, np.float64)),
        _nearest_distance(from1, np.asarray(xy0, np.float64)),
    )


def repeatability(geometry: Geometry, pixels: float) -> float:
    """Share of the keypoints in the common part that have one of the other image within `pixels`.

    Both ways together, as in SuperPoint (DeTone et al., 2018); nan when nothing lies in the common part.
    """
    seen = geometry.inside0.sum() + geometry.inside1.sum()
    found = (geometry.nearest0[geometry.inside0] <= pixels).sum() + (
        geometry.nearest1[geometry.inside1] <= pixels
    ).sum()
    return float(found / seen) if seen else float("nan")


def match_errors(geometry: Geometry, xy1: NDArray[np.floating], pairs: Int) -> Float:
    """(M,) pixels in image 1 between mapped keypoints and their matches (M, 2); infinite off the plane."""
    difference = geometry.from0[pairs[:, 0]] - np.asarray(xy1, np.float64)[pairs[:, 1]]
    return np.asarray(np.hypot(difference[:, 0], difference[:, 1]))


def matching_score(geometry: Geometry, num_correct: int) -> float:
    """Correct matches over the keypoints in the common part, mean of both images; nan when there are none."""
    seen = [geometry.inside0.sum(), geometry.inside1.sum()]
    return float(np.mean([num_correct / s for s in seen])) if min(seen) else float("nan")


def ranked_average_precision(
    geometry: Geometry, xy1: NDArray[np.floating], nearest: NearestDescriptors, pixels: float
) -> float:
    """AP of all nearest neighbours ordered by ratio, against the keypoints that have a correspondence.

    A keypoint has one when a keypoint of image 1 lies within `pixels` of where it maps to. Nan when none has.
    """
    positives = int((geometry.nearest0 <= pixels).sum())
    if not positives:
        return float("nan")
    pairs = np.column_stack([np.arange(len(nearest.index)), nearest.index])
    correct = match_errors(geometry, xy1, pairs) <= pixels
    return precision_recall(nearest.ratio(), correct, positives).area


def corner_error(estimate: Float | None, truth: Float, size0: tuple[int, int]) -> float:
    """Mean pixels between the corners of image 0 as both homographies map them; infinite for None."""
    if estimate is None or not np.isfinite(estimate).all():
        return float("inf")
    width, height = size0
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    apart = np.linalg.norm(project_plane(estimate, corners) - project_plane(truth, corners), axis=1)
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).mean())


def nearest_neighbours(
    descriptors0: NDArray[np.float32], descriptors1: NDArray[np.float32]
) -> NearestDescriptors:
    """Exact nearest and second nearest of unit vectors (N0, D), (N1, D), in blocks."""
    import torch

    for d in (descriptors0, descriptors1):
        if not np.isfinite(d).all():
            raise InputError(
                f"{int((~np.isfinite(d).all(axis=1)).sum())} of {len(d)} descriptors are not numbers"
            )
    n0, n1 = len(descriptors0), len(descriptors1)
    if not n0 or not n1:
        none = np.full(n0, -1, np.int64)
        return NearestDescriptors(none, np.full(n0, np.inf), np.full(n0, np.inf), np.full(n1, -1, np.int64))
    a, b = torch.from_numpy(descriptors0), torch.from_numpy(descriptors1)
    best: list[torch.Tensor] = []
    back_value, back = torch.full((n1,), -torch.inf), torch.zeros(n1, dtype=torch.long)
    rows = max(1, (1 << 24) // n1)
    for begin in range(0, n0, rows):
        similar = a[begin : begin + rows] @ b.T
        best.append(similar.topk(min(2, n1), dim=1).indices)
        value, index = similar.max(dim=0)
        better = value > back_value
        back_value, back = torch.where(better, value, back_value), torch.where(better, index + begin, back)
    two = torch.cat(best).numpy()
    # Distances from differences: from products they would lose digits where they are small.
    apart = np.linalg.norm(descriptors0[:, None].astype(np.float64) - descriptors1[two], axis=2)
    second = apart[:, 1] if n1 > 1 else np.full(n0, np.inf)
    return NearestDescriptors(two[:, 0], apart[:, 0], second, back.numpy())
