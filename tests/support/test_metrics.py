import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.support import metrics


def test_average_precision_by_hand():
    # Ranked: right, wrong, right. Points (recall, precision): (0, 1) (1/2, 1) (1/2, 1/2) (1, 2/3).
    curve = metrics.precision_recall([0.1, 0.2, 0.3], [True, False, True])
    assert curve.x.tolist() == [0, 0.5, 0.5, 1]
    assert curve.area == pytest.approx(0.5 + 0.5 * (0.5 + 2 / 3) / 2)


def test_average_precision_against_more_positives_than_were_found():
    # The same ranking against four positives: recall ends at 1/2, and every width halves.
    assert metrics.precision_recall([0.1, 0.2, 0.3], [1, 0, 1], 4).area == pytest.approx(
        0.25 + 0.25 * (7 / 12)
    )


def test_ties_stay_in_the_order_of_the_list():
    wrong_first = metrics.precision_recall([1.0, 1.0], [False, True]).area
    right_first = metrics.precision_recall([1.0, 1.0], [True, False]).area
    # Wrong first: from (0, 1e-10 / 1) to (1, 1/2), a triangle of 1/4.
    assert wrong_first == pytest.approx(0.25)
    assert right_first == 1.0


def test_roc_by_hand():
    # Ranked + - + -: of the four pairs of a positive and a negative three are in order.
    assert metrics.roc([1, 2, 3, 4], [1, 0, 1, 0]).area == pytest.approx(0.75)


def test_average_precision_of_ranks_equals_the_ranked_list():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = np.zeros(40, bool)
        labels[rng.choice(40, 5, replace=False)] = True
        false_before = np.cumsum(~labels)[labels]
        expected = metrics.precision_recall(np.arange(40.0), labels).area
        assert metrics.average_precision_of_ranks(false_before) == pytest.approx(expected, abs=1e-9)


def slow_false_positive_rate(distances, labels):
    """Accept ever more until 95 % of the positives are in."""
    order = np.argsort(distances, kind="stable")
    found = false = 0
    for i in order:
        found += bool(labels[i])
        if found >= 0.95 * np.sum(labels):
            return false / np.sum(~labels)
        false += not labels[i]
    raise AssertionError


def test_false_positive_rate_at_95_percent_recall():
    rng = np.random.default_rng(1)
    for size in (20, 100, 777):
        labels = rng.random(size) < 0.5
        distances = rng.random(size) + 0.5 * ~labels
        expected = slow_false_positive_rate(distances, labels)
        assert metrics.false_positive_rate(distances, labels) == pytest.approx(expected)
    # Twenty positives: the nineteenth reaches 95 %; one negative of four lies before it.
    distances = np.concatenate([np.arange(20.0), [0.5, 18.5, 30, 31]])
    assert metrics.false_positive_rate(distances, np.arange(24) < 20) == 0.25


def test_area_under_recall_by_hand():
    # Errors 1 and 3 of two pairs: recall climbs from (0, 0) to (1, 1/2); to 2 it stays at 1/2: 1/4 + 1/2.
    assert metrics.area_under_recall([1.0, 3.0], [2.0]) == [pytest.approx(0.75 / 2)]
    # A failure is an infinite error: recall never reaches 1.
    assert metrics.area_under_recall([1.0, np.inf], [2.0, 4.0]) == pytest.approx([0.75 / 2, 1.75 / 4])
    assert metrics.area_under_recall([np.inf], [5.0]) == [0.0]


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(InputError, match="no pair"):
        metrics.area_under_recall([], [5])
    with pytest.raises(InputError, match="not a number"):
        metrics.area_under_recall([np.nan], [5])
    with pytest.raises(InputError, match="1 of 2 distances"):
        metrics.precision_recall([np.nan, 1], [1, 0])
    with pytest.raises(InputError, match="equally long"):
        metrics.roc([1, 2], [1])
    with pytest.raises(InputError, match="needs positives and negatives"):
        metrics.false_positive_rate([1, 2], [1, 1])
    with pytest.raises(InputError, match="cannot be among"):
        metrics.precision_recall([1, 2], [1, 1], 1)
