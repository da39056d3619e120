"""Keypoints and matches on a page, thinned out by fixed budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.progress import track
from .blocks import Blocks, quantise, spread
from .run import PairCounts, Shown

MAX_KEYPOINTS = 600_000
"""Of all images together."""
MAX_PAIRS = 20_000
MAX_MATCHES = 500_000
"""Of all pairs together."""
MAX_MATCHES_OF_PAIR = 3000

Shapes = Sequence[tuple[tuple[int, int], int]]
"""Of each image: (width, height) as stored, and EXIF's orientation."""


def add_keypoints(blocks: Blocks, run: Shown, shapes: Shapes, notes: list[str]) -> None:
    """x, y as 16-bit fractions of the photo, and the length of the keypoint's track."""
    source = run.source
    most = MAX_KEYPOINTS // max(len(source.names), 1)
    positions, lengths, starts = [np.zeros((0, 2), np.uint16)], [np.zeros(0, np.uint8)], [0]
    for i, name in enumerate(track(source.names, "keypoints", unit="images")):
        xy = source.keypoints(i)
        _, track_lengths = run.points_of(name, len(xy))
        chosen = spread(len(xy), most)
        positions.append(quantise(xy[chosen], *shapes[i]))
        lengths.append(np.minimum(track_lengths[chosen], 255).astype(np.uint8))
        starts.append(starts[-1] + len(chosen))
    if max(source.num_keypoints, default=0) > most:
        notes.append(f"Photos show at most {most:,} keypoints each.")
    blocks.add("keypoints", np.concatenate(positions))
    blocks.add("keypoint-lengths", np.concatenate(lengths))
    blocks.add("keypoint-starts", np.array(starts, np.uint32))


def add_pairs(blocks: Blocks, run: Shown, shapes: Shapes, notes: list[str]) -> dict[str, Any]:
    """The pairs with most verified matches, and a share of the matches of each."""
    source = run.source
    ranked = sorted(source.pairs, key=lambda pair: (-pair.verified, -pair.matches, pair.image0, pair.image1))
    shown = ranked[:MAX_PAIRS]
    if len(ranked) > len(shown):
        notes.append(f"{len(shown):,} of {len(ranked):,} matched pairs are shown, those with most matches.")
    most = min(MAX_MATCHES_OF_PAIR, max(10, MAX_MATCHES // max(len(shown), 1)))
    places: dict[int, NDArray[np.uint16]] = {}
    point_rows: dict[int, NDArray[np.int64]] = {}

    def known(image: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        if image not in places:
            places[image] = xy = quantise(source.keypoints(image), *shapes[image])
            point_rows[image], _ = run.points_of(source.names[image], len(xy))
        return places[image], point_rows[image]

    ends, states = [np.zeros((0, 4), np.uint16)], [np.zeros(0, np.uint8)]
    counts: list[int] = []
    in_model: list[int] = []
    thinned = False
    for pair in track(shown, "matches", unit="pairs"):
        ends_of_pair, states_of_pair, num_in_model = _match_rows(
            run, pair, known(pair.image0), known(pair.image1), most
        )
        thinned |= len(states_of_pair) < pair.matches
        ends.append(ends_of_pair)
        states.append(states_of_pair)
        counts.append(len(states_of_pair))
        in_model.append(num_in_model)
    if thinned:
        notes.append(f"Pairs show at most {most:,} matches each, verified ones first.")
    blocks.add("matches", np.concatenate(ends))
    blocks.add("match-states", np.concatenate(states))
    kinds = sorted({pair.kind for pair in shown})
    columns = {
        "image0": [pair.image0 for pair in shown],
        "image1": [pair.image1 for pair in shown],
        "matches": [pair.matches for pair in shown],
        "verified": [pair.verified for pair in shown],
        "in_model": in_model,
        "kind": [kinds.index(pair.kind) for pair in shown],
        "shown": counts,
    }
    num_verified = sum(pair.verified > 0 for pair in ranked)
    return {"kinds": kinds, "total": len(ranked), "num_verified": num_verified, **columns}


def _match_rows(
    run: Shown,
    pair: PairCounts,
    image0: tuple[NDArray[np.uint16], NDArray[np.int64]],
    image1: tuple[NDArray[np.uint16], NDArray[np.int64]],
    most: int,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], int]:
    """(M, 4) quantised x0, y0, x1, y1, and (M,): 0 rejected by verification, 1 verified, 2 in the model.

    The number says how many of all matches, not only of the M shown, are in the model.

    image0, image1: quantised keypoints (N, 2) and the rows of their points (N,), -1 where there is none.
    """
    stored = run.source.matches(pair)
    num_verified = int(np.count_nonzero(stored.verified))
    num_rejected = len(stored.indices) - num_verified
    # A quarter for rejected matches, if there are any: they tell what went wrong.
    room = most - min(num_rejected, most // 4)
    rejected = num_verified + spread(num_rejected, most - min(num_verified, room))
    chosen = np.concatenate([spread(num_verified, room), rejected])
    rows0, rows1 = stored.indices.T
    (xy0, points0), (xy1, points1) = image0, image1
    if len(rows0) and (rows0.max() >= len(xy0) or rows1.max() >= len(xy1)):
        names = run.source.names[pair.image0], run.source.names[pair.image1]
        raise InputError(
            f"matches of '{names[0]}' and '{names[1]}' go beyond their keypoints; match them again"
        )
    states = stored.verified.astype(np.uint8)
    states[(states == 1) & (points0[rows0] >= 0) & (points0[rows0] == points1[rows1])] = 2
    shown = np.hstack([xy0[rows0[chosen]], xy1[rows1[chosen]]])
    return shown, states[chosen], int(np.count_nonzero(states == 2))
