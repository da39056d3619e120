"""Which photos share a camera, and what its focal length is before any reconstruction.

A camera is a `pycolmap.Camera` with the principal point in the middle of the photo and no distortion. Its
focal length is EXIF's where the photo has one, else 1.2 times the long side, as COLMAP guesses. A fisheye is
guessed to see half of all directions, corner to corner, and COLMAP is told to trust that: it cannot find a
fisheye's focal length from pairs, and without one it lets no pair of them pass. Mapping refines it as any.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..errors import InputError
from ..support.checks import check_options
from ..support.names import by_ends
from ..support.native import pycolmap
from .images import header_focal, read_header
from .known_cameras import KnownCamera, camera_of_params, check_params, known_camera, read_known_cameras
from .panoramas import is_panorama

log = logging.getLogger(__name__)

CameraMode = Literal["auto", "single", "per-folder", "per-image"]

USUAL_MODEL, PANORAMIC_MODEL = "SIMPLE_RADIAL", "EQUIRECTANGULAR"

FOCAL_FACTOR = 1.2
"""Focal length over long side where nothing is known: COLMAP's default_focal_length_factor."""

LEAST_FOCAL, LARGEST_FOCAL = 0.1, 10.0
"""Focal length over long side between which EXIF is believed: COLMAP drops photos beyond."""


@dataclass(frozen=True)
class CameraConfig:
    """How photos are given cameras."""

    camera_mode: CameraMode = "auto"
    """auto: photos of equal size, EXIF camera and focal length share a camera; single: all photos do."""
    camera_model: str = "auto"
    """COLMAP's name of the camera model; auto: EQUIRECTANGULAR for full panoramas, else SIMPLE_RADIAL."""
    camera_params: str | None = None
    """Known parameters, comma-separated in COLMAP's order (SIMPLE_RADIAL: f,cx,cy,k), of one size of photo;
    for photos of other sizes, or stored sideways, they are scaled and turned."""
    camera_file: Path | None = None
    """Known parameters by photo, by folder (`sub/`) or for all (`*`): a table with lines NAME MODEL WIDTH
    HEIGHT PARAMS..., COLMAP's cameras.txt, a model's folder, a database or nerfstudio's transforms.json; the
    rest is as without."""
    rig_config: Path | None = None
    """Cameras fixed to each other: COLMAP's rig_config.json, whose image prefixes are folders here."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.camera_model != "auto" or self.camera_params is not None:
            check_params(_model(self), self.camera_params)


@dataclass(frozen=True)
class PhotoInfo:
    """What decides on a photo's camera."""

    size: tuple[int, int]  # width, height
    exif_camera: str | None = None  # make and model
    exif_focal: float | None = None  # pixels
    panorama: bool = False  # 360 x 180 degrees, equirectangular


def read_photo_info(
    images_dir: Path | None, sizes: Mapping[str, tuple[int, int]], threads: int = 1
) -> dict[str, PhotoInfo]:
    """Size and EXIF of photos by name; without a folder only what `sizes` says.

    sizes: (width, height) that the features are of. Raises InputError when a photo has another size now.
    """

    def info(name: str) -> PhotoInfo:
        if images_dir is None:
            return PhotoInfo(sizes[name])
        path = images_dir / name
        if not path.is_file():
            raise InputError(f"{path} is in the features but not in the image folder; give the right folder")
        photo = _photo_info(path)
        if photo is None:
            return PhotoInfo(sizes[name])
        if sizes[name] not in (photo.size, (0, 0)):
            raise InputError(
                f"{path} is {photo.size[0]} x {photo.size[1]} pixels, its features are of a photo of "
                f"{sizes[name][0]} x {sizes[name][1]}; extract again or give the right folder"
            )
        return photo

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return dict(zip(sizes, pool.map(info, sizes), strict=True))


