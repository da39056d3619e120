"""Sentences for people on models: several pieces, photos that nothing holds, a lens that does not fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..support.native import pycolmap
from .ranking import weak_photos

PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
"""Camera models whose pixels go to infinity at 90 degrees off the axis."""

FISHEYE = "OPENCV_FISHEYE"

SHORT_FOCAL = 0.35
"""Focal length over long side below which a lens is taken for a fisheye, 110 degrees across..."""

BENDS = -0.05
"""...if its k1 is below: without distortion it is a wide lens, or a focal length that is wrong."""

NAMED_MODELS = 5


def remarks(models: Sequence[pycolmap.Reconstruction]) -> list[str]:
    """All sentences on models, the best of them first."""
    if not models:
        return []
    return [*several_models(models), *weak_photos(models[0]), *lens_remarks(models[0])]


def several_models(models: Sequence[pycolmap.Reconstruction]) -> list[str]:
    """A sentence where the photos fell into pieces."""
    if len(models) < 2:
        return []
    sizes = [f"sparse/{i} of {model.num_reg_images()}" for i, model in enumerate(models[:NAMED_MODELS])]
    more = f" and {len(models) - NAMED_MODELS} more" if len(models) > NAMED_MODELS else ""
    return [
        f"the photos make {len(models)} models that nothing joins ({', '.join(sizes)}{more} photos), each in "
        "coordinates and a scale of its own: photos between those places would join them; photos taken from "
        "one spot, as for a panorama, never make a whole"
    ]


def lens_remarks(model: pycolmap.Reconstruction) -> list[str]:
    """A sentence that suggests a fisheye model where the photos' corners say that the lens is one."""
    bent = []
    for camera_id in sorted({model.image(i).camera_id for i in model.reg_image_ids()}):
        camera = model.camera(camera_id)
        if camera.model.name in PERSPECTIVE:
            focal = camera.mean_focal_length() / max(camera.width, camera.height)
            if (focal < SHORT_FOCAL and _bends(camera)) or _folds(camera):
                bent.append(f"focal length {focal:.2f} of the long side")
    if not bent:
        return []
    return [
        f"{len(bent)} of the cameras look like a fisheye ({bent[0]}), whose corners no perspective camera "
        f"can show: try --camera-model {FISHEYE}"
    ]


def _radial(camera: pycolmap.Camera) -> tuple[float, float] | None:
    """k1 and k2; None for a camera without."""
    if camera.model.name not in ("SIMPLE_RADIAL", "RADIAL", "OPENCV"):
        return None
    k = [*camera.params[len(camera.focal_length_idxs()) + 2 :], 0.0]
    return float(k[0]), float(k[1])


def _bends(camera: pycolmap.Camera) -> bool:
    """Whether straight lines bow outwards, or nobody asked."""
    k = _radial(camera)
    return k is None or k[0] < BENDS


def _folds(camera: pycolmap.Camera) -> bool:
    """Whether radial distortion turns back inside the photo: r (1 + k1 r^2 + k2 r^4) no longer grows.

    An equidistant fisheye seen as SIMPLE_RADIAL has k1 = -1/3, whatever its focal length, as
    theta = tan(theta) (1 - tan(theta)^2 / 3 + ...), and turns back at 2/3 focal lengths from the middle.
    """
    k = _radial(camera)
    if k is None:
        return False
    r = np.linspace(0, 4, 401)
    reach = r * (1 + k[0] * r**2 + k[1] * r**4)
    falls = np.flatnonzero(np.diff(reach) <= 0)
    if not len(falls):
        return False
    centre = np.array([camera.params[i] for i in camera.principal_point_idxs()])
    corner = np.maximum(centre, (camera.width, camera.height) - centre)
    return bool(reach[falls[0]] < np.linalg.norm(corner) / camera.mean_focal_length())
