"""A scene without photos for tests: points in front of cameras on an arc, seen exactly, matched truly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desdis_match.storage.features_file import write_features
from desdis_match.storage.matches_file import write_matches
from desdis_match.types import Features, Matches

SIZE = (640, 480)
FOCAL = 600.0


@dataclass(frozen=True)
class PointCloud:
    """Written features and matches, and what they were made from."""

    features: Path
    matches: Path
    names: list[str]
    cam_from_world: dict[str, np.ndarray]  # (3, 4)
    points: np.ndarray  # (P, 3)
    order: dict[str, np.ndarray]  # keypoint i of an image sees point order[i]
    keypoints: dict[str, np.ndarray]  # (N, 2), our pixel frame


def look_at(centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 4) camera from world, x right, y down, z forward, y of the world down."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross([0, 1, 0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.hstack([rotation, -(rotation @ centre)[:, None]])


def default_names(num: int) -> list[str]:
    return [f"left wing/photo ü {i}.jpg" if i % 2 else f"photo {i}.jpg" for i in range(num)]


def make_point_cloud(
    folder: Path,
    num_cameras: int = 6,
    num_points: int = 300,
    noise: float = 0.0,
    names: list[str] | None = None,
) -> PointCloud:
    """Cameras on an arc of 60 degrees round the points; every point is seen by every camera."""
    rng = np.random.default_rng(7)
    points = rng.uniform(-1, 1, (num_points, 3))
    names = names or default_names(num_cameras)
    poses, order, keypoints = {}, {}, {}
    for name, angle in zip(names, np.radians(np.linspace(-30, 30, num_cameras)), strict=True):
        centre = np.array([5 * np.sin(angle), 0.3 * np.sin(5 * angle), -5 * np.cos(angle)])
        poses[name] = look_at(centre, np.zeros(3))
        order[name] = rng.permutation(num_points)
        seen = points[order[name]] @ poses[name][:, :3].T + poses[name][:, 3]
        # COLMAP's principal point is the middle, (320, 240); ours is half a pixel less.
        keypoints[name] = FOCAL * seen[:, :2] / seen[:, 2:] + np.array(SIZE) / 2 - 0.5
        keypoints[name] += noise * rng.normal(size=(num_points, 2))
    write_features(folder / "features.h5", ((n, _features(keypoints[n], order[n])) for n in names), {})
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    write_matches(
        folder / "matches.h5",
        ((a, b, _matches(order[a], order[b])) for a, b in pairs),
        {},
        dict.fromkeys(names, num_points),
    )
    return PointCloud(folder / "features.h5", folder / "matches.h5", names, poses, points, order, keypoints)


def _features(keypoints: np.ndarray, order: np.ndarray) -> Features:
    """The descriptor of a point is its own, so that matching finds it again."""
    num = len(keypoints)
    descriptors = np.stack([np.random.default_rng(int(p)).normal(size=32) for p in order])
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    ones = np.ones(num, np.float32)
    return Features(
        keypoints.astype(np.float32), descriptors.astype(np.float32), ones, 12 * ones, 0 * ones, SIZE
    )


def _matches(order0: np.ndarray, order1: np.ndarray) -> Matches:
    where1 = np.argsort(order1)
    indices = np.stack([np.arange(len(order0)), where1[order0]], axis=1).astype(np.int32)
    return Matches(indices, np.ones(len(indices), np.float32))


def pose_errors(cloud: PointCloud, poses: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest errors of relative rotation and of translation direction over all pairs, degrees."""
    rotation, direction = 0.0, 0.0
    names = list(poses)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            (r0, t0), (r1, t1) = (relative(p[a], p[b]) for p in (cloud.cam_from_world, poses))
            rotation = max(rotation, np.degrees(np.arccos(np.clip((np.trace(r0.T @ r1) - 1) / 2, -1, 1))))
            cosine = t0 @ t1 / np.linalg.norm(t0) / np.linalg.norm(t1)
            direction = max(direction, np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return rotation, direction


def relative(cam0_from_world: np.ndarray, cam1_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation of camera 1 from camera 0."""
    rotation = cam1_from_world[:, :3] @ cam0_from_world[:, :3].T
    return rotation, cam1_from_world[:, 3] - rotation @ cam0_from_world[:, 3]
