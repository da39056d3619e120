"""Views from aslant: where their pixels lie, and what they find that the photo alone does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from desdis_match.descriptors import load_descriptor
from desdis_match.distill.warps import texture
from desdis_match.features.aslant import OUTSIDE, TILT, seen_aslant, views
from desdis_match.features.detectors import DetectorConfig, detect
from desdis_match.features.extract import ExtractConfig, extract_image
from desdis_match.features.frames import laf_angles, laf_scales
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.photos.images import GrayImage

UPRIGHT = ExtractConfig(orientation="upright")


def blob(x: float, y: float, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    rows, columns = np.mgrid[: size[1], : size[0]]
    return (0.2 + 0.6 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 72)).astype(np.float32)


@pytest.mark.parametrize("towards", [0.0, 0.6, np.pi / 2, 2.5])
def test_the_map_leads_to_where_the_view_shows_it(towards):
    view, to_view = seen_aslant(blob(100, 40), 2.0, towards)
    lit = np.where(view > 0.55, view - 0.55, 0)
    rows, columns = np.mgrid[: view.shape[0], : view.shape[1]]
    middle = np.array([(lit * columns).sum(), (lit * rows).sum()]) / lit.sum()
    assert np.abs(middle - (to_view[:, :2] @ [100, 40] + to_view[:, 2])).max() < 0.1


def test_a_squeeze_to_the_right_halves_the_width_and_keeps_what_is_upright():
    view, to_view = seen_aslant(blob(100, 40), 2.0, 0.0)
    np.testing.assert_allclose(to_view, [[0.5, 0, 0], [0, 1, 0]], atol=1e-12)
    assert view.shape == (120, 81)
    for towards in (0.6, 2.5):
        turned = seen_aslant(blob(100, 40), 2.0, towards)[1]
        assert abs(turned[0, 1]) < 1e-12 and np.linalg.det(turned[:, :2]) == pytest.approx(0.5)


def test_beyond_the_photo_a_view_is_grey():
    view, _ = seen_aslant(np.ones((60, 80), np.float32), 2.0, 0.7)
    assert view[0, 0] == OUTSIDE or view[0, -1] == OUTSIDE
    assert view[view.shape[0] // 2, view.shape[1] // 2] == pytest.approx(1, abs=1e-4)


def test_the_first_view_is_the_photo_and_the_others_come_from_all_around():
    picture = blob(100, 40)
    seen = list(views(picture, 3))
    assert np.array_equal(seen[0][0], picture) and np.array_equal(seen[0][1], np.eye(2, 3))
    np.testing.assert_allclose(seen[1][1][:, :2], np.diag([1 / TILT, 1]), atol=1e-12)
    np.testing.assert_allclose(seen[2][1][:, :2], np.diag([1, 1 / TILT]), atol=1e-12)


def test_frames_of_views_lie_on_the_blob_and_are_stretched():
    found = detect(blob(100, 40), DetectorConfig("hessian", orientation="upright", views=3))
    frames = found.lafs
    assert len(frames) >= 3
    assert (frames[:, :, 2] - torch.tensor([100.0, 40.0])).norm(dim=1).max() < 1.0
    stretch = frames[:, 0, 0] / frames[:, 1, 1]
    for wanted in (1.0, TILT, 1 / TILT):
        assert (stretch / wanted - 1).abs().min() < 1e-5
    assert laf_angles(frames).abs().max() < 1e-6
    assert (laf_scales(frames) > 0).all() and (found.scores.diff() <= 0).all()


def test_one_view_is_the_detector_alone_and_a_budget_and_a_mask_hold_for_all_views():
    picture = (texture(np.random.default_rng(3), 200) / 255).astype(np.float32)
    one, five = (detect(picture, replace(UPRIGHT, views=count)) for count in (1, 5))
    few = detect(picture, replace(UPRIGHT, views=5, max_keypoints=40))
    assert len(five) > 1.5 * len(one) and torch.equal(few.lafs, five.lafs[:40])
    square = (one.lafs[:, 0, 0] == one.lafs[:, 1, 1]) & (one.lafs[:, 1, 0] == 0)
    assert square.all()
    left = np.zeros((200, 200), bool)
    left[:, :100] = True
    masked = detect(picture, replace(UPRIGHT, views=5), left)
    assert len(masked) and masked.lafs[:, 0, 2].max() < 100
    border = five.lafs[:, :, 2]
    assert border.min() >= 5 and border.max() <= 194


def test_a_wall_at_a_slant_is_matched_by_views_alone():
    """Squeezed by four, in a direction that none of the views has."""
    wall = (texture(np.random.default_rng(11), 400) / 255).astype(np.float32)
    other, plane = seen_aslant(wall, 4.0, 0.3)
    network = load_descriptor("desdis-8", device="cpu")
    right = {}
    for count in (1, 5):
        pair = [
            extract_image(
                GrayImage(picture, picture.shape[::-1], (1.0, 1.0)), replace(UPRIGHT, views=count), network
            )
            for picture in (wall, other)
        ]
        rows0, rows1 = match_features(*pair, MatchConfig(), "cpu").indices.T
        there = pair[0].keypoints[rows0] @ plane[:, :2].T + plane[:, 2]
        right[count] = int((np.linalg.norm(there - pair[1].keypoints[rows1], axis=1) < 3).sum())
    assert right[1] < 15 and right[5] >= 15
