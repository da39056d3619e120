"""Multi-scale points: where blobs were put, at every level on which they stand out, and not lost by blur."""

import math

import cv2
import numpy as np
import pytest
import torch

from desdis_match.distill.warps import texture
from desdis_match.features.detectors import DetectorConfig, detect
from desdis_match.features.multiscale import LEVELS, find_maxima
from desdis_match.features.octaves import BORDER, SIGMA0
from desdis_match.features.scalespace import HESSIAN_TO_DOG


def blob_image(centre: tuple[float, float], sigma: float, side: int = 240) -> torch.Tensor:
    """(side, side) float32: a Gaussian blob on grey."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    blob = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return torch.from_numpy((0.5 + 0.4 * blob).astype(np.float32))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(200, 260) float32 in [0, 1]: noise with structure of all sizes."""
    rng = np.random.default_rng(3)
    layers = [cv2.resize(rng.random((n, n), np.float32), (260, 200)) for n in (9, 30, 90)]
    return cv2.normalize(sum(layers), None, 0, 1, cv2.NORM_MINMAX)


@pytest.mark.parametrize("centre", [(120.3, 117.8), (121.0, 118.5), (119.6, 120.2)])
def test_a_blob_is_found_at_its_subpixel_place_on_every_level(centre):
    found = find_maxima(blob_image(centre, 6.0), 0.004)
    offsets = found.xy - torch.tensor(centre)
    at_blob = offsets.norm(dim=1) < 2.0
    # Half of 240 pixels holds twelve sigmas up to 10: 1.6 * 2^(0, 1/2, ... 5/2) = 9.05.
    expected = [SIGMA0 * 2 ** (i / LEVELS) for i in range(6)]
    assert sorted(found.sigma[at_blob].tolist()) == pytest.approx(expected, rel=1e-5)
    off = offsets[at_blob] / found.sigma[at_blob, None]
    assert off.abs().max() < 0.02 and off.mean(0).abs().max() < 0.01


def test_contrast_is_that_of_the_blob_and_level():
    """A blob of sigma b and amplitude A, seen at sigma s, has sqrt(det H) = A b^2 / (b^2 + s^2)^2 there."""
    blob = 6.0
    found = find_maxima(blob_image((120.0, 120.0), blob), 0.004)
    at_blob = (found.xy - 120.0).norm(dim=1) < 1.0
    for s, contrast in zip(found.sigma[at_blob].tolist(), found.contrast[at_blob].tolist(), strict=True):
        seen = s**2 - 0.5**2 + blob**2  # the picture's own blur of half a pixel is taken for granted
        assert contrast == pytest.approx(HESSIAN_TO_DOG * 0.4 * blob**2 / seen**2 * s**2, rel=0.06)


def test_maxima_are_those_of_a_slow_search(photo):
    """Every sample of the first level that its eight neighbours do not reach, and no other."""
    image = torch.from_numpy(photo)
    found = find_maxima(image, 0.01)
    gaussian = cv2.GaussianBlur(photo.astype(np.float64), (0, 0), math.sqrt(SIGMA0**2 - 0.25))
    second, first = np.array([1.0, -2.0, 1.0]), np.array([-0.5, 0.0, 0.5])
    one = np.ones(1)
    xx, yy = cv2.sepFilter2D(gaussian, -1, second, one), cv2.sepFilter2D(gaussian, -1, one, second)
    xy = cv2.sepFilter2D(gaussian, -1, first, first)
    response = HESSIAN_TO_DOG * SIGMA0**2 * np.sqrt(np.maximum(xx * yy - xy**2, 0))
    places = [
        (x, y)
        for y in range(BORDER, 200 - BORDER)
        for x in range(BORDER, 260 - BORDER)
        if response[y, x] > 0.01 and (response[y - 1 : y + 2, x - 1 : x + 2] < response[y, x]).sum() == 8
    ]
    finest = found.xy[found.sigma < 1.7]
    assert len(places) > 200 and abs(len(finest) - len(places)) <= 2
    distance = torch.cdist(torch.tensor(places, dtype=torch.float32), finest).min(1).values
    assert distance.quantile(0.99) < 1.0  # fitted, so not the samples themselves:
    assert 0.15 < distance.mean() < 0.45


def test_blur_loses_fewer_than_where_a_scale_is_chosen():
    """Share of the best 300 that have one of the blurred picture's within a pixel and a half: 0.65, 0.53."""
    picture = (texture(np.random.default_rng(5), 400) / 255).astype(np.float32)
    blurred = cv2.GaussianBlur(picture, (0, 0), 2.0)
    kept = {}
    for detector in ("hessian", "hessian-multiscale"):
        config = DetectorConfig(detector, 300, "upright", ranking="contrast")
        here, there = (detect(one, config).lafs[:, :, 2] for one in (picture, blurred))
        assert len(here) == len(there) == 300
        kept[detector] = float((torch.cdist(here, there).min(1).values < 1.5).float().mean())
    assert kept["hessian-multiscale"] > 1.15 * kept["hessian"]


def test_equal_neighbours_give_one_keypoint():
    """A blob midway between two pixels, and one between four: the response is the same on all of them."""
    for centre in ((120.5, 120.0), (120.5, 120.5)):
        found = find_maxima(blob_image(centre, 5.0), 0.004)
        near = (found.xy - torch.tensor(centre)).norm(dim=1) < 3.0
        sigmas = found.sigma[near]
        assert len(sigmas) >= 4 and len(sigmas) == len(sigmas.unique())


def test_patches_are_no_larger_than_the_photo():
    found = find_maxima(blob_image((60.0, 60.0), 20.0, side=120), 0.001)
    assert found.sigma.max() == pytest.approx(SIGMA0 * 2**0.5 * 2)  # 4.53; twelve of 6.4 are more than 60
    small = find_maxima(blob_image((15.0, 15.0), 2.0, side=31), 0.004)
    assert sorted(small.sigma.tolist()) == pytest.approx([SIGMA0, SIGMA0 * 2**0.5], rel=1e-5)


def test_weak_blobs_fall_to_the_contrast_threshold(photo):
    image = torch.from_numpy(photo)
    everything = find_maxima(image, 0.0)
    some = find_maxima(image, 0.02)
    assert 0 < len(some.xy) < len(everything.xy)
    assert some.contrast.min() > 0.02  # the threshold is of the sample, which no fitted peak is below
    assert len(find_maxima(torch.full((90, 120), 0.5), 0.0).xy) == 0


def test_bright_dark_and_no_saddles():
    x, y = np.meshgrid(np.arange(160), np.arange(160))
    wave = np.sin(2 * np.pi * x / 32) * np.sin(2 * np.pi * y / 32)  # extrema at 8 + 16 i, saddles at 16 i
    found = find_maxima(torch.from_numpy((0.5 + 0.4 * wave).astype(np.float32)), 0.004)
    finest = found.xy[found.sigma < 1.7]
    assert ((finest - 8.0) / 16.0 - ((finest - 8.0) / 16.0).round()).abs().max() < 0.01
    assert len(finest) == 100
