"""Models as arrays, by way of COLMAP's binary files: pycolmap hands points and keypoints out one by one.

Layouts: COLMAP's scene/reconstruction_io_binary.cc. A file must have been checked (model_files.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap
from ..support.scratch import temporary_folder
from .model_files import disk_full

HEAD = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("color", "u1", 3), ("error", "<f8"), ("length", "<u8")])
"""Of each point; `length` elements of its track come after it."""
ELEMENT = np.dtype([("image", "<u4"), ("keypoint", "<u4")])
IMAGE_BYTES = struct.calcsize("<I7dI")
"""Id, pose and camera of an image, before its name."""
KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<u8")])


@dataclass(frozen=True)
class Points:
    """Points and what sees them; one row a point, and one an observation."""

    ids: NDArray[np.int64]  # (P,) ascending where COLMAP wrote them
    xyz: NDArray[np.float64]  # (P, 3) world
    colors: NDArray[np.uint8]  # (P, 3)
    errors: NDArray[np.float64]  # (P,) pixels, -1 unknown
    lengths: NDArray[np.int64]  # (P,) observations
    rows: NDArray[np.int64]  # (O,) the observation's point
    images: NDArray[np.int64]  # (O,) its image's id
    keypoints: NDArray[np.int64]  # (O,) its keypoint in the image


@dataclass(frozen=True)
class ModelArrays:
    """A model's points and the places of its keypoints."""

    points: Points  # by ascending ids
    keypoints: dict[int, NDArray[np.float64]]  # by id of each registered image (N, 2), COLMAP's pixels


def arrays_of(model: pycolmap.Reconstruction) -> ModelArrays:
    """A model as it is now. Raises InputError where the disk has no room for its files."""
    with temporary_folder() as folder:
        model.write_binary(folder)  # which does not say when the disk is full
        try:
            points = read_points_file(folder / "points3D.bin")
            keypoints = _read_keypoints(folder / "images.bin")
        except (OSError, ValueError, IndexError, struct.error) as error:
            raise disk_full(folder) from error
    if len(points.ids) != model.num_points3D() or len(keypoints) != model.num_reg_images():
        raise disk_full(folder)
    return ModelArrays(points, keypoints)


def _read_keypoints(path: Path) -> dict[int, NDArray[np.float64]]:
    """Places (N, 2) of the keypoints of an images.bin, by image id."""
    data = path.read_bytes()
    (num,) = struct.unpack_from("<Q", data)
    at, found = 8, {}
    for _ in range(num):
        (image_id,) = struct.unpack_from("<I", data, at)
        at = data.index(b"\0", at + IMAGE_BYTES) + 1
        (count,) = struct.unpack_from("<Q", data, at)
        found[image_id] = np.frombuffer(data, KEYPOINT, count, at + 8)["xy"]
        at += 8 + count * KEYPOINT.itemsize
    return found


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
        heads["id"].astype(np.int64),
        heads["xyz"].reshape(-1, 3),
        heads["color"].reshape(-1, 3),
        heads["error"],
        lengths,
        rows,
        elements["image"].astype(np.int64),
        elements["keypoint"].astype(np.int64),
    )
