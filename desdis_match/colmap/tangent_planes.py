"""The surface around a model's points: normals and the planes they stand on.

What observations.py needs to know of it to tell how a patch looks from one photo to another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..support.neighbours import nearest_rows

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def normals(places: Float, towards: Float, neighbours: int = 12) -> Float:
    """(P, 3) normals of the point cloud, facing the cameras; the viewing direction where it is no surface."""
    if len(places) <= neighbours:
        return towards
    near = nearest_rows(places, places, neighbours)
    spread = places[near] - places[near].mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.swapaxes(spread, 1, 2) @ spread)
    normals = vectors[:, :, 0]
    facing = (normals * towards).sum(1)
    normals = normals * np.sign(facing)[:, None]
    flat = (values[:, 0] < 0.1 * values[:, 1]) & (np.abs(facing) > 0.35)
    return np.where(flat[:, None], normals, towards)


def tangents(normals: Float) -> tuple[Float, Float]:
    """Two unit vectors (P, 3) each that span the planes."""
    helper = np.where(np.abs(normals[:, :1]) < 0.8, [[1.0, 0, 0]], [[0.0, 1, 0]])
    across = np.cross(normals, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return across, np.cross(normals, across)


def inverse(matrices: Float) -> Float:
    """(N, 2, 2) inverses; of a singular one the identity."""
    determinant = np.linalg.det(matrices)
    safe = np.where(np.abs(determinant) > 1e-12, determinant, 1.0)
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    inverse = np.stack([d, -b, -c, a], 1).reshape(-1, 2, 2) / safe[:, None, None]
    return np.where(np.abs(determinant)[:, None, None] > 1e-12, inverse, np.eye(2))
