"""transforms.json for nerfstudio (and instant-ngp): camera-to-world matrices with OpenGL axes.

Cameras look along -z with y up, and the world is turned so that COLMAP's -y (up, where photos are upright) is
+z: `applied_transform` (3, 4) takes COLMAP's world to the file's, as nerfstudio's own COLMAP converter does.
`sparse_pc.ply` beside the file holds the points in the file's world.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.files import atomic_path
from ..support.native import pycolmap
from .cameras import UNDISTORT, Lens, lens_of

FILE_FROM_COLMAP_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
"""(3, 4): x stays, z is the new y, -y the new z."""

OPENGL_AXES = np.diag([1.0, -1, -1, 1])
"""COLMAP's camera (y down, z forward) from OpenGL's (y up, z backward)."""

POINTS_FILE = "sparse_pc.ply"


def write_nerfstudio(model: pycolmap.Reconstruction, output: Path, images_dir: Path | None = None) -> Path:
    """Write `output`/transforms.json and sparse_pc.ply; images sorted by name.

    images_dir: photos are referred to relative to `output`; None: as images/NAME.
    Raises InputError for camera models that nerfstudio lacks, and for perspective beside fisheye ones.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    cameras = {image.camera_id: model.camera(image.camera_id) for image in images}
    intrinsics = {i: _intrinsics(lens_of(camera, "nerfstudio")) for i, camera in cameras.items()}
    if len({lens["camera_model"] for lens in intrinsics.values()}) > 1:
        raise InputError(f"nerfstudio takes perspective or fisheye photos, the model has both; {UNDISTORT}")
    shared = len(intrinsics) == 1
    first = next(iter(intrinsics.values()), {})
    # nerfstudio looks for the kind of lens here alone, for its numbers in the frames too.
    content: dict[str, Any] = {key: first[key] for key in first if shared or key == "camera_model"}
    folder = output / "images" if images_dir is None else Path(images_dir)
    content["frames"] = [
        {
            "file_path": Path(os.path.relpath(folder / image.name, output)).as_posix(),
            "transform_matrix": _file_world_from_camera(image.cam_from_world()).tolist(),
            "colmap_im_id": image.image_id,
            **({} if shared else intrinsics[image.camera_id]),
        }
        for image in images
    ]
    content["applied_transform"] = FILE_FROM_COLMAP_WORLD.tolist()
    content["ply_file_path"] = POINTS_FILE
    _write_points(model, output / POINTS_FILE)
    path = output / "transforms.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def _intrinsics(lens: Lens) -> dict[str, Any]:
    named = {
        "w": lens.width,
        "h": lens.height,
        "fl_x": lens.fx,
        "fl_y": lens.fy,
        "cx": lens.cx,
        "cy": lens.cy,
    }
    if lens.fisheye:
        distortion = dict(zip(("k1", "k2", "k3", "k4"), lens.k, strict=True))
        return {"camera_model": "OPENCV_FISHEYE", **named, **distortion}
    distortion = {"k1": lens.k[0], "k2": lens.k[1], "p1": lens.p[0], "p2": lens.p[1]}
    if lens.k[2]:
        distortion["k3"] = lens.k[2]
    return {"camera_model": "OPENCV", **named, **distortion}


def _file_world_from_camera(cam_from_world: pycolmap.Rigid3d) -> NDArray[np.float64]:
    """(4, 4) with OpenGL's camera axes."""
    world_from_cam = np.vstack([cam_from_world.inverse().matrix(), [0, 0, 0, 1]])
    return np.vstack([FILE_FROM_COLMAP_WORLD, [0, 0, 0, 1]]) @ world_from_cam @ OPENGL_AXES


def _write_points(model: pycolmap.Reconstruction, path: Path) -> None:
    """Binary PLY of x y z (float) and red green blue (uchar)."""
    points = [model.point3D(i) for i in sorted(model.point3D_ids())]
    record = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    table = np.zeros(len(points), record)
    if points:
        xyz = np.stack([point.xyz for point in points])
        table["xyz"] = xyz @ FILE_FROM_COLMAP_WORLD[:, :3].T + FILE_FROM_COLMAP_WORLD[:, 3]
        table["rgb"] = np.stack([point.color for point in points])
    properties = [f"property float {c}" for c in "xyz"]
    properties += [f"property uchar {c}" for c in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + table.tobytes())
