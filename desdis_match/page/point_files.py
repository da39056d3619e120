"""The points of a model as arrays, straight from points3D.bin: a million of them in seconds.

Layout: COLMAP's scene/reconstruction_io_binary.cc. The file must have been checked (colmap/model_files.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEAD = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("color", "u1", 3), ("error", "<f8"), ("length", "<u8")])
"""Of each point; `length` elements of its track come after it."""
ELEMENT = np.dtype([("image", "<u4"), ("keypoint", "<u4")])


@dataclass(frozen=True)
class Points:
    """Points and what sees them; one row a point, and one an observation."""

    xyz: NDArray[np.float64]  # (P, 3) world
    colors: NDArray[np.uint8]  # (P, 3)
    errors: NDArray[np.float64]  # (P,) pixels, -1 unknown
    lengths: NDArray[np.int64]  # (P,) observations
    rows: NDArray[np.int64]  # (O,) the observation's point
    images: NDArray[np.int64]  # (O,) its image's id
    keypoints: NDArray[np.int64]  # (O,) its keypoint in the image


def read_points_file(path: Path) -> Points:
    """All points of a points3D.bin."""
    data = path.read_bytes()
    (num,) = struct.unpack_from("<Q", data)
    starts = np.empty(num, np.int64)
    at, size = 8, HEAD.itemsize
    length_of = struct.Struct("<Q").unpack_from
    for row in range(num):
        starts[row] = at
        at += size + 8 * length_of(data, at + size - 8)[0]
    every = np.frombuffer(data, np.uint8)
    heads = every[starts[:, None] + np.arange(size)].reshape(-1).view(HEAD)
    lengths = heads["length"].astype(np.int64)
    rows = np.repeat(np.arange(num), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = starts[rows] + size + 8 * within
    elements = every[places[:, None] + np.arange(8)].reshape(-1).view(ELEMENT)
    return Points(
        heads["xyz"].reshape(-1, 3),
        heads["color"].reshape(-1, 3),
        heads["error"],
        lengths,
        rows,
        elements["image"].astype(np.int64),
        elements["keypoint"].astype(np.int64),
    )
