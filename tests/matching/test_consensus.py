"""Consensus: matches that move with those around them stay, those that fall anywhere go."""

from dataclasses import replace

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.features.frames import keypoints_to_lafs
from desdis_match.matching.consensus import MIN_SUPPORT, backed, support
from desdis_match.matching.match import MatchConfig, match_features, prepare_image
from desdis_match.types import Features, Matches

ANGLE, ZOOM = 0.7, 1.5


def moved(xy):
    """Where frames say: a keypoint's frame at angle 0 becomes one of ANGLE, ZOOM times as large."""
    shape = keypoints_to_lafs([[0.0, 0.0]], ZOOM, ANGLE)[0, :, :2].double().numpy()
    return xy @ shape.T + [300.0, 200.0]


def matches(num_right, num_wrong, rng):
    xy0 = rng.uniform(0, 1000, (num_right + num_wrong, 2))
    xy1 = moved(xy0)
    xy1[num_right:] = rng.uniform(-1000, 2000, (num_wrong, 2))
    return xy0, xy1, np.full(len(xy0), np.log(ZOOM)), np.full(len(xy0), ANGLE)


def test_right_ones_support_each_other_and_wrong_ones_do_not():
    found = support(*matches(150, 150, np.random.default_rng(0)))
    assert (found[:150] >= MIN_SUPPORT).mean() > 0.98
    assert (found[150:] >= MIN_SUPPORT).mean() < 0.05


@pytest.mark.parametrize("change", ["turn", "grow"])
def test_frames_that_say_something_else_give_no_support(change):
    xy0, xy1, grow, turn = matches(100, 0, np.random.default_rng(1))
    if change == "turn":
        turn = -turn
    else:
        grow = -grow
    assert (support(xy0, xy1, grow, turn) >= MIN_SUPPORT).mean() < 0.1


def test_one_place_is_one_witness():
    """Frames of several orientations at one place do not hold each other up."""
    xy0 = np.repeat([[10.0, 10.0], [500.0, 400.0]], 6, axis=0)
    assert support(xy0, moved(xy0), np.full(12, np.log(ZOOM)), np.full(12, ANGLE)).max() < 7
    assert support(xy0[:6], moved(xy0[:6]), np.full(6, np.log(ZOOM)), np.full(6, ANGLE)).max() == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_matches_are_no_fault(count):
    rng = np.random.default_rng(2)
    assert support(*matches(count, 0, rng)).shape == (count,)


@pytest.mark.parametrize("near", [False, True])
def test_the_sure_ones_alone_support_the_doubtful(near):
    """Right and wrong ones of each kind: the sure stay, of the doubtful those that sure ones support."""
    rng = np.random.default_rng(5)
    xy0, xy1, _, _ = matches(200, 100, rng)
    image0, image1 = located(xy0, 1.0, 0.0), located(xy1, ZOOM, ANGLE)
    every = np.repeat(np.arange(300, dtype=np.int32)[:, None], 2, axis=1)
    scores = rng.random(300).astype(np.float32)
    sure = np.arange(300) % np.where(np.arange(300) < 200, 2, 10) == 0
    nearly = np.full(300, near)
    found = backed(image0, image1, Matches(every, scores), sure, nearly)
    kept = np.isin(np.arange(300), found.indices[:, 0])
    assert kept[sure].all() and kept[:200].mean() > 0.98 and kept[200:][~sure[200:]].mean() < 0.1
    assert (found.scores == scores[kept]).all() and (np.diff(found.indices[:, 0]) > 0).all()
    # Doubtful ones that agree with each other, but with no sure one, do not stay.
    xy1[1:200:2] += [400.0, 300.0]
    image1 = located(xy1, ZOOM, ANGLE)
    found = backed(image0, image1, Matches(every, scores), sure, nearly)
    assert np.isin(np.arange(1, 200, 2), found.indices[:, 0]).mean() < 0.05


