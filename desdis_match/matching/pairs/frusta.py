"""Photos whose views overlap, by known poses and cameras; how far the scene is need not be known.

Each photo's view is sampled by rays at some depths: between those of the model's points where there are any,
between `--depths` where it is given, else around where the axes of neighbouring cameras meet, and where they
do not meet, from twice the cameras' spacing to twice their extent. A pair's score is the share of both
photos' samples that lie in the other photo, from a direction and at a scale that matching bears; samples that
both see from nearly one place give no depth and count little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Pair, PairsConfig, PhotoSet, View, known_names, ordered
from .retrieval import PairScores, choose

Float = NDArray[np.float64]

CANDIDATES = 60
"""Photos that are compared with each: those whose axes pass near its own at some depth, and the nearest."""
RAYS = 6
"""Samples along each side of a photo."""
DEPTHS = 5
"""Depths at which a view is sampled, in equal ratios."""
RAYS_AROUND = 72
"""Samples of a photo that sees all around."""
MIN_OVERLAP = 0.03
"""Score of a pair that is worth matching."""
WIDE_ANGLE, TOO_WIDE = np.radians(30.0), np.radians(60.0)
"""Angle between two photos' rays to a sample from which on it counts less, and from which on nothing."""
GOOD_ANGLE = np.radians(2.0)
"""Angle from which on a sample counts in full; COLMAP keeps points from 1.5 degrees on."""
NO_ANGLE = 0.1
"""What a sample counts that both see from one place."""
MAX_SCALE_RATIO = 4.0
"""Between the sizes that a thing has in two photos."""
NEIGHBOURS = 10
"""Nearest cameras with which a camera's axis may meet."""
MEETING_ANGLES = np.radians([5.0, 90.0])
"""Angles of two axes between which it tells a depth where they meet."""
MISS = 0.2
"""Axes meet that pass each other within this share of the depth."""
AROUND_MEETING = 2.0
"""Factor up and down from the depth where axes meet."""


