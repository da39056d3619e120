"""Full panoramas are told from other photos that are twice as wide as high."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from desdis_match.photos.cameras import CameraConfig, assign_cameras, read_photo_info
from desdis_match.photos.panoramas import is_panorama

SIZE = (512, 256)


def rendered(longitudes: float) -> np.ndarray:
    """A textured sphere seen all round (1.0) or over a part of the longitudes."""
    rng = np.random.default_rng(0)
    lon = (np.arange(SIZE[0]) + 0.5) / SIZE[0] * 2 * np.pi * longitudes
    lat = ((np.arange(SIZE[1]) + 0.5) / SIZE[1] - 0.5) * np.pi
    lon, lat = np.meshgrid(lon, lat)
    x, y, z = np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)
    grey = np.zeros_like(x)
    for _ in range(60):
        a, b, c = rng.normal(0, 6, 3)
        grey += np.sin(a * x + b * y + c * z + rng.uniform(0, 6))
    grey = (grey - grey.min()) / np.ptp(grey)
    return np.repeat((255 * grey).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize(("longitudes", "panorama"), [(1.0, True), (0.45, False)])
def test_the_sides_meet_and_the_poles_are_points(tmp_path: Path, longitudes: float, panorama: bool) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), rendered(longitudes))
    assert is_panorama(tmp_path / "a.jpg", SIZE) is panorama
    assert not is_panorama(tmp_path / "a.jpg", (640, 480))
    (camera,), _ = assign_cameras(read_photo_info(tmp_path, {"a.jpg": SIZE}), CameraConfig())
    assert camera.model_name == ("EQUIRECTANGULAR" if panorama else "SIMPLE_RADIAL")


def test_a_file_may_say_so(tmp_path: Path) -> None:
    plain = Image.fromarray(rendered(0.45))
    xmp = b"<x:xmpmeta><GPano:ProjectionType>equirectangular</GPano:ProjectionType></x:xmpmeta>"
    plain.save(tmp_path / "a.jpg", xmp=xmp)
    assert is_panorama(tmp_path / "a.jpg", SIZE)
