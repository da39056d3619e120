"""Scores of ranked lists and of errors, as pure functions over arrays.

The ranking scores keep the habits of the HPatches benchmark (Balntas et al., CVPR 2017), so that numbers can
be compared with published ones: labels are sorted by distance with a stable sort (ties stay in list order),
curves begin with the point of no result (recall 0, precision 1), areas are by the trapezoid rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Float = NDArray[np.float64]

TINY = 1e-10
"""What the benchmark divides by instead of zero."""


@dataclass(frozen=True)
class Curve:
    """A curve of M + 1 points over a list of M results, and the area below it."""

    x: Float  # (M + 1,)
    y: Float  # (M + 1,)
    area: float


def _true_and_false(distances: ArrayLike, labels: ArrayLike) -> tuple[Float, Float]:
    """Cumulative counts of true and false results, (M + 1,) each, nearest first."""
    distance = np.asarray(distances, dtype=np.float64)
    label = np.asarray(labels, dtype=bool)
    if distance.shape != label.shape or distance.ndim != 1:
        raise InputError(
            f"distances and labels must be equally long lists, not {distance.shape} and {label.shape}"
        )
    if np.isnan(distance).any():
        raise InputError(f"{int(np.isnan(distance).sum())} of {len(distance)} distances are not numbers")
    ranked = label[np.argsort(distance, kind="stable")]
    true = np.concatenate([[0.0], np.cumsum(ranked)])
    false = np.concatenate([[0.0], np.cumsum(~ranked)])
    return true, false


def precision_recall(distances: ArrayLike, labels: ArrayLike, num_positives: int | None = None) -> Curve:
    """Precision over recall; the area is the benchmark's AP (trapezoids, not the usual step sum).

    Args:
        distances: (M,) smaller is more certain.
        labels: (M,) true for a correct result.
        num_positives: what recall is counted against when some positives are not in the list.
    """
    true, false = _true_and_false(distances, labels)
    positives = true[-1] if num_positives is None else num_positives
    if positives < true[-1]:
        raise InputError(f"{true[-1]:.0f} correct results cannot be among {positives} positives")
    recall = true / max(positives, TINY)
    precision = np.maximum(true, TINY) / np.maximum(true + false, TINY)
    return Curve(recall, precision, float(np.trapezoid(precision, recall)))


def roc(distances: ArrayLike, labels: ArrayLike) -> Curve:
    """True positive rate over false positive rate; the area is the AUC of verification."""
    true, false = _true_and_false(distances, labels)
    x, y = false / max(false[-1], TINY), true / max(true[-1], TINY)
    return Curve(x, y, float(np.trapezoid(y, x)))


def average_precision_of_ranks(false_before: ArrayLike) -> Float:
    """`precision_recall(...).area` for many lists at once, from the places of their positives alone.

    Recall only grows at a positive, so only those trapezoids have an area: the i-th positive adds
    (p + q) / 2P, with precision q = i / (i + f_i) there and p = (i - 1) / (i - 1 + f_i) just before.

    Args:
        false_before: (..., P) number of negatives ranked before each positive, in the order of the ranking.

    Returns:
        (...,) average precision.
    """
    false = np.asarray(false_before, dtype=np.float64)
    order = np.arange(1, false.shape[-1] + 1)
    before = np.maximum(order - 1, TINY) / np.maximum(order - 1 + false, TINY)
    result: Float = ((before + order / (order + false)) / 2).mean(axis=-1)
    return result


def false_positive_rate(distances: ArrayLike, labels: ArrayLike, recall: float = 0.95) -> float:
    """Share of negatives accepted at the distance where `recall` of the positives are: FPR95 of PhotoTour.

    Counted as in the published evaluations (Brown et al., TPAMI 2011; HardNet's code): negatives ranked
    strictly before the positive that reaches the recall.
    """
    true, false = _true_and_false(distances, labels)
    if true[-1] == 0 or false[-1] == 0:
        raise InputError(f"FPR needs positives and negatives; there are {true[-1]:.0f} and {false[-1]:.0f}")
    reached = int(np.searchsorted(true, recall * true[-1] - 1e-9))
    return float(false[reached] / false[-1])


def area_under_recall(errors: ArrayLike, thresholds: Sequence[float]) -> list[float]:
    """Area under recall over error up to each threshold, divided by it: the AUC@5px or AUC@5deg of the field.

    A failed estimate is an infinite error. The curve starts at (0, 0) and joins the sorted errors by straight
    lines, as in SuperGlue's evaluation (Sarlin et al., CVPR 2020); an empty list is an error, not a zero.
    """
    error = np.sort(np.asarray(errors, dtype=np.float64).ravel())
    if not len(error):
        raise InputError("there is no error to take an area under: no pair was evaluated")
    if np.isnan(error).any():
        raise InputError("an error is not a number; a failure must be infinite")
    recall = np.concatenate([[0.0], np.arange(1, len(error) + 1) / len(error)])
    error = np.concatenate([[0.0], error])
    areas = []
    for threshold in thresholds:
        last = int(np.searchsorted(error, threshold))
        x = np.append(error[:last], threshold)
        y = np.append(recall[:last], recall[last - 1])
        areas.append(float(np.trapezoid(y, x) / threshold))
    return areas


def recall_at(errors: ArrayLike, thresholds: Sequence[float]) -> list[float]:
    """Share of errors that are at most each threshold; nan when there is none."""
    error = np.asarray(errors, dtype=np.float64).ravel()
    return [float((error <= threshold).mean()) if len(error) else float("nan") for threshold in thresholds]
