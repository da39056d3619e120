"""OpenSfM's reconstruction.json and tracks.csv, as OpenDroneMap has them too.

Axes are COLMAP's: a camera looks along z with y down, a shot's rotation (an axis times its angle) and
translation take the world to it. Image coordinates have their zero in the middle of the photo and its longer
side as their unit. Cameras have OpenSfM's own kinds: perspective (k1, k2, everything centred), brown,
fisheye_opencv and spherical.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..photos.images import read_header
from ..storage.georeference import Georeference
from ..support.files import write_text
from ..support.native import pycolmap
from ..support.progress import track
from .cameras import Lens, is_panoramic, lens_of
from .photo_files import bring_photo, flat_names

TRACKS_HEADER = "OPENSFM_TRACKS_VERSION_v2"
NO_SEMANTICS = -1
"""A track's segmentation and instance where there are none."""


def write_opensfm(
    model: pycolmap.Reconstruction,
    output: Path,
    images_dir: Path | None = None,
    link: bool = False,
    where: Georeference | None = None,
) -> Path:
    """Write reconstruction.json and tracks.csv into folder `output`; shots are sorted by name.

    images_dir: the photos are copied (link: linked) into `output`/images under flat names, as stored, without
    an Orientation. where: of a georeferenced model; its origin becomes reference_lla.
    Raises InputError for cameras that OpenSfM lacks.
    """
    output = Path(output)
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    names = {image.name: image.name for image in images}
    cameras = {str(i): camera_entry(camera) for i, camera in sorted(model.cameras.items())}
    output.mkdir(parents=True, exist_ok=True)
    if images_dir is not None:
        names = flat_names(names)
        for image in track(images, "link" if link else "copy", unit="photos"):
            photo, target = Path(images_dir) / image.name, output / "images" / names[image.name]
            header = read_header(photo)
            target.unlink(missing_ok=True)  # of an export before: a link's target must not be written to
            bring_photo(photo, target, 0, header is not None and header.orientation != 1, link)
    content: dict[str, Any] = {
        "cameras": cameras,
        "shots": {names[image.name]: _shot(image) for image in images},
        "points": {
            str(i): {"color": [float(c) for c in point.color], "coordinates": [float(v) for v in point.xyz]}
            for i, point in sorted(model.points3D.items())
        },
    }
    if where is not None and where.origin is not None:
        content["reference_lla"] = dict(zip(("latitude", "longitude", "altitude"), where.origin, strict=True))
    write_text(output / "tracks.csv", "\n".join([TRACKS_HEADER, *_tracks(model, images, names), ""]))
    write_text(output / "reconstruction.json", json.dumps([content], ensure_ascii=False))
    return output


def camera_entry(camera: pycolmap.Camera) -> dict[str, Any]:
    """A camera in OpenSfM's words. Raises InputError for models that it lacks."""
    size = {"width": camera.width, "height": camera.height}
    if is_panoramic(camera):
        return {"projection_type": "spherical", **size}
    lens = lens_of(camera, "OpenSfM")
    unit = max(lens.width, lens.height)
    centre = ((lens.cx - lens.width / 2) / unit, (lens.cy - lens.height / 2) / unit)
    plain = not any((*lens.k[2:], *lens.p, *centre)) and lens.fx == lens.fy
    if plain and not lens.fisheye:
        k1, k2 = lens.k[:2]
        return {"projection_type": "perspective", **size, "focal": lens.fx / unit, "k1": k1, "k2": k2}
    focal = {"focal_x": lens.fx / unit, "focal_y": lens.fy / unit, "c_x": centre[0], "c_y": centre[1]}
    return {**size, **focal, **_distortion(lens)}


def _distortion(lens: Lens) -> dict[str, Any]:
    k1, k2, k3, k4 = lens.k
    if lens.fisheye:
        return {"projection_type": "fisheye_opencv", "k1": k1, "k2": k2, "k3": k3, "k4": k4}
    return {"projection_type": "brown", "k1": k1, "k2": k2, "k3": k3, "p1": lens.p[0], "p2": lens.p[1]}


def _shot(image: pycolmap.Image) -> dict[str, Any]:
    matrix = image.cam_from_world().matrix()
    turn = Rotation.from_matrix(matrix[:, :3]).as_rotvec()
    # The photos' pixels are as stored: OpenSfM's orientation 1.
    return {
        "rotation": turn.tolist(),
        "translation": matrix[:, 3].tolist(),
        "camera": str(image.camera_id),
        "orientation": 1,
    }


def _tracks(model: pycolmap.Reconstruction, images: list[pycolmap.Image], names: dict[str, str]) -> list[str]:
    """A row an observation: shot, track, feature, x, y, scale (a pixel), colour, semantics."""
    rows = []
    for image in images:
        camera = model.camera(image.camera_id)
        for number, point in enumerate(image.points2D):
            if not point.has_point3D():
                continue
            x, y = image_coordinates(point.xy, camera)
            colour = [int(c) for c in model.point3D(point.point3D_id).color]
            numbers = [point.point3D_id, number, x, y, 1 / max(camera.width, camera.height), *colour]
            row = [names[image.name], *numbers, NO_SEMANTICS, NO_SEMANTICS]
            rows.append("\t".join(map(str, row)))
    return rows


def image_coordinates(xy: NDArray[np.float64], camera: pycolmap.Camera) -> tuple[float, float]:
    """Pixels with COLMAP's origin -> from the middle of the photo, in longer sides."""
    unit = max(camera.width, camera.height)
    return float((xy[0] - camera.width / 2) / unit), float((xy[1] - camera.height / 2) / unit)
