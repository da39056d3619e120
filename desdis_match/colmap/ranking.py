"""What a model is worth: photos that its points hold, not photos that it lists.

COLMAP calls a model one with three photos and thirteen points. Here a point counts when several photos agree
on it from different directions, and a photo when it sees enough such points through a camera that can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap

MIN_SOLID_POINTS = 8
"""Solid points that hold a photo: six fix a pose and a focal length, two more than that check them."""

MAX_ERROR = 4.0
"""Mean reprojection error of a solid point, pixels: COLMAP's filter_max_reproj_error."""

MIN_ANGLE = np.radians(1.5)
"""Widest angle between two rays of a solid point: COLMAP's filter_min_tri_angle..."""

MIN_ANGLE_OF_TWO = np.radians(4.0)
"""...and where only two photos see it, so that no third could disagree."""

FOCAL_RATIO = (0.3, 5.0)
"""Focal length over long side of a camera that was not known before: from 11 to 180 mm on 35 mm film."""


@dataclass(frozen=True, order=True)
class Standing:
    """Models compare by it: photos that are held, then photos listed, then solid points."""

    num_held: int = 0
    num_registered: int = 0
    num_solid_points: int = 0


@dataclass(frozen=True)
class Rated:
    """A model and what it is worth, found out once."""

    model: pycolmap.Reconstruction
    held: frozenset[str]  # names of the photos that see enough solid points
    standing: Standing


def rated(model: pycolmap.Reconstruction) -> Rated:
    """Rate a model, as it is now."""
    seen = observed(model)
    points = solid_points(model, seen)
    held = frozenset(_held(model, points, seen))
    return Rated(model, held, Standing(len(held), model.num_reg_images(), len(points)))


def standing(model: pycolmap.Reconstruction) -> Standing:
    """What a model is worth."""
    return rated(model).standing


def registered_names(model: pycolmap.Reconstruction) -> set[str]:
    """Names of the photos of a model, held or not."""
    return {model.image(image_id).name for image_id in model.reg_image_ids()}


def held_images(model: pycolmap.Reconstruction) -> frozenset[str]:
    """Names of the photos that see enough solid points."""
    return rated(model).held


def weak_photos(model: pycolmap.Reconstruction) -> list[str]:
    """A sentence that names the photos of a model that hardly anything holds, if there are any."""
    weak = sorted(registered_names(model) - held_images(model))
    if not weak:
        return []
    named = ", ".join(weak[:5]) + (f" and {len(weak) - 5} more" if len(weak) > 5 else "")
    return [
        f"{len(weak)} of the {model.num_reg_images()} placed photos see fewer than {MIN_SOLID_POINTS} points "
        f"that hold up, or have a focal length that no lens has; do not rely on their poses: {named}"
    ]


def best_first(models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """Best first."""
    if len(models) < 2:
        return list(models)
    return sorted(models, key=standing, reverse=True)


def observed(model: pycolmap.Reconstruction) -> dict[int, NDArray[np.int64]]:
    """Ids of the points that each registered photo sees, ascending: the slow part of whatever needs them."""
    return {
        image_id: np.unique([p.point3D_id for p in model.image(image_id).get_observation_points2D()]).astype(
            np.int64
        )
        for image_id in model.reg_image_ids()
    }


def _held(model: pycolmap.Reconstruction, solid: set[int], seen: Mapping[int, NDArray[np.int64]]) -> set[str]:
    wanted = np.array(sorted(solid), np.int64)
    held = set()
    for image_id, points in seen.items():
        image = model.image(image_id)
        num = int(np.isin(points, wanted, assume_unique=True).sum())
        if num >= MIN_SOLID_POINTS and is_possible(model.camera(image.camera_id)):
            held.add(image.name)
    return held


def is_possible(camera: pycolmap.Camera) -> bool:
    """Whether a lens can be so: bundle adjustment may leave a focal length near zero or below."""
    lengths = [camera.params[i] for i in camera.focal_length_idxs()]
    if camera.has_prior_focal_length:
        return min(lengths, default=1.0) > 0
    low, high = (ratio * max(camera.width, camera.height) for ratio in FOCAL_RATIO)
    return bool(np.isfinite(camera.params).all()) and all(low <= length <= high for length in lengths)


def solid_points(model: pycolmap.Reconstruction, seen: Mapping[int, NDArray[np.int64]]) -> set[int]:
    """Ids of the points that hold up: small error, seen from two directions, or surely from three photos.

    seen: of `observed`.
    """
    points = list(model.points3D.items())
    ids = np.array([point_id for point_id, _ in points], np.int64)
    places = np.array([point.xyz for _, point in points]).reshape(-1, 3)
    errors = np.array([point.error for _, point in points])
    order = np.argsort(ids)
    rows, rays = [], []
    for image_id, point_ids in seen.items():
        at = order[np.searchsorted(ids, point_ids, sorter=order)]
        rows.append(at)
        rays.append(model.image(image_id).projection_center() - places[at])
    if not rows:
        return set()
    row, ray = np.concatenate(rows), np.concatenate(rays)
    num_photos = np.bincount(row, minlength=len(ids))
    widest = _widest_angles(row, ray, len(ids))
    enough = np.where(num_photos > 2, MIN_ANGLE, MIN_ANGLE_OF_TWO)
    return set(ids[(errors <= MAX_ERROR) & (num_photos >= 2) & (widest >= enough)].tolist())


def _widest_angles(row: NDArray[np.int64], ray: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count,) radians: the widest angle of each point's rays with two of them, at least half the true one.

    row: (M,) the point of each ray (M, 3). The two are the first ray and the one furthest from it.
    """
    unit = ray / np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-12)
    widest = np.zeros(count)
    first = np.zeros((count, 3))
    first[row[::-1]] = unit[::-1]
    for _ in range(2):
        angle = np.arccos(np.clip((unit * first[row]).sum(1), -1.0, 1.0))
        np.maximum.at(widest, row, angle)
        furthest = np.lexsort((angle, row))  # the last of each point has the widest angle
        first[row[furthest]] = unit[furthest]
    return widest
