"""Observations of a model's points with the frame of the patch around each, as alignment.py compares them.

views = views_of(model, sigmas)                         # what each photo sees of each point
seen = observations(views, references(views), radius)   # every patch as its track's reference sees it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import from_colmap, pixel_of
from .arrays import arrays_of
from .tangent_planes import inverse, normals, tangents

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Views:
    """Observations of a model's points; row by row, with what the surface around a point looks like there."""

    photo: Int  # (M,) row of `names`
    keypoint: Int  # (M,) index within the photo
    point: Int  # (M,) row of the point
    facing: Float  # (M,) cosine of the ray and the middle of the point's rays
    xy: Float  # (M, 2) pixels
    sigma: Float  # (M,) of the keypoint, pixels
    jacobians: Float  # (M, 2, 2) pixels by lengths along the point's tangent plane
    names: tuple[str, ...]
    pixel: Float  # (len(names),) conventions.pixel_of


@dataclass(frozen=True)
class Observations:
    """Observations of a model's points; row by row, with the frame of the patch around each."""

    photo: Int  # (M,) row of `names`
    keypoint: Int  # (M,) index within the photo
    reference: Int  # (M,) row of the track's reference observation; its own for a reference
    frames: Float  # (M, 2, 3) patch coordinates in [-1, 1] -> pixels
    names: tuple[str, ...]
    pixel: Float  # (len(names),) conventions.pixel_of

    def of(self, rows: Int) -> Observations:
        """Those of `rows` alone, which are whole tracks."""
        place = np.full(len(self.photo), -1, np.int64)
        place[rows] = np.arange(len(rows))
        reference = place[self.reference[rows]]
        return Observations(
            self.photo[rows], self.keypoint[rows], reference, self.frames[rows], self.names, self.pixel
        )


def views_of(model: Any, sigmas: Mapping[str, NDArray[np.float32]]) -> Views:
    """Of a `pycolmap.Reconstruction`; `sigmas`: name -> (N,) of its keypoints."""
    arrays = arrays_of(model)
    places, point_of, keypoint = arrays.points.xyz, arrays.points.rows, arrays.points.keypoints
    by_row = sorted((i for i in model.images.values() if i.has_pose), key=lambda image: image.name)
    row_of = {image.image_id: row for row, image in enumerate(by_row)}
    ids = np.array(sorted(row_of), np.int64)
    photo = np.array([row_of[i] for i in ids.tolist()], np.int64)[np.searchsorted(ids, arrays.points.images)]
    centres = np.array([image.projection_center() for image in by_row]).reshape(-1, 3)
    rays = centres[photo] - places[point_of]
    distance = np.linalg.norm(rays, axis=1)
    rays /= distance[:, None]
    towards = np.zeros_like(places)
    np.add.at(towards, point_of, rays)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    across, down = tangents(normals(places, towards))
    xy, sigma, pixel = np.empty((len(photo), 2)), np.empty(len(photo)), np.ones(len(by_row))
    jacobians = np.empty((len(photo), 2, 2))
    for row, image in enumerate(by_row):
        rows = np.flatnonzero(photo == row)
        camera = model.cameras[image.camera_id]
        world = places[point_of[rows]]
        step = distance[rows, None] * 2e-3
        pose = image.cam_from_world()

        def seen(xyz: Float, camera: Any = camera, pose: Any = pose) -> Float:
            return np.asarray(camera.img_from_cam(pose * xyz), np.float64)

        middle = seen(world)
        for column, tangent in enumerate((across, down)):
            jacobians[rows, :, column] = (seen(world + step * tangent[point_of[rows]]) - middle) / step
        xy[rows] = from_colmap(arrays.keypoints[image.image_id][keypoint[rows]])
        sigma[rows] = sigmas[image.name][keypoint[rows]]
        pixel[row] = pixel_of(max(camera.width, camera.height))
    facing = (rays * towards[point_of]).sum(1)
    names = tuple(image.name for image in by_row)
    return Views(photo, keypoint, point_of, facing, xy, sigma, jacobians, names, pixel)


def references(views: Views, among: NDArray[np.bool_] | None = None) -> Int:
    """(M,) for each observation the row of that of its point which sees it most from the middle.

    among: (M,) which may be it; where none of a point may, any is.
    """
    barred = np.zeros(len(views.point), np.bool_) if among is None else ~among
    order = np.lexsort((-views.facing, barred, views.point))
    _, starts, inverse = np.unique(views.point[order], return_index=True, return_inverse=True)
    result = np.empty(len(order), np.int64)
    result[order] = order[starts][inverse]
    return result


def observations(views: Views, reference: Int, radius: Float) -> Observations:
    """Frames of the patches as each track's reference, its row in (M,), sees them.

    radius: (M,) half side in pixels of the patch around each observation where it is the reference.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        back = inverse(views.jacobians[reference])
    shapes = views.jacobians @ back * radius[reference][:, None, None]
    frames = np.concatenate([shapes, views.xy[:, :, None]], 2)
    return Observations(views.photo, views.keypoint, reference, frames, views.names, views.pixel)
