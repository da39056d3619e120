"""Photos of single walls with the homographies between them, in the layout of HPatches' image sequences.

A sequence is six photos of one textured wall: 1.ppm ... 6.ppm, and H_1_2 ... H_1_6 map pixels of photo 1 to
those of photo k, exactly. For benchmarks of descriptors and matches where no real sequences are at hand.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..support.progress import track
from .courtyard import SyntheticConfig, dead_leaves, expose, focal_length
from .geometry import Float64, Surface, View, render

WALL = (4.0, 3.0)
"""Width and height of a wall, metres."""
DISTANCE = 3.6
"""Of the first camera, metres: the wall fills its photo."""
TEXELS_PER_PIXEL = 1.6
"""As in the courtyard of synthetic.py."""


def render_walls(output: Path, sequences: int = 3, size: tuple[int, int] = (480, 360), seed: int = 0) -> Path:
    """Write `sequences` folders v_wall_0, v_wall_1, ... below `output`; returns `output`.

    Views get steeper, more turned and more zoomed from photo 2 to photo 6. Equal arguments, equal bytes.
    """
    if sequences < 1 or min(size) < 64:
        raise InputError("a sequence at least, and photos of 64 pixels at least, are needed")
    for number in track(range(sequences), "render", unit="walls"):
        folder = output / f"v_wall_{number}"
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, 5, number])
        texels = TEXELS_PER_PIXEL * focal_length(size) / DISTANCE
        texture = dead_leaves(WALL, texels, rng.uniform(90, 170, 3), rng)
        corner = np.array([-WALL[0] / 2, -WALL[1] / 2, 0.0])
        wall = Surface(corner, np.eye(3)[:2], WALL, texture)
        views = [_view(k, size, rng) for k in range(6)]
        config = SyntheticConfig(size=size, seed=seed + number)
        for k, view in enumerate(views, start=1):
            photo = expose(render([wall], view), view, config)
            (folder / f"{k}.ppm").write_bytes(cv2.imencode(".ppm", photo)[1].tobytes())
            if k > 1:
                homography = homography_between(wall, views[0], view)
                np.savetxt(folder / f"H_1_{k}", homography, fmt="%.12g")
    return output


def homography_between(wall: Surface, view0: View, view1: View) -> Float64:
    """(3, 3), last entry 1: homogeneous pixels of view0 -> those of view1, for what lies on the wall."""
    matrix = np.linalg.inv(wall.surface_from_pixel(view1)) @ wall.surface_from_pixel(view0)
    return np.asarray(matrix / matrix[2, 2])


def _view(k: int, size: tuple[int, int], rng: np.random.Generator) -> View:
    """Camera k, 0 to 5, before the wall z = 0 (x right, y down), looking at its middle; harder with k."""
    strength = k / 5
    tilt = strength * rng.choice([-1, 1], 2) * rng.uniform(0.35, 0.75, 2)
    roll = strength * rng.uniform(-0.5, 0.5)
    distance = DISTANCE * (1 + strength * rng.uniform(-0.2, 0.5))
    turn_x, turn_y, turn_z = (cv2.Rodrigues(np.eye(3)[i] * a)[0] for i, a in enumerate((*tilt, roll)))
    rotation = turn_z @ turn_x @ turn_y
    focal = focal_length(size)
    intrinsics = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])
    return View(f"{k + 1}.ppm", size, intrinsics, rotation, np.array([0.0, 0.0, distance]))
