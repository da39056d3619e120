"""Nearest neighbours against all distances, in double precision."""

import numpy as np
import pytest

from desdis_match.support.neighbours import FARTHEST, nearest_rows


def by_all_distances(points, queries, count):
    distances = np.linalg.norm(queries[:, None] - points, axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize(("num", "dim", "count"), [(1, 2, 1), (9, 2, 9), (700, 2, 9), (700, 3, 12)])
def test_rows_are_the_nearest_in_order(num, dim, count):
    rng = np.random.default_rng(num + dim)
    points, queries = rng.random((num, dim)) * 1600, rng.random((150, dim)) * 1600
    rows = nearest_rows(points, queries, count)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, by_all_distances(points, queries, count))


def test_points_far_from_the_origin_keep_their_distances():
    rng = np.random.default_rng(0)
    points = rng.random((400, 3))
    earth = np.array([4.2e6, 1.7e5, 4.78e6])  # metres from its centre
    assert np.array_equal(nearest_rows(points + earth, points + earth, 8), nearest_rows(points, points, 8))


def test_points_at_one_place_and_one_that_is_beyond_all_bounds():
    points = np.zeros((3000, 2))
    points[7] = 10 * FARTHEST, np.inf
    rows = nearest_rows(points, points[:5], 9)
    assert rows.min() >= 0 and 7 not in rows
    assert nearest_rows(points, points[7:8], 1) == 7


def test_none_are_asked_for():
    assert nearest_rows(np.zeros((4, 2)), np.zeros((0, 2)), 3).shape == (0, 3)


@pytest.mark.parametrize("count", [0, 4])
def test_more_than_there_are(count):
    with pytest.raises(ValueError, match=f"{count} of 3 points"):
        nearest_rows(np.zeros((3, 2)), np.zeros((1, 2)), count)


@pytest.mark.parametrize("where", [0, 1])
def test_what_is_no_number(where):
    both = [np.zeros((3, 2)), np.zeros((3, 2))]
    both[where][1, 1] = np.nan
    with pytest.raises(ValueError, match="numbers"):
        nearest_rows(*both, 1)
