"""Orientation `learned`: the packaged network follows a turned photo, at any angle."""

import math

import cv2
import numpy as np
import pytest
import torch

from desdis_match.descriptors.weights import read_weights
from desdis_match.distill.warps import texture
from desdis_match.features.detectors import DetectorConfig, detect
from desdis_match.features.frames import PatchPyramid, keypoints_to_lafs, laf_angles
from desdis_match.features.orientation import ORIENTATIONS
from desdis_match.features.orientation_learned import WEIGHTS, predict_angles

SIDE = 360


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return texture(np.random.default_rng(8), SIDE)


@pytest.mark.parametrize("degrees", [30, 45, 90, 180, 270])
def test_angles_turn_with_the_photo(picture, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = np.full(2, (SIDE - 1) / 2)
    turn = np.array([[c, s], [-s, c]])  # counter-clockwise, y down: frame angles grow by `degrees`
    matrix = np.column_stack([turn, middle - turn @ middle])
    turned = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    found = detect(picture.astype(np.float32) / 255, DetectorConfig(orientation="upright", max_keypoints=600))
    xy, sigma = found.lafs[:, :, 2].numpy(), found.lafs[:, 0, 0]
    inner = np.linalg.norm(xy - middle, axis=1) + 17 * sigma.numpy() < SIDE / 2
    xy, sigma = xy[inner], sigma[torch.from_numpy(inner)]
    assert len(xy) > 60
    moved = keypoints_to_lafs(xy @ turn.T + matrix[:, 2], sigma)
    before = predict_angles(found.pyramid, keypoints_to_lafs(xy, sigma))
    after = predict_angles(PatchPyramid(turned.astype(np.float32) / 255), moved)
    error = torch.remainder(after - before - math.radians(degrees) + math.pi, 2 * math.pi) - math.pi
    assert (error.abs() < math.radians(20)).float().mean() > 0.8


def test_the_rule_turns_every_frame_once(picture):
    found = detect(picture.astype(np.float32) / 255, DetectorConfig(orientation="upright", max_keypoints=50))
    frames, rows = ORIENTATIONS["learned"](found.pyramid, found.lafs)
    assert rows.tolist() == list(range(50))
    torch.testing.assert_close(frames[:, :, 2], found.lafs[:, :, 2])
    angles = predict_angles(found.pyramid, found.lafs)
    torch.testing.assert_close(laf_angles(frames), angles, atol=1e-4, rtol=0)
    assert ORIENTATIONS["learned"](found.pyramid, found.lafs[:0])[0].shape == (0, 2, 3)


def test_the_package_holds_a_small_network_with_a_history():
    network, header = read_weights(WEIGHTS)
    assert network.dim == 2
    assert WEIGHTS.stat().st_size < 200_000
    sources = " ".join(header["data"]).lower()
    assert "notredame" in sources
    assert not any(name in sources for name in ("oxford", "hpatches", "strecha", "fountain"))
