"""Orientation `auto`: one angle a photo, found by comparing the photos of a set, or of a pair.

Upright frames match best where photos are upright, and no worse where all frames of a photo are turned by
the photo's own angle. So every photo is described upright at once, and besides it is probed: a few hundred of
its best keypoints are described in frames along their gradients (`multi`), which match whatever way up the
photo is. A matched pair of probes votes for the turn between its two photos. `decide` chooses the photos'
angles that explain most votes: none where little speaks for one, per-keypoint frames for photos whose votes
no angle explains. Only photos that are turned are described again.

    probes = {name: probe(pyramid, lafs, descriptor) for each photo}     # lafs: upright, best first
    turns = decide(probes)                                               # name -> Turn
    frames, rows = turned(pyramid, lafs, turns[name])                    # to be described, where not UPRIGHT

Cost, beside that of upright frames: PROBE_KEYPOINTS orientations and descriptions a photo, and a product of
two probes a pair of photos (at most PARTNERS of them a photo, on the average).
Angles are those of patches.py, radians; content that is seen at frame angle a in photo 0 and at b in photo 1
asks for angle1 - angle0 = b - a.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..matching.nearest import mutual_rows
from ..support.workers import each_on_one_thread
from .frames import PatchPyramid, extract_patches, laf_angles, rotated_lafs
from .orientation import multi

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Descriptor = Callable[[Tensor], Tensor]  # patches (N, 1, 32, 32) in [0, 1] -> (N, D) unit vectors

PROBE_KEYPOINTS = 600
"""Keypoints of a probe, the best of the photo."""

PROBE_RATIO = 0.85
"""Mutual neighbours of two probes vote if the ratio test holds both ways with this."""

BINS = 72
"""Angles that are told apart: 5 degrees."""

PARTNERS = 24
"""Photos that one is compared with, on the average; up to this number plus one, all with all."""


@dataclass(frozen=True)
class Probe:
    """Some keypoints of a photo in frames that turn with the photo."""

    angles: NDArray[np.float32]  # (P,) radians
    descriptors: NDArray[
        np.float16
    ]  # (P, D) unit vectors; half precision, as those of all photos are held at once


@dataclass(frozen=True)
class Turn:
    """How the frames of a photo are turned."""

    angle: float = 0.0
    """Of all frames, radians."""
    per_keypoint: bool = False
    """Each frame along its own gradients instead (`multi`)."""

    @property
    def upright(self) -> bool:
        """Whether the frames stay as they are."""
        return self.angle == 0.0 and not self.per_keypoint


UPRIGHT = Turn()


def probe(pyramid: PatchPyramid, lafs: Tensor, descriptor: Descriptor) -> Probe:
    """Describe the first PROBE_KEYPOINTS of upright sigma-sized frames (N, 2, 3), best first, as `multi`."""
    with torch.inference_mode():
        frames, _ = multi(pyramid, lafs[:PROBE_KEYPOINTS])
        descriptors = descriptor(extract_patches(pyramid, frames))
        return Probe(laf_angles(frames).cpu().numpy(), descriptors.half().cpu().numpy())


def turned(pyramid: PatchPyramid, lafs: Tensor, turn: Turn) -> tuple[Tensor, Tensor]:
    """Upright frames (N, 2, 3) turned: (M, 2, 3), and the row (M,) each came from."""
    if turn.per_keypoint:
        return multi(pyramid, lafs)
    angles = torch.full((len(lafs),), turn.angle, device=lafs.device)
    return rotated_lafs(lafs, angles), torch.arange(len(lafs), device=lafs.device)


def auto_angles(probes: Sequence[Probe]) -> list[Turn]:
    """Turns of the photos of a set, or of a pair, in the order of their probes."""
    turns = decide({f"{index:06d}": one for index, one in enumerate(probes)})
    return [turns[name] for name in sorted(turns)]


def decide(probes: Mapping[str, Probe]) -> dict[str, Turn]:
    """The turn of each photo, from the probes of all; the same probes give the same turns."""
    names = sorted(probes)
    pairs = partners(names)
    with each_on_one_thread() as pool:
        found = pool.map(lambda pair: vote(probes[names[pair[0]]], probes[names[pair[1]]]), pairs)
        votes = {pair: kept for pair, kept in zip(pairs, found, strict=True) if kept.sum() >= MIN_VOTES}
    turns = solve(votes, len(names))
    count = sum(not turn.upright for turn in turns)
    if count:
        log.info("frames of %d of %d photos are turned", count, len(names))
    return dict(zip(names, turns, strict=True))


MIN_VOTES = 6
"""Matched probes below which two photos are taken to have nothing to say about each other."""

CHANCE_VOTES = 3.0
"""Votes that may fall together by chance, taken off every pair's."""

TOLERANCE = math.radians(42)
"""Upright frames of content turned by this much no longer match: a described patch loses 15 % of its matches
at 10 degrees, half at 20, four fifths at 30 (measured with desdis-16 on three scenes)."""

PRIOR = 0.03
"""Share of its votes that a photo may lose by staying as it is; half of it for a quarter turn."""

