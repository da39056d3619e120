"""Frames that a homography carries, repaired part by part, and what is said of wrong matches, by hand."""

import math

import numpy as np
import pytest
import torch

from desdis_match.conventions import FRAME_SCALE
from desdis_match.distill.limits import (
    PARTS,
    carried,
    ceiling,
    correlations,
    matched,
    other_scale,
    parts_of,
    repaired,
    seen_twice,
    true_frames,
    view_patches,
)
from desdis_match.features.frames import PatchPyramid, extract_patches

MOVE = np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]])


def upright(*keypoints: tuple[float, float, float]) -> np.ndarray:
    """(N, 2, 3) of x, y, sigma."""
    return np.array([[[s, 0, x], [0, s, y]] for x, y, s in keypoints])


def test_frames_are_carried_by_the_derivative():
    matrix = np.array([[1.2, 0.1, 3], [-0.2, 0.9, 4], [1e-3, -5e-4, 1]])
    frame = upright((40, 30, 1e-3))
    (moved,) = carried(frame, matrix)
    corners = np.array([[40, 30, 1], [40.001, 30, 1], [40, 30.001, 1]]) @ matrix.T
    centre, across, down = corners[:, :2] / corners[:, 2:]
    assert np.allclose(moved[:, 2], centre)
    assert np.allclose(moved[:, :2], np.column_stack([across - centre, down - centre]), atol=1e-8)


def test_parts_by_hand():
    cos, sin = math.cos(0.3), math.sin(0.3)
    turn = np.array([[cos, -sin], [sin, cos]])
    shape = np.array([[2.0, 0], [0, 0.5]])
    frame = np.concatenate([3 * turn @ shape, [[7], [8]]], axis=1)[None]
    parts = parts_of(frame)
    assert np.allclose(parts.place, [[7, 8]]) and np.allclose(parts.scale, 3)
    assert np.allclose(parts.turn, turn) and np.allclose(parts.shape, shape)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_is_repaired_and_no_other(part):
    own, true = upright((1, 2, 3)), carried(upright((10, 20, 2)), np.diag([2.0, 3.0, 1]) @ turned(0.4))
    found, before, wanted = parts_of(repaired(own, true, (part,))), parts_of(own), parts_of(true)
    for name in PARTS:
        expected = wanted if name == part else before
        assert np.allclose(getattr(found, name), getattr(expected, name)), name


def turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_all_parts_make_the_true_frame():
    own, true = upright((1, 2, 3)), carried(upright((10, 20, 2)), np.diag([2.0, 3.0, 1]) @ turned(0.4))
    assert np.allclose(repaired(own, true, PARTS), true) and np.allclose(repaired(own, true, ()), own)


def test_partners_are_each_others_nearest_within_three_pixels():
    """The second and third of the photo both lie near one of the view's; the last has none."""
    photo = upright((10, 10, 2), (50, 10, 2), (52, 10, 2), (90, 10, 2))
    pair = seen_twice(photo, upright((15, 10, 2), (55.5, 10, 2), (98.1, 10, 2)), MOVE)
    assert pair.partners.tolist() == [[0, 0], [1, 1]]
    assert pair.error[2, 1] == pytest.approx(1.5)
    assert ceiling(pair) == pytest.approx(2 / 3)  # three have a keypoint near, two can get one


def test_other_scale_is_by_the_homographys_zoom():
    """The view is twice as large: sigma 4 is right, 2.5 and 6.2 are off by more than 1.5."""
    photo = upright((10, 10, 2), (20, 10, 2), (30, 10, 2), (40, 10, 2))
    view = upright((20, 20, 4), (40, 20, 2.5), (60, 20, 6.2), (80, 20, 5.9))
    assert other_scale(seen_twice(photo, view, np.diag([2.0, 2.0, 1]))).tolist() == [False, True, True, False]


def test_wrong_matches_by_hand():
    """The first is right, the second and third are taken for each other, the last two have no partner, and
    of the last the nearest is another's."""
    photo = upright((10, 10, 2), (50, 10, 2), (61, 10, 2), (90, 10, 2), (130, 10, 2))
    pair = seen_twice(photo, upright((195, 10, 2), (15, 10, 2), (66, 10, 2), (55, 10, 2)), MOVE)
    described0 = torch.eye(5)
    described1 = torch.tensor([[0, 0, 0, 0.6, 0], [0.7, 0, 0, 0, 0.65], [0, 0.8, 0, 0, 0], [0, 0, 0.9, 0, 0]])
    result = matched(pair, described0, described1)
    assert result.found.tolist() == [True, False, False]
    assert result.wrong.tolist() == [[1, 2], [2, 3], [3, 0]]
    # 11 pixels are below half of the half side, 12; 100 are beyond.
    assert FRAME_SCALE * 2 == 24 and result.overlap.tolist() == [True, True, False]
    # Ranked third behind two wrong ones, of three partners: trapezoid from (0, 0) to (1/3, 1/3).
    assert result.ap == pytest.approx(1 / 3 * (0 + 1 / 3) / 2)
    # Without these two it is first.
    assert result.ap_apart == pytest.approx(1 / 3)


def test_correlations_are_seen_in_the_photo():
    """A pattern that is there twice correlates with itself whatever light the view is in; noise does not."""
    rng = np.random.default_rng(0)
    pixels = rng.random((96, 192), dtype=np.float32)
    pixels[:, 96:] = 0.5 * pixels[:, :96] + 0.1
    photo = PatchPyramid(pixels)
    frames = upright((40, 48, 1), (136, 48, 1), (60, 40, 1))
    pair = seen_twice(frames, frames, np.eye(3))
    twin, other = correlations(pair, photo, np.array([[0, 1], [0, 2]]))
    assert twin > 0.99 and abs(other) < 0.5


def test_only_partners_are_repaired():
    photo = upright((40, 48, 1), (70, 48, 1))
    view = upright((41, 48, 1), (20, 20, 1))
    pair = seen_twice(photo, view, np.eye(3))
    pixels = PatchPyramid(np.random.default_rng(0).random((96, 96), dtype=np.float32))
    cut = view_patches(pair, pixels, ("place",))
    expected = extract_patches(pixels, torch.tensor([[[1.0, 0, 40], [0, 1, 48]], [[1, 0, 20], [0, 1, 20]]]))
    assert torch.allclose(cut, expected, atol=1 / 500)
    assert np.allclose(true_frames(pair), photo[:1])
