"""GPS positions: what EXIF says, what it only seems to say, and metres by the ellipsoid's own figures."""

import math

import numpy as np
import pytest
from PIL import ExifTags, Image

from desdis_match.photos.gps import (
    WGS84_RADIUS,
    Position,
    earth_centred,
    east_north_up,
    read_position,
    read_positions,
)

GPS = ExifTags.GPS
HERE = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (41.0, 30.0, 36.0),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (81.0, 45.0, 0.0),
}


def photo(path, tags):
    image = Image.new("L", (32, 32), 7)
    exif = image.getexif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(tags)
    image.save(path, exif=exif)
    return path


def test_degrees_minutes_and_seconds_with_their_letters(tmp_path):
    tags = {**HERE, GPS.GPSAltitudeRef: b"\x00", GPS.GPSAltitude: 312.5}
    assert read_position(photo(tmp_path / "a.jpg", tags)) == Position(41.51, -81.75, 312.5)


def test_below_the_sea_and_without_an_altitude(tmp_path):
    below = {**HERE, GPS.GPSAltitudeRef: b"\x01", GPS.GPSAltitude: 2.0}
    assert read_position(photo(tmp_path / "a.jpg", below)).altitude == -2.0
    assert read_position(photo(tmp_path / "b.jpg", HERE)).altitude is None


@pytest.mark.parametrize(
    "wrong",
    [
        {GPS.GPSStatus: "V"},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLatitudeRef: ""},
    ],
)
def test_what_cannot_be_a_position_is_none(tmp_path, wrong):
    assert read_position(photo(tmp_path / "a.jpg", {**HERE, **wrong})) is None


def test_photos_without_exif_damaged_or_missing_have_no_position(tmp_path):
    photo(tmp_path / "a.jpg", HERE)
    Image.new("L", (32, 32)).save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:60])
    found = read_positions(tmp_path, ["a.jpg", "b.png", "c.jpg", "d.jpg"])
    assert list(found) == ["a.jpg"]


def test_the_ellipsoid_at_the_equator_and_the_pole():
    got = earth_centred([Position(0, 0), Position(0, 90, 10.0), Position(90, 0)])
    polar_radius = 6356752.3142  # WGS84's semi-minor axis
    wanted = [[WGS84_RADIUS, 0, 0], [0, WGS84_RADIUS + 10, 0], [0, 0, polar_radius]]
    assert np.allclose(got, wanted, atol=1e-4)


def test_a_second_of_arc_north_and_east_in_metres():
    origin = Position(45.0, 7.0, 100.0)
    second = 1 / 3600
    moved = [Position(45.0 + second, 7.0, 100.0), Position(45.0, 7.0 + second, 100.0), Position(45, 7, 103.0)]
    got = east_north_up(moved, origin)
    # Radii of curvature at 45 degrees: meridian 6367381.8 m, prime vertical 6388838.3 m, 100 m higher up.
    north = math.radians(second) * (6367381.8 + 100)
    east = math.radians(second) * (6388838.3 + 100) * math.cos(math.radians(45))
    assert np.allclose(got, [[0, north, 0], [east, 0, 0], [0, 0, 3]], atol=2e-3)
