"""Scores on points that were not trained on: FPR95 and matching mAP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..patchsets.patchset import Pairs, PatchSet, draw_pairs
from ..patchsets.phototour import LabelledPairs
from ..support.metrics import precision_recall
from .augment import AugmentConfig, augment_patches, plain_patches

HARD = AugmentConfig(
    rotation=0.25,
    zoom=0.25,
    shift=0.08,
    shear=0.15,
    flips=False,
    gamma=0.3,
    light=0.4,
    light_share=0.5,
    blur=1.2,
    blur_share=0.3,
    noise=0.02,
    noise_share=0.3,
    jpeg_quality=(30.0, 90.0),
    jpeg_share=0.2,
)
"""Errors of the frames and of the light for `map_hard`; HPatches' tiers do the same to frames."""

BLOCK = 2000
"""Patches described at once."""

Describe = Callable[[Tensor], Tensor]
"""(N, 1, 32, 32) patches -> (N, D) unit vectors."""


@dataclass(frozen=True)
class HeldBackScores:
    """What a descriptor scores on held-back pairs."""

    fpr95: float  # false positive rate at 95 % recall, smaller is better
    map: float  # matching mAP, larger is better
    map_hard: float  # the same with frames as a careless detector lays them (HARD)


def galleries(held: PatchSet, count: int, size: int, seed: int = 0) -> list[Pairs]:
    """Up to `count` sets of `size` pairs; no two points of a set may be one; same seed, same sets."""
    wanted = max(1, min(count, held.num_points // max(size, 1)))
    return [draw_pairs(held, size, np.random.default_rng([seed, number])) for number in range(wanted)]


@torch.no_grad()
def score(
    describe: Describe, held: PatchSet, sets: Sequence[Pairs], device: str | torch.device = "cpu"
) -> HeldBackScores:
    """FPR95 over all sets together, and the mean over the sets of the matching AP, plain and hard.

    FPR95 (Brown et al., TPAMI 2011): the matching pairs against every pair of different points of a set.
    Matching AP (as in HPatches): every anchor's nearest positive of its set, right if it is its own, ranked
    by distance; recall counts against all pairs of the set.
    """
    near, far, plain, hard = [], [], [], []
    for number, pairs in enumerate(sets):
        rows = np.concatenate([pairs.anchors, pairs.positives])
        distances = _distances(_describe_rows(describe, held, rows, device))
        near.append(distances.diagonal())
        far.append(distances[~np.eye(len(distances), dtype=bool)])
        plain.append(_matching_ap(distances))
        generator = torch.Generator().manual_seed(number)
        hard.append(_matching_ap(_distances(_describe_rows(describe, held, rows, device, HARD, generator))))
    return HeldBackScores(
        _fpr95(np.concatenate(near), np.concatenate(far)), float(np.mean(plain)), float(np.mean(hard))
    )


def _distances(described: Tensor) -> np.ndarray:
    anchors, positives = described.chunk(2)
    return (2 - 2 * (anchors @ positives.T)).clamp_min(0).sqrt().cpu().numpy()


def _matching_ap(distances: np.ndarray) -> float:
    count = len(distances)
    nearest = distances.argmin(axis=1)
    best = distances[np.arange(count), nearest]
    return precision_recall(best, nearest == np.arange(count), num_positives=count).area


@torch.no_grad()
def score_labelled(
    describe: Describe, whole: PatchSet, labelled: LabelledPairs, device: str = "cpu"
) -> float:
    """FPR95 on a published list of pairs of a set that was not trained on."""
    used, places = np.unique(np.concatenate([labelled.first, labelled.second]), return_inverse=True)
    described = _describe_rows(describe, whole, used, device).cpu().numpy()
    first, second = np.split(places, 2)
    distances = np.linalg.norm(described[first] - described[second], axis=1)
    return _fpr95(distances[labelled.same], distances[~labelled.same])


def _fpr95(near: np.ndarray, far: np.ndarray) -> float:
    """Share of `far` that is nearer than the 95 % nearest of `near`."""
    reached = np.sort(near)[math.ceil(0.95 * len(near)) - 1]
    return float((far < reached).mean())


def _describe_rows(
    describe: Describe,
    data: PatchSet,
    rows: np.ndarray,
    device: str | torch.device,
    augment: AugmentConfig | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Descriptors of rows of a set, (N, D); with `augment`, made on the CPU to be the same everywhere."""
    parts = []
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        stored, context = torch.from_numpy(data.patches[chosen]), torch.from_numpy(data.context[chosen])
        if augment is None or generator is None:
            patches = plain_patches(stored.to(device), context.to(device))
        else:
            patches = augment_patches(stored, context, augment, generator).to(device)
        parts.append(describe(patches).float())
    return torch.cat(parts)


@dataclass(frozen=True)
class Glance:
    """What a validation looks like."""

    patches: np.ndarray  # (3, N, 32, 32) in [0, 1]: patches, their matches, and what is nearest to them
    right: np.ndarray  # (M,) distances of matching pairs
    wrong: np.ndarray  # (M,) distances to the nearest that does not match


@torch.no_grad()
def glance(
    describe: Describe, held: PatchSet, pairs: Pairs, device: str | torch.device = "cpu", number: int = 16
) -> Glance:
    """The first pairs of a set and what the descriptor takes for their matches, and all its distances."""
    rows = np.concatenate([pairs.anchors, pairs.positives])
    distances = _distances(_describe_rows(describe, held, rows, device))
    nearest = distances.argmin(axis=1)[:number]
    shown = np.stack([pairs.anchors[:number], pairs.positives[:number], pairs.positives[nearest]])
    flat = shown.ravel()
    patches = plain_patches(torch.from_numpy(held.patches[flat]), torch.from_numpy(held.context[flat]))
    right = distances.diagonal().copy()
    np.fill_diagonal(distances, np.inf)
    return Glance(patches.numpy().reshape(*shown.shape, *patches.shape[-2:]), right, distances.min(axis=1))
