"""Matching along epipolar lines against a plain search that looks at every pair of keypoints."""

from dataclasses import replace

import numpy as np
import pytest
from twoviews import MOTIONS, SIZE, located, pairs_of, two_views

from desdis_match.matching import epipolar
from desdis_match.matching.epipolar import match_along_lines, neighbours_along_lines
from desdis_match.matching.match import MatchConfig, match_features, prepare
from desdis_match.types import Features


def squared_near_lines(features0, features1, fundamental):
    """Squared distances of all pairs of descriptors; infinite off the epipolar lines."""
    prepared = [prepare(f.descriptors, "cpu").exact.astype(np.float64) for f in (features0, features1)]
    similar = prepared[0] @ prepared[1].T
    lines = np.column_stack([features0.keypoints.astype(float), np.ones(len(features0))]) @ fundamental.T
    lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    distance = np.abs(lines[:, :2] @ features1.keypoints.astype(float).T + lines[:, 2:])
    return np.where(distance <= epipolar.BAND_PIXELS, 2 - 2 * similar, np.inf)


def plain_search(features0, features1, fundamental, ratio, max_distance=None):
    """Every pair of keypoints, one at a time in spirit: the set of matches."""
    squared = squared_near_lines(features0, features1, fundamental)
    found = set()
    for i in range(len(squared)):
        j = int(squared[i].argmin())
        if not np.isfinite(squared[i, j]) or squared[:, j].argmin() != i:
            continue
        others = min(np.delete(squared[i], j).min(), np.delete(squared[:, j], i).min())
        stands_out = ratio is None or squared[i, j] < (epipolar.RATIO_ALONG_LINES * ratio) ** 2 * others
        if stands_out and (max_distance is None or squared[i, j] <= max_distance**2):
            found.add((i, j))
    return found


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(("ratio", "max_distance"), [(0.8, None), (None, None), (None, 0.6)])
@pytest.mark.parametrize(("rows", "slots"), [(1, 3000), (40, 1), (40, 500), (255, 3000)])
def test_bands_find_what_a_search_of_all_pairs_finds(monkeypatch, motion, ratio, max_distance, rows, slots):
    features0, features1, fundamental = two_views(motion)
    monkeypatch.setattr(epipolar, "ROWS", rows)
    monkeypatch.setattr(epipolar, "AT_A_TIME", slots)
    matches = match_along_lines(located(features0), located(features1), fundamental, ratio, max_distance)
    found = pairs_of(matches)
    assert found == plain_search(features0, features1, fundamental, ratio, max_distance)
    if ratio:
        right = sum(a == b for a, b in found)
        assert right > 350 and right > 0.95 * len(found)


def test_every_line_passes_near_a_keypoint_at_the_epipole():
    """Its partner is anywhere, and lines that pass it by a little go all round."""
    features0, features1, fundamental = two_views("forwards")
    epipole = np.linalg.svd(fundamental.T)[2][2]
    at = (epipole[:2] / epipole[2]).astype(np.float32)
    features1.keypoints[:8] = at + np.float32(
        [[0, 0], [2, 0], [0, -2], [4, 0], [0, 4], [-4, 0], [0, -4], [3, 3]]
    )
    expected = plain_search(features0, features1, fundamental, None)
    found = pairs_of(match_along_lines(located(features0), located(features1), fundamental, None, None))
    assert found == expected
    assert {(i, i) for i in range(3)} <= found  # each within 3 pixels of the epipole, and so of its line


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("max_distance", [None, 0.8])
def test_all_neighbours_along_the_lines_and_which_of_them_stand_out(motion, max_distance):
    features0, features1, fundamental = two_views(motion, noise=0.8)
    sides = located(features0), located(features1)
    nearest, distinct, nearly = neighbours_along_lines(*sides, fundamental, 0.5, max_distance)
    assert pairs_of(nearest) == plain_search(features0, features1, fundamental, None, max_distance)
    assert pairs_of(nearest, distinct) == plain_search(features0, features1, fundamental, 0.5, max_distance)
    limit = (1 - 0.4 * (1 - 0.94 * 0.5)) / 0.94  # of which a search along lines takes 0.94
    assert pairs_of(nearest, nearly) == plain_search(features0, features1, fundamental, limit, max_distance)
    assert 50 < distinct.sum() < nearly.sum() - 5 and (max_distance or nearly.sum() < len(nearest) - 10)
    assert (np.diff(nearest.indices[:, 0]) > 0).all()


