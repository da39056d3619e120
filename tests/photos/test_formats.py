"""Photos in formats beyond OpenCV's own: the same picture comes out, at the size that the header says."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, features

from desdis_match.photos import formats
from desdis_match.photos.formats import UnreadableImage, why_not_read
from desdis_match.photos.images import read_gray, read_header, read_rgb


@pytest.fixture
def picture():
    """(48, 64, 3) uint8, smooth colours."""
    noise = np.random.default_rng(0).random((6, 8, 3), np.float32)
    return (cv2.resize(noise, (64, 48), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jfif", "jp2", "avif", "heic", "jxl"])
def test_the_picture_comes_out(tmp_path, picture, suffix):
    path = tmp_path / f"photo.{suffix}"
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if suffix == "jxl":
        pytest.importorskip("pillow_jxl")
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(picture).save(path, "JPEG" if suffix == "jfif" else None, quality=95)
    assert np.abs(read_rgb(path).astype(int) - picture).mean() < 8  # HEIC halves the colours
    grey = read_gray(path)
    assert grey.size == (64, 48) == read_header(path).size
    luma = picture.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    assert np.abs(grey.pixels * 255 - luma).mean() < 4


def dng(path, mosaic):
    """An uncompressed RGGB mosaic of 16 bits as a DNG, by hand, from TIFF 6.0 and DNG 1.4."""
    height, width = mosaic.shape
    matrix = [(1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1)]
    entries = [  # tag, type, values
        (254, 4, [0]),
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16]),
        (259, 3, [1]),
        (262, 3, [32803]),
        (271, 2, b"Maker\0"),
        (272, 2, b"Model\0"),
        (273, 4, [0]),
        (277, 3, [1]),
        (278, 4, [height]),
        (279, 4, [mosaic.nbytes]),
        (33421, 3, [2, 2]),
        (33422, 1, bytes([0, 1, 1, 2])),
        (50706, 1, bytes([1, 4, 0, 0])),
        (50708, 2, b"Maker Model\0"),
        (50717, 4, [65535]),
        (50721, 10, matrix),
        (50728, 5, [(1, 1)] * 3),
        (50778, 3, [21]),
    ]
    start = 8 + 2 + 12 * len(entries) + 4
    extra, rows = b"", b""
    sizes = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 10: "ii"}
    for tag, kind, values in entries:
        if isinstance(values, bytes):
            count, data = len(values), values
        elif kind in (5, 10):
            count, data = len(values), b"".join(struct.pack(f"<{sizes[kind]}", *v) for v in values)
        else:
            count, data = len(values), struct.pack(f"<{len(values)}{sizes[kind]}", *values)
        if len(data) > 4:
            extra += b"\0" * (len(extra) % 2)
            data, extra = struct.pack("<I", start + len(extra)), extra + data
        rows += struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
    offset = start + len(extra) + len(extra) % 2
    rows = rows.replace(struct.pack("<HHII", 273, 4, 1, 0), struct.pack("<HHII", 273, 4, 1, offset))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", 0)
    path.write_bytes((head + extra).ljust(offset, b"\0") + mosaic.astype("<u2").tobytes())


def test_camera_raw_is_developed_as_stored(tmp_path):
    pytest.importorskip("rawpy")
    x, y = np.meshgrid(np.arange(128), np.arange(96))
    dng(tmp_path / "a.dng", (2000 + 400 * x + 100 * y).astype(np.uint16))
    photo = read_rgb(tmp_path / "a.dng")
    assert read_header(tmp_path / "a.dng").size == (photo.shape[1], photo.shape[0])
    assert abs(photo.shape[1] - 128) <= 8 and abs(photo.shape[0] - 96) <= 8
    grey = read_gray(tmp_path / "a.dng").pixels
    assert grey[:, -10:].mean() > grey[:, :10].mean() + 0.2  # brighter to the right, as it was written


@pytest.mark.parametrize("suffix", ["heic", "avif", "jp2", "jxl", "dng"])
def test_a_damaged_file_is_one_sentence(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(2000))
    with pytest.raises(UnreadableImage, match=r"damaged|LibRaw|extra formats"):
        read_gray(path)
    assert read_header(path) is None


@pytest.mark.parametrize(
    "suffix, module", [(".heic", "pillow_heif"), (".jxl", "pillow_jxl"), (".nef", "rawpy")]
)
def test_without_the_extra_the_way_to_have_it_is_named(monkeypatch, suffix, module):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == module else object())
    assert "desdis-match[formats]" in why_not_read(suffix).way
    monkeypatch.setattr(formats, "find_spec", lambda name: object())
    assert why_not_read(suffix) is None
