"""A folder for splat trainers (3DGS, gsplat, and what reads the like): photos of pinholes and their model.

images/, images_2/, ...  undistorted, upright, under flat names
masks/, masks_2/, ...    the same of the masks, NAME.png for images/NAME.jpg
sparse/0/                cameras (PINHOLE), images, points3D in COLMAP's binary files, and points3D.ply
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..colmap.mapping import new_folder
from ..colmap.model_files import write_model
from ..colmap.upright import quarter_turns
from ..errors import InputError
from ..photos.images import read_rgb
from ..support.native import pycolmap
from ..support.progress import track
from .cloud import write_cloud
from .photo_files import (
    flat_names,
    mask_name,
    stored_mask,
    turned_from_camera,
    turned_intrinsics,
    turned_points,
    turned_size,
    write_photo,
    write_shrunk,
)


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion, and where its pixels are in the photo that was taken."""

    camera: pycolmap.Camera  # PINHOLE, as stored
    places: NDArray[np.float32]  # (h, w, 2) x, y in the photo; (0, 0) = the centre of its first pixel

    def undistort(self, pixels: NDArray[np.uint8], nearest: bool = False) -> NDArray[np.uint8]:
        """A photo, or with `nearest` a mask, as the pinhole sees it; black where the photo ends."""
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(pixels, self.places, None, how, borderMode=cv2.BORDER_CONSTANT)  # type: ignore[call-overload, no-any-return]


def pinhole_of(camera: pycolmap.Camera) -> Pinhole:
    """Raises InputError for panoramas, which no pinhole can show."""
    if camera.model.name == "EQUIRECTANGULAR":
        raise InputError("panoramas are no pinholes; export them with --format nerfstudio")
    flat = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    x, y = np.meshgrid(np.arange(flat.width) + 0.5, np.arange(flat.height) + 0.5)
    rays = flat.cam_from_img(np.stack([x.ravel(), y.ravel()], axis=1))
    seen = camera.img_from_cam(np.column_stack([rays, np.ones(len(rays))])) - 0.5
    return Pinhole(flat, seen.reshape(flat.height, flat.width, 2).astype(np.float32))


def write_splat(
    model: pycolmap.Reconstruction, output: Path, images_dir: Path, masks: Path | None = None
) -> Path:
    """Raises InputError for an output that is not empty, photos that cannot be read, and panoramas."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty; give a new folder")
    turns = quarter_turns(model, images_dir)
    pinholes = {i: pinhole_of(camera) for i, camera in model.cameras.items()}
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    flat = flat_names(image.name for image in images)
    with new_folder(output) as folder:
        for image in track(images, "undistort", unit="photos"):
            photo = images_dir / image.name
            pinhole, quarter = pinholes[image.camera_id], turns[image.name]
            pixels = np.rot90(pinhole.undistort(read_rgb(photo)), -quarter)
            _write(np.ascontiguousarray(pixels), folder / "images", flat[image.name])
            camera = model.camera(image.camera_id)
            size = (camera.width, camera.height)
            mask = None if masks is None else stored_mask(masks, image.name, photo, size)
            if mask is not None:
                shown = np.rot90(pinhole.undistort(mask, nearest=True), -quarter)
                _write(np.ascontiguousarray(shown), folder / "masks", mask_name(flat[image.name]))
        made = splat_model(model, pinholes, turns, flat)
        (folder / "sparse" / "0").mkdir(parents=True)
        write_model(made, folder / "sparse" / "0")
        write_cloud(made, folder / "sparse" / "0" / "points3D.ply", normals=True)
    return output


def _write(pixels: NDArray[np.uint8], folder: Path, name: str) -> None:
    write_photo(pixels, folder / name)
    write_shrunk(pixels, folder, name)


def splat_model(
    model: pycolmap.Reconstruction,
    pinholes: Mapping[int, Pinhole],
    turns: Mapping[str, int],
    flat: Mapping[str, str],
) -> pycolmap.Reconstruction:
    """The model of the undistorted, upright photos; of the keypoints those that see a point."""
    made = pycolmap.Reconstruction()
    camera_ids: dict[tuple[int, int], int] = {}
    rows: dict[tuple[int, int], int] = {}  # image and keypoint -> its keypoint now
    for image_id in sorted(model.reg_image_ids()):
        image = model.image(image_id)
        pinhole, quarter = pinholes[image.camera_id].camera, turns[image.name]
        key = (image.camera_id, quarter)
        if key not in camera_ids:
            camera_ids[key] = len(camera_ids) + 1
            made.add_camera_with_trivial_rig(_turned(pinhole, quarter, camera_ids[key]))
        seeing = [row for row, point in enumerate(image.points2D) if point.has_point3D()]
        rows |= {(image_id, row): number for number, row in enumerate(seeing)}
        xy = np.reshape([image.point2D(row).xy for row in seeing], (-1, 2))
        rays = model.camera(image.camera_id).cam_from_img(xy)
        xy = pinhole.img_from_cam(np.column_stack([rays, np.ones(len(rays))]))
        keypoints = turned_points(xy, (pinhole.width, pinhole.height), quarter)
        turn = pycolmap.Rigid3d(pycolmap.Rotation3d(turned_from_camera(quarter)), np.zeros(3))
        placed = pycolmap.Image(
            image_id=image_id, name=flat[image.name], camera_id=camera_ids[key], keypoints=keypoints
        )
        made.add_image_with_trivial_frame(placed, turn * image.cam_from_world())
    for point_id in sorted(model.point3D_ids()):
        point = model.point3D(point_id)
        track_now = pycolmap.Track()
        for element in point.track.elements:
            track_now.add_element(element.image_id, rows[element.image_id, element.point2D_idx])
        made.add_point3D(point.xyz, track_now, point.color)
    made.update_point_3d_errors()
    return made


def _turned(pinhole: pycolmap.Camera, turns: int, camera_id: int) -> pycolmap.Camera:
    size = (pinhole.width, pinhole.height)
    focal = (pinhole.focal_length_x, pinhole.focal_length_y)
    centre = (pinhole.principal_point_x, pinhole.principal_point_y)
    focal, centre = turned_intrinsics(focal, centre, size, turns)
    width, height = turned_size(size, turns)
    return pycolmap.Camera(
        camera_id=camera_id, model="PINHOLE", width=width, height=height, params=[*focal, *centre]
    )