@pytest.mark.parametrize("ratio", [None, 1.0 / epipolar.RATIO_ALONG_LINES])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("rows", [4, 64])
def test_neighbours_that_float32_cannot_tell_apart_are_told_apart(monkeypatch, ratio, swapped, rows):
    """Every match has a rival beside it whose similarity differs in the eighth digit, before or after it, or
    not at all: then the lower number wins."""
    monkeypatch.setattr(epipolar, "ROWS", rows)
    features0, features1, fundamental = two_views("sideways", num=300, seed=3)
    rng = np.random.default_rng(4)
    xy, vectors = features1.keypoints.copy(), prepare(features1.descriptors, "cpu").exact.copy()
    original = rng.permutation(200)[:100]
    xy[200:] = xy[original] + np.float32(0.1)
    vectors[200:] = vectors[original]
    rows, column = np.arange(200, 300), rng.integers(0, 32, 100)
    vectors[rows, column] += rng.choice([-3, -2, -1, 0, 1, 2, 3], 100).astype(np.float32) * 2**-24
    order = rng.permutation(300)
    features1 = replace(features1, keypoints=xy[order], descriptors=vectors[order])
    if swapped:
        features0, features1, fundamental = features1, features0, fundamental.T
    expected = plain_search(features0, features1, fundamental, ratio)
    found = match_along_lines(located(features0), located(features1), fundamental, ratio, None)
    assert pairs_of(found) == expected
    assert len(expected) > 100
    sides = located(features0), located(features1)
    nearest, distinct, _ = neighbours_along_lines(
        *sides, fundamental, 0.5, None
    )  # which the tied fail anyhow
    assert pairs_of(nearest) == plain_search(features0, features1, fundamental, None)
    assert pairs_of(nearest, distinct) == plain_search(features0, features1, fundamental, 0.5)
    # In float32 alone some would be others.
    monkeypatch.setattr(epipolar._Best, "doubts", lambda best, *_: np.zeros(len(best.first), np.bool_))
    rough = match_along_lines(located(features0), located(features1), fundamental, ratio, None)
    assert pairs_of(rough) != expected


def test_of_two_that_float32_cannot_tell_apart_the_one_that_is_free_may_be_the_partner():
    """Each keypoint is as near to two, but for the eighth digit, and one of these has a nearer partner."""
    views0, views1, fundamental = two_views("sideways", num=120, seed=5)
    rng = np.random.default_rng(6)
    mine, first, second = np.linalg.qr(rng.normal(size=(60, 32, 3)))[0].transpose(2, 0, 1)
    near = 0.8 * np.stack([mine, mine]) + 0.6 * np.stack([first, second])  # (2, 60, 32)
    taken = near[1] + rng.normal(scale=0.02, size=(60, 32))
    vectors0, vectors1 = np.concatenate([mine, taken]), near.reshape(120, 32)
    vectors0, vectors1 = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors0, vectors1))
    places = [
        np.concatenate([v.keypoints[:60], v.keypoints[:60] + np.float32(0.2)]) for v in (views0, views1)
    ]
    features0, features1 = (
        replace(view, keypoints=xy, descriptors=vectors.astype(np.float32))
        for view, xy, vectors in zip((views0, views1), places, (vectors0, vectors1), strict=True)
    )
    for sides in ((features0, features1, fundamental), (features1, features0, fundamental.T)):
        expected = plain_search(*sides, None)
        assert pairs_of(match_along_lines(*map(located, sides[:2]), sides[2], None, None)) == expected
        assert 60 + 20 < len(expected) < 120 - 20


@pytest.mark.parametrize("change", [-1e-9, 1e-9])
def test_a_ratio_that_float32_cannot_tell_from_the_limit_is_told(change):
    """The limit is put beside the ratio of one match after the other."""
    features0, features1, fundamental = two_views("sideways", num=300, seed=3)
    sides = located(features0), located(features1)
    squared = squared_near_lines(features0, features1, fundamental)
    checked = 0
    for row in range(100):
        second = min(np.delete(squared[row], row).min(), np.delete(squared[:, row], row).min())
        if not (squared[row, row] < second < np.inf):
            continue
        checked += 1
        ratio = np.sqrt(squared[row, row] / second) / epipolar.RATIO_ALONG_LINES * (1 + change)
        nearest, distinct, _ = neighbours_along_lines(*sides, fundamental, ratio, None)
        assert ((row, row) in pairs_of(nearest, distinct)) == (change > 0)
    assert checked > 20


@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_images_without_keypoints_have_no_matches(empty):
    *sides, fundamental = two_views("forwards")
    for side in empty:
        sides[side] = replace(sides[side], descriptors=np.zeros_like(sides[side].descriptors))
    nearest, *passed = neighbours_along_lines(*map(located, sides), fundamental, 0.8, None)
    assert [len(nearest), *map(len, passed)] == [0, 0, 0]


def test_scores_are_those_of_the_full_search_and_rows_are_ordered():
    features0, features1, fundamental = two_views("sideways")
    along = match_along_lines(located(features0), located(features1), fundamental, 0.8, None)
    full = match_features(features0, features1, MatchConfig(ratio=0.8, search="full", filter="none"))
    scores = {tuple(pair): score for pair, score in zip(full.indices.tolist(), full.scores, strict=True)}
    assert (np.diff(along.indices[:, 0]) > 0).all()
    common = 0
    for pair, score in zip(along.indices.tolist(), along.scores, strict=True):
        if tuple(pair) in scores:
            common += 1
            assert score == pytest.approx(scores[tuple(pair)], abs=1e-6)
    assert common > 300


def test_distances_are_of_the_photo_s_size():
    features0, features1, fundamental = two_views("sideways")
    half = np.diag([2.0, 2.0, 1.0])
    double = [
        Features(f.keypoints * 2, f.descriptors, f.scores, f.scales, f.angles, (2 * SIZE[0], 2 * SIZE[1]))
        for f in (features0, features1)
    ]
    grown = np.linalg.inv(half).T @ fundamental @ np.linalg.inv(half)
    small = match_along_lines(located(features0), located(features1), fundamental, 0.8, None)
    large = match_along_lines(*map(located, double), grown, 0.8, None)
    assert (small.indices == large.indices).all()
