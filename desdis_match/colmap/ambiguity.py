"""Photos that a model lays over each other although they do not see the same, as opposite walls alike.

A model in which two sides of a building fell onto one another looks perfect: each keypoint that matches fits.
What gives it away are keypoints that do not match. Where photos look at the same place from nearly the same
direction, both have points there, and not one of them is common, the place cannot be the same (after Zach et
al., CVPR 2010, missing correspondences, and Heinly et al., ECCV 2014, conflicting observations; here cell by
cell of the photo, so that a wall that does match hides no floor that does not). Such conflicts part the
photos into sides; the pairs that tie the sides together in the model are left out, those that contradict the
model stay, and what follows from these is mapped anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap
from .ranking import Cloud, cloud_of
from .view_graph import VerifiedPair

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

PAIRS_OF_A_PHOTO = 12
"""Pairs of each photo that are compared, those with most matches."""

CELLS = 8
"""Cells along each side of a photo in which observations are compared."""

MIN_OWN_POINTS = 3
"""Points that each photo alone must have in a cell without common ones for a conflict there."""

MAX_DIRECTION = np.cos(np.radians(20.0))
"""Photos are compared on points that they would see from directions no further apart than this."""

MAX_DISTANCE_RATIO = 1.5
"""...and from distances that differ no more."""

MAX_DEPTH_RATIO = 1.3
"""Points of a cell at depths that differ more may hide each other, so that they tell nothing."""

POINTS_OF_A_PHOTO = 600
"""Points are thinned out until half of the photos see no more than this, which is enough to tell."""

MIN_POINTS = 20
"""Points that each of two photos must show within the other for a comparison."""

CONFLICT = 0.15
"""Share of points in conflicting cells from which two photos contradict each other. Those of one
place in the sets this was tried on have 0.00, now and then up to 0.1; opposite walls alike 0.2 to 0.7."""

HARMONY = 0.05
"""Share up to which they confirm each other."""

AGREES, CONTRADICTS = 0.5, 0.3
"""Share of a pair's matches that agree with a model, from which on the pair ties its photos together in it,
and below which it speaks against the model."""


@dataclass(frozen=True)
class Comparison:
    """Two photos of a model on the points that both would see."""

    conflict: float  # share of points in cells where each has points and none is common
    common: int  # points that both see
    share: float  # of those that both would see


@dataclass(frozen=True)
class _View:
    """A photo as the comparison needs it."""

    centre: Float  # (3,)
    image: pycolmap.Image
    camera: pycolmap.Camera
    seen: NDArray[np.int64]  # (N,) rows of points, ascending


def compare(
    model: pycolmap.Reconstruction, pairs: Sequence[tuple[int, int]], cloud: Cloud | None = None
) -> dict[tuple[int, int], Comparison]:
    """Compare pairs of registered photos (ids); those with too little to see are left out.

    cloud: of the model, where it is there.
    """
    cloud = cloud or cloud_of(model)
    seen = {image_id: cloud.seen[image_id] for image_id in sorted({i for pair in pairs for i in pair})}
    if not seen:
        return {}
    step = max(1, round(float(np.median([len(rows) for rows in seen.values()])) / POINTS_OF_A_PHOTO))
    places = cloud.places[::step]
    views = {}
    for image_id, rows in seen.items():
        image = model.image(image_id)
        kept = rows[rows % step == 0] // step
        views[image_id] = _View(
            np.asarray(image.projection_center()), image, model.camera(image.camera_id), kept
        )
    found = {pair: _compare(views[pair[0]], views[pair[1]], places) for pair in pairs}
    return {pair: comparison for pair, comparison in found.items() if comparison is not None}


def _compare(a: _View, b: _View, places: Float) -> Comparison | None:
    both = np.concatenate([a.seen, b.seen])
    rows, first, times = np.unique(both, return_index=True, return_counts=True)
    by_a = first < len(a.seen)
    by_b = ~by_a | (times == 2)
    places = places[rows]
    alike = _alike(a, b, places)
    (uv_a, depth_a), (uv_b, depth_b) = _project(a, places), _project(b, places)
    of_a, of_b = by_a & alike & _within(uv_b), by_b & alike & _within(uv_a)
    if min(of_a.sum(), of_b.sum()) < MIN_POINTS:
        return None
    common = by_a & by_b & (of_a | of_b)
    alone_a, alone_b = of_a & ~common, of_b & ~common
    conflict = _conflict(uv_a, depth_a, alone_a, alone_b, common)
    if conflict:
        conflict = min(conflict, _conflict(uv_b, depth_b, alone_a, alone_b, common))
    num_common = int(common.sum())
    return Comparison(conflict, num_common, min(1.0, num_common / int(min(of_a.sum(), of_b.sum()))))


def _alike(a: _View, b: _View, places: Float) -> Bool:
    """(N,) whether places would look alike from both photos."""
    rays_a, rays_b = places - a.centre, places - b.centre
    far_a, far_b = np.linalg.norm(rays_a, axis=1), np.linalg.norm(rays_b, axis=1)
    alike = (rays_a * rays_b).sum(1) > MAX_DIRECTION * far_a * far_b
    near = np.maximum(far_a, far_b) < MAX_DISTANCE_RATIO * np.minimum(far_a, far_b)
    return np.array(alike & near, np.bool_)


def _within(uv: Float) -> Bool:
    """(N,) whether fractions of a photo lie in it, with a margin."""
    return np.asarray(((uv > 0.03) & (uv < 0.97)).all(1))


def _project(view: _View, places: Float) -> tuple[Float, Float]:
    """Places (N, 3) as fractions (N, 2) of the photo, NaN behind it, and their depths (N,)."""
    inside = np.asarray(view.image.cam_from_world() * places).reshape(-1, 3)
    depth = inside[:, 2]
    uv = np.full((len(places), 2), np.nan)
    front = depth > 1e-9
    if front.any():
        pixels = np.asarray(view.camera.img_from_cam(inside[front])).reshape(-1, 2)
        uv[front] = pixels / (view.camera.width, view.camera.height)
    return uv, depth


def _conflict(uv: Float, depth: Float, alone_a: Bool, alone_b: Bool, common: Bool) -> float:
    """Share of the points in conflicting cells of a photo, of those in cells where both have some."""
    (num_a, depth_a), (num_b, depth_b), (num_common, _) = (
        _cells(uv[rows], depth[rows]) for rows in (alone_a, alone_b, common)
    )
    ratio = np.maximum(depth_a, depth_b) / np.maximum(np.minimum(depth_a, depth_b), 1e-12)
    both = (num_a + num_common > 0) & (num_b + num_common > 0)
    bad = (np.minimum(num_a, num_b) >= MIN_OWN_POINTS) & (num_common == 0) & (ratio < MAX_DEPTH_RATIO)
    total = num_a + num_b + 2 * num_common
    return float(total[bad].sum() / max(1, total[both].sum()))


def _cells(uv: Float, depth: Float) -> tuple[Float, Float]:
    """Points and their mean depth in each cell of the photo, (CELLS * CELLS,) each."""
    inside = ((uv >= 0) & (uv < 1)).all(1)
    cell = (uv[inside] * CELLS).astype(int) @ np.array([1, CELLS])
    count = np.bincount(cell, minlength=CELLS * CELLS).astype(float)
    mean = np.bincount(cell, depth[inside], CELLS * CELLS) / np.maximum(count, 1)
    return count, mean


def sides(comparisons: Mapping[tuple[int, int], Comparison], image_ids: Sequence[int]) -> list[list[int]]:
    """Part photos so that those which contradict each other lie apart; one group where none does."""
    if not any(comparison.conflict > CONFLICT for comparison in comparisons.values()):
        return [sorted(image_ids)]
    row = {image_id: i for i, image_id in enumerate(sorted(image_ids))}
    ties = np.zeros((len(row), len(row)))
    for (a, b), found in comparisons.items():
        if found.conflict > CONFLICT:
            weight = -4 * found.conflict * found.common
        else:
            weight = found.common * found.share**2 if found.conflict <= HARMONY else 0.0
        ties[row[a], row[b]] = ties[row[b], row[a]] = weight
    label = _moved(ties, _clustered(ties))
    image_of = sorted(image_ids)
    return [[image_of[i] for i in np.flatnonzero(label == group)] for group in np.unique(label)]


def _clustered(ties: Float) -> NDArray[np.int64]:
    """(N,) labels: groups join, the most closely tied first, as long as what ties them is positive."""
    label = np.arange(len(ties))
    between, sizes = ties.copy(), np.ones(len(ties))
    np.fill_diagonal(between, -np.inf)
    while True:
        a, b = divmod(int(np.argmax(between / np.sqrt(np.outer(sizes, sizes)))), len(ties))
        if not between[a, b] > 0:
            return label
        label[label == b] = a
        between[a] += between[b]
        between[:, a] += between[:, b]
        sizes[a] += sizes[b]
        between[b] = between[:, b] = between[a, a] = -np.inf


def _moved(ties: Float, label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels after single photos went where they are tied more closely, until none wants to."""
    label = label.copy()
    for _ in range(len(ties)):
        before = label.copy()
        for i in range(len(ties)):
            pull = {int(group): ties[i, label == group].sum() for group in np.unique(label)}
            best = max(pull, key=lambda group: pull[group])
            if pull[best] > pull[int(label[i])]:
                label[i] = best
        if np.array_equal(before, label):
            break
    return label


