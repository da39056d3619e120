"""Photos of 16 and 32 bits that use a part of their range look like those of 8 bits."""

import logging

import cv2
import numpy as np
import pytest

from desdis_match.features.extract import ExtractConfig
from desdis_match.photos.depth import stretched_range, used_range
from desdis_match.photos.images import read_gray, read_rgb
from desdis_match.pipeline.extraction import extract
from desdis_match.pipeline.resume import RunConfig
from desdis_match.storage.features_file import FeatureFile


@pytest.fixture(scope="module")
def texture():
    """(96, 128) uint8 that uses all values."""
    noise = np.random.default_rng(0).random((96, 128), np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


CASES = {
    "thermal.tiff": lambda grey: 29000 + grey.astype(np.uint16) * 4,
    "twelve.png": lambda grey: grey.astype(np.uint16) * 16,
    "kelvin.tiff": lambda grey: 250 + grey.astype(np.float32) / 10,
    "signed.tiff": lambda grey: -3 + grey.astype(np.float32) / 100,
    "dim.tiff": lambda grey: grey.astype(np.float32) / 255 * 0.01,
}


@pytest.mark.parametrize("name", CASES)
def test_a_narrow_range_is_stretched(tmp_path, texture, name):
    cv2.imwrite(str(tmp_path / name), CASES[name](texture))
    pixels = read_gray(tmp_path / name).pixels
    # An affine map of the texture that uses nearly all of [0, 1].
    assert np.corrcoef(pixels.ravel(), texture.ravel())[0, 1] > 0.999
    assert pixels.max() - pixels.min() > 0.85 and pixels.min() >= 0 and pixels.max() <= 1
    assert stretched_range(tmp_path / name) == pytest.approx(used_range(CASES[name](texture)), rel=1e-5)
    shown = read_rgb(tmp_path / name)
    assert shown.dtype == np.uint8 and int(shown.max()) - shown.min() > 200


def test_a_dead_pixel_does_not_set_the_range(tmp_path, texture):
    values = CASES["thermal.tiff"](texture)
    values[0, 0], values[5, 5] = 65535, 0
    cv2.imwrite(str(tmp_path / "a.tiff"), values)
    assert np.ptp(read_gray(tmp_path / "a.tiff").pixels[10:]) > 0.8


def test_infinite_and_missing_values_are_no_values(tmp_path, texture):
    values = CASES["kelvin.tiff"](texture)
    values[0, :3] = np.nan, np.inf, -np.inf
    cv2.imwrite(str(tmp_path / "a.tiff"), values)
    pixels = read_gray(tmp_path / "a.tiff").pixels
    assert np.isfinite(pixels).all() and np.ptp(pixels[10:]) > 0.8


@pytest.mark.parametrize("full", [np.uint8, np.uint16, np.float32])
def test_a_range_that_is_used_stays_as_it_is(tmp_path, texture, full):
    values = {np.uint8: texture, np.uint16: texture.astype(np.uint16) * 257}.get(
        full, (texture / 255).astype(np.float32)
    )
    cv2.imwrite(str(tmp_path / "a.tiff"), values)
    np.testing.assert_allclose(read_gray(tmp_path / "a.tiff").pixels * 255, texture, atol=1e-4)
    assert stretched_range(tmp_path / "a.tiff") is None


def test_keypoints_are_found_and_the_stretch_is_said(tmp_path, texture, caplog):
    (tmp_path / "photos").mkdir()
    for name in ("thermal.tiff", "twelve.png"):
        cv2.imwrite(str(tmp_path / "photos" / name), CASES[name](texture))
    with caplog.at_level(logging.WARNING):
        config = ExtractConfig(max_keypoints=100, orientation="upright")
        extract(tmp_path / "photos", tmp_path / "f.h5", config, run=RunConfig("cpu", 1))
    assert "2 photos use a part of the values" in caplog.text and "thermal.tiff: 2" in caplog.text
    with FeatureFile(tmp_path / "f.h5") as file:
        assert min(file.counts().values()) > 20
