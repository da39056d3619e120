"""Cameras as tables: GeoJSON of a georeferenced model, and CSV of poses and intrinsics."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..storage.georeference import Georeference
from ..support.files import write_text
from ..support.native import pycolmap
from .cameras import is_panoramic


def write_geojson(model: pycolmap.Reconstruction, path: Path, where: Georeference | None) -> Path:
    """A point a photo: longitude, latitude, height (RFC 7946), its name, residual and view direction.

    Raises InputError for a model that is not georeferenced.
    """
    if where is None or where.origin is None:
        raise InputError("the model is not georeferenced; `desdis-match align` does it by GPS or control")
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    centres = np.reshape([image.projection_center() for image in images], (-1, 3))
    places = pycolmap.GPSTransform(pycolmap.GPSTransformEllipsoid.WGS84).enu_to_ellipsoid(
        centres, *where.origin
    )
    features = []
    for image, (latitude, longitude, height) in zip(images, places, strict=True):
        east, north, up = image.cam_from_world().rotation.matrix()[2]
        properties = {
            "name": image.name,
            "heading": round(float(np.degrees(np.arctan2(east, north))) % 360, 3),
            "pitch": round(float(np.degrees(np.arcsin(np.clip(up, -1, 1)))), 3),
            "residual_metres": where.residuals.get(image.name),
        }
        point = {"type": "Point", "coordinates": [round(longitude, 9), round(latitude, 9), round(height, 3)]}
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    collection = {"type": "FeatureCollection", "features": features}
    return write_text(path, json.dumps(collection, indent=1, ensure_ascii=False))


_COLUMNS = """name camera_id model width height fx fy cx cy params qw qx qy qz tx ty tz x y z
num_points mean_error"""
COLUMNS = tuple(_COLUMNS.split())
"""q, t: world to camera, COLMAP's axes; x, y, z: the camera's centre; (0.5, 0.5) is a pixel's centre."""


def write_csv(model: pycolmap.Reconstruction, path: Path) -> Path:
    """A row a photo, sorted by name, under a row of COLUMNS; params are separated by blanks."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for image in sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name):
        camera, pose = model.camera(image.camera_id), image.cam_from_world()
        qx, qy, qz, qw = (float(v) for v in pose.rotation.quat)
        errors = [model.point3D(point.point3D_id).error for point in image.points2D if point.has_point3D()]
        if is_panoramic(camera):
            lens = ["", "", camera.width / 2, camera.height / 2]
        else:
            lens = [camera.focal_length_x, camera.focal_length_y]
            lens += [camera.principal_point_x, camera.principal_point_y]
        row = [image.name, camera.camera_id, camera.model.name, camera.width, camera.height, *lens]
        row += [" ".join(repr(float(v)) for v in camera.params), qw, qx, qy, qz]
        row += [*map(float, pose.translation), *map(float, image.projection_center())]
        table.writerow([*row, len(errors), float(np.mean(errors)) if errors else ""])
    return write_text(path, text.getvalue())
