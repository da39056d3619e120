"""What a model is worth: photos that its points hold, not photos that it lists.

COLMAP calls a model one with three photos and thirteen points. Here a point counts when several photos agree
on it from different directions, and a photo when it sees enough such points through a camera that can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap
from .arrays import arrays_of

Float = NDArray[np.float64]

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
class Cloud:
    """Points of a model and who sees them, read once: pycolmap hands them out one by one."""

    places: Float  # (P, 3)
    errors: Float  # (P,) mean reprojection error, pixels
    seen: dict[int, NDArray[np.int64]]  # rows of the points that each registered photo sees, ascending


@dataclass(frozen=True)
class Rated:
    """A model and what it is worth, found out once."""

    model: pycolmap.Reconstruction
    held: frozenset[str]  # names of the photos that see enough solid points
    standing: Standing
    cloud: Cloud


def cloud_of(model: pycolmap.Reconstruction) -> Cloud:
    """A model's points, by ascending ids."""
    points = arrays_of(model).points
    order = np.lexsort((points.rows, points.images))
    rows, images = points.rows[order], points.images[order]
    ends = {i: np.searchsorted(images, [i, i + 1]) for i in model.reg_image_ids()}
    seen = {image_id: np.unique(rows[slice(*where)]) for image_id, where in ends.items()}
    return Cloud(points.xyz, points.errors, seen)


def rated(model: pycolmap.Reconstruction) -> Rated:
    """Rate a model, as it is now."""
    cloud = cloud_of(model)
    solid = are_solid(model, cloud)
    held = frozenset(_held(model, solid, cloud))
    return Rated(model, held, Standing(len(held), model.num_reg_images(), int(solid.sum())), cloud)


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


def _held(model: pycolmap.Reconstruction, solid: NDArray[np.bool_], cloud: Cloud) -> set[str]:
    held = set()
    for image_id, rows in cloud.seen.items():
        image = model.image(image_id)
        if solid[rows].sum() >= MIN_SOLID_POINTS and is_possible(model.camera(image.camera_id)):
            held.add(image.name)
    return held


def is_possible(camera: pycolmap.Camera) -> bool:
    """Whether a lens can be so: bundle adjustment may leave a focal length near zero or below."""
    lengths = [camera.params[i] for i in camera.focal_length_idxs()]
    if camera.has_prior_focal_length:
        return min(lengths, default=1.0) > 0
    low, high = (ratio * max(camera.width, camera.height) for ratio in FOCAL_RATIO)
    return bool(np.isfinite(camera.params).all()) and all(low <= length <= high for length in lengths)


def are_solid(model: pycolmap.Reconstruction, cloud: Cloud) -> NDArray[np.bool_]:
    """(P,) which points hold up: small error, seen from two directions, or surely from three photos."""
    num = len(cloud.places)
    if not num or not cloud.seen:
        return np.zeros(num, np.bool_)
    row = np.concatenate(list(cloud.seen.values()))
    rays = np.concatenate(
        [model.image(i).projection_center() - cloud.places[rows] for i, rows in cloud.seen.items()]
    )
    num_photos = np.bincount(row, minlength=num)
    enough = np.where(num_photos > 2, MIN_ANGLE, MIN_ANGLE_OF_TWO)
    widest = _widest_angles(row, rays, num)
    return np.asarray((cloud.errors <= MAX_ERROR) & (num_photos >= 2) & (widest >= enough))


def _widest_angles(row: NDArray[np.int64], ray: Float, count: int) -> Float:
    """(count,) radians: the widest angle of each point's rays with two of them, at least half the true one.

    row: (M,) the point of each ray (M, 3). The two are the first ray and the one furthest from it.
    """
    order = np.argsort(row, kind="stable")
    row, ray = row[order], ray[order]
    unit = ray / np.maximum(np.sqrt(np.einsum("ij,ij->i", ray, ray)), 1e-12)[:, None]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    number = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(row)))  # of each ray's point
    least, of = np.ones(len(starts)), unit[starts]
    for _ in range(2):
        cosine = np.einsum("ij,ij->i", unit, of[number])
        smallest = np.minimum.reduceat(cosine, starts)
        least = np.minimum(least, smallest)
        furthest = np.flatnonzero(cosine == smallest[number])
        of[number[furthest]] = unit[furthest]
    widest = np.zeros(count)
    widest[row[starts]] = np.arccos(np.clip(least, -1.0, 1.0))
    return widest


def leave_out_misfits(model: pycolmap.Reconstruction) -> None:
    """Drop observations beyond MAX_ERROR and points seen under less than MIN_ANGLE, as COLMAP's mappers do.

    Points behind a camera go with them. The errors of the points left are computed anew.
    """
    pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR, float(np.degrees(MIN_ANGLE)))
    model.update_point_3d_errors()


def leave_out_unseeing(model: pycolmap.Reconstruction) -> None:
    """Take the poses of photos that see no point at all, as COLMAP's mappers do: nothing speaks for them."""
    for frame_id in model.reg_frame_ids():
        images = [model.image(data.id) for data in model.frame(frame_id).image_ids]
        if not any(image.num_points3D for image in images):
            model.deregister_frame(frame_id)
