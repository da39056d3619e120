"""Matching along epipolar lines against a plain search that looks at every pair of keypoints."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from desdis_match.matching import guided, match
from desdis_match.matching.consensus import backed
from desdis_match.matching.guided import epipolar_lines, locate, match_along_lines, neighbours_along_lines
from desdis_match.matching.match import MatchConfig, match_features, match_prepared, prepare
from desdis_match.types import Features, Matches

SIZE = (1600, 1200)
CAMERA = np.array([[1400.0, 0, 799.5], [0, 1400.0, 599.5], [0, 0, 1]])
MOTIONS = {
    "sideways": (0.0, (1.0, 0.0, 0.0)),  # the epipole at infinity, lines parallel
    "forwards": (0.02, (0.05, 0.02, 1.0)),  # the epipole in the photo, lines in all directions
    "upwards and turned": (0.1, (0.2, -1.0, 0.3)),
}


def two_views(
    motion: str, num: int = 600, seed: int = 0, flat: bool = False, far: float = 1.0, noise: float = 0.35
):
    """Two photos of points in space, their descriptors alike but for noise, a third without a partner.

    Returns features of both, keypoint i of one being that of the other for i < 2/3 num, and the true F.
    """
    rng = np.random.default_rng(seed)
    turn, move = MOTIONS[motion][0], far * np.array(MOTIONS[motion][1])
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    points = np.column_stack([rng.uniform(-2, 2, (num, 2)), rng.uniform(5, 9, num)])
    if flat:
        points[:, 2] = 7 + 0.3 * points[:, 0]
    xy0 = points @ CAMERA.T
    xy1 = (points @ rotation.T + move) @ CAMERA.T
    xy0, xy1 = xy0[:, :2] / xy0[:, 2:], xy1[:, :2] / xy1[:, 2:]
    lone = np.arange(num) >= 2 * num // 3
    xy1[lone] = rng.uniform((0, 0), SIZE, (lone.sum(), 2))
    vectors = rng.normal(size=(num, 32))
    noisy = vectors + rng.normal(scale=noise, size=vectors.shape)
    noisy[lone] = rng.normal(size=(lone.sum(), 32))
    scores = rng.random(num).astype(np.float32)
    cross = np.array([[0, -move[2], move[1]], [move[2], 0, -move[0]], [-move[1], move[0], 0]])
    inverse = np.linalg.inv(CAMERA)
    ones = np.ones(num, np.float32)
    features = [
        Features(
            xy.astype(np.float32),
            (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32),
            scores,
            ones,
            0 * ones,
            SIZE,
        )
        for xy, v in ((xy0, vectors), (xy1, noisy))
    ]
    return *features, inverse.T @ cross @ rotation @ inverse


def located(features: Features):
    prepared = prepare(features.descriptors, "cpu")
    return locate(prepared, features.keypoints, features.scores, features.image_size)


def squared_near_lines(features0, features1, fundamental):
    """Squared distances of all pairs of descriptors; infinite off the epipolar lines."""
    prepared = [prepare(f.descriptors, "cpu").exact.astype(np.float64) for f in (features0, features1)]
    similar = prepared[0] @ prepared[1].T
    lines = np.column_stack([features0.keypoints.astype(float), np.ones(len(features0))]) @ fundamental.T
    lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    distance = np.abs(lines[:, :2] @ features1.keypoints.astype(float).T + lines[:, 2:])
    return np.where(distance <= guided.BAND_PIXELS, 2 - 2 * similar, np.inf)


def plain_search(features0, features1, fundamental, ratio, max_distance=None):
    """Every pair of keypoints, one at a time in spirit: the set of matches."""
    squared = squared_near_lines(features0, features1, fundamental)
    found = set()
    for i in range(len(squared)):
        j = int(squared[i].argmin())
        if not np.isfinite(squared[i, j]) or squared[:, j].argmin() != i:
            continue
        others = min(np.delete(squared[i], j).min(), np.delete(squared[:, j], i).min())
        stands_out = ratio is None or squared[i, j] < (guided.RATIO_ALONG_LINES * ratio) ** 2 * others
        if stands_out and (max_distance is None or squared[i, j] <= max_distance**2):
            found.add((i, j))
    return found


def pairs_of(matches, rows=...):
    return {tuple(pair) for pair in matches.indices[rows].tolist()}


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(("ratio", "max_distance"), [(0.8, None), (None, None), (None, 0.6)])
@pytest.mark.parametrize("rows", [1, 40, 1000])
def test_bands_find_what_a_search_of_all_pairs_finds(monkeypatch, motion, ratio, max_distance, rows):
    features0, features1, fundamental = two_views(motion)
    monkeypatch.setattr(guided, "ROWS", rows)
    matches = match_along_lines(located(features0), located(features1), fundamental, ratio, max_distance)
    found = pairs_of(matches)
    assert found == plain_search(features0, features1, fundamental, ratio, max_distance)
    if ratio:
        right = sum(a == b for a, b in found)
        assert right > 350 and right > 0.95 * len(found)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("max_distance", [None, 0.8])
def test_all_neighbours_along_the_lines_and_which_of_them_stand_out(motion, max_distance):
    features0, features1, fundamental = two_views(motion, noise=0.8)
    sides = located(features0), located(features1)
    nearest, distinct = neighbours_along_lines(*sides, fundamental, 0.7, max_distance)
    assert pairs_of(nearest) == plain_search(features0, features1, fundamental, None, max_distance)
    assert pairs_of(nearest, distinct) == plain_search(features0, features1, fundamental, 0.7, max_distance)
    assert 50 < distinct.sum() < len(distinct) - 10
    assert (np.diff(nearest.indices[:, 0]) > 0).all()


@pytest.mark.parametrize("ratio", [None, 1.0 / guided.RATIO_ALONG_LINES])
def test_neighbours_that_float32_cannot_tell_apart_are_told_apart(monkeypatch, ratio):
    """Every match has a rival beside it whose similarity differs in the eighth digit, before or after it."""
    features0, features1, fundamental = two_views("sideways", num=300, seed=3)
    rng = np.random.default_rng(4)
    xy, vectors = features1.keypoints.copy(), prepare(features1.descriptors, "cpu").exact.copy()
    original = rng.permutation(200)[:100]
    xy[200:] = xy[original] + np.float32(0.1)
    vectors[200:] = vectors[original]
    rows, column = np.arange(200, 300), rng.integers(0, 32, 100)
    vectors[rows, column] += rng.choice([-3, -2, -1, 1, 2, 3], 100).astype(np.float32) * 2**-24
    order = rng.permutation(300)
    features1 = replace(features1, keypoints=xy[order], descriptors=vectors[order])
    expected = plain_search(features0, features1, fundamental, ratio)
    found = match_along_lines(located(features0), located(features1), fundamental, ratio, None)
    assert pairs_of(found) == expected
    assert len(expected) > 100
    sides = located(features0), located(features1)
    nearest, distinct = neighbours_along_lines(*sides, fundamental, 0.5, None)  # which the tied fail anyhow
    assert pairs_of(nearest) == plain_search(features0, features1, fundamental, None)
    assert pairs_of(nearest, distinct) == plain_search(features0, features1, fundamental, 0.5)
    # In float32 alone some would be others.
    monkeypatch.setattr(guided._Best, "forget_doubts", lambda best, *_: np.zeros(len(best.first), np.bool_))
    rough = match_along_lines(located(features0), located(features1), fundamental, ratio, None)
    assert pairs_of(rough) != expected


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
        ratio = np.sqrt(squared[row, row] / second) / guided.RATIO_ALONG_LINES * (1 + change)
        nearest, distinct = neighbours_along_lines(*sides, fundamental, ratio, None)
        assert ((row, row) in pairs_of(nearest, distinct)) == (change > 0)
    assert checked > 20


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


def test_the_lines_are_found_from_the_best_keypoints_matches():
    features0, features1, _ = two_views("upwards and turned")
    indices = np.repeat(np.arange(400)[:, None], 2, axis=1).astype(np.int32)
    matches = Matches(indices, np.ones(400, np.float32))
    found = epipolar_lines(located(features0), located(features1), matches)
    lines = np.column_stack([features0.keypoints[:400], np.ones(400)]) @ found.fundamental.T
    lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    off = np.abs((lines[:, :2] * features1.keypoints[:400]).sum(1) + lines[:, 2])
    assert off.max() < 0.5


@pytest.mark.parametrize("wrong", ["flat", "few", "chance"])
def test_where_the_lines_are_not_sure_there_are_none(wrong):
    features0, features1, _ = two_views("sideways", flat=wrong == "flat")
    num = guided.MIN_INLIERS - 1 if wrong == "few" else 400
    indices = np.repeat(np.arange(num)[:, None], 2, axis=1).astype(np.int32)
    if wrong == "chance":
        indices[:, 1] = np.random.default_rng(1).permutation(num)
    matches = Matches(indices, np.ones(num, np.float32))
    assert epipolar_lines(located(features0), located(features1), matches) is None


def test_points_off_a_plane_tell_the_lines_where_there_are_enough():
    """Of 400 matches 57, 14 %, are of points in front of the plane and behind it."""
    (flat0, flat1, _), (deep0, deep1, _) = two_views("sideways", flat=True), two_views("sideways")
    for features, deep in ((flat0, deep0), (flat1, deep1)):
        features.keypoints[:400:7] = deep.keypoints[:400:7]
    indices = np.repeat(np.arange(400)[:, None], 2, axis=1).astype(np.int32)
    found = epipolar_lines(located(flat0), located(flat1), Matches(indices, np.ones(400, np.float32)))
    assert found is not None
    lines = np.column_stack([deep0.keypoints[:400], np.ones(400)]) @ found.fundamental.T
    lines /= np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    off = np.abs((lines[:, :2] * deep1.keypoints[:400]).sum(1) + lines[:, 2])
    assert off.max() < 1  # also of points that were not seen


def test_few_points_off_a_plane_do_not_tell_the_lines():
    (flat0, flat1, _), (deep0, deep1, _) = two_views("sideways", flat=True), two_views("sideways")
    for features, deep in ((flat0, deep0), (flat1, deep1)):
        features.keypoints[:400:10] = deep.keypoints[:400:10]
    indices = np.repeat(np.arange(400)[:, None], 2, axis=1).astype(np.int32)
    matches = Matches(indices, np.ones(400, np.float32))
    assert epipolar_lines(located(flat0), located(flat1), matches) is None


@pytest.mark.parametrize("double", [1, 2])
@pytest.mark.parametrize("num", [guided.MIN_SHIFTED - 1, guided.MIN_SHIFTED])
def test_parallax_is_where_enough_matches_are_shifted_by_depth(num, double):
    """A small step shifts places by less than PARALLAX_PIXELS, a step ten times as far by more; of photos of
    double the size, the double."""
    near, far = two_views("sideways", far=0.1), two_views("sideways")
    sides = []
    for side in (0, 1):
        keypoints = near[side].keypoints.copy()
        keypoints[:num] = far[side].keypoints[:num]
        size = (double * SIZE[0], double * SIZE[1])
        sides.append(located(replace(near[side], keypoints=double * keypoints, image_size=size)))
    indices = np.repeat(np.arange(400)[:, None], 2, axis=1).astype(np.int32)
    told = epipolar_lines(*sides, Matches(indices, np.ones(400, np.float32)))
    assert told.parallax == (num >= guided.MIN_SHIFTED)


@pytest.mark.parametrize("limit", [14.0, 16.0])
def test_parallax_is_measured_from_where_the_homography_leads(monkeypatch, limit):
    """Ten of a plane's hundred places lie 15 pixels from their place."""
    monkeypatch.setattr(guided, "PARALLAX_PIXELS", limit)
    homography = np.array([[1.1, 0.1, 5], [0, 0.9, 7], [1e-4, 2e-4, 1.2]])
    xy0 = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    to = np.column_stack([xy0, np.ones(100)]) @ homography.T
    xy1 = to[:, :2] / to[:, 2:]
    xy1[:10] += [9, -12]
    for sign in (1, -1):
        num = guided._num_shifted(sign * homography, xy0, xy1, guided.FIT_PIXELS)
        assert num == (10 if limit < 15 else 0)


