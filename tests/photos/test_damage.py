"""Photos damaged in part are left out with the decoder's words, or kept where that is asked for."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from desdis_match.photos import damage, formats
from desdis_match.photos.damage import decoder_words, too_large
from desdis_match.photos.formats import UnreadableImage
from desdis_match.photos.images import read_gray


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 255, (120, 160, 3), np.uint8), (320, 240))


def with_hole(suffix: str) -> bytes:
    data = bytearray(cv2.imencode(suffix, picture())[1].tobytes())
    size = len(data) // 4
    data[2 * size : 3 * size] = bytes(size)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_a_photo_with_a_hole_is_left_out_and_the_decoder_says_why(tmp_path: Path, suffix: str, capfd) -> None:
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(with_hole(suffix))
    with pytest.raises(UnreadableImage, match="damaged") as error:
        read_gray(path)
    assert error.value.path == path
    assert capfd.readouterr().err == ""


def test_it_is_used_where_asked_for_with_a_warning_that_names_it(tmp_path: Path, caplog) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_hole(".jpg"))
    assert read_gray(path, keep_damaged=True).size == (320, 240)
    assert str(path) in caplog.text and "Corrupt JPEG data" in caplog.text


def test_of_a_photo_judged_before_nothing_is_said_and_descriptor_2_stays(
    tmp_path: Path, caplog, monkeypatch
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_hole(".jpg"))
    expected = read_gray(path, keep_damaged=True).pixels
    caplog.clear()
    monkeypatch.setattr(formats, "decoder_words", lambda: pytest.fail("another thread may be at it"))
    np.testing.assert_array_equal(read_gray(path, judged=True).pixels, expected)
    assert caplog.text == ""


def test_whole_photos_have_no_words(tmp_path: Path, caplog) -> None:
    for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp"):
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(cv2.imencode(suffix, picture())[1].tobytes())
        assert read_gray(path).size == (320, 240)
    assert caplog.text == ""


def test_words_come_from_the_file_descriptor_and_it_is_given_back(capfd) -> None:
    with decoder_words() as words:
        os.write(2, b"Corrupt JPEG data: hole\n\n")
    os.write(2, b"after\n")
    assert words == ["Corrupt JPEG data: hole"]
    assert capfd.readouterr().err == "after\n"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory, of Linux")
def test_words_need_no_room_on_a_disk(monkeypatch, tmp_path: Path) -> None:
    """Else a damaged photo would pass for a whole one where the temporary folder is full."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with decoder_words() as words:
        os.write(2, b"Corrupt JPEG data: hole\n")
    assert words == ["Corrupt JPEG data: hole"]


def test_a_small_file_that_claims_gigabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1 << 18, 1 << 18, 8, 0, 0, 0, 0)
    body = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(body)
    with pytest.raises(UnreadableImage, match="68719 megapixels"):
        read_gray(tmp_path / "bomb.png")


def test_memory_is_counted_by_pixels(monkeypatch) -> None:
    monkeypatch.setattr(damage, "available_memory", lambda: 140_000)
    assert too_large((10, 100), 140) is None
    assert "0.0 GiB" in str(too_large((10, 101), 140))
    monkeypatch.setattr(damage, "available_memory", lambda: None)
    assert too_large((1 << 20, 1 << 20), 140) is None
