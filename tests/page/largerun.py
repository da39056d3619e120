"""A large run without files: a town's streets, photographed from the ground; no images on disk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from desdis_match.page.models import Intrinsics, Model, PhotoPose
from desdis_match.page.run import PairCounts, PairMatches, Shown
from desdis_match.storage.report_file import Report


@dataclass
class LargeSource:
    """Images along a walk, each matched with its neighbours; keypoints and matches by a fixed seed."""

    num_images: int
    keypoints_each: int = 400
    neighbours: int = 4
    matches_each: int = 40
    names: list[str] = field(init=False)
    sizes: list[tuple[int, int]] = field(init=False)
    num_keypoints: list[int] = field(init=False)
    pairs: list[PairCounts] = field(init=False)

    def __post_init__(self):
        n = self.num_images
        self.names = [f"district {i // 500}/street {i % 500 // 50}/photo {i:05d}.jpg" for i in range(n)]
        self.sizes = [(4000, 3000)] * n
        self.num_keypoints = [self.keypoints_each] * n
        self.pairs = [
            PairCounts(
                i, i + step, self.matches_each, max(self.matches_each - 8 * step - i % 7, 0), "CALIBRATED"
            )
            for i in range(n)
            for step in range(1, self.neighbours + 1)
            if i + step < n
        ]

    def keypoints(self, image):
        rng = np.random.default_rng(image)
        return rng.uniform(0, 3000, (self.keypoints_each, 2)).astype(np.float32)

    def matches(self, pair):
        rows = np.repeat(np.arange(pair.matches)[:, None], 2, axis=1)
        return PairMatches(rows, np.arange(pair.matches) < pair.verified)

    def close(self):
        pass


def large_run(num_images: int, num_points: int) -> Shown:
    """Photos along a spiral walk between houses whose walls the points are on."""
    rng = np.random.default_rng(0)
    source = LargeSource(num_images)
    turn = np.linspace(2 * np.pi, 14 * np.pi, num_images)
    centers = np.stack([3 * turn * np.cos(turn), 3 * turn * np.sin(turn), np.full(num_images, 1.7)], axis=1)
    along = rng.uniform(2 * np.pi, 14 * np.pi, num_points)
    side = rng.choice([-4.0, 4.0], num_points)
    points = np.stack(
        [
            (3 * along + side) * np.cos(along),
            (3 * along + side) * np.sin(along),
            rng.uniform(0, 12, num_points),
        ],
        axis=1,
    )
    points[::10_000] *= 40  # a few that went astray
    house = (along * 40).astype(int)
    colors = np.random.default_rng(1).integers(60, 230, (house.max() + 1, 3))[house]
    poses, observations = {}, {}
    each = min(source.keypoints_each, 300)
    for i, name in enumerate(source.names):
        cos, sin = np.cos(turn[i] + np.pi / 2), np.sin(turn[i] + np.pi / 2)
        rotation = [sin, -cos, 0.0, 0.0, 0.0, -1.0, cos, sin, 0.0]
        poses[name] = PhotoPose(centers[i].tolist(), rotation, (0.6, 0.45), 1)
        observations[name] = (np.arange(each), rng.integers(0, num_points, each))
    counted = {
        "points": num_points,
        "observations": each * num_images,
        "track_length": 3.0,
        "reprojection_error": 0.8,
    }
    camera = Intrinsics(
        "PINHOLE", 4000, 3000, 3333.0, 61.9, (("fx", 3333.0), ("fy", 3333.0), ("cx", 2000.0), ("cy", 1500.0))
    )
    model = Model(
        points.astype(np.float32),
        colors.astype(np.uint8),
        rng.gamma(2, 0.4, num_points).astype(np.float32),
        rng.integers(2, 12, num_points),
        observations,
        poses,
        counted,
        {1: camera},
    )
    return Shown(source, (model,), Report())