SMALL = 1
"""Bins off upright, or off a quarter turn, that are a small tilt..."""

SETTLED = 0.06
"""...and share of its votes that a photo may lose by standing upright instead; half of it for a quarter turn.
To describe such photos again (1 of 10 of entry-P10, 5 of 18 of a hand-held set) costs as much each as its
description did and brings 0.1 to 0.35 % more points, poses the same."""

TORN = 20.0
"""Votes of pairs that a solution tears apart, which another one holds together, from which on it is no
solution: the photos of one block, each a little better off upright, would together outweigh the few that tie
it to the others, and a walk whose second half is turned would come apart in the middle."""

MIN_EXPLAINED = 0.7
"""Share of the votes of a group of photos that its angles must explain, or else frames turn one by one. On
real sets angles explain 0.76 to 0.95, and frames so turned match as `multi` does or better; two equal halves
of a scene at a right angle leave 0.5."""

SWEEPS = 30
"""Passes over the photos at most; a handful settle it."""


def vote(probe0: Probe, probe1: Probe) -> Float:
    """Histogram (BINS,) of angle1 - angle0 over the matched frames of two photos; bin k is k / BINS turns."""
    rows0, rows1 = _mutual(probe0.descriptors, probe1.descriptors)
    difference = probe1.angles[rows1].astype(np.float64) - probe0.angles[rows0]
    place = (difference * BINS / (2 * math.pi)) % BINS
    # Shared between the two nearest bins, so that the histogram does not depend on their borders.
    low = np.floor(place)
    share = place - low
    low = low.astype(int) % BINS
    votes = np.zeros(BINS)
    np.add.at(votes, low, 1 - share)
    np.add.at(votes, (low + 1) % BINS, share)
    return votes


def solve(votes: Mapping[tuple[int, int], Float], count: int) -> list[Turn]:
    """Turns of `count` photos from the votes (BINS,) of their pairs (i, j).

    Looks for the angles that let most votes survive, in the sense of TOLERANCE: from no turn at all and from
    a tree grown along the strongest pairs, each improved photo by photo until nothing changes.
    """
    edges = _edges(votes, count)
    turns = [UPRIGHT] * count
    for group in _groups(edges):
        starts = [dict.fromkeys(group, 0), _settle_gauge(_grown(group, edges), edges)]
        solutions = [_improved(start, edges) for start in starts]
        torn = [_torn(solution, edges) for solution in solutions]
        values = [
            _value(solution, edges) if lost <= min(torn) + TORN else -np.inf
            for solution, lost in zip(solutions, torn, strict=True)
        ]
        best = _without_small_tilts(solutions[int(np.argmax(values))], edges)
        inside = [(pair, kept) for pair, kept in votes.items() if pair[0] in best and pair[1] in best]
        explained = sum(float((_survivors(kept))[(best[j] - best[i]) % BINS]) for (i, j), kept in inside)
        whole = sum(float(kept.sum()) for _, kept in inside)
        log.debug("group of %d photos: %.0f of %.0f votes explained", len(group), explained, whole)
        for photo, label in best.items():
            if explained < MIN_EXPLAINED * whole:
                turns[photo] = Turn(per_keypoint=True)
            else:
                turns[photo] = Turn(label * 2 * math.pi / BINS)
    return turns


