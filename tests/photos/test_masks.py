"""Masks: their names, one for all, those drawn on a turned photo, and photos without one."""

import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.photos.images import read_gray, read_header
from desdis_match.photos.masks import mask_path, read_mask
from desdis_match.pipeline.extraction import extract
from desdis_match.pipeline.resume import RunConfig


@pytest.fixture
def photo(tmp_path):
    """photos/sub/a.jpg, 64 x 48."""
    path = tmp_path / "photos" / "sub" / "a.jpg"
    path.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).random((48, 64), np.float32)
    pixels = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)
    return path


def left_half(path, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, : size[0] // 2] = 255
    cv2.imwrite(str(path), mask)


@pytest.mark.parametrize("name", ["sub/a.jpg.png", "sub/a.png"])
def test_both_names_of_a_mask(tmp_path, photo, name):
    left_half(tmp_path / "masks" / name)
    mask = read_mask(tmp_path / "masks", "sub/a.jpg", read_gray(photo), photo)
    assert mask[:, :32].all() and not mask[:, 32:].any()


def test_colmaps_name_comes_first(tmp_path):
    for name in ("a.jpg.png", "a.png"):
        left_half(tmp_path / name)
    assert mask_path(tmp_path, "a.jpg") == tmp_path / "a.jpg.png"


def test_one_mask_for_all_photos(tmp_path, photo):
    left_half(tmp_path / "all.png")
    mask = read_mask(tmp_path / "all.png", "sub/a.jpg", read_gray(photo), photo)
    assert mask[:, :32].all() and not mask[:, 32:].any()


@pytest.mark.parametrize("orientation, kept", [(6, np.s_[24:, :]), (8, np.s_[:24, :])])
def test_a_mask_drawn_on_the_turned_photo_is_turned_back(tmp_path, photo, orientation, kept):
    """Shown upright the photo is 48 x 64. Its left half is the bottom of the stored photo where it is shown
    turned clockwise (6), the top where it is shown turned the other way (8)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(photo) as image:
        image.load()
        image.save(photo, exif=exif, quality=95)
    assert read_header(photo).orientation == orientation
    left_half(tmp_path / "masks" / "sub" / "a.png", size=(48, 64))
    mask = read_mask(tmp_path / "masks", "sub/a.jpg", read_gray(photo), photo)
    expected = np.zeros((48, 64), bool)
    expected[kept] = True
    np.testing.assert_array_equal(mask, expected)


def test_photos_without_a_mask_are_counted_and_named(tmp_path, photo, caplog):
    for other in ("b.jpg", "c.jpg"):
        (photo.parent / other).write_bytes(photo.read_bytes())
    left_half(tmp_path / "masks" / "sub" / "a.jpg.png")
    with caplog.at_level(logging.WARNING):
        config = ExtractConfig(max_keypoints=50, orientation="upright")
        extract(
            tmp_path / "photos",
            tmp_path / "f.h5",
            config,
            masks=tmp_path / "masks",
            run=RunConfig("cpu", 1),
        )
    assert "2 of 3 photos have no mask: sub/b.jpg, sub/c.jpg" in caplog.text


def test_a_damaged_mask_leaves_its_photo_out_and_one_that_is_no_picture_all(tmp_path, photo, caplog):
    (photo.parent / "b.jpg").write_bytes(photo.read_bytes())
    for name in ("a", "b"):
        left_half(tmp_path / "masks" / "sub" / f"{name}.jpg.png")
    damaged = tmp_path / "masks" / "sub" / "b.jpg.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("no picture")
    config = ExtractConfig(max_keypoints=50, orientation="upright")

    def run(masks):
        extract(
            tmp_path / "photos", tmp_path / f"{masks.name}.h5", config, masks=masks, run=RunConfig("cpu", 1)
        )

    with caplog.at_level(logging.WARNING):
        run(tmp_path / "masks")
    assert "sub/b.jpg is left out: it has a mask" in caplog.text and "sub/a.jpg is left" not in caplog.text
    with pytest.raises(
        InputError, match=r"none of the 2 images .* mask \(.*notes.txt\) that is damaged or in"
    ):
        run(tmp_path / "notes.txt")