@pytest.mark.parametrize(("near", "needed"), [(False, 6), (True, 1)])
@pytest.mark.parametrize("num_sure", [0, 1, 5, 6, 300])
def test_a_doubtful_one_needs_fewer_sure_ones_where_it_nearly_stands_out(num_sure, near, needed):
    xy0, xy1, _, _ = matches(300, 0, np.random.default_rng(6))
    image0, image1 = located(xy0, 1.0, 0.0), located(xy1, ZOOM, ANGLE)
    every = Matches(np.repeat(np.arange(300)[:, None], 2, axis=1), np.ones(300, np.float32))
    known = np.arange(300) < num_sure, np.full(300, near)
    assert len(backed(image0, image1, every, *known)) == (300 if num_sure >= needed else num_sure)
    unframed = replace(image1, scales=None)
    assert len(backed(image0, unframed, every, *known)) == num_sure


@pytest.mark.parametrize(
    ("near", "off", "side", "kept"),
    [
        (False, 3.4, 1600, True),
        (False, 3.6, 1600, False),
        (False, 4.9, 3200, True),
        (False, 5.1, 3200, False),
        (True, 8.0, 1600, True),
        (True, 9.0, 1600, False),
        (True, 11.0, 3200, True),
        (True, 12.0, 3200, False),
    ],
)
def test_doubtful_ones_stay_near_where_sure_ones_say(near, off, side, kept):
    """Eight sure ones, 10 pixels around a doubtful one, allow it 1.5 pixels and a fifth of the distance; one
    of them allows one that nearly stands out 2 pixels and 0.35 of the distance, which is longest in image 1
    for that opposite to where it was put. On photos of double the size twice the pixels."""
    turn = np.arange(8) * np.pi / 4
    xy0 = 500 + 10 * np.concatenate([[[0, 0]], np.column_stack([np.cos(turn), np.sin(turn)])])
    xy1 = xy0.copy()
    xy1[0, 1] += off
    images = [
        prepare_image(replace(features(xy, np.ones((9, 4))), image_size=(side, side)), "cpu")
        for xy in (xy0, xy1)
    ]
    every = Matches(np.repeat(np.arange(9)[:, None], 2, axis=1), np.ones(9, np.float32))
    found = backed(*images, every, np.arange(9) > 0, np.full(9, near))
    assert (len(found) == 9) == kept


def located(xy, zoom, angle):
    descriptors = np.ones((len(xy), 4))
    return prepare_image(features(xy, descriptors, zoom, angle), "cpu")


def features(xy, descriptors, zoom=1.0, angle=0.0):
    ones = np.ones(len(xy), np.float32)
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        xy.astype(np.float32), unit.astype(np.float32), ones, ones * zoom, ones * angle, (3000, 3000)
    )


def test_pairs_matched_in_full_keep_doubtful_matches_that_agree():
    """Each keypoint has a rival at 0.9 of whose distance its partner lies: the ratio test alone drops it."""
    rng = np.random.default_rng(3)
    xy0 = rng.uniform(0, 1000, (80, 2))
    first = rng.normal(size=(80, 64))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    noise = rng.normal(size=(2, 80, 64))
    noise *= 0.4 / np.linalg.norm(noise, axis=2, keepdims=True)
    xy1 = np.concatenate([moved(xy0), rng.uniform(-1000, 2000, (80, 2))])
    second = np.concatenate([first + 0.9 * noise[0], first + noise[1]])
    image0, image1 = features(xy0, first), features(xy1, second, ZOOM, ANGLE)
    filtered = match_features(image0, image1, MatchConfig(filter="consensus"))
    plain = match_features(image0, image1, MatchConfig(filter="none"))
    right = filtered.indices[:, 0] == filtered.indices[:, 1]
    assert right.sum() > 55 and right.mean() > 0.95
    assert len(plain) < 0.3 * right.sum()


def test_there_are_two_filters():
    with pytest.raises(InputError, match="filter is 'adalam'; it must be one of none, consensus"):
        MatchConfig(filter="adalam")
