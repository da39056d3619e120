"""Reading photos: formats, depths, sizes, masks, EXIF, and everything that can be wrong with a file."""

import os
import pickle
import struct
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from desdis_match.errors import InputError
from desdis_match.photos.images import (
    GrayImage,
    UnreadableImage,
    header_focal,
    list_images,
    read_gray,
    read_header,
    read_rgb,
    to_original,
    to_resized,
)
from desdis_match.photos.masks import read_mask


@pytest.fixture
def texture():
    """(48, 64) uint8 with smooth structure."""
    noise = np.random.default_rng(0).random((48, 64), np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp", "ppm", "jpg", "JPEG"])
def test_every_format_gives_the_same_grey(tmp_path, texture, suffix):
    path = tmp_path / f"a b ö.{suffix}"
    best = {"webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}.get(suffix, [])
    best = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix.lower().startswith("jp") else best
    ok, data = cv2.imencode(f".{suffix.lower()}", cv2.merge([texture] * 3), best)
    assert ok
    path.write_bytes(data.tobytes())
    image = read_gray(path)
    assert image.pixels.dtype == np.float32 and image.size == (64, 48) and image.scale_xy == (1.0, 1.0)
    error = np.abs(image.pixels * 255 - texture)
    assert error.mean() < 0.6 and error.max() < 4  # JPEG and WebP convert colours; the others are exact


def test_depth_and_alpha_do_not_change_the_picture(tmp_path, texture):
    cv2.imwrite(str(tmp_path / "8.png"), texture)
    cv2.imwrite(str(tmp_path / "16.png"), texture.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "16.tif"), cv2.merge([texture.astype(np.uint16) * 257] * 3))
    cv2.imwrite(str(tmp_path / "alpha.png"), cv2.merge([texture] * 3 + [np.full_like(texture, 7)]))
    expected = read_gray(tmp_path / "8.png").pixels
    for name in ("16.png", "16.tif", "alpha.png"):
        np.testing.assert_allclose(read_gray(tmp_path / name).pixels, expected, atol=1e-6, err_msg=name)


def test_colours_are_weighted_alike_in_every_lossless_format(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    pictures = []
    for suffix in ("png", "tif", "bmp", "ppm"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), colours)
        pictures.append(read_gray(tmp_path / f"a.{suffix}").pixels)
    blue, green, red = cv2.split(colours.astype(np.float32) / 255)
    for picture in pictures:  # Rec. 601 luma, to the rounding of 8 bits
        np.testing.assert_allclose(picture, 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.005)


def test_exif_rotation_is_not_applied(tmp_path, texture):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees to show"
    Image.fromarray(texture).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    image = read_gray(tmp_path / "turned.jpg")
    assert image.size == (64, 48)
    assert np.abs(image.pixels * 255 - texture).mean() < 0.6


def tiff(pixels, orientation, order, big):
    """An uncompressed grey TIFF or BigTIFF, by hand; `order` is "<" or ">"."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    magic, offset = (b"II" if order == "<" else b"MM"), (16 if big else 8)
    (height, width), bits = pixels.shape, 8 * pixels.itemsize
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: offset, 274: orientation}
    tags |= {277: 1, 278: height, 279: len(data)}
    header, count, entry, end = ("HHHQ", "Q", "HHQHHI", "Q") if big else ("HI", "H", "HHIHH", "I")
    start = (43, 8, 0, offset + len(data)) if big else (42, offset + len(data))
    padding = (0, 0) if big else (0,)
    entries = [struct.pack(order + entry, tag, 3, 1, value, *padding) for tag, value in tags.items()]
    directory = struct.pack(order + count, len(tags)) + b"".join(entries) + struct.pack(order + end, 0)
    return magic + struct.pack(order + header, *start) + data + directory


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiffs_orientation_is_not_applied(tmp_path, texture, order, big, depth):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(texture.astype(depth) * (np.iinfo(depth).max // 255), 6, order, big))
    image = read_gray(path)
    assert image.size == read_header(path).size == (64, 48)
    np.testing.assert_allclose(image.pixels * 255, texture, atol=1e-3)
    assert np.array_equal(read_rgb(path)[:, :, 1], texture)


def test_shrinking_keeps_the_long_side_and_never_enlarges(tmp_path, texture):
    cv2.imwrite(str(tmp_path / "a.png"), texture)
    image = read_gray(tmp_path / "a.png", max_size=31)
    assert image.pixels.shape == (23, 31) and image.size == (64, 48)
    assert image.scale_xy == (31 / 64, 23 / 48)
    assert read_gray(tmp_path / "a.png", max_size=1000).pixels.shape == (48, 64)
    assert read_gray(tmp_path / "a.png", max_size=None).pixels.shape == (48, 64)


def test_a_pixel_of_the_shrunk_photo_is_the_mean_of_those_it_maps_to(tmp_path, texture):
    cv2.imwrite(str(tmp_path / "a.png"), texture)
    image = read_gray(tmp_path / "a.png", max_size=32)
    # Resized pixel (5, 3) covers original columns 10, 11 and rows 6, 7, whose centre is (10.5, 6.5).
    np.testing.assert_allclose(to_original(np.array([[5.0, 3.0]]), image), [[10.5, 6.5]])
    np.testing.assert_allclose(image.pixels[3, 5], texture[6:8, 10:12].mean() / 255, atol=1e-6)


def test_resize_mapping_goes_there_and_back():
    image = GrayImage(np.zeros((683, 1600), np.float32), (3001, 1281), (1600 / 3001, 683 / 1281))
    xy = np.random.default_rng(0).random((100, 2)).astype(np.float32) * [1600, 683]
    np.testing.assert_allclose(to_resized(to_original(xy, image), image), xy, atol=1e-3)
    # The photo's corners, half a pixel outside its outer pixel centres, stay corners.
    np.testing.assert_allclose(
        to_original(np.array([[-0.5, -0.5], [1599.5, 682.5]]), image)[1], [3000.5, 1280.5]
    )


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp", "ppm"])
@pytest.mark.parametrize("part", [0.3, 0.95])
def test_a_truncated_file_is_refused(tmp_path, texture, suffix, part):
    path = tmp_path / f"cut.{suffix}"
    cv2.imwrite(str(path), cv2.merge([texture] * 3))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UnreadableImage, match=r"cut.*(truncated|damaged)"):
        read_gray(path)


def test_the_end_mark_of_a_thumbnail_does_not_hide_a_truncated_photo(tmp_path, texture):
    ok, data = cv2.imencode(".jpg", texture)
    thumbnail = data.tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = thumbnail[:2] + segment + thumbnail[2:]
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[:-100])
    assert ok and read_gray(tmp_path / "whole.jpg").size == (64, 48)
    with pytest.raises(UnreadableImage, match="truncated"):
        read_gray(tmp_path / "cut.jpg")


def test_useless_files_say_why(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((40, 40), np.uint8))
    reasons = {"missing.jpg": "cannot be read", "empty.jpg": "empty", "text.png": "format", "dot.png": "1x1"}
    for name, why in {**reasons, "black.png": "same value"}.items():
        with pytest.raises(UnreadableImage, match=why) as caught:
            read_gray(tmp_path / name)
        assert name in str(caught.value) and isinstance(caught.value, InputError)


def test_the_error_survives_the_way_back_from_a_worker_process(tmp_path):
    error = pickle.loads(pickle.dumps(UnreadableImage(tmp_path / "a.jpg", "is an empty file")))
    assert error.why == "is an empty file" and "a.jpg" in str(error)


def test_images_are_listed_recursively_in_order(tmp_path):
    (tmp_path / "sub dir").mkdir()
    for name in ("b.JPG", "a.png", "notes.txt", "sub dir/ü.webp"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a.png", "b.JPG", "sub dir/ü.webp"]
    with pytest.raises(InputError, match="does not exist"):
        list_images(tmp_path / "nothing")


def test_a_mask_ignores_what_is_black(tmp_path, texture):
    (tmp_path / "sub").mkdir()
    mask = np.full((48, 64), 255, np.uint8)
    mask[:, :21] = 0
    cv2.imwrite(str(tmp_path / "sub" / "a.jpg.png"), mask)
    full = GrayImage(texture / np.float32(255), (64, 48), (1.0, 1.0))
    keep = read_mask(tmp_path, "sub/a.jpg", full)
    assert not keep[:, :21].any() and keep[:, 21:].all()
    half = GrayImage(np.zeros((24, 32), np.float32), (64, 48), (0.5, 0.5))
    keep = read_mask(tmp_path, "sub/a.jpg", half)  # column 10 covers 20 (black) and 21 (white): ignored
    assert not keep[:, :11].any() and keep[:, 11:].all()
    assert read_mask(tmp_path, "other.jpg", full) is None


def test_a_mask_of_another_size_is_refused(tmp_path, texture):
    cv2.imwrite(str(tmp_path / "a.jpg.png"), np.zeros((64, 48), np.uint8))
    image = GrayImage(texture / np.float32(255), (64, 48), (1.0, 1.0))
    with pytest.raises(UnreadableImage, match=r"64x48.*mask.*48x64"):
        read_mask(tmp_path, "a.jpg", image)


def test_focal_length_from_exif(tmp_path, texture):
    def exif_focal(path):
        header = read_header(path)
        return None if header is None else header_focal(header)

    def saved(name, **tags):
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({int(tag, 16): value for tag, value in tags.items()})
        Image.fromarray(texture[:40, :60]).save(tmp_path / name, exif=exif)
        return exif_focal(tmp_path / name)

    # 60x40 has the film's 3:2 shape, so 36 mm of film are 60 pixels and a 72 mm lens has 120 of them.
    assert saved("35mm.jpg", **{"0xA405": 72}) == pytest.approx(120.0)
    # 10 mm at 50 pixels per cm (unit 3): 50 pixels.
    assert saved("plane.jpg", **{"0x920A": 10.0, "0xA20E": 50.0, "0xA210": 3}) == pytest.approx(50.0)
    # The same photo, taken at 120 pixels and shrunk to 60.
    shrunk = {"0x920A": 10.0, "0xA20E": 50.0, "0xA210": 3, "0xA002": 120}
    assert saved("shrunk.jpg", **shrunk) == pytest.approx(25.0)
    # Turned upright without loss, which leaves the sides in EXIF as they were: 60 x 40 of 40 x 120.
    turned = {**shrunk, "0xA002": 40, "0xA003": 120}
    assert saved("turned.jpg", **turned) == pytest.approx(25.0)
    assert saved("zero.jpg", **{"0xA405": 0}) is None
    assert saved("none.jpg") is None
    (tmp_path / "text.jpg").write_text("no picture")
    assert exif_focal(tmp_path / "text.jpg") is None


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux")
def test_a_name_that_is_no_text_is_an_error(tmp_path):
    open(os.fsencode(tmp_path) + b"/K\xf6ln.png", "wb").close()
    with pytest.raises(InputError, match=r"'K\\udcf6ln\.png', which is not UTF-8; rename"):
        list_images(tmp_path)