def _photo_info(path: Path) -> PhotoInfo | None:
    """From the header alone where possible; None for a format that Pillow does not know."""
    from PIL import ExifTags

    header = read_header(path)
    if header is None:
        return None
    make, model = (
        str(header.tags.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
    )
    focal = header_focal(header)
    if focal is None and ExifTags.Base.FocalLength in header.exif:
        # COLMAP knows the sensors of many cameras, but decodes the whole photo to say so.
        bitmap = pycolmap.Bitmap.read(path, as_rgb=False)
        focal = None if bitmap is None else bitmap.exif_focal_length()
    if focal is not None and not LEAST_FOCAL <= focal / max(header.size) <= LARGEST_FOCAL:
        ratio = focal / max(header.size)
        log.warning("%s: EXIF's focal length, %.3g times its long side, is not believed", path.name, ratio)
        focal = None
    panorama = is_panorama(path, header.size)
    return PhotoInfo(header.size, f"{make} {model}".strip() or None, focal, panorama)


def assign_cameras(
    photos: Mapping[str, PhotoInfo], config: CameraConfig = CameraConfig()
) -> tuple[list[pycolmap.Camera], dict[str, int]]:
    """The cameras, with ids from 1 on in the order of the photos, and each photo's camera id.

    Raises InputError for an unknown model or wrong parameters, and where photos of different size are told
    to share a camera.
    """
    keys = _group_keys(photos, config.camera_mode)
    known = _known_cameras(photos, config)
    _say_panoramas(photos, config)
    keys |= {name: (camera, photos[name].size, keys[name]) for name, camera in known.items()}
    cameras: dict[object, pycolmap.Camera] = {}
    first: dict[object, str] = {}
    for name, photo in photos.items():
        key = keys[name]
        if key not in cameras:
            cameras[key], first[key] = _camera(len(cameras) + 1, name, photo, config, known.get(name)), name
        size = (cameras[key].width, cameras[key].height)
        if photo.size != size:
            raise InputError(
                f"'{first[key]}' is {size[0]} x {size[1]} pixels and '{name}' "
                f"{photo.size[0]} x {photo.size[1]}: they cannot share a camera; "
                f"use another camera mode than {config.camera_mode}"
            )
    return list(cameras.values()), {name: cameras[keys[name]].camera_id for name in photos}


def _group_keys(photos: Mapping[str, PhotoInfo], mode: CameraMode) -> dict[str, object]:
    if mode == "single":
        return dict.fromkeys(photos, "all")
    if mode == "per-folder":
        return {name: str(PurePosixPath(name).parent) for name in photos}
    if mode == "per-image":
        return {name: name for name in photos}
    if mode != "auto":
        raise InputError(f"camera mode '{mode}' is unknown; auto, single, per-folder and per-image exist")
    unknown = [
        photo.size for photo in photos.values() if photo.exif_camera is None and photo.exif_focal is None
    ]
    share = _look_like_one_camera(unknown)
    return {
        name: (photo.size, photo.exif_camera, photo.exif_focal, photo.panorama)
        if share or photo.exif_camera is not None or photo.exif_focal is not None
        else name
        for name, photo in photos.items()
    }


def _look_like_one_camera(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether photos that say nothing of their camera repeat their sizes, upright or turned, as one's do.

    Photos gathered from the internet come in almost as many sizes as photos; sharing among the few that
    happen to be of equal size would force one focal length on different lenses.
    """
    distinct = {(min(size), max(size)) for size in sizes}
    return len(distinct) <= 1 or 4 * len(distinct) <= len(sizes)


def _say_panoramas(photos: Mapping[str, PhotoInfo], config: CameraConfig) -> None:
    num = sum(photo.panorama for photo in photos.values())
    if num and config.camera_model == "auto":
        log.warning("%d of %d photos are full panoramas: their camera is EQUIRECTANGULAR", num, len(photos))
    elif num and config.camera_model.upper() != PANORAMIC_MODEL:
        log.warning("%d photos look like full panoramas; --camera-model EQUIRECTANGULAR is for those", num)


def _known_cameras(photos: Mapping[str, PhotoInfo], config: CameraConfig) -> dict[str, KnownCamera]:
    """Cameras that are given, by photo; one from the file comes before those for all."""
    known = {}
    if config.camera_params is not None and photos:
        sizes = [photo.size for photo in photos.values() if min(photo.size) > 0]
        known = dict.fromkeys(
            photos, camera_of_params(_model(config), config.camera_params, sizes or [(1, 1)])
        )
    if config.camera_file is not None:
        known |= cameras_of_file(Path(config.camera_file), photos)
    return known


def cameras_of_file(path: Path, names: Collection[str]) -> dict[str, KnownCamera]:
    """Those that a camera file has for photos. Raises InputError where it has none for any of them."""
    given = read_known_cameras(path)
    by_end = by_ends(given, names)  # of a model whose photos lie in another folder
    own = {name: known_camera(given, name) or by_end.get(name) for name in names}
    if names and not any(own.values()):
        raise InputError(f"{path} has a camera for none of the photos; names are as below --images")
    return {name: camera for name, camera in own.items() if camera is not None}


def _model(config: CameraConfig, panorama: bool = False) -> str:
    if config.camera_model == "auto":
        return PANORAMIC_MODEL if panorama else USUAL_MODEL
    model = config.camera_model.upper()
    if model not in pycolmap.CameraModelId.__members__ or model == "INVALID":
        names = ", ".join(name for name in pycolmap.CameraModelId.__members__ if name != "INVALID")
        raise InputError(f"camera model '{config.camera_model}' is unknown; COLMAP has {names}")
    return model


def _camera(
    camera_id: int, name: str, photo: PhotoInfo, config: CameraConfig, known: KnownCamera | None
) -> pycolmap.Camera:
    width, height = photo.size
    if min(width, height) < 1:
        raise InputError("the features do not say how large their photos are; give the image folder")
    if known is not None:
        camera = known.for_size(photo.size, f"'{name}'")
        camera.camera_id = camera_id
        camera.has_prior_focal_length = True
        return camera
    model = _model(config, photo.panorama)
    fisheye = "FISHEYE" in model
    guess = math.hypot(width, height) / math.pi if fisheye else FOCAL_FACTOR * max(width, height)
    camera = pycolmap.Camera.create_from_model_name(
        camera_id, model, photo.exif_focal or guess, width, height
    )
    camera.has_prior_focal_length = fisheye or photo.exif_focal is not None
    return camera
