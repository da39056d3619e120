"""Where a photo was taken: EXIF's GPS position, and positions as metres.

Latitude and longitude are degrees of WGS84 (north and east positive), altitudes metres as the camera wrote
them: above sea level by EXIF's definition, above the ellipsoid or the starting point with many a drone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import open_header

WGS84_RADIUS = 6378137.0
"""Semi-major axis of the ellipsoid, metres (NIMA TR8350.2)."""
WGS84_FLATTENING = 1 / 298.257223563


@dataclass(frozen=True)
class Position:
    """A place on earth."""

    latitude: float  # degrees, north positive
    longitude: float  # degrees, east positive
    altitude: float | None = None  # metres, None where the photo does not say


def read_position(path: Path) -> Position | None:
    """The position in a photo's EXIF; None where there is none, or none that can be one.

    No position: a receiver that said it had no fix (GPSStatus V), numbers out of range, and 0, 0, which is
    what software without a fix writes.
    """
    from PIL import ExifTags

    try:
        with open_header(path) as image:
            tags = dict(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
    except Exception:  # EXIF is a hint, and Pillow has many ways to stumble over a damaged one
        return None
    return position_of_tags(tags)


def position_of_tags(tags: Mapping[int, Any]) -> Position | None:
    """The same from EXIF's GPS directory."""
    from PIL.ExifTags import GPS

    latitude = _degrees(tags.get(GPS.GPSLatitude), tags.get(GPS.GPSLatitudeRef), "S")
    longitude = _degrees(tags.get(GPS.GPSLongitude), tags.get(GPS.GPSLongitudeRef), "W")
    if latitude is None or longitude is None or _letter(tags.get(GPS.GPSStatus)) == "V":
        return None
    if abs(latitude) > 90 or abs(longitude) > 180 or (latitude == 0 and longitude == 0):
        return None
    altitude = _number(tags.get(GPS.GPSAltitude))
    if altitude is not None and tags.get(GPS.GPSAltitudeRef) in (1, b"\x01"):
        altitude = -altitude
    return Position(latitude, longitude, altitude)


def read_positions(images: Path, names: Sequence[str], threads: int = 4) -> dict[str, Position]:
    """Positions of photos `names` below `images`, of those that have one; missing photos have none."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        found = pool.map(lambda name: read_position(Path(images) / name), names)
        return {name: position for name, position in zip(names, found, strict=True) if position is not None}


def same_heights(positions: Sequence[Position]) -> list[Position]:
    """The same with heights where all have one, else all at 0: some would tilt the others."""
    if all(position.altitude is not None for position in positions):
        return list(positions)
    return [Position(position.latitude, position.longitude, 0.0) for position in positions]


def earth_centred(positions: Iterable[Position]) -> NDArray[np.float64]:
    """(N, 3) metres from the earth's centre (ECEF: x to 0 N 0 E, z to the pole); no altitude counts as 0."""
    rows = [(p.latitude, p.longitude, p.altitude or 0.0) for p in positions]
    latitude, longitude, altitude = np.asarray(rows, np.float64).reshape(-1, 3).T
    phi, lam = np.radians(latitude), np.radians(longitude)
    squared_eccentricity = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    normal = WGS84_RADIUS / np.sqrt(1 - squared_eccentricity * np.sin(phi) ** 2)
    x = (normal + altitude) * np.cos(phi) * np.cos(lam)
    y = (normal + altitude) * np.cos(phi) * np.sin(lam)
    z = (normal * (1 - squared_eccentricity) + altitude) * np.sin(phi)
    return np.stack([x, y, z], axis=1)


def east_north_up(positions: Sequence[Position], origin: Position) -> NDArray[np.float64]:
    """(N, 3) metres east, north and up of `origin` in the plane that touches the ellipsoid there."""
    phi, lam = math.radians(origin.latitude), math.radians(origin.longitude)
    enu_from_ecef = np.array(
        [
            [-math.sin(lam), math.cos(lam), 0.0],
            [-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)],
            [math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)],
        ]
    )
    result: NDArray[np.float64] = (earth_centred(positions) - earth_centred([origin])) @ enu_from_ecef.T
    return result


def _degrees(value: Any, reference: Any, negative: str) -> float | None:
    """Degrees, minutes and seconds with their letter; a value without a letter is none."""
    letter = _letter(reference)
    try:
        parts = [float(part) for part in value]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not letter or not parts or not all(math.isfinite(part) for part in parts):
        return None
    angle = sum(part / 60**i for i, part in enumerate(parts[:3]))
    result: float | None = -angle if letter == negative else angle
    return result


def _letter(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
