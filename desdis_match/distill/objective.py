"""What a training step minimizes: a triplet loss and, with a teacher, the DesDis regularizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..support.checks import check_options
from . import losses
from .mining import hardest_negatives


@dataclass(frozen=True)
class LossConfig:
    """The loss of a batch: `weight` x triplet loss + `regularizer_weight` x teacher-student regularizer."""

    kind: Literal["hardnet", "sosnet", "hynet"] = "hardnet"
    """Hinge on distances; squared hinge with second-order similarity; hinge on the hybrid similarity."""
    weight: float = 1.0
    """Weight of the triplet loss; 0 leaves pure distillation."""
    margin: float = 1.0
    """Margin of the triplet loss (HyNet's authors use 1.2)."""
    alpha: float = 2.0
    """hynet: share of the cosine in the hybrid similarity."""
    second_order_weight: float = 1.0
    """sosnet: weight of the second-order similarity."""
    regularizer_weight: float = 3.0
    """Weight of the teacher-student regularizer; without a teacher it has no effect."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the regularizer's weight goes from its value to zero over the run, if it does."""
    measure: losses.Measure = "cosine"
    """What of teacher and student is compared."""
    form: losses.Form = "squared"
    """How a difference counts."""
    negatives: Literal["hardest", "all"] = "hardest"
    """Which negatives the regularizer sees: the hardest of each pair or every one of the batch."""

    def __post_init__(self) -> None:
        check_options(
            self,
            weight=(0, None),
            margin=(0, None),
            second_order_weight=(0, None),
            regularizer_weight=(0, None),
        )


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss and its parts, scalars; the parts are detached."""

    total: Tensor
    triplet: Tensor
    regularizer: Tensor


def regularizer_weight(config: LossConfig, progress: float) -> float:
    """The regularizer's weight at `progress` in [0, 1] of the run."""
    if config.schedule == "linear":
        return config.regularizer_weight * (1 - progress)
    if config.schedule == "cosine":
        return config.regularizer_weight * 0.5 * (1 + math.cos(math.pi * progress))
    return config.regularizer_weight


def batch_loss(
    anchors: Tensor,
    positives: Tensor,
    blocked: Tensor,
    config: LossConfig,
    teacher_cosines: Tensor | None = None,
    progress: float = 0.0,
) -> BatchLoss:
    """Loss of a batch of pairs.

    anchors, positives: (B, D) unit vectors of the student. blocked: (B, B) bool from `mining.may_match`.
    teacher_cosines: (B, B), the teacher's cosines of the same anchors (rows) and positives (columns).
    """
    cosines = (anchors.float() @ positives.float().T).clamp(-1, 1)
    rows, columns = hardest_negatives(cosines, blocked)
    positive, negative = cosines.diagonal(), cosines[rows, columns]
    has_negative = ~blocked[rows, columns]
    if not bool(has_negative.all()):
        positive, negative = positive[has_negative], negative[has_negative]
        if not len(negative):
            raise InputError("no pair of a batch has a negative: use more points or a larger batch")
    triplet = _triplet(positive, negative, anchors, positives, blocked, config)
    total = config.weight * triplet
    regularizer = torch.zeros_like(triplet)
    weight = regularizer_weight(config, progress)
    if teacher_cosines is not None:
        chosen: tuple[Tensor, Tensor] | Literal["all"] = (
            "all" if config.negatives == "all" else (rows, columns)
        )
        regularizer = losses.teacher_regularizer(
            cosines, teacher_cosines, blocked, chosen, config.measure, config.form
        )
        total = total + weight * regularizer
    return BatchLoss(total, triplet.detach(), regularizer.detach())


def _triplet(
    positive: Tensor,
    negative: Tensor,
    anchors: Tensor,
    positives: Tensor,
    blocked: Tensor,
    config: LossConfig,
) -> Tensor:
    if config.kind == "hynet":
        return losses.triplet_loss(
            losses.hybrid_similarity(positive, config.alpha),
            losses.hybrid_similarity(negative, config.alpha),
            config.margin,
        )
    near, far = losses.distance_from_cosine(positive), losses.distance_from_cosine(negative)
    if config.kind == "hardnet":
        return losses.triplet_loss(near, far, config.margin)
    second_order = losses.second_order_similarity(anchors.float(), positives.float(), blocked)
    return losses.squared_triplet_loss(near, far, config.margin) + config.second_order_weight * second_order