@pytest.mark.parametrize("parallax", [True, False])
def test_doubtful_matches_are_believed_where_there_is_parallax(monkeypatch, parallax):
    features0, features1, _ = two_views("sideways", far=0.1, noise=0.8)
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 150)
    monkeypatch.setattr(guided, "MIN_SHIFTED", 0 if parallax else 1000)
    config = MatchConfig(ratio=0.75)
    found = match_features(features0, features1, config)
    image0, image1 = (match.prepare_image(features, "cpu") for features in (features0, features1))
    best = match_prepared(image0.best, image1.best, config)
    lines = image0, image1, epipolar_lines(image0, image1, best).fundamental
    nearest, distinct = neighbours_along_lines(*lines, 0.75, None)
    believed = backed(image0, image1, nearest, distinct)
    sure = match_along_lines(*lines, 0.75, None)
    assert pairs_of(found) == pairs_of(believed if parallax else sure)
    assert len(sure) + 10 < len(believed)
    right = believed.indices[:, 0] == believed.indices[:, 1]
    assert right.mean() > 0.97


@pytest.fixture
def searched(monkeypatch):
    """How many keypoints of image 0 each search in full had."""
    found = []

    def counted(prepared0, prepared1, config):
        found.append(len(prepared0))
        return match_prepared(prepared0, prepared1, config)

    monkeypatch.setattr(match, "match_prepared", counted)
    return found