def false_pairs(
    model: pycolmap.Reconstruction,
    pairs: Sequence[VerifiedPair],
    agreement: Mapping[tuple[int, int], float],
    cloud: Cloud | None = None,
) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Pairs that tie sides of the model together which contradict each other, and the sides (image ids).

    agreement: of view_graph.py; cloud: of the model, where it is there. Nothing and one side for a model that
    is all right.
    """
    tying = [pair for pair in pairs if agreement.get(pair.ids, 0.0) >= AGREES]
    comparisons = compare(model, _strongest(tying), cloud)
    compared = sorted({image_id for pair in comparisons for image_id in pair})
    groups = sides(comparisons, compared)
    if len(groups) < 2:
        return [], groups
    side = {image_id: i for i, group in enumerate(groups) for image_id in group}
    return [(a, b) for a, b in (pair.ids for pair in tying) if side.get(a, -1) != side.get(b, -1)], groups


def _strongest(pairs: Sequence[VerifiedPair]) -> list[tuple[int, int]]:
    """Ids of the pairs with most matches, up to PAIRS_OF_A_PHOTO for each photo."""
    taken: Counter[int] = Counter()
    chosen = []
    for pair in sorted(pairs, key=lambda pair: (-len(pair.matches), pair.ids)):
        if min(taken[image_id] for image_id in pair.ids) < PAIRS_OF_A_PHOTO:
            taken.update(pair.ids)
            chosen.append(pair.ids)
    return chosen
