"""Scores on points that were not trained on: FPR95 and matching mAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..evaluate.metrics import false_positive_rate, precision_recall
from .augment import plain_patches
from .patchset import Pairs, PatchSet, draw_pairs
from .phototour import LabelledPairs

NEGATIVES_A_PAIR = 5
"""Non-matching pairs that FPR95 takes for each matching one."""

Describe = Callable[[Tensor], Tensor]
"""(N, 1, 32, 32) patches -> (N, D) unit vectors."""


@dataclass(frozen=True)
class Scores:
    """What a descriptor scores on held-back pairs."""

    fpr95: float  # false positive rate at 95 % recall, smaller is better
    map: float  # matching mAP, larger is better


def galleries(held: PatchSet, count: int, size: int, seed: int = 0) -> list[Pairs]:
    """Up to `count` sets of `size` pairs, no two points of a set may be one; the same ones for the same seed."""
    wanted = max(1, min(count, held.num_points // max(size, 1)))
    return [draw_pairs(held, size, np.random.default_rng([seed, number])) for number in range(wanted)]


@torch.no_grad()
def score(describe: Describe, held: PatchSet, sets: Sequence[Pairs], device: str = "cpu") -> Scores:
    """FPR95 over all sets together and the mean over the sets of the matching AP.

    FPR95 (Brown et al., TPAMI 2011): matching pairs against NEGATIVES_A_PAIR pairs of different points each.
    Matching AP (as in HPatches): every anchor's nearest positive of its set, right if it is its own, ranked by
    distance; recall counts against all pairs of the set.
    """
    near, far, precisions = [], [], []
    for pairs in sets:
        anchors = _describe_rows(describe, held, pairs.anchors, device)
        positives = _describe_rows(describe, held, pairs.positives, device)
        distances = (2 - 2 * (anchors @ positives.T)).clamp_min(0).sqrt().cpu().numpy()
        count = len(distances)
        nearest = distances.argmin(axis=1)
        best = distances[np.arange(count), nearest]
        precisions.append(precision_recall(best, nearest == np.arange(count), num_positives=count).area)
        near.append(distances.diagonal())
        for turn in range(1, min(NEGATIVES_A_PAIR, count - 1) + 1):
            far.append(distances[np.arange(count), (np.arange(count) + turn) % count])
    return Scores(_fpr95(np.concatenate(near), np.concatenate(far)), float(np.mean(precisions)))


@torch.no_grad()
def score_labelled(describe: Describe, whole: PatchSet, labelled: LabelledPairs, device: str = "cpu") -> float:
    """FPR95 on a published list of pairs of a set that was not trained on."""
    used, places = np.unique(np.concatenate([labelled.first, labelled.second]), return_inverse=True)
    described = _describe_rows(describe, whole, used, device).cpu().numpy()
    first, second = np.split(places, 2)
    distances = np.linalg.norm(described[first] - described[second], axis=1)
    return _fpr95(distances[labelled.same], distances[~labelled.same])


def _fpr95(near: np.ndarray, far: np.ndarray) -> float:
    labels = np.concatenate([np.ones(len(near), bool), np.zeros(len(far), bool)])
    return false_positive_rate(np.concatenate([near, far]), labels)


def _describe_rows(describe: Describe, data: PatchSet, rows: np.ndarray, device: str, block: int = 2048) -> Tensor:
    parts = []
    for start in range(0, len(rows), block):
        chosen = rows[start : start + block]
        stored = torch.from_numpy(data.patches[chosen]).to(device)
        context = torch.from_numpy(data.context[chosen]).to(device)
        parts.append(describe(plain_patches(stored, context)).float())
    return torch.cat(parts)