def test_twice_as_many_keypoints_tell_the_lines_where_the_best_nearly_do(monkeypatch, searched):
    features0, features1, _ = two_views("sideways")
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 60)
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 120)
    monkeypatch.setattr(guided, "MIN_INLIERS", 60)  # the best have fewer, twice as many more
    assert len(match_features(features0, features1)) > 300
    assert searched == [60, 120]
    monkeypatch.setattr(guided, "NEARLY_ENOUGH", 60)
    searched.clear()
    match_features(features0, features1)
    assert searched == [60, 600]


def test_a_plane_over_which_opencv_stumbles_has_no_lines():
    """Two flights over a flat field: of 600 seeds OpenCV 5.0.0 raised at nine, 23 the first."""
    rng = np.random.default_rng(23)
    xy0 = np.column_stack([rng.uniform(800, 1200, 53), rng.uniform(0, 150, 53)])
    xy1 = xy0 @ [[-1.0, 0], [0, -1]] + [1890, 240] + rng.normal(0, 0.4, (53, 2))
    num_wrong = rng.integers(0, 6)
    xy1[:num_wrong] += rng.normal(0, 60, (num_wrong, 2))
    sides = [SimpleNamespace(xy=xy, side=1600) for xy in (xy0, xy1)]
    indices = np.repeat(np.arange(53)[:, None], 2, axis=1).astype(np.int32)
    assert epipolar_lines(*sides, Matches(indices, np.ones(53, np.float32))) is None


