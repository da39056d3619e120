"""transforms.json for nerfstudio (and instant-ngp): camera-to-world matrices with OpenGL axes.

Cameras look along -z with y up, and the world is turned so that COLMAP's -y (up, where photos are upright) is
+z: `applied_transform` (3, 4) takes COLMAP's world to the file's, as nerfstudio's own COLMAP converter does.
`sparse_pc.ply` beside the file holds the points in the file's world.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..colmap.similarity import rotation_to_z
from ..colmap.upright import quarter_turns, up_direction
from ..errors import InputError
from ..photos.images import read_header
from ..support.files import atomic_path
from ..support.native import pycolmap
from ..support.progress import track
from .cameras import UNDISTORT, has_panoramas, is_panoramic, lens_of
from .photo_files import (
    bring_photo,
    flat_names,
    mask_name,
    stored_mask,
    turned_from_camera,
    turned_intrinsics,
    turned_size,
    write_photo,
    write_shrunk,
)

FILE_FROM_COLMAP_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
"""(3, 4): x stays, z is the new y, -y the new z."""

OPENGL_AXES = np.diag([1.0, -1, -1, 1])
"""COLMAP's camera (y down, z forward) from OpenGL's (y up, z backward)."""

POINTS_FILE = "sparse_pc.ply"


def write_nerfstudio(
    model: pycolmap.Reconstruction,
    output: Path,
    images_dir: Path | None = None,
    link: bool = False,
    level: bool = False,
    masks: Path | None = None,
) -> Path:
    """Write `output`/transforms.json and sparse_pc.ply; images sorted by name.

    images_dir: the photos are copied (link: linked) into `output`/images under flat names, upright, with
    copies of half, a quarter and an eighth of the size beside. None: none is, and the file names images/NAME.
    level: the model's z is up already, as that of a georeferenced one. masks: to `output`/masks, for photos
    that are exported; a photo without one gets a white one, as nerfstudio wants them of all or of none.
    Raises InputError for camera models that nerfstudio lacks, and for kinds of cameras beside each other.
    """
    output = Path(output)
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    turns = quarter_turns(model, images_dir)
    kinds = {(image.camera_id, turns[image.name]) for image in images}
    intrinsics = {(i, turn): _intrinsics(model.camera(i), turn) for i, turn in sorted(kinds)}
    if len({lens["camera_model"] for lens in intrinsics.values()}) > 1:
        raise InputError(
            "nerfstudio takes perspective or fisheye photos, or panoramas, and the model has several kinds; "
            + ("cut the panoramas with --faces 8" if has_panoramas(model) else UNDISTORT)
        )
    output.mkdir(parents=True, exist_ok=True)
    names = {image.name: image.name for image in images}
    if images_dir is not None:
        names = flat_names(names)
        for image in track(images, "link" if link else "copy", unit="photos"):
            photo, name = Path(images_dir) / image.name, names[image.name]
            _bring(photo, output / "images", name, link)
            if masks is not None:
                camera = model.camera(image.camera_id)
                size = (camera.width, camera.height)
                _bring_mask(
                    stored_mask(masks, image.name, photo, size), size, turns[image.name], output, name
                )
    shared = len(intrinsics) == 1
    first = next(iter(intrinsics.values()), {})
    # nerfstudio looks for the kind of lens here alone, for its numbers in the frames too.
    content: dict[str, Any] = {key: first[key] for key in first if shared or key == "camera_model"}
    file_from_world = np.eye(4) if level else _file_from_world(model, turns)
    content["frames"] = [
        {
            "file_path": f"images/{names[image.name]}",
            "transform_matrix": _file_world_from_camera(image, turns[image.name], file_from_world).tolist(),
            "colmap_im_id": image.image_id,
            **({} if images_dir is None or masks is None else {"mask_path": _mask_path(names[image.name])}),
            **({} if shared else intrinsics[image.camera_id, turns[image.name]]),
        }
        for image in images
    ]
    content["applied_transform"] = file_from_world[:3].tolist()
    content["ply_file_path"] = POINTS_FILE
    _write_points(model, output / POINTS_FILE, file_from_world)
    path = output / "transforms.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def _bring(photo: Path, folder: Path, name: str, link: bool) -> None:
    header = read_header(photo)
    turned = header is not None and header.orientation != 1
    turns = 0 if header is None else header.quarter_turns
    (folder / name).unlink(missing_ok=True)  # of an export before: a link's target must not be written to
    write_shrunk(bring_photo(photo, folder / name, turns, turned, link), folder, name)


def _bring_mask(
    mask: NDArray[np.uint8] | None, size: tuple[int, int], turns: int, output: Path, name: str
) -> None:
    """mask (h, w) of a photo of `size` (width, height), as stored; None: all of the photo counts."""
    stored = np.full(size[::-1], 255, np.uint8) if mask is None else mask
    pixels = np.ascontiguousarray(np.rot90(stored, -turns))
    write_photo(pixels, output / _mask_path(name))
    write_shrunk(pixels, output / "masks", mask_name(name))


def _mask_path(name: str) -> str:
    return f"masks/{mask_name(name)}"


def _file_from_world(model: pycolmap.Reconstruction, turns: Mapping[str, int]) -> NDArray[np.float64]:
    """(4, 4) z is up: against COLMAP's y, as nerfstudio's converter has it, or as photos are held."""
    result = np.vstack([FILE_FROM_COLMAP_WORLD, [0, 0, 0, 1]])
    if any(turns.values()):
        result = np.eye(4)
        result[:3, :3] = rotation_to_z(up_direction(model, turns))
    return result


def _intrinsics(camera: pycolmap.Camera, turns: int) -> dict[str, Any]:
    size = (camera.width, camera.height)
    if is_panoramic(camera):
        # Its rays want focal lengths of half the width.
        width, height = size
        half = {"fl_x": width / 2, "fl_y": width / 2, "cx": width / 2, "cy": height / 2}
        return {"camera_model": "EQUIRECTANGULAR", "w": width, "h": height, **half}
    lens = lens_of(camera, "nerfstudio")
    (fx, fy), (cx, cy) = turned_intrinsics((lens.fx, lens.fy), (lens.cx, lens.cy), size, turns)
    width, height = turned_size(size, turns)
    named = {"w": width, "h": height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    if lens.fisheye:
        distortion = dict(zip(("k1", "k2", "k3", "k4"), lens.k, strict=True))
        return {"camera_model": "OPENCV_FISHEYE", **named, **distortion}
    # The tangential terms are a vector (p2, p1) of the photo's plane, which turns with it.
    p2, p1, _ = turned_from_camera(turns) @ [lens.p[1], lens.p[0], 0.0]
    distortion = {"k1": lens.k[0], "k2": lens.k[1], "p1": float(p1), "p2": float(p2)}
    if lens.k[2]:
        distortion["k3"] = lens.k[2]
    return {"camera_model": "OPENCV", **named, **distortion}


def _file_world_from_camera(
    image: pycolmap.Image, turns: int, file_from_world: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(4, 4) with OpenGL's camera axes, of the photo as it is shown."""
    world_from_cam = np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]])
    cam_from_turned = np.eye(4)
    cam_from_turned[:3, :3] = turned_from_camera(turns).T
    result: NDArray[np.float64] = file_from_world @ world_from_cam @ cam_from_turned @ OPENGL_AXES
    return result


def _write_points(model: pycolmap.Reconstruction, path: Path, file_from_world: NDArray[np.float64]) -> None:
    """Binary PLY of x y z (float) and red green blue (uchar)."""
    points = [model.point3D(i) for i in sorted(model.point3D_ids())]
    record = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    table = np.zeros(len(points), record)
    if points:
        xyz = np.stack([point.xyz for point in points])
        table["xyz"] = xyz @ file_from_world[:3, :3].T + file_from_world[:3, 3]
        table["rgb"] = np.stack([point.color for point in points])
    properties = [f"property float {c}" for c in "xyz"]
    properties += [f"property uchar {c}" for c in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + table.tobytes())
