"""Cameras fixed to each other: COLMAP's rig_config.json goes into a database, and mapping keeps it."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..support.native import pycolmap


def apply_rigs(database: pycolmap.Database, path: Path) -> None:
    """Write the rigs and frames of a configuration; photos in none of them stay cameras of their own.

    Raises InputError for a file that is none, or whose prefixes fit no photo.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give COLMAP's rig_config.json")
    try:
        configs = pycolmap.read_rig_config(path)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is not COLMAP's rig_config.json: {error}") from error
    prefixes = [camera.image_prefix for config in configs for camera in config.cameras]
    names = [image.name for image in database.read_all_images()]
    unused = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    if unused or not prefixes:
        raise InputError(
            f"{path}: no photo's name begins with '{unused[0] if unused else ''}'; prefixes are folders "
            f"below --images, as in '{names[0] if names else ''}'"
        )
    try:
        pycolmap.apply_rig_config(configs, database)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path} does not fit these photos: {error}") from error
