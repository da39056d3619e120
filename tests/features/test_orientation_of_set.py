"""Orientation `auto`: photos turned by any angle are found out, upright ones are left alone."""

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from desdis_match import pipeline as stages
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.warps import texture
from desdis_match.features.extract import ExtractConfig, extract_image
from desdis_match.features.extract_set import extract_together, probe_image
from desdis_match.features.orientation_of_set import (
    BINS,
    PROBE_RATIO,
    UPRIGHT,
    Probe,
    Turn,
    auto_angles,
    decide,
    partners,
    solve,
    vote,
)
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.photos.images import GrayImage
from desdis_match.pipeline import extraction
from desdis_match.storage.features_file import FeatureFile
from desdis_match.synthetic.courtyard import SyntheticConfig, read_scene, render_scene
from desdis_match.synthetic.geometry import true_matches
from desdis_match.types import Features, Float32

SIDE = 300
AUTO = ExtractConfig(orientation="auto", max_keypoints=500, descriptor="rootsift")


@pytest.fixture(scope="module")
def rootsift():
    return load_descriptor("rootsift", device="cpu")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return texture(np.random.default_rng(5), 480)


def seen(picture: np.ndarray, degrees: float, shift: float = 0.0) -> tuple[GrayImage, np.ndarray]:
    """The picture's middle (SIDE, SIDE) by a camera turned clockwise, and (2, 3) photo_from_picture."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, s], [-s, c]])  # content turns counter-clockwise, y down
    middle = (np.array(picture.shape[::-1]) - 1) / 2
    matrix = np.column_stack([turn, (SIDE - 1) / 2 + shift - turn @ middle])
    pixels = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(np.float32) / 255
    noise = np.random.default_rng(int(degrees)).normal(0, 0.01, pixels.shape).astype(np.float32)
    return GrayImage(np.clip(pixels + noise, 0, 1), (SIDE, SIDE), (1.0, 1.0)), matrix


def correct(features: list[Features], matrices: list[np.ndarray]) -> int:
    """Matches that lie within two pixels of where they belong, each keypoint counted once."""
    found = match_features(*features, MatchConfig()).indices

    def in_picture(xy: Float32, matrix: np.ndarray) -> np.ndarray:
        return (xy - matrix[:, 2]) @ matrix[:, :2]  # the inverse of a rotation

    xy0 = in_picture(features[0].keypoints[found[:, 0]], matrices[0])
    xy1 = in_picture(features[1].keypoints[found[:, 1]], matrices[1])
    good = np.linalg.norm(xy0 - xy1, axis=1) < 2
    return len(np.unique(xy0[good].round(), axis=0))


def apart(angle0: float, angle1: float) -> float:
    """Degrees between two angles in radians."""
    return abs(math.degrees(math.remainder(angle0 - angle1, 2 * math.pi)))


@pytest.mark.parametrize("degrees", [90, 180, 270, 30, 45])
def test_a_turned_pair_matches_as_well_as_an_upright_one(degrees, picture, rootsift):
    photos, matrices = zip(seen(picture, 0), seen(picture, degrees, shift=7), strict=True)
    features = extract_together(photos, AUTO, rootsift)
    others = {
        name: [
            extract_image(photo, ExtractConfig(**{**vars(AUTO), "orientation": name}), rootsift)
            for photo in photos
        ]
        for name in ("upright", "multi")
    }
    number = correct(features, matrices)
    assert number > 100
    assert number > 2 * correct(others["upright"], matrices)
    assert number >= 0.95 * correct(others["multi"], matrices)
    # One of the two stays as it is; the other's frames are all turned by the camera's angle.
    relative = float(features[1].angles[0] - features[0].angles[0])
    assert apart(relative, math.radians(degrees)) <= 5
    assert min(abs(features[0].angles).max(), abs(features[1].angles).max()) < 1e-6


def test_an_upright_pair_is_left_alone(picture, rootsift):
    photos = [seen(picture, 0)[0], seen(picture, 4, shift=9)[0]]
    features = extract_together(photos, AUTO, rootsift)
    for found, photo in zip(features, photos, strict=True):
        upright = extract_image(photo, ExtractConfig(**{**vars(AUTO), "orientation": "upright"}), rootsift)
        np.testing.assert_array_equal(found.descriptors, upright.descriptors)


def test_one_photo_and_photos_of_different_things_stay_upright(picture, rootsift):
    other = texture(np.random.default_rng(6), 480)
    probes = [probe_image(seen(one, 50)[0], AUTO, rootsift).probe for one in (picture, other)]
    assert auto_angles(probes) == [UPRIGHT, UPRIGHT]
    assert auto_angles(probes[:1]) == [UPRIGHT]
    assert auto_angles([]) == []


def test_photos_without_keypoints_take_part(picture, rootsift):
    blank = GrayImage(np.full((SIDE, SIDE), 0.5, np.float32), (SIDE, SIDE), (1.0, 1.0))
    features = extract_together([seen(picture, 0)[0], blank, seen(picture, 90)[0]], AUTO, rootsift)
    assert len(features[1]) == 0
    assert apart(features[2].angles[0] - features[0].angles[0], math.pi / 2) <= 5


def test_a_rendered_set_with_cameras_on_their_sides(tmp_path: Path, rootsift):
    folder = render_scene(tmp_path / "scene", SyntheticConfig(views=5, size=(400, 300), quarter_turns=2))
    scene, views, _ = read_scene(folder)
    config = ExtractConfig(**{**vars(AUTO), "max_keypoints": 1200})
    probes, photos = {}, [folder / "images" / view.name for view in views]
    for view, photo in zip(views, photos, strict=True):
        probes[view.name] = probe_image(photo, config, rootsift).probe
    turns = decide(probes)
    # A camera's roll is how far the world's vertical is turned in its photo; `rotation` is camera-from-world.
    up = np.array([view.rotation @ [0.0, 0.0, 1.0] for view in views])
    # The way up, (0, -1) in an upright frame, is (-sin a, -cos a) in one of angle a.
    roll = np.arctan2(-up[:, 0], -up[:, 1])
    for view, expected in zip(views, roll, strict=True):
        quarter = round(math.degrees(expected) / 90) * 90
        assert not turns[view.name].per_keypoint
        assert apart(turns[view.name].angle, math.radians(quarter)) <= 10
    assert sum(turn.upright for turn in turns.values()) >= 2

    # The matches that it is all for: a turned photo and its neighbour.
    turned = next(i for i, view in enumerate(views) if abs(math.degrees(roll[i])) > 45)
    other = turned - 1 if turned else 1
    first, second = sorted((turned, other))
    features = extract_together(photos, config, rootsift)
    truth = {
        tuple(pair)
        for pair in true_matches(
            scene, views[first], views[second], features[first], features[second], 3
        ).indices
    }
    found = match_features(features[first], features[second], MatchConfig()).indices
    assert sum(tuple(pair) in truth for pair in found) > 40


def test_votes_fall_on_the_difference_of_the_angles():
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(50, 32))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    angles = rng.uniform(-math.pi, math.pi, 50).astype(np.float32)
    order = rng.permutation(50)
    probe0 = Probe(angles, descriptors.astype(np.float16))
    probe1 = Probe((angles + math.radians(100))[order], descriptors[order].astype(np.float16))
    votes = vote(probe0, probe1)
    assert votes.sum() == pytest.approx(50)
    assert votes[100 * BINS // 360] == pytest.approx(50, abs=0.01)


def test_those_vote_that_are_nearest_and_clear_both_ways():
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((60, 16))
    noise = [vectors[:40] + 0.15 * rng.standard_normal((40, 16)), vectors[:5], rng.standard_normal((20, 16))]
    both = [np.concatenate([vectors, vectors[10:13]]), np.concatenate(noise)]  # some are there twice
    both = [(one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float16) for one in both]
    angles = [rng.uniform(-3, 3, len(one)).astype(np.float32) for one in both]
    distance = np.linalg.norm(both[0].astype(float)[:, None] - both[1].astype(float), axis=2)
    expected, num = np.zeros(BINS), 0
    for i, j in enumerate(distance.argmin(1)):
        seconds = np.sort(distance[i])[1], np.sort(distance[:, j])[1]
        if distance[:, j].argmin() == i and distance[i, j] < PROBE_RATIO * min(seconds):
            low, share = divmod((float(angles[1][j]) - float(angles[0][i])) / (2 * math.pi) * BINS % BINS, 1)
            expected[int(low)] += 1 - share
            expected[(int(low) + 1) % BINS] += share
            num += 1
    assert 20 < num < 40
    np.testing.assert_allclose(
        vote(Probe(angles[0], both[0]), Probe(angles[1], both[1])), expected, atol=1e-6
    )


def spread(degrees: float, number: float) -> np.ndarray:
    """Votes about an angle, as matches give them: a third beside the bin on either side."""
    votes = np.zeros(BINS)
    place = round(degrees * BINS / 360)
    for step, share in ((-1, 1 / 3), (0, 1 / 3), (1, 1 / 3)):
        votes[(place + step) % BINS] += share * number
    return votes


def test_the_angles_of_a_set_are_consistent_and_mostly_upright():
    truth = [0, 90, 0, 0, 180, 30, 0, 0]
    votes = {(i, j): spread(truth[j] - truth[i], 40) for i in range(8) for j in range(i + 1, 8)}
    votes[0, 1] = spread(-90, 15)  # one pair is wrong
    assert [round(math.degrees(turn.angle)) for turn in solve(votes, 8)] == truth


def test_a_chain_of_small_turns_is_followed():
    votes = {(i, i + 1): spread(25, 60) for i in range(11)}
    angles = [math.degrees(turn.angle) for turn in solve(votes, 12)]
    assert all((b - a) % 360 == pytest.approx(25) for a, b in itertools.pairwise(angles))


@pytest.mark.parametrize("turn", [45, 90, 180])
@pytest.mark.parametrize("num", [20, 160])
def test_a_walk_is_not_torn_where_the_camera_is_turned(num, turn):
    """Few votes tie its parts together; a photo upright would please each of the many of the second part."""
    overlap = {1: 100, 2: 60, 3: 25, 4: 10}
    truth = [0] * (num // 2 + 4) + [turn] * (num // 2 - 4)
    votes = {
        (i, i + step): spread(truth[i + step] - truth[i], number)
        for step, number in overlap.items()
        for i in range(num - step)
    }
    assert [round(math.degrees(one.angle)) for one in solve(votes, num)] == truth


def test_weak_votes_do_not_turn_a_photo():
    scattered = np.zeros(BINS)
    scattered[::9] = 1.0
    assert solve({(0, 1): scattered}, 2) == [UPRIGHT, UPRIGHT]


@pytest.mark.parametrize(("tilt", "turned"), [(5, 0), (-5, 0), (10, 10)])
def test_a_small_tilt_is_not_worth_describing_again(tilt, turned):
    truth = [0, 0, 0, 0, 0, tilt]
    votes = {(i, j): spread(truth[j] - truth[i], 400) for i in range(6) for j in range(i + 1, 6)}
    assert [round(math.degrees(turn.angle)) for turn in solve(votes, 6)] == [0, 0, 0, 0, 0, turned]


def test_where_no_angle_explains_the_votes_frames_turn_one_by_one():
    votes = {(0, 1): spread(0, 50) + spread(90, 50), (2, 3): spread(0, 30)}
    per_keypoint = Turn(per_keypoint=True)
    assert solve(votes, 4) == [per_keypoint, per_keypoint, UPRIGHT, UPRIGHT]


def test_partners_cover_a_large_set_sparsely_and_always_alike():
    names = [f"{i:04d}.jpg" for i in range(300)]
    pairs = partners(names)
    assert pairs == partners(names)
    assert len(pairs) == len(set(pairs)) <= 300 * 12
    assert all(0 <= i < j < 300 for i, j in pairs)
    assert {(i, i + 1) for i in range(299)} <= set(pairs)
    assert partners(names[:4]) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_the_stage_turns_what_is_turned_and_goes_on_after_a_kill(tmp_path, picture, rootsift, monkeypatch):
    images = tmp_path / "images"
    images.mkdir()
    photos = {}
    for name, degrees in (("a.png", 0), ("b.png", 90), ("c.png", 0)):
        photos[name] = seen(picture, degrees)[0]
        cv2.imwrite(str(images / name), (photos[name].pixels * 255).round().astype(np.uint8))
    run = stages.RunConfig(device="cpu", workers=1)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    output = tmp_path / "features.h5"
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "turn_features", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.extract(images, output, AUTO, run=run)
    assert not output.exists()
    with monkeypatch.context() as patch:  # the first pass is done: keypoints are not sought again
        patch.setattr(extraction, "first_pass", killed)
        stages.extract(images, output, AUTO, run=run)
    together = extract_together([images / name for name in photos], AUTO, rootsift)
    with FeatureFile(output) as file:
        for name, expected in zip(photos, together, strict=True):
            np.testing.assert_array_equal(file.get(name).keypoints, expected.keypoints)
            np.testing.assert_allclose(file.get(name).descriptors, expected.descriptors, atol=1e-3)
            np.testing.assert_allclose(file.get(name).angles, expected.angles, atol=1e-5)
        assert apart(file.get("b.png").angles[0], math.pi / 2) <= 5