def partners(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of photos (i < j) that are compared: all of a small set.

    Of a larger one each photo with its neighbours by name at distances 1, 2, 4, ... and with others drawn by
    a seed made from the names.
    """
    count = len(names)
    if count <= PARTNERS + 1:
        return [(i, j) for i in range(count) for j in range(i + 1, count)]
    rng = np.random.default_rng(zlib.crc32("\n".join(names).encode()))
    steps = [2**k for k in range(PARTNERS // 4) if 2**k < count]
    chosen = {(i, i + step) for step in steps for i in range(count - step)}
    while len(chosen) < count * PARTNERS // 2:
        i, j = sorted(int(k) for k in rng.integers(0, count, 2))
        if i < j:
            chosen.add((i, j))
    return sorted(chosen)


Edges = list[dict[int, Float]]
"""For each photo i its partners j, with what survives (BINS,) as a function of angle_j - angle_i."""


def _edges(votes: Mapping[tuple[int, int], Float], count: int) -> Edges:
    edges: Edges = [{} for _ in range(count)]
    for (i, j), kept in votes.items():
        surviving = np.maximum(_survivors(kept) - CHANCE_VOTES, 0)
        if surviving.any():
            edges[i][j] = surviving
            edges[j][i] = np.roll(surviving[::-1], 1)
    return edges


def _survivors(votes: Float) -> Float:
    """(BINS,) votes that survive at each relative angle of upright frames."""
    offset = np.minimum(np.arange(BINS), BINS - np.arange(BINS)) * (2 * math.pi / BINS)
    kernel = np.where(offset < TOLERANCE, np.cos(0.5 * math.pi * offset / TOLERANCE) ** 2, 0)
    return np.fft.irfft(np.fft.rfft(votes) * np.fft.rfft(kernel), BINS)


def _groups(edges: Edges) -> list[list[int]]:
    """Photos that votes connect; a photo without any is in none."""
    groups, seen = [], set()
    for photo, around in enumerate(edges):
        if photo in seen or not around:
            continue
        group, waiting = [], [photo]
        seen.add(photo)
        while waiting:
            at = waiting.pop()
            group.append(at)
            for other in edges[at]:
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        groups.append(sorted(group))
    return groups


def _grown(group: list[int], edges: Edges) -> dict[int, int]:
    """Angles, in bins: the photo of most votes first, then always that of which the fixed ones say most."""
    first = max(group, key=lambda photo: _most(photo, edges))
    labels: dict[int, int] = {}
    scores = {photo: np.zeros(BINS) for photo in group}
    at = first
    while True:
        labels[at] = int(scores.pop(at).argmax())
        for other, kept in edges[at].items():
            if other in scores:
                scores[other] = scores[other] + np.roll(kept, labels[at])
        if not scores:
            return labels
        at = max(scores, key=lambda photo: float(scores[photo].max()))


def _prior(photo: int, edges: Edges) -> Float:
    """(BINS,) what a photo is given for standing upright, or on a side."""
    reward = np.zeros(BINS)
    reward[:: BINS // 4] = 0.5
    reward[0] = 1.0
    return (1.0 + PRIOR * _most(photo, edges)) * reward


def _most(photo: int, edges: Edges) -> float:
    """Votes of a photo that turns of it and of the others can save."""
    return sum(float(kept.max()) for kept in edges[photo].values())


def _settle_gauge(labels: dict[int, int], edges: Edges) -> dict[int, int]:
    """Votes know only differences: turn all photos together so that most of them are upright."""
    total = sum(np.roll(_prior(photo, edges), -label) for photo, label in labels.items())
    shift = int(np.argmax(total))
    return {photo: (label + shift) % BINS for photo, label in labels.items()}


def _improved(labels: dict[int, int], edges: Edges) -> dict[int, int]:
    """Turn photo after photo to its best angle given the others', until nothing changes."""
    labels = dict(labels)
    priors = {photo: _prior(photo, edges) for photo in labels}
    for _ in range(SWEEPS):
        changed = False
        for photo in labels:
            score = priors[photo] + _saved(photo, labels, edges)
            label = int(score.argmax())
            if score[label] > score[labels[photo]] + 1e-9:
                labels[photo], changed = label, True
        if not changed:
            break
    return labels


def _saved(photo: int, labels: dict[int, int], edges: Edges) -> Float:
    """(BINS,) votes of a photo that each turn of it saves, as the others stand."""
    saved = np.zeros(BINS)
    for other, kept in edges[photo].items():
        # kept[b - a] over a, with b the other's angle
        saved += np.roll(kept[::-1], labels[other] + 1)
    return saved


def _without_small_tilts(labels: dict[int, int], edges: Edges) -> dict[int, int]:
    """Photos up to SMALL bins off upright, or off a quarter turn, stand so where that costs them little."""
    labels = dict(labels)
    for photo, label in labels.items():
        quarter = round(label * 4 / BINS) * BINS // 4 % BINS
        off = min((label - quarter) % BINS, (quarter - label) % BINS)
        saved, share = _saved(photo, labels, edges), SETTLED if quarter == 0 else 0.5 * SETTLED
        if off <= SMALL and saved[label] - saved[quarter] <= share * _most(photo, edges):
            labels[photo] = quarter
    return labels


def _torn(labels: dict[int, int], edges: Edges) -> float:
    """Votes of the pairs that lose most of theirs."""
    lost = 0.0
    for photo, label in labels.items():
        for other, kept in edges[photo].items():
            most, left = float(kept.max()), float(kept[(labels[other] - label) % BINS])
            lost += 0.5 * (most - left) if left < 0.5 * most else 0.0
    return lost


def _value(labels: dict[int, int], edges: Edges) -> float:
    pairs = sum(
        float(kept[(labels[other] - label) % BINS])
        for photo, label in labels.items()
        for other, kept in edges[photo].items()
    )
    return 0.5 * pairs + sum(float(_prior(photo, edges)[label]) for photo, label in labels.items())


def _mutual(
    descriptors0: NDArray[np.float16], descriptors1: NDArray[np.float16]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of mutual nearest neighbours that pass the ratio test both ways."""
    if min(len(descriptors0), len(descriptors1)) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    # To single precision in torch and multiplied in NumPy, each the quicker at it.
    first, second = (torch.from_numpy(one).float().numpy() for one in (descriptors0, descriptors1))
    similar = first @ second.T
    forth, back = similar.argmax(1), similar.argmax(0)
    rows0 = mutual_rows(forth, back)
    rows1 = forth[rows0]
    nearest = similar[rows0, rows1]
    similar[rows0, rows1] = -np.inf
    others = np.maximum(similar.max(1)[rows0], similar.max(0)[rows1])
    clear = 1 - nearest < PROBE_RATIO**2 * (1 - others)  # |a - b|^2 = 2 - 2 cos
    return rows0[clear], rows1[clear]
