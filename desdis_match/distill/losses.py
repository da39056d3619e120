"""Losses on a batch of matching pairs, as pure functions.

Notation: anchors a_i and positives p_i are unit vectors, row i of both shows one point; c_ij = a_i . p_j is
a cosine and d_ij = |a_i - p_j| = sqrt(2 - 2 c_ij) a distance; n(i) is the hardest negative of pair i, from
`mining.hardest_negatives`. Losses are means over the pairs of a batch. S and T above a letter: student and
teacher.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

SQUARE_FLOOR = 1e-6
"""Squared distances are not taken below this, where the square root's gradient has no bound."""

Measure = Literal["distance", "cosine"]
Form = Literal["squared", "absolute"]


def distance_from_cosine(cosines: Tensor) -> Tensor:
    """d = sqrt(2 - 2 c), any shape; at least sqrt(SQUARE_FLOOR), with zero gradient there."""
    return (2 - 2 * cosines).clamp_min(SQUARE_FLOOR).sqrt()


def triplet_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """HardNet's loss, L = 1/B sum_i max(0, margin + d(a_i, p_i) - d_n(i)) (arXiv 1705.10872).

    positive, negative: (B,) distances of the pairs and of their hardest negatives. Returns a scalar.
    """
    return (margin + positive - negative).clamp_min(0).mean()


def squared_triplet_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """SOSNet's first-order term, L = 1/B sum_i max(0, margin + d(a_i, p_i) - d_n(i))^2.

    arXiv 1904.05019, section 3. positive, negative: (B,) distances. Returns a scalar.
    """
    return (margin + positive - negative).clamp_min(0).square().mean()


def second_order_similarity(
    anchors: Tensor, positives: Tensor, blocked: Tensor, neighbours: int = 8
) -> Tensor:
    """SOSNet's regularizer, R = 1/B sum_i sqrt(sum_{j in N_i} (|a_i - a_j| - |p_i - p_j|)^2).

    arXiv 1904.05019, section 3. N_i: j is among the `neighbours` nearest of i, or i among those of j, seen
    from the anchors or from the positives. anchors, positives: (B, D). blocked: (B, B) bool, pairs that
    count as no neighbours. Returns a scalar.
    """
    among_anchors = distance_from_cosine(anchors @ anchors.T)
    among_positives = distance_from_cosine(positives @ positives.T)
    near = _nearest(among_anchors, blocked, neighbours) | _nearest(among_positives, blocked, neighbours)
    near = (near | near.T) & ~blocked
    squares = (among_anchors - among_positives).square() * near
    return squares.sum(dim=1).clamp_min(SQUARE_FLOOR).sqrt().mean()


def _nearest(distances: Tensor, blocked: Tensor, count: int) -> Tensor:
    open_distances = distances.detach().masked_fill(blocked, torch.inf)
    columns = open_distances.topk(min(count, len(distances)), dim=1, largest=False).indices
    return torch.zeros_like(blocked).scatter_(1, columns, True)


def hybrid_similarity(cosines: Tensor, alpha: float) -> Tensor:
    """HyNet's measure, s = (alpha (1 - c) + d) / Z, small for similar pairs (arXiv 2006.10202).

    With theta the angle between two descriptors, d(Z s)/d theta = alpha sin theta + cos(theta / 2); Z is the
    largest value of that, so the gradient is at most one. cosines: any shape.
    """
    return (alpha * (1 - cosines) + distance_from_cosine(cosines)) / hybrid_scale(alpha)


def hybrid_scale(alpha: float) -> float:
    """Z of `hybrid_similarity`: max over theta of alpha sin theta + cos(theta / 2).

    With x = sin(theta / 2) it is sqrt(1 - x^2) (1 + 2 alpha x), whose slope is zero where
    4 alpha x^2 + x - 2 alpha = 0.
    """
    if alpha == 0:
        return 1.0
    x = (math.sqrt(1 + 32 * alpha**2) - 1) / (8 * alpha)
    return math.sqrt(1 - x**2) * (1 + 2 * alpha * x)


def deviation(student: Tensor, teacher: Tensor, measure: Measure, form: Form) -> Tensor:
    """rho(m(student) - m(teacher)) for each entry of two tensors of cosines of one shape.

    m is the cosine itself or the distance sqrt(2 - 2 c); rho the square or the absolute value.
    """
    if measure == "distance":
        student, teacher = distance_from_cosine(student), distance_from_cosine(teacher)
    difference = student - teacher
    return difference.square() if form == "squared" else difference.abs()


def teacher_regularizer(
    student: Tensor,
    teacher: Tensor,
    blocked: Tensor,
    negatives: tuple[Tensor, Tensor] | Literal["all"],
    measure: Measure = "cosine",
    form: Form = "squared",
) -> Tensor:
    """The DesDis regularizer: the student's similarity of a pair shall be the teacher's (arXiv 2209.11795).

    R = 1/B sum_i rho(m^S_ii - m^T_ii) + 1/|N| sum_{(i,j) in N} rho(m^S_ij - m^T_ij), with rho and m of
    `deviation`; N is the hardest negative of each pair or every negative of the batch.

    student, teacher: (B, B) cosines of anchors (rows) and positives (columns); no gradient enters `teacher`.
    blocked: (B, B) bool, True where a pair is no negative. negatives: rows and columns from
    `hardest_negatives`, or "all". Returns a scalar.
    """
    teacher = teacher.detach()
    on_positives = deviation(student.diagonal(), teacher.diagonal(), measure, form).mean()
    if negatives == "all":
        is_negative = ~blocked
        deviations = deviation(student, teacher, measure, form) * is_negative
        on_negatives = deviations.sum() / is_negative.sum().clamp_min(1)
    else:
        rows, columns = negatives
        is_negative = ~blocked[rows, columns]
        deviations = deviation(student[rows, columns], teacher[rows, columns], measure, form) * is_negative
        on_negatives = deviations.sum() / is_negative.sum().clamp_min(1)
    return on_positives + on_negatives
