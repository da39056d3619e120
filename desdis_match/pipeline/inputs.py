"""What a run is given, checked as far as that can be done before anything is made or said.

The stages check the same where they use it; here nothing is lost by a slip of the pen but a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..colmap.control import read_control
from ..colmap.mappers import MapConfig
from ..colmap.poses import read_poses
from ..colmap.rigs import read_rigs
from ..descriptors.registry import NAMES, load_network
from ..errors import InputError
from ..features.extract import ExtractConfig
from ..matching.pairs import PairsConfig, check_ways, pairs_from_file
from ..photos.cameras import CameraConfig, cameras_of_file
from ..photos.listing import look_through
from ..photos.masks import check_masks_exist
from ..photos.video import is_film
from ..storage.keypoint_files import check_given_exist
from ..support.devices import pick_device
from ..support.files import check_not_read, read_text
from .extraction import check_given_alone, check_whole_alone, listed_photos
from .georeferencing import targets_of
from .pairing import check_posed


def check_photos(images: Path, output: Path) -> list[str]:
    """Names of the photos of a run; empty where there are films, whose frames are to come.

    Raises InputError where there is neither photo nor film, and for an output that would fill the folder of
    photos, or be searched for photos when it holds the frames of films.
    """
    if not images.exists():
        raise InputError(f"{images} does not exist; give the folder of photos, or a film")
    if is_film(images):
        return []
    if images.is_file():
        raise InputError(f"{images} is neither a film nor a folder; give the folder that holds the photos")
    check_not_read(output, images)
    listing = look_through(images)
    if not listing.films:
        return list(listed_photos(images, listing).names)
    if images.resolve() in output.resolve().parents:
        raise InputError(
            f"{output} will hold frames of films, and lies in {images}, where photos are sought; give an "
            "--output beside it"
        )
    return []


def check_extraction(config: ExtractConfig, masks: Path | None, keypoints: Path | None, device: str) -> None:
    """Raise InputError for a descriptor, a device or files that are not there, and for unused options."""
    check_whole_alone(config)
    if keypoints is not None:
        check_given_alone(config, masks)
        check_given_exist(keypoints)
    if masks is not None:
        check_masks_exist(masks)
    if config.descriptor not in NAMES:
        load_network(config.descriptor)
    pick_device(device)


def check_pairs(config: PairsConfig, names: Sequence[str], poses: Path | None) -> None:
    """Raise InputError for a way that is none or lacks its file, and for a file of pairs that is wrong."""
    check_ways(config)
    if "frusta" in config.ways:
        check_posed(poses)
    if "file" in config.ways and config.pairs_file is not None:
        if names:
            pairs_from_file(config.pairs_file, names)
        else:
            read_text(config.pairs_file, "a list of pairs")


def check_cameras(config: CameraConfig, names: Sequence[str]) -> None:
    """Raise InputError for files of cameras that are not there, damaged, or of none of the photos."""
    if config.camera_file is not None:
        cameras_of_file(config.camera_file, names)
    if config.rig_config is not None:
        read_rigs(config.rig_config, names)


def check_mapping(config: MapConfig, images: Path, names: Sequence[str]) -> None:
    """Raise InputError for files of cameras, control or poses that cannot be used with the photos `names`,
    for options that contradict each other, and where metres are asked for and the photos lack GPS."""
    if config.no_georeference and (config.georeference or config.control is not None):
        asked = "--georeference" if config.georeference else "--control"
        raise InputError(f"--no-georeference keeps the models in their own units; leave out it or {asked}")
    if config.refine_poses and config.poses is None:
        raise InputError("--refine-poses adjusts known poses; give them with --poses")
    check_cameras(config.cameras, names)
    if config.control is not None:
        read_control(config.control)
    if config.poses is not None and (names or not config.poses.exists()):
        read_poses(config.poses, names)
    if config.georeference and names:
        targets_of(config, images, names)
