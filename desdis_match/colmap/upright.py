"""Which way is up in a model: from how its photos are held, as EXIF's Orientation says.

People hold cameras level: the photos' own horizontals lie in the horizontal plane, and what is up in a photo
is up on average. A photo that is stored turned has its upper edge at a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..photos.images import read_header
from ..support.native import pycolmap

UP_IN_PHOTO = {0: (0.0, -1.0, 0.0), 1: (-1.0, 0.0, 0.0), 2: (0.0, 1.0, 0.0), 3: (1.0, 0.0, 0.0)}
"""Direction of the shown photo's upper edge in COLMAP's camera, by quarter turns clockwise that show it."""

LEVEL = 0.05
"""Weight of the mean upper edge against the photos' horizontals: these are held level more exactly."""


def quarter_turns(model: pycolmap.Reconstruction, images_dir: Path | None) -> dict[str, int]:
    """Quarter turns clockwise that show each photo of a model upright; 0 where nothing tells."""
    turns = {}
    for image in model.images.values():
        path = None if images_dir is None else Path(images_dir) / image.name
        header = read_header(path) if path is not None and path.is_file() else None
        turns[image.name] = 0 if header is None else header.quarter_turns
    return turns


def up_direction(model: pycolmap.Reconstruction, turns: Mapping[str, int]) -> NDArray[np.float64]:
    """(3,) unit vector of the model's world."""
    ups, rights = [], []
    for image in model.images.values():
        if not image.has_pose:
            continue
        world_from_cam = image.cam_from_world().rotation.matrix().T
        up = np.array(UP_IN_PHOTO[turns.get(image.name, 0)])
        ups.append(world_from_cam @ up)
        rights.append(world_from_cam @ np.cross(up, (0, 0, -1)))
    mean = np.mean(ups, axis=0)
    spread = np.transpose(rights) @ np.array(rights) / len(rights)
    up = np.linalg.solve(spread + LEVEL * np.eye(3), mean)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-9 else np.array(UP_IN_PHOTO[0])
