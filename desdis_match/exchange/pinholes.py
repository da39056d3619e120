"""Photos as pinholes see them: without distortion, upright, under flat names; and the model of those.

A panorama is cut into faces: square pinholes of 90 degrees, evenly around its vertical axis, so that N of
them overlap their neighbours by 90 - 360 / N degrees; two more look straight up and down where asked. Face 0
looks at the panorama's middle, the next ones to the right of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from ..colmap.upright import quarter_turns
from ..errors import InputError
from ..photos.images import read_rgb
from ..support.native import pycolmap
from ..support.progress import track
from .cameras import is_panoramic
from .photo_files import (
    mask_name,
    stored_mask,
    turned_from_camera,
    turned_intrinsics,
    turned_points,
    turned_size,
    unique_names,
    write_photo,
    write_shrunk,
)

FEWEST_FACES = 4
"""Faces of 90 degrees that go once around."""


@dataclass(frozen=True)
class FaceConfig:
    """Into which faces a panorama is cut."""

    around: int = 8
    """Faces around; 4 meet at their sides, 6 overlap by 30 degrees, 8 by 45."""
    poles: bool = False
    """Two more, straight up and down."""

    def __post_init__(self) -> None:
        if self.around < FEWEST_FACES:
            raise InputError(
                f"{self.around} faces of 90 degrees do not go around; give {FEWEST_FACES} or more"
            )


EIGHT_FACES = FaceConfig()


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion, and where its pixels are in the photo that was taken."""

    camera: pycolmap.Camera  # PINHOLE, as stored
    places: NDArray[np.float32]  # (h, w, 2) x, y in the photo; (0, 0) = the centre of its first pixel
    turned: NDArray[np.float64] = field(
        default_factory=lambda: np.eye(3)
    )  # (3, 3) it from the photo's camera
    label: str = ""  # of a face
    wraps: bool = False  # the photo's left side meets its right one

    def undistort(self, pixels: NDArray[np.uint8], nearest: bool = False) -> NDArray[np.uint8]:
        """A photo, or with `nearest` a mask, as the pinhole sees it; black where the photo ends."""
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        places = self.places
        if self.wraps:
            columns = np.pad(pixels, [(0, 0), (1, 1)] + [(0, 0)] * (pixels.ndim - 2), "wrap")
            pixels = np.pad(columns, [(1, 1), (0, 0)] + [(0, 0)] * (pixels.ndim - 2), "edge")
            places = places + np.float32(1)
        return cv2.remap(pixels, places, None, how, borderMode=cv2.BORDER_CONSTANT)  # type: ignore[call-overload, no-any-return]

    def project(self, rays: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Pixels (N, 2), COLMAP's origin, of rays (N, 3) of the photo's camera, and which are seen here.

        What lies in front of a pinhole counts as seen, of a face only what lies within it.
        """
        own = rays @ self.turned.T
        seen = own[:, 2] > 1e-6
        xy = np.zeros((len(rays), 2))
        if seen.any():
            xy[seen] = self.camera.img_from_cam(own[seen] / own[seen, 2:])
        if self.label:
            seen &= ((xy >= 0) & (xy <= (self.camera.width, self.camera.height))).all(1)
        return xy, seen


def pinholes_of(camera: pycolmap.Camera, faces: FaceConfig = EIGHT_FACES) -> list[Pinhole]:
    """One pinhole of a photo's camera; the faces of a panorama."""
    if is_panoramic(camera):
        return _faces_of(camera, faces)
    flat = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    return [Pinhole(flat, _places(camera, flat, np.eye(3)))]


def _faces_of(panorama: pycolmap.Camera, faces: FaceConfig) -> list[Pinhole]:
    # As many pixels a radian in the middle of a face as the panorama has at its horizon: f = width / 2 pi.
    side = max(round(panorama.width / np.pi), 1)
    params = [side / 2] * 4
    flat = pycolmap.Camera(model="PINHOLE", width=side, height=side, params=params)
    turns = {f"face{i}": _about_y(2 * np.pi * i / faces.around) for i in range(faces.around)}
    if faces.poles:
        turns["up"] = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        turns["down"] = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return [
        Pinhole(flat, _places(panorama, flat, turned), turned, label, True) for label, turned in turns.items()
    ]


def _about_y(angle: float) -> NDArray[np.float64]:
    """(3, 3) from the camera to one that looks `angle` to the right of it."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def _places(
    camera: pycolmap.Camera, flat: pycolmap.Camera, turned: NDArray[np.float64]
) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.arange(flat.width) + 0.5, np.arange(flat.height) + 0.5)
    rays = flat.cam_ray_from_img(np.stack([x.ravel(), y.ravel()], axis=1))
    seen = np.asarray(camera.img_from_cam(np.asarray(rays) @ turned)) - 0.5
    return seen.reshape(flat.height, flat.width, 2).astype(np.float32)


def write_pinholes(
    model: pycolmap.Reconstruction,
    folder: Path,
    images_dir: Path | None,
    masks: Path | None = None,
    faces: FaceConfig = EIGHT_FACES,
    shrunk: bool = False,
) -> pycolmap.Reconstruction:
    """Write `folder`/images and, of `masks`, /masks (shrunk: with smaller copies); returns their model.

    images_dir: None for the model alone. Raises InputError for photos that cannot be read.
    """
    turns = quarter_turns(model, images_dir)
    pinholes = {i: pinholes_of(camera, faces) for i, camera in model.cameras.items()}
    images = sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)
    names = flat_names_of(images, pinholes)
    for image in track(images, "undistort", unit="photos") if images_dir is not None else ():
        photo, camera = Path(images_dir or "") / image.name, model.camera(image.camera_id)
        pixels = read_rgb(photo)
        size = (camera.width, camera.height)
        mask = None if masks is None else stored_mask(masks, image.name, photo, size)
        for pinhole in pinholes[image.camera_id]:
            name, quarter = names[image.name, pinhole.label], turns[image.name]
            _write(np.rot90(pinhole.undistort(pixels), -quarter), folder / "images", name, shrunk)
            if mask is not None:
                shown = np.rot90(pinhole.undistort(mask, nearest=True), -quarter)
                _write(shown, folder / "masks", mask_name(name), shrunk)
    return pinhole_model(model, pinholes, turns, names)


def flat_names_of(
    images: Sequence[pycolmap.Image], pinholes: Mapping[int, Sequence[Pinhole]]
) -> dict[tuple[str, str], str]:
    """File names by a photo's name and a face's label, which is empty for photos that are not cut."""
    wanted = {}
    for image in images:
        path = PurePosixPath(image.name)
        for pinhole in pinholes[image.camera_id]:
            cut = path.with_name(f"{path.stem}_{pinhole.label}{path.suffix}") if pinhole.label else path
            wanted[image.name, pinhole.label] = cut.as_posix()
    return unique_names(wanted)


def _write(pixels: NDArray[np.uint8], folder: Path, name: str, shrunk: bool) -> None:
    pixels = np.ascontiguousarray(pixels)
    write_photo(pixels, folder / name)
    if shrunk:
        write_shrunk(pixels, folder, name)


def pinhole_model(
    model: pycolmap.Reconstruction,
    pinholes: Mapping[int, Sequence[Pinhole]],
    turns: Mapping[str, int],
    names: Mapping[tuple[str, str], str],
) -> pycolmap.Reconstruction:
    """The model of the upright pinholes; of the keypoints those that see a point, in each face that does.

    Photos keep their ids where none is cut. Points that no face sees are left out.
    """
    made = pycolmap.Reconstruction()
    camera_ids: dict[tuple[int, int], int] = {}
    rows: dict[tuple[int, int], list[tuple[int, int]]] = {}  # image and keypoint -> those that it is now
    new_ids = count(1)
    cut = any(len(views) > 1 for views in pinholes.values())
    for image_id in sorted(model.reg_image_ids()):
        image = model.image(image_id)
        quarter, key = turns[image.name], (image.camera_id, turns[image.name])
        seeing = np.array([row for row, point in enumerate(image.points2D) if point.has_point3D()], int)
        rays = _rays(image, model.camera(image.camera_id), seeing)
        for pinhole in pinholes[image.camera_id]:
            if key not in camera_ids:
                camera_ids[key] = len(camera_ids) + 1
                made.add_camera_with_trivial_rig(_turned(pinhole.camera, quarter, camera_ids[key]))
            new_id = next(new_ids) if cut else image_id
            xy, seen = pinhole.project(rays)
            for number, row in enumerate(seeing[seen].tolist()):
                rows.setdefault((image_id, row), []).append((new_id, number))
            keypoints = turned_points(xy[seen], (pinhole.camera.width, pinhole.camera.height), quarter)
            turn = pycolmap.Rotation3d(turned_from_camera(quarter) @ pinhole.turned)
            placed = pycolmap.Image(
                image_id=new_id,
                name=names[image.name, pinhole.label],
                camera_id=camera_ids[key],
                keypoints=keypoints,
            )
            pose = pycolmap.Rigid3d(turn, np.zeros(3)) * image.cam_from_world()
            made.add_image_with_trivial_frame(placed, pose)
    for point_id in sorted(model.point3D_ids()):
        _add_point(made, model.point3D(point_id), rows)
    made.update_point_3d_errors()
    return made


def _rays(image: pycolmap.Image, camera: pycolmap.Camera, keypoints: NDArray[np.int_]) -> NDArray[np.float64]:
    """(N, 3) in the photo's camera."""
    if not len(keypoints):
        return np.zeros((0, 3))
    return np.asarray(camera.cam_ray_from_img(np.stack([image.point2D(int(row)).xy for row in keypoints])))


def _add_point(
    made: pycolmap.Reconstruction,
    point: pycolmap.Point3D,
    rows: Mapping[tuple[int, int], Sequence[tuple[int, int]]],
) -> None:
    track_now = pycolmap.Track()
    for element in point.track.elements:
        for image_id, number in rows.get((element.image_id, element.point2D_idx), ()):
            track_now.add_element(image_id, number)
    if track_now.length():
        made.add_point3D(point.xyz, track_now, point.color)


def _turned(pinhole: pycolmap.Camera, turns: int, camera_id: int) -> pycolmap.Camera:
    size = (pinhole.width, pinhole.height)
    focal = (pinhole.focal_length_x, pinhole.focal_length_y)
    centre = (pinhole.principal_point_x, pinhole.principal_point_y)
    focal, centre = turned_intrinsics(focal, centre, size, turns)
    width, height = turned_size(size, turns)
    return pycolmap.Camera(
        camera_id=camera_id, model="PINHOLE", width=width, height=height, params=[*focal, *centre]
    )