@pytest.mark.parametrize("common", [0, 400])
def test_a_pair_of_which_hardly_any_of_the_best_match_is_given_up_after_a_second_look(
    monkeypatch, searched, common
):
    """The best 60 have no partner; `common` of the others do."""
    features0, features1, _ = two_views("sideways")
    for features, seed in ((features0, 1), (features1, 2)):
        lone = np.random.default_rng(seed).normal(size=(600 - common, 32)).astype(np.float32)
        features.descriptors[common:] = lone / np.linalg.norm(lone, axis=1, keepdims=True)
        features.scores[:] = np.linspace(1, 2, 600)
    search = MatchConfig(ratio=0.8, filter="none")
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 60)
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 240)
    matches = match_features(features0, features1, search)
    full = match_features(features0, features1, replace(search, search="full"))
    if common:  # the second look reaches them
        assert searched == [60, 240, 600, 600]
        assert (matches.indices == full.indices).all() and len(full) > 300
    else:
        assert searched == [60, 240, 600]
        assert len(matches) < guided.FEW_OF_MORE


def test_images_of_few_keypoints_are_not_given_up(monkeypatch):
    features0, features1, _ = two_views("sideways")
    image0, image1, none = located(features0), located(features1), Matches(np.empty((0, 2)), np.empty(0))
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 300)
    assert guided.apart(image0, image1, none, lambda *_: none) is None
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 299)
    assert guided.apart(image0, image1, none, lambda *_: none) is none


def test_the_best_keypoints_are_those_of_the_highest_scores(monkeypatch):
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 100)
    features0, _, _ = two_views("sideways")
    best = located(features0).best
    assert set(best.rows) == set(np.argsort(-features0.scores)[:100])


def test_a_pair_goes_along_lines_only_where_it_is_asked_and_worth_it(monkeypatch):
    features0, features1, _ = two_views("sideways")
    plain = MatchConfig(filter="none")
    full = match_features(features0, features1, MatchConfig(search="full", filter="none"))
    assert (match_features(features0, features1, plain).indices == full.indices).all()  # too few keypoints
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 150)
    along = match_features(features0, features1)
    assert len(along) > len(full)
    again = match_features(features0, features1, MatchConfig(search="full", filter="none"))
    assert (again.indices == full.indices).all()
    ratio = MatchConfig(matcher="ratio", filter="none")  # not mutual: bands know no such search
    plain = MatchConfig(matcher="ratio", search="full", filter="none")
    assert (
        match_features(features0, features1, ratio).indices
        == match_features(features0, features1, plain).indices
    ).all()


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
