"""Cameras fixed to each other: COLMAP's rig_config.json goes into a database, and mapping keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..support.native import pycolmap


def read_rigs(path: Path, names: Sequence[str]) -> list[pycolmap.RigConfig]:
    """The rigs of a file. Raises InputError for one that is none, or whose prefixes fit none of the photos
    `names`, where there are any."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give COLMAP's rig_config.json")
    try:
        configs = pycolmap.read_rig_config(path)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is not COLMAP's rig_config.json: {error}") from error
    prefixes = [camera.image_prefix for config in configs for camera in config.cameras]
    if not prefixes:
        raise InputError(f"{path} has no cameras; give COLMAP's rig_config.json")
    unused = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    if unused and names:
        raise InputError(
            f"{path}: no photo's name begins with '{unused[0]}'; prefixes are folders below --images, as in "
            f"'{names[0]}'"
        )
    twice = [prefix for prefix, count in Counter(prefixes).items() if count > 1]
    if twice:
        raise InputError(f"{path} has more than one camera for '{twice[0]}'; each has photos of its own")
    for camera in (camera for config in configs for camera in config.cameras):
        _check_camera(camera, path)
    return list(configs)


def apply_rigs(database: pycolmap.Database, path: Path) -> None:
    """Write the rigs and frames of a configuration; photos in none of them stay cameras of their own.

    Raises InputError as read_rigs does, and where they do not fit together.
    """
    configs = read_rigs(path, [image.name for image in database.read_all_images()])
    try:
        pycolmap.apply_rig_config(configs, database)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} does not fit these photos: {error}") from error


def _check_camera(camera: pycolmap.RigConfigCamera, path: Path) -> None:
    """COLMAP takes a camera of a model that there is not, and stops later."""
    given = camera.camera
    if given is not None and (given.model == pycolmap.CameraModelId.INVALID or not given.verify_params()):
        raise InputError(
            f"{path}: the camera of '{camera.image_prefix}' has parameters that are none of COLMAP's camera "
            "models; camera_model_name and camera_params go together"
        )
