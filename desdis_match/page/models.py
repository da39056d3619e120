"""COLMAP models as plain arrays, with the cameras' intrinsics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..colmap.arrays import Points, arrays_of, read_points_file
from ..colmap.mapping import model_summary, read_model
from ..errors import InputError
from ..support.native import pycolmap

FAR_AWAY = 1000.0
"""Scenes further from 0 than so many times their size are moved to it."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera of a model, in COLMAP's words."""

    model: str  # SIMPLE_RADIAL, ...
    width: int
    height: int
    focal: float | None  # pixels, the mean of x and y; None for a panorama
    field: float | None  # horizontal field of view without the distortion, degrees
    params: tuple[tuple[str, float], ...]  # f, cx, cy, k; (0.5, 0.5) is the centre of the first pixel


@dataclass(frozen=True)
class PhotoPose:
    """A registered camera."""

    center: list[float]  # (3,) as Model.points
    rotation: list[float]  # (9,) camera from world, by rows
    half: tuple[float, float]  # half width and half height of the image at distance 1
    camera: int = 0  # key of Model.cameras


@dataclass(frozen=True)
class Model:
    """A reconstruction as plain arrays."""

    points: NDArray[np.float32]  # (P, 3) world, less an origin where that is far away
    colors: NDArray[np.uint8]  # (P, 3) red, green, blue
    errors: NDArray[np.float32]  # (P,) mean reprojection error, pixels; 0 unknown
    lengths: NDArray[np.int64]  # (P,) images that see the point
    observations: dict[
        str, tuple[NDArray[np.int64], NDArray[np.int64]]
    ]  # by image: keypoints and their points
    poses: dict[str, PhotoPose]
    summary: dict[str, float]
    cameras: dict[int, Intrinsics]

    def track_lengths(self, name: str, num_keypoints: int) -> NDArray[np.int64]:
        """(N,) by keypoint of the image: images that see its point, 0 where it has none."""
        lengths = np.zeros(num_keypoints, np.int64)
        keypoints, points = self.observations.get(name, (np.zeros(0, np.int64),) * 2)
        lengths[keypoints] = self.lengths[points]
        return lengths

    def point_rows(self, name: str, num_keypoints: int) -> NDArray[np.int64]:
        """(N,) by keypoint of the image: row of its point, -1 where it has none."""
        rows = np.full(num_keypoints, -1, np.int64)
        keypoints, points = self.observations.get(name, (np.zeros(0, np.int64),) * 2)
        rows[keypoints] = points
        return rows


def read_page_model(folder: Path) -> Model:
    """A COLMAP model, binary or text, as arrays. Raises InputError when it is missing or damaged."""
    stored = read_model(folder)
    found = _points(folder, stored)
    origin = _origin(found.xyz)
    points = (found.xyz - origin).astype(np.float32)
    errors = np.maximum(found.errors, 0).astype(np.float32)
    by_image = np.argsort(found.images, kind="stable")
    numbers = found.images[by_image]
    poses, observations = {}, {}
    for image_id in stored.reg_image_ids():
        image = stored.images[image_id]
        camera = stored.cameras[image.camera_id]
        pose = image.cam_from_world()
        poses[image.name] = PhotoPose(
            (image.projection_center() - origin).tolist(),
            pose.rotation.matrix().ravel().tolist(),
            _half_sides(camera),
            image.camera_id,
        )
        mine = by_image[slice(*np.searchsorted(numbers, [image_id, image_id + 1]))]
        observations[image.name] = (found.keypoints[mine], found.rows[mine])
    numbers_of_poses = np.array([[*pose.center, *pose.rotation, *pose.half] for pose in poses.values()])
    if not all(np.isfinite(numbers).all() for numbers in (points, errors, numbers_of_poses)):
        raise InputError(
            f"{folder} is damaged: it has points, poses or focal lengths that cannot be; make the model again"
        )
    counted = model_summary(stored)
    summary = {
        "points": counted.num_points,
        "observations": counted.num_observations,
        "track_length": counted.mean_track_length,
        "reprojection_error": counted.mean_reprojection_error,
    }
    used = sorted({pose.camera for pose in poses.values()})
    cameras = {number: _intrinsics(stored.cameras[number]) for number in used}
    return Model(points, found.colors, errors, found.lengths, observations, poses, summary, cameras)


def _origin(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) what is taken off all places: 0, or whole units where the scene lies very far from it.

    As in UTM's metres: the 24 bits that a browser draws with would not tell points there apart.
    """
    if not len(xyz) or not np.isfinite(xyz).all():
        return np.zeros(3)
    middle = np.median(xyz, axis=0)
    spread = np.percentile(np.abs(xyz - middle).max(axis=1), 80)
    return np.round(middle) if np.abs(middle).max() > FAR_AWAY * spread else np.zeros(3)


def _points(folder: Path, stored: pycolmap.Reconstruction) -> Points:
    path = folder / "points3D.bin"
    if path.is_file():
        return read_points_file(path)
    return arrays_of(stored).points  # a model in text


def _intrinsics(camera: pycolmap.Camera) -> Intrinsics:
    focal = float(camera.mean_focal_length()) if len(camera.focal_length_idxs()) else None
    field = math.degrees(2 * math.atan(camera.width / 2 / focal)) if focal else None
    names = [name.strip() for name in camera.params_info.split(",")]
    params = tuple(zip(names, map(float, camera.params), strict=True))
    return Intrinsics(camera.model.name, camera.width, camera.height, focal, field, params)


def _half_sides(camera: pycolmap.Camera) -> tuple[float, float]:
    """Half width and height at distance 1: not finite for a damaged focal length of 0.

    A panorama, which has no focal length, is drawn as if it were 90 degrees wide.
    """
    focal = camera.mean_focal_length() if len(camera.focal_length_idxs()) else camera.width / 2
    return (camera.width / 2 / focal, camera.height / 2 / focal) if focal else (np.inf, np.inf)
