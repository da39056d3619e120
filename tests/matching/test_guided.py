"""Two steps of matching: what the best keypoints tell, and where a pair goes from there."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from twoviews import SIZE, located, pairs_of, two_views

from desdis_match.matching import guided, match
from desdis_match.matching.consensus import agreeing, backed
from desdis_match.matching.epipolar import match_along_lines, neighbours_along_lines
from desdis_match.matching.guided import epipolar_lines
from desdis_match.matching.match import MatchConfig, match_features, match_prepared
from desdis_match.types import Matches


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
    believed = backed(image0, image1, *neighbours_along_lines(*lines, 0.75, None))
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


def test_more_keypoints_tell_the_lines_where_the_best_nearly_do(monkeypatch, searched):
    features0, features1, _ = two_views("sideways")
    monkeypatch.setattr(guided, "BEST_KEYPOINTS", 60)
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 399)  # of 600
    monkeypatch.setattr(guided, "MIN_INLIERS", 60)  # the best have fewer, more of them more
    monkeypatch.setattr(guided, "HARDLY_ENOUGH", 1000)  # no third look
    assert len(match_features(features0, features1)) > 300
    assert searched == [60, 399]
    monkeypatch.setattr(guided, "NEARLY_ENOUGH", 60)
    searched.clear()
    match_features(features0, features1)
    assert searched == [60, 600]


@pytest.fixture
def hardly(monkeypatch):
    """Two views with parallax of whose best 120 keypoints too few match to tell the lines."""
    settings = {"BEST_KEYPOINTS": 120, "MORE_KEYPOINTS": 399, "MIN_INLIERS": 100, "MIN_SHIFTED": 0}
    settings["NEARLY_ENOUGH"] = 1000  # no look at more by the ratio test alone
    for name, value in settings.items():
        monkeypatch.setattr(guided, name, value)
    return two_views("sideways", far=0.1, noise=0.8)[:2]


def test_what_neighbours_support_tells_the_lines_where_the_best_hardly_do(hardly, searched):
    config = MatchConfig(ratio=0.75)
    found = match_features(*hardly, config)
    assert searched == [120, 399]
    image0, image1 = (match.prepare_image(features, "cpu") for features in hardly)
    looser = replace(config, ratio=1 - 0.25 / 3)
    supported = agreeing(image0, image1, match_prepared(image0.more, image1.more, looser))
    told = epipolar_lines(image0, image1, supported)
    assert told.parallax
    lines = image0, image1, told.fundamental
    sure = match_along_lines(*lines, 0.75, None)
    assert pairs_of(found) == pairs_of(sure)  # without the doubtful, whatever the parallax
    assert len(sure) + 10 < len(backed(image0, image1, *neighbours_along_lines(*lines, 0.75, None)))
    assert (sure.indices[:, 0] == sure.indices[:, 1]).mean() > 0.97


@pytest.mark.parametrize("why", ["few of the best", "few keypoints", "no frames", "no ratio test"])
def test_neighbours_are_not_asked_where_they_cannot_tell(monkeypatch, hardly, searched, why):
    features = hardly
    config = MatchConfig(ratio=0.75)
    if why == "few of the best":
        images = [match.prepare_image(side, "cpu") for side in features]
        num = len(match_prepared(images[0].best, images[1].best, config))
        monkeypatch.setattr(guided, "HARDLY_ENOUGH", num + 1)
    elif why == "few keypoints":
        monkeypatch.setattr(guided, "MORE_KEYPOINTS", 400)
    elif why == "no ratio test":
        config = MatchConfig(matcher="mnn")
    images = [match.prepare_image(side, "cpu") for side in features]
    if why == "no frames":
        images = [replace(image, scales=None, angles=None) for image in images]
    match.match_images(*images, config)
    assert searched == [120, 600]


def test_neighbours_are_asked_from_just_as_many_matches_of_the_best(monkeypatch, hardly, searched):
    config = MatchConfig(ratio=0.75)
    images = [match.prepare_image(side, "cpu") for side in hardly]
    num = len(match_prepared(images[0].best, images[1].best, config))
    monkeypatch.setattr(guided, "HARDLY_ENOUGH", num)
    match.match_images(*images, config)
    assert searched == [120, 399]


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
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 400)
    assert guided.apart(image0, image1, none, lambda *_: none) is None
    monkeypatch.setattr(guided, "MORE_KEYPOINTS", 399)
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
