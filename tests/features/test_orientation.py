"""Orientation rules: the angle of a rendered edge, several peaks, photos turned by any angle."""

import math

import cv2
import numpy as np
import pytest
import torch

from desdis_match.features.frames import PatchPyramid, keypoints_to_lafs, laf_angles
from desdis_match.features.orientation import (
    ORIENTATIONS,
    dominant,
    gradient_histograms,
    histogram_peaks,
    multi,
)


def ramp(degrees, size=101):
    """(size, size) float32 that grows along (cos, sin) of the angle, y down."""
    y, x = np.mgrid[:size, :size] - size // 2
    angle = math.radians(degrees)
    return (0.5 + 0.004 * (x * math.cos(angle) + y * math.sin(angle))).astype(np.float32)


@pytest.fixture(scope="module")
def texture():
    """(201, 201) float32, blurred noise."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((201, 201), np.float32), (0, 0), 2.0)
    return cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX)


def turned(image, degrees):
    """The image turned about its centre, counter-clockwise as seen, and the pixels its points go to."""
    centre = (image.shape[1] // 2, image.shape[0] // 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    moved = cv2.warpAffine(
        image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return moved, lambda xy: (xy @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 30, 47.5, 90, 135, 180, -60, -177])
def test_the_frames_x_axis_follows_the_gradient(degrees):
    lafs, rows = dominant(PatchPyramid(ramp(degrees)), keypoints_to_lafs([[50.0, 50.0]], 3.0))
    direction = math.degrees(math.atan2(lafs[0, 1, 0], lafs[0, 0, 0]))  # of the first column, y down
    assert math.remainder(direction - degrees, 360) == pytest.approx(0, abs=1.0)
    assert math.remainder(math.degrees(laf_angles(lafs)[0]) + degrees, 360) == pytest.approx(0, abs=1.0)
    assert rows.tolist() == [0]


def points_of(image, count=60):
    rng = np.random.default_rng(1)
    radius, angle = 45 * np.sqrt(rng.random(count)), 2 * np.pi * rng.random(count)
    centre = image.shape[0] // 2
    return np.column_stack([centre + radius * np.cos(angle), centre + radius * np.sin(angle)]).astype(
        np.float32
    )


@pytest.mark.parametrize("degrees", [90, 180, 270, 30, 45])
@pytest.mark.parametrize("rule", ["dominant", "multi"])
def test_frames_turn_with_the_photo(texture, degrees, rule):
    image, move = turned(texture, degrees)
    xy = points_of(texture)
    before, rows0 = ORIENTATIONS[rule](PatchPyramid(texture), keypoints_to_lafs(xy, 3.0))
    after, rows1 = ORIENTATIONS[rule](PatchPyramid(image), keypoints_to_lafs(move(xy), 3.0))
    found = 0
    for laf, row in zip(before, rows0, strict=True):
        turns = laf_angles(after[rows1 == row]) - laf_angles(laf)
        # Kornia's angle grows counter-clockwise as seen, as OpenCV's rotation does.
        off = [abs(math.remainder(math.degrees(turn) - degrees, 360)) for turn in turns.tolist()]
        found += min(off) < 8
    assert found / len(before) > (0.99 if degrees % 90 == 0 else 0.85)


def test_upright_leaves_frames_alone(texture):
    lafs = keypoints_to_lafs(points_of(texture), 3.0)
    same, rows = ORIENTATIONS["upright"](PatchPyramid(texture), lafs)
    assert same is lafs and rows.tolist() == list(range(60))


def test_multi_begins_with_the_dominant_one(texture):
    pyramid, lafs = PatchPyramid(texture), keypoints_to_lafs(points_of(texture), 3.0)
    single, _ = dominant(pyramid, lafs)
    several, rows = multi(pyramid, lafs)
    assert 60 < len(several) < 120
    first = torch.ones(len(rows), dtype=torch.bool)
    first[1:] = rows[1:] != rows[:-1]
    torch.testing.assert_close(several[first], single)


def test_peaks_of_a_histogram_by_hand():
    histogram = torch.zeros(3, 36)
    histogram[0, 8:11] = torch.tensor([4.0, 10.0, 4.0])  # symmetric: exactly bin 9
    histogram[0, 20:23] = torch.tensor(
        [4.0, 9.0, 6.0]
    )  # above 80 %; parabola's top at +0.5 (4 - 6) / (4 + 6 - 18)
    histogram[0, 30] = 7.9  # below 80 %
    histogram[1, 0], histogram[1, 35], histogram[1, 1] = 5.0, 3.0, 3.0  # a peak across the end of the circle
    angles, rows = histogram_peaks(histogram, 4)
    assert rows.tolist() == [0, 0, 1, 2]
    torch.testing.assert_close(angles * 36 / (2 * math.pi), torch.tensor([9.0, 21.125, 0.0, 0.0]))


def test_histograms_do_not_depend_on_the_scale(texture):
    large = cv2.resize(texture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    xy = points_of(texture)
    small = gradient_histograms(PatchPyramid(texture), keypoints_to_lafs(xy, 3.0))
    big = gradient_histograms(PatchPyramid(large), keypoints_to_lafs((xy + 0.5) * 3 - 0.5, 9.0))
    cosine = torch.nn.functional.cosine_similarity(small, big, dim=1)
    assert cosine.min() > 0.97


def test_flat_ground_and_no_frames():
    flat = PatchPyramid(np.full((60, 60), 0.5, np.float32))
    lafs, rows = multi(flat, keypoints_to_lafs([[30.0, 30.0]], 3.0))
    assert len(rows) == 1 and lafs.isfinite().all()
    lafs, rows = multi(flat, torch.zeros(0, 2, 3))
    assert lafs.shape == (0, 2, 3) and rows.shape == (0,)
