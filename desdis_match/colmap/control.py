"""Ground control by file: comma-separated rows, `#` begins a comment.

frame, local                            (coordinates are metres x, y, z; without this row they are
                                         latitude, longitude, altitude)
point, P1, 48.13611, 11.57222, 520.1    where a marked point is
camera, IMG_0001.jpg, 48.1, 11.5, 520   where a photo was taken
mark, P1, IMG_0001.jpg, 1234.5, 678.9   where a photo shows it: pixels, (0, 0) the centre of the first
distance, P1, P2, 1.25                  metres between two marked points or two photos
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..conventions import to_colmap
from ..errors import InputError
from ..support.files import read_rows
from ..support.native import pycolmap

ROWS = {"frame": 1, "point": 4, "camera": 4, "mark": 4, "distance": 3}
"""Fields behind the first, by kind of row."""


@dataclass
class Control:
    """What a control file says."""

    local: bool = False  # coordinates are x, y, z in metres, not latitude, longitude, altitude
    points: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    cameras: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    marks: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)  # photo, x, y
    distances: list[tuple[str, str, float]] = field(default_factory=list)


def read_control(path: Path) -> Control:
    """Raises InputError naming the line that is wrong."""
    control = Control()
    for number, row in enumerate(read_rows(path, "a control file"), start=1):
        fields = [part.strip() for part in row]
        if not any(fields) or fields[0].startswith("#"):
            continue
        where, kind, rest = f"{path}, line {number}", fields[0].lower(), fields[1:]
        if kind not in ROWS or len(rest) != ROWS[kind]:
            wanted = (
                f"a row '{kind}' has {ROWS[kind]} fields more" if kind in ROWS else f"rows: {', '.join(ROWS)}"
            )
            raise InputError(f"{where}: '{', '.join(fields)}' is no row of a control file; {wanted}")
        try:
            _add(control, kind, rest)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
    if not (control.points or control.cameras or control.distances):
        raise InputError(f"{path} says no positions and no distances")
    return control


def _add(control: Control, kind: str, rest: list[str]) -> None:
    if kind == "frame":
        if rest[0].lower() not in ("local", "wgs84"):
            raise ValueError(f"the frame '{rest[0]}' is unknown; there are local and wgs84")
        control.local = rest[0].lower() == "local"
    elif kind == "mark":
        control.marks.setdefault(rest[0], []).append((rest[1], float(rest[2]), float(rest[3])))
    elif kind == "distance":
        if float(rest[2]) <= 0:
            raise ValueError(f"the distance {rest[2]} is not above 0")
        control.distances.append((rest[0], rest[1], float(rest[2])))
    else:
        places = control.points if kind == "point" else control.cameras
        places[rest[0]] = (float(rest[1]), float(rest[2]), float(rest[3]))


def marked_points(model: pycolmap.Reconstruction, control: Control) -> dict[str, NDArray[np.float64]]:
    """(3,) in the model's world of the points that two of its photos or more show."""
    images = {image.name: image for image in model.images.values() if image.has_pose}
    found = {}
    for name, marks in control.marks.items():
        rays = [_ray(model, images[photo], x, y) for photo, x, y in marks if photo in images]
        if len(rays) >= 2:
            found[name] = _meeting(rays)
    return found


def _ray(
    model: pycolmap.Reconstruction, image: pycolmap.Image, x: float, y: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Origin and unit direction in the world."""
    camera = model.camera(image.camera_id)
    in_camera = np.append(camera.cam_from_img(to_colmap(np.array([[x, y]])))[0], 1.0)
    direction = image.cam_from_world().rotation.matrix().T @ in_camera
    return np.asarray(image.projection_center()), direction / np.linalg.norm(direction)


def _meeting(rays: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The point nearest to all rays by least squares."""
    across = [np.eye(3) - np.outer(direction, direction) for _, direction in rays]
    right = sum(a @ origin for a, (origin, _) in zip(across, rays, strict=True))
    return np.linalg.solve(np.sum(across, axis=0), right)
