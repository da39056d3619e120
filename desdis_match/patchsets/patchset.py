"""A set of patches with the point that each shows, and the batches of pairs drawn from it.

Patches are uint8, square, of any side; `context` says how much wider they are than what a network sees, so
that augmentation finds real pixels around the network's patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Int64 = NDArray[np.int64]

NEIGHBOURS = 64
"""Points that a batch takes from one stretch of consecutive points."""


@dataclass(frozen=True)
class PatchSet:
    """Patches of points seen several times."""

    patches: NDArray[np.uint8]  # (N, S, S)
    points: Int64  # (N,) the point a patch shows; patches of one point make pairs
    groups: Int64  # (N,) points of one group may be one and the same: never negatives of each other
    doubt: Int64  # (N,) so may be points whose groups differ by this much or less
    context: NDArray[np.float32]  # (N,) side of the stored patch / side of the network's patch, >= 1
    sources: tuple[str, ...]  # what the patches were made from, for the weights' header
    licences: tuple[str, ...]  # as stated by the sources

    def __len__(self) -> int:
        return len(self.patches)

    @cached_property
    def order(self) -> Int64:
        """(N,) rows sorted by point, so that a point's patches stand together."""
        return np.argsort(self.points, kind="stable").astype(np.int64)

    @cached_property
    def spans(self) -> Int64:
        """(P, 2) start and count, within `order`, of every point that has two patches or more."""
        _, starts, counts = np.unique(self.points[self.order], return_index=True, return_counts=True)
        return np.stack([starts, counts], axis=1)[counts >= 2].astype(np.int64)

    @property
    def num_points(self) -> int:
        """Points with at least two patches: those that can be trained on."""
        return len(self.spans)

    def subset(self, keep: NDArray[np.bool_]) -> PatchSet:
        """The patches where `keep` (N,) is true."""
        return PatchSet(
            self.patches[keep],
            self.points[keep],
            self.groups[keep],
            self.doubt[keep],
            self.context[keep],
            self.sources,
            self.licences,
        )


def make_patch_set(
    patches: NDArray[np.uint8],
    points: Int64,
    source: str,
    licence: str,
    groups: Int64 | None = None,
    doubt: int = 0,
    context: float = 1.0,
) -> PatchSet:
    """A PatchSet of one source; groups default to the points themselves.

    InputError when the shapes disagree or no point has two patches.
    """
    if patches.ndim != 3 or patches.shape[1] != patches.shape[2] or patches.dtype != np.uint8:
        raise InputError(
            f"{source}: expected square uint8 patches (N, S, S), got {patches.dtype} {patches.shape}"
        )
    if len(points) != len(patches):
        raise InputError(f"{source}: {len(patches)} patches but {len(points)} point ids")
    made = PatchSet(
        patches,
        points.astype(np.int64),
        (points if groups is None else groups).astype(np.int64),
        np.full(len(points), doubt, np.int64),
        np.full(len(points), context, np.float32),
        (source,),
        (licence,),
    )
    if not made.num_points:
        raise InputError(f"{source}: no point has two patches, so there is nothing to train on")
    return made


def join_sets(sets: Sequence[PatchSet]) -> PatchSet:
    """Several sets as one, their ids kept apart; the smaller patches are enlarged to the largest side."""
    if len(sets) == 1:
        return sets[0]
    side = max(one.patches.shape[1] for one in sets)
    points, groups = [], []
    next_point = next_group = 0
    for one in sets:
        points.append(one.points - one.points.min() + next_point)
        groups.append(one.groups - one.groups.min() + next_group)
        next_point = int(points[-1].max()) + 1
        next_group = int(groups[-1].max()) + int(max(other.doubt.max() for other in sets)) + 1
    return PatchSet(
        np.concatenate([resize(one.patches, side) for one in sets]),
        np.concatenate(points),
        np.concatenate(groups),
        np.concatenate([one.doubt for one in sets]),
        np.concatenate([one.context for one in sets]),
        tuple(name for one in sets for name in one.sources),
        tuple(dict.fromkeys(name for one in sets for name in one.licences)),
    )


def resize(patches: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(N, S, S) -> (N, side, side), area-averaged when shrinking."""
    import cv2

    if patches.shape[1] == side:
        return patches
    how = cv2.INTER_AREA if side < patches.shape[1] else cv2.INTER_LINEAR
    out = np.empty((len(patches), side, side), np.uint8)
    for row, patch in enumerate(patches):
        out[row] = cv2.resize(patch, (side, side), interpolation=how)
    return out


def split(whole: PatchSet, held_back: float) -> tuple[PatchSet, PatchSet]:
    """Training and held-back part: the last `held_back` share of the groups is held back.

    No point, nor one that may be the same, is in both: the doubtful ones between are left out.
    InputError when a part would have no pair.
    """
    groups = np.unique(whole.groups)
    first = groups[min(len(groups) - 1, round(len(groups) * (1 - held_back)))]
    training = whole.subset(whole.groups + whole.doubt < first)
    held = whole.subset(whole.groups >= first)
    if not training.num_points or not held.num_points:
        raise InputError(
            f"holding back {held_back:.0%} of {whole.num_points} points leaves a part without a pair; "
            "use more patches or another share"
        )
    return training, held


@dataclass(frozen=True)
class Pairs:
    """A batch of matching pairs: rows into a PatchSet."""

    anchors: Int64  # (B,)
    positives: Int64  # (B,) another patch of the anchor's point
    groups: Int64  # (B,)
    doubt: Int64  # (B,)


def draw_pairs(data: PatchSet, count: int, rng: np.random.Generator, stretch: int = 0) -> Pairs:
    """`count` random pairs, no two of which may be one point; fewer if there are not enough.

    stretch: 0, or the length of stretches of consecutive points, from each of which `NEIGHBOURS` are drawn:
    points of one photo or one part of a scene, which are harder to tell apart than points of all sources.
    """
    wanted = min(data.num_points, count + count // 2 + 16)
    if 0 < stretch < data.num_points:
        starts = rng.integers(0, data.num_points - stretch + 1, -(-wanted // NEIGHBOURS))
        of_each = min(NEIGHBOURS, stretch)
        drawn = [start + rng.choice(stretch, of_each, replace=False) for start in starts]
        chosen = rng.permutation(np.unique(np.concatenate(drawn)))
    else:
        chosen = rng.choice(data.num_points, wanted, replace=False, shuffle=True)
    starts, counts = data.spans[chosen].T
    rows = data.order[starts]
    keep = _apart(data.groups[rows], data.doubt[rows])
    chosen_starts, chosen_counts = starts[keep][:count], counts[keep][:count]
    first = rng.integers(0, chosen_counts)
    second = (first + rng.integers(1, chosen_counts)) % chosen_counts
    anchors, positives = data.order[chosen_starts + first], data.order[chosen_starts + second]
    return Pairs(anchors, positives, data.groups[anchors], data.doubt[anchors])


def _apart(groups: Int64, doubt: Int64) -> NDArray[np.bool_]:
    """(M,) which to keep so that no two are within their doubt: where two clash the later one goes."""
    order = np.argsort(groups, kind="stable")
    sorted_groups, sorted_doubt = groups[order], doubt[order]
    clash = np.zeros(len(groups), bool)
    step = 1
    while step < len(groups):
        gap = sorted_groups[step:] - sorted_groups[:-step]
        near = gap <= np.maximum(sorted_doubt[step:], sorted_doubt[:-step])
        if not near.any():
            break
        later = np.maximum(order[step:], order[:-step])
        clash[later[near]] = True
        step += 1
    return ~clash