def frusta(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `frusta`: best overlaps, `config.partners` a photo as in retrieval, and three at least.

    Photos without a pose are in no pair; retrieval can bring them in. Raises InputError when fewer than two
    photos have one.
    """
    remedy = "; give poses with --poses, or"
    placed = known_names(photos, photos.views, config, "frusta", "known pose", remedy)
    views = [photos.views[name] for name in placed]
    scores = overlaps(views, config.depths, max(CANDIDATES, 3 * config.partners))
    chosen = choose(len(placed), scores, config.partners, round(1000 * MIN_OVERLAP))
    return ordered(placed, chosen)


def overlaps(
    views: Sequence[View], depths: tuple[float, float] | None = None, candidates: int = CANDIDATES
) -> PairScores:
    """Scores of candidate pairs in thousandths, and behind them how near and alike their views are.

    depths: nearest and farthest of what is seen, where views do not say so themselves.
    """
    rotations = np.array([view.cam_from_world[:, :3] for view in views])
    shifts = np.array([view.cam_from_world[:, 3] for view in views])
    centres = -np.einsum("nji,nj->ni", rotations, shifts)
    fields = np.array([view.field for view in views])
    focals = np.array([view.focal for view in views])
    sampled = _depths(views, centres, rotations[:, 2], depths)
    near = _candidates(centres, rotations[:, 2], sampled, candidates)
    shares: dict[tuple[int, int], float] = {}
    for i, others in enumerate(near):
        samples = (sampled[i][:, None, None] * _rays(fields[i])).reshape(-1, 3)
        places = (samples - shifts[i]) @ rotations[i]
        inside = np.einsum("nij,sj->nsi", rotations[others], places) + shifts[others][:, None]
        worth = _worth(places, centres[i], centres[others], focals[i] / focals[others])
        weight = _seen(inside, fields[others]) * worth
        for j, share in zip(others.tolist(), weight.mean(axis=1).tolist(), strict=True):
            pair = (min(i, j), max(i, j))
            shares[pair] = shares.get(pair, 0.0) + share / 2
    spacing = _spacing(centres)
    alike = {(i, j): _alike(i, j, centres / spacing, rotations[:, 2]) for i, j in shares}
    return {pair: (round(1000 * share), alike[pair]) for pair, share in shares.items()}


def _candidates(centres: Float, axes: Float, sampled: Float, num: int) -> list[NDArray[np.int64]]:
    """For each photo the indices of others to be compared with, each pair on both sides."""
    num_views = len(centres)
    found = [set[int]() for _ in range(num_views)]
    for points in (centres, *(centres + sampled[:, [d]] * axes for d in range(sampled.shape[1]))):
        for i, row in enumerate(_nearest(points, num)[1]):
            found[i].update(row.tolist())
    for i, row in enumerate(list(map(tuple, found))):
        for j in row:
            found[j].add(i)
    return [np.array(sorted(row - {i}), np.int64) for i, row in enumerate(found)]


def _rays(field: Float) -> Float:
    """(S, 3) samples of a photo at depth 1."""
    if not np.isfinite(field).all():
        heights = 1 - (2 * np.arange(RAYS_AROUND) + 1) / RAYS_AROUND
        turns = np.pi * (1 + np.sqrt(5.0)) * np.arange(RAYS_AROUND)  # a spiral of equal areas
        across = np.sqrt(1 - heights**2)
        return np.stack([across * np.cos(turns), heights, across * np.sin(turns)], 1)
    left, right, top, bottom = field
    steps = (np.arange(RAYS) + 0.5) / RAYS
    x, y = np.meshgrid(left + steps * (right - left), top + steps * (bottom - top))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)


def _seen(inside: Float, fields: Float) -> NDArray[np.bool_]:
    """(N, S) whether places in the frames of N cameras (N, S, 3) lie in their photos."""
    x, y, z = (inside[..., axis] for axis in range(3))
    left, right, top, bottom = (fields[:, [side]] for side in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (z > 0) & (left <= x / z) & (x / z <= right) & (top <= y / z) & (y / z <= bottom)
    return np.asarray(within | ~np.isfinite(left))


def _worth(places: Float, centre: Float, others: Float, zoom: Float) -> Float:
    """(N, S) what samples of one camera count for N others, were they seen there.

    zoom: (N,) focal length of the one over those of the others.
    """
    rays0, rays1 = places - centre, places - others[:, None]
    far0, far1 = np.linalg.norm(rays0, axis=-1), np.linalg.norm(rays1, axis=-1)
    cosine = (rays0 * rays1).sum(-1) / np.maximum(far0 * far1, 1e-300)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    rising = NO_ANGLE + (1 - NO_ANGLE) * np.minimum(angle / GOOD_ANGLE, 1.0)
    falling = np.clip((TOO_WIDE - angle) / (TOO_WIDE - WIDE_ANGLE), 0.0, 1.0)
    scale = np.log(zoom[:, None] * np.maximum(far1, 1e-300) / np.maximum(far0, 1e-300))
    worth: Float = rising * falling * (np.abs(scale) <= np.log(MAX_SCALE_RATIO))
    return worth


def _depths(views: Sequence[View], centres: Float, axes: Float, given: tuple[float, float] | None) -> Float:
    """(N, DEPTHS) at which each view is sampled."""
    common = given
    if common is None and any(view.depths is None for view in views):
        common = depths_of_cameras(centres, axes)
    ends = np.array([common if given or view.depths is None else view.depths for view in views], np.float64)
    steps = np.linspace(0.0, 1.0, DEPTHS)
    sampled: Float = ends[:, [0]] * (ends[:, [1]] / ends[:, [0]]) ** steps
    return sampled


def depths_of_cameras(centres: Float, axes: Float) -> tuple[float, float]:
    """Nearest and farthest of what cameras see, guessed from how they stand to each other.

    centres, axes: (N, 3) of the cameras; axes of unit length.
    """
    met = _meetings(centres, axes)
    if 4 * len(met) >= len(centres):
        middle = float(np.median(met))
        return middle / AROUND_MEETING, middle * AROUND_MEETING
    spacing = _spacing(centres)
    extent = float(np.linalg.norm(centres.max(axis=0) - centres.min(axis=0)))
    return 2 * spacing, max(20 * spacing, 2 * extent)


def _meetings(centres: Float, axes: Float) -> Float:
    """Of each camera whose axis meets neighbours' axes in front of both, the median depth where."""
    others = _nearest(centres, NEIGHBOURS)[1]
    rows, others = np.repeat(np.arange(len(centres)), others.shape[1]), others.ravel()
    rows, others = rows[rows != others], others[rows != others]
    a, b, apart = axes[rows], axes[others], centres[others] - centres[rows]
    cosine = (a * b).sum(1)
    sine2 = np.maximum(1 - cosine**2, 1e-12)
    along_a, along_b = (apart * a).sum(1), (apart * b).sum(1)
    depth_a, depth_b = (along_a - cosine * along_b) / sine2, (cosine * along_a - along_b) / sine2
    miss = np.linalg.norm(apart + depth_b[:, None] * b - depth_a[:, None] * a, axis=1)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    good = miss < MISS * np.minimum(depth_a, depth_b)  # which are both ahead, then
    good &= (angle > MEETING_ANGLES[0]) & (angle < MEETING_ANGLES[1])
    starts = np.flatnonzero(np.diff(rows[good])) + 1
    return np.array([np.median(depths) for depths in np.split(depth_a[good], starts) if len(depths)])


def _nearest(points: Float, num: int) -> tuple[Float, NDArray[np.int64]]:
    """Distances and rows (N, K) of the nearest `num` of each of N points, itself among them."""
    from scipy.spatial import KDTree

    distances, rows = KDTree(points).query(points, k=np.arange(1, min(num + 1, len(points)) + 1))
    return np.asarray(distances, np.float64), np.asarray(rows, np.int64)


def _spacing(centres: Float) -> float:
    """Median distance of a camera to the nearest elsewhere; 1 where all are at one place."""
    distances = _nearest(centres, NEIGHBOURS)[0]
    least = 1e-6 * float(np.ptp(centres, axis=0).max())
    apart = np.where(distances > least, distances, np.inf).min(axis=1)
    apart = apart[np.isfinite(apart)]
    return float(np.median(apart)) if len(apart) else 1.0


def _alike(i: int, j: int, centres: Float, axes: Float) -> int:
    """Larger for views that are nearer to each other: spacings between them, and 10 degrees count as one."""
    turn = np.degrees(np.arccos(np.clip(axes[i] @ axes[j], -1.0, 1.0))) / 10.0
    return -round(1000 * float(np.linalg.norm(centres[i] - centres[j]) + turn))
