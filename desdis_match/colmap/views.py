"""What photos with known poses can see: for pairs by view frusta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..matching.pairs import View
from ..support.names import by_ends
from ..support.native import pycolmap
from .poses import read_poses

Float = NDArray[np.float64]

MOST_FIELD = 10.0
"""Half a photo's width on the plane z = 1, 84 degrees off the axis, from which on it sees all around."""

BORDER = 9
"""Points along each side of a photo that tell where its border lies on the plane z = 1."""

POINTS_ASKED = 200
"""Points of a model that tell how far a photo sees, spread over all that it shows."""

MIN_POINTS = 10
"""Points of a model from which on they tell it."""

FARTHEST, NEAREST = 95.0, 5.0
"""Percentiles of their depths."""


def read_views(path: Path, names: Sequence[str], cameras: Mapping[str, pycolmap.Camera]) -> dict[str, View]:
    """Views of those of the photos `names` that `path` has poses for, as `read_poses` reads them.

    cameras: by photo. A COLMAP model with points tells how far each photo sees. Raises InputError.
    """
    poses = read_poses(path, names)
    depths = by_ends(_depths(path), names) if path.is_dir() else {}
    return {name: _view(pose, cameras[name], depths.get(name)) for name, pose in poses.items()}


def _view(pose: pycolmap.Rigid3d, camera: pycolmap.Camera, depths: tuple[float, float] | None) -> View:
    lengths = len(camera.focal_length_idxs())
    focal = camera.mean_focal_length() if lengths else camera.width / (2 * np.pi)
    return View(np.asarray(pose.matrix(), np.float64), field_of(camera), focal, depths)


def field_of(camera: pycolmap.Camera) -> Float:
    """(4,) left, right, top, bottom of a photo on the plane z = 1; infinite for one that sees all around."""
    x, y = (np.linspace(0.0, side, BORDER) for side in (camera.width, camera.height))
    sides = [(x, 0 * x), (x, 0 * x + camera.height), (0 * y, y), (0 * y + camera.width, y)]
    border = np.concatenate([np.stack(side, axis=1) for side in sides])
    on_plane = np.asarray(camera.cam_from_img(border), np.float64).reshape(-1, 2)
    if np.isfinite(on_plane).all() and np.abs(on_plane).max() < MOST_FIELD:
        back = np.asarray(camera.img_from_cam(np.column_stack([on_plane, np.ones(len(border))])))
        if np.abs(back.reshape(-1, 2) - border).max() < 1.0:  # else it bends beyond the plane's side
            (left, top), (right, bottom) = on_plane.min(axis=0), on_plane.max(axis=0)
            return np.array([left, right, top, bottom])
    return np.array([-np.inf, np.inf, -np.inf, np.inf])


def _depths(folder: Path) -> dict[str, tuple[float, float]]:
    """Nearest and farthest of the points that each photo of a model shows."""
    from .mapping import read_model  # which imports poses.py

    model = read_model(folder)
    found = {}
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        seen = image.get_observation_point2D_idxs()
        asked = [image.point2D(i).point3D_id for i in seen[:: max(1, len(seen) // POINTS_ASKED)]]
        places = np.array([model.point3D(i).xyz for i in asked]).reshape(-1, 3)
        inside = np.asarray(image.cam_from_world() * places).reshape(-1, 3)
        ahead = inside[inside[:, 2] > 0, 2]
        if len(ahead) >= MIN_POINTS:
            near, far = np.percentile(ahead, [NEAREST, FARTHEST])
            found[image.name] = (float(near), float(far))
    return found
