"""Robust estimates of a relative pose from matches and true intrinsics, each by a library of its own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import missing_extra
from .ground_truth import TrueCamera

Estimator = Literal["colmap", "poselib"]

RotationTranslation = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rotation (3, 3) and translation (3,) of camera 1 from camera 0."""

SEED = 0
"""Of the random samples."""


def camera_size(camera: TrueCamera) -> tuple[int, int]:
    """(width, height), from the principal point where it is not known."""
    assert camera.intrinsics is not None
    k = camera.intrinsics
    return camera.size or (round(2 * k[0, 2] + 1), round(2 * k[1, 2] + 1))


def by_colmap(
    xy0: NDArray[Any], xy1: NDArray[Any], camera0: TrueCamera, camera1: TrueCamera, pixels: float
) -> tuple[RotationTranslation, NDArray[np.bool_]] | None:
    """COLMAP's LO-RANSAC over five-point essential matrices."""
    from ...support.native import pycolmap

    def pinhole(camera: TrueCamera) -> Any:
        """For pixels whose centre is (0, 0)."""
        k, (width, height) = camera.intrinsics, camera_size(camera)
        assert k is not None
        params = [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]
        return pycolmap.Camera(model="PINHOLE", width=width, height=height, params=params)

    options = pycolmap.RANSACOptions(max_error=pixels, random_seed=SEED)
    places = xy0.astype(np.float64), xy1.astype(np.float64)
    found = pycolmap.estimate_essential_matrix(*places, pinhole(camera0), pinhole(camera1), options)
    if found is None:
        return None
    pose = found["cam2_from_cam1"]
    kept = np.asarray(found["inlier_mask"], bool)
    return (np.asarray(pose.rotation.matrix()), np.asarray(pose.translation)), kept


def by_poselib(
    xy0: NDArray[Any], xy1: NDArray[Any], camera0: TrueCamera, camera1: TrueCamera, pixels: float
) -> tuple[RotationTranslation, NDArray[np.bool_]] | None:
    """PoseLib's LO-RANSAC (Larsson) with its bundle adjustment at the end."""
    try:
        import poselib
    except ImportError as error:
        raise missing_extra("this estimator needs", "poselib") from error

    def pinhole(camera: TrueCamera) -> dict[str, Any]:
        k, (width, height) = camera.intrinsics, camera_size(camera)
        assert k is not None
        params = [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]
        return {"model": "PINHOLE", "width": width, "height": height, "params": params}

    places = xy0.astype(np.float64), xy1.astype(np.float64)
    options = {"max_epipolar_error": pixels, "seed": SEED}
    pose, info = poselib.estimate_relative_pose(*places, pinhole(camera0), pinhole(camera1), options, {})
    kept = np.asarray(info["inliers"], bool)
    if not kept.any():
        return None
    return (np.asarray(pose.R), np.asarray(pose.t)), kept


ESTIMATORS = {"colmap": by_colmap, "poselib": by_poselib}
