"""Keypoints that the user gives: hloc's HDF5 layout or COLMAP's text files, brought to sigma-sized frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..conventions import DEFAULT_SIGMA, from_colmap_columns, from_degrees, sigma_from_scale
from ..errors import InputError
from ..support.files import read_text
from ..types import Float32
from .hdf5 import check_array, linked, open_h5, reading


@dataclass(frozen=True)
class GivenKeypoints:
    """Keypoints of one image, to be described exactly as they are and in their order."""

    xy: Float32  # (N, 2) pixels of the photo, (0, 0) is the centre of the top-left pixel
    sigmas: Float32  # (N,) blob sigma, pixels of the photo
    angles: Float32 | None  # (N,) radians, Kornia's sense; None = the extraction's own orientation is used


def check_given_exist(source: Path) -> None:
    """Raise InputError where there is neither a file nor a folder."""
    if not source.is_dir() and not source.is_file():
        raise InputError(f"{source}: no such file or folder of keypoints")


def read_given(source: Path, name: str) -> GivenKeypoints:
    """Keypoints of image `name`: from group `name` of an HDF5 file, or from `source/NAME.txt` of a folder.

    HDF5: `keypoints` (N, 2), optionally `scales` (sigmas; radii in this package's own files, see store.py)
    and `oris`, degrees, clockwise as seen. Text: COLMAP's `N D` line, then rows `x y scale orientation
    ...`, whose origin is the corner of the top-left pixel. Raises InputError for what is missing or
    malformed.
    """
    source = Path(source)
    check_given_exist(source)
    if source.is_dir():
        return _from_text(source / f"{name}.txt")
    return _from_hdf5(source, name)


def _from_text(path: Path) -> GivenKeypoints:
    if not path.is_file():
        raise InputError(f"{path} is missing; each image needs a file NAME.txt of keypoints")
    lines = read_text(path, "a COLMAP keypoint file").splitlines()
    try:
        count = int(lines[0].split()[0])
        rows = [[float(number) for number in line.split()[:4]] for line in lines[1 : count + 1]]
        table = np.array(rows, np.float64).reshape(-1, 4)
        complete = len(table) == count
    except (IndexError, ValueError):
        complete = False
    if not complete or not np.isfinite(table).all():
        raise InputError(
            f"{path} is not a COLMAP keypoint file: a line `N D`, then N rows `x y scale orientation`"
        )
    given = from_colmap_columns(table)
    return GivenKeypoints(
        given.xy.astype(np.float32),
        _positive(table[:, 2].astype(np.float32), path),
        given.angles.astype(np.float32),
    )


def _from_hdf5(path: Path, name: str) -> GivenKeypoints:
    with open_h5(path) as file, reading(path, f"what it holds of {name}"):
        if name not in file or "keypoints" not in file[name]:
            raise InputError(f"{path} holds no keypoints for image {name}")
        ours = str(file.attrs.get("format", "")).startswith("desdis_match")
        arrays = {}
        for key in ("keypoints", "scales", "oris"):
            if key in file[name] or ours:
                found = linked(file[name], key, path)
                check_array(found, path)
                arrays[key] = np.asarray(found, np.float32)
    xy = arrays["keypoints"]
    if xy.ndim != 2 or xy.shape[1] < 2 or not np.isfinite(xy).all():
        raise InputError(f"{path}: the keypoints of {name} are not finite numbers of shape (N, 2)")
    sigmas, angles = arrays.get("scales"), arrays.get("oris")
    if sigmas is None:
        sigmas = np.full(len(xy), DEFAULT_SIGMA, np.float32)
    elif ours:
        sigmas = sigma_from_scale(sigmas)  # this package stores the patch's radius
    if angles is not None:
        angles = from_degrees(angles)
    if angles is not None and not np.isfinite(angles).all():
        raise InputError(f"{path}: an orientation of {name} is not a finite number")
    if len(sigmas) != len(xy) or (angles is not None and len(angles) != len(xy)):
        raise InputError(f"{path}: {name} has {len(xy)} keypoints, but not as many scales and orientations")
    return GivenKeypoints(np.ascontiguousarray(xy[:, :2]), _positive(sigmas, path), angles)


def _positive(sigmas: Float32, path: Path) -> Float32:
    if not (np.isfinite(sigmas).all() and (sigmas > 0).all()):
        raise InputError(f"{path}: a keypoint's scale is not a positive number")
    return sigmas
