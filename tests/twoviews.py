"""Two photos of points in space whose matches are known, and sets of pairs, for tests of matching."""

import numpy as np

from desdis_match.matching.guided import locate
from desdis_match.matching.match import prepare
from desdis_match.types import Features

SIZE = (1600, 1200)
CAMERA = np.array([[1400.0, 0, 799.5], [0, 1400.0, 599.5], [0, 0, 1]])
MOTIONS = {
    "sideways": (0.0, (1.0, 0.0, 0.0)),  # the epipole at infinity, lines parallel
    "forwards": (0.02, (0.05, 0.02, 1.0)),  # the epipole in the photo, lines in all directions
    "upwards and turned": (0.1, (0.2, -1.0, 0.3)),
    "nearly sideways": (0.0, (-1.0, 0.1, 1e-7)),  # the epipole 1e10 pixels away
}


def two_views(
    motion: str, num: int = 600, seed: int = 0, flat: bool = False, far: float = 1.0, noise: float = 0.35
):
    """Two photos of points in space, their descriptors alike but for noise, a third without a partner.

    Returns features of both, keypoint i of one being that of the other for i < 2/3 num, and the true F.
    """
    rng = np.random.default_rng(seed)
    turn, move = MOTIONS[motion][0], far * np.array(MOTIONS[motion][1])
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    points = np.column_stack([rng.uniform(-2, 2, (num, 2)), rng.uniform(5, 9, num)])
    if flat:
        points[:, 2] = 7 + 0.3 * points[:, 0]
    xy0 = points @ CAMERA.T
    xy1 = (points @ rotation.T + move) @ CAMERA.T
    xy0, xy1 = xy0[:, :2] / xy0[:, 2:], xy1[:, :2] / xy1[:, 2:]
    lone = np.arange(num) >= 2 * num // 3
    xy1[lone] = rng.uniform((0, 0), SIZE, (lone.sum(), 2))
    vectors = rng.normal(size=(num, 32))
    noisy = vectors + rng.normal(scale=noise, size=vectors.shape)
    noisy[lone] = rng.normal(size=(lone.sum(), 32))
    scores = rng.random(num).astype(np.float32)
    cross = np.array([[0, -move[2], move[1]], [move[2], 0, -move[0]], [-move[1], move[0], 0]])
    inverse = np.linalg.inv(CAMERA)
    ones = np.ones(num, np.float32)
    features = [
        Features(
            xy.astype(np.float32),
            (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32),
            scores,
            ones,
            0 * ones,
            SIZE,
        )
        for xy, v in ((xy0, vectors), (xy1, noisy))
    ]
    return *features, inverse.T @ cross @ rotation @ inverse


def located(features: Features):
    prepared = prepare(features.descriptors, "cpu")
    return locate(prepared, features.keypoints, features.scores, features.image_size)


def pairs_of(matches, rows=...):
    return {tuple(pair) for pair in matches.indices[rows].tolist()}
