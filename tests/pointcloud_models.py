"""Databases and models of the point cloud, whole or in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
from pointcloud import PointCloud

from desdis_match.colmap.database import build_database
from desdis_match.colmap.mappers import Job, MapConfig
from desdis_match.colmap.verification import verify
from desdis_match.photos.cameras import CameraConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile

KNOWN = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params="600,320,240")


def database_of(cloud: PointCloud, folder: Path, cameras: CameraConfig | None = KNOWN) -> Path:
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        return build_database(folder / "database.db", None, f, m, cameras=cameras)


def verified_database(cloud: PointCloud, folder: Path, cameras: CameraConfig | None = KNOWN) -> Path:
    path = database_of(cloud, folder, cameras)
    verify(path)
    return path


def make_job(cloud: PointCloud, folder: Path, seed: int = 0) -> Job:
    path = verified_database(cloud, folder)
    (folder / "scratch").mkdir()
    return Job(path, folder / "scratch", MapConfig(fix_intrinsics=True, seed=seed))


def without(model: pycolmap.Reconstruction, names: list[str]) -> pycolmap.Reconstruction:
    smaller = pycolmap.Reconstruction(model)
    for image in list(smaller.images.values()):
        if image.name in names:
            smaller.deregister_frame(image.frame_id)
    return smaller


def poses(model: pycolmap.Reconstruction) -> dict[str, np.ndarray]:
    return {model.image(i).name: model.image(i).cam_from_world().matrix() for i in model.reg_image_ids()}
