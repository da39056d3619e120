"""COLMAP's text features: a file `NAME.txt` an image, for `colmap feature_importer` and back.

The first line is `N 128`, then each keypoint has a row `x y scale orientation d1 ... d128`: pixels with the
origin at the corner of the top-left pixel, the blob's sigma, radians clockwise as seen, bytes. COLMAP takes
128 bytes and nothing else; its matcher understands them when they are a RootSIFT's, 512 times its values.
Descriptors with negative values are written as 128 + 256 times their values, which this module's reader takes
back (a third word, `signed`, stands in the first line, where COLMAP does not look) but COLMAP's matcher does
not understand: bring the matches along with `desdis-match export-database`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..conventions import scale_from_sigma, to_colmap_columns
from ..errors import InputError
from ..storage.features_file import FeatureFile
from ..storage.keypoint_files import read_given
from ..support.files import atomic_path
from ..types import Features

DIMENSION = 128
"""Of COLMAP's SIFT descriptors."""

ROOTSIFT_SCALE, SIGNED_SCALE, SIGNED_ZERO = 512.0, 256.0, 128.0
"""COLMAP's factor from unit vectors to bytes, and ours for those with negative values."""


def write_text_features(features: FeatureFile, folder: Path, names: Iterable[str] | None = None) -> Path:
    """Write `folder`/NAME.txt for every image (or for `names`); returns the folder.

    Descriptors of fewer than 128 values are filled up with zeros; raises InputError for longer ones.
    """
    folder = Path(folder)
    for name in features.names() if names is None else names:
        _write(features.get(name), folder / f"{name}.txt", name)
    return folder


def _write(features: Features, path: Path, name: str) -> None:
    num, dim = features.descriptors.shape
    if dim > DIMENSION:
        raise InputError(f"'{name}' has descriptors of {dim} values; COLMAP's text format takes {DIMENSION}")
    signed = bool((features.descriptors < 0).any())
    codes = np.full((num, DIMENSION), SIGNED_ZERO if signed else 0, np.uint8)
    codes[:, :dim] = _to_bytes(features.descriptors, signed)
    geometry = to_colmap_columns(features.keypoints, features.scales, features.angles)
    lines = [f"{num} {DIMENSION} signed" if signed else f"{num} {DIMENSION}"]
    for row, code in zip(geometry, codes, strict=True):
        # Nine digits tell any two float32 apart.
        lines.append(" ".join([*(f"{value:.9g}" for value in row), *map(str, code)]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_text_features(folder: Path, name: str, image_size: tuple[int, int] = (0, 0)) -> Features:
    """Features of `folder`/NAME.txt, also those that COLMAP or others wrote; scores are 1.

    image_size: (width, height), which the file does not tell. Raises InputError for a malformed file.
    """
    given = read_given(folder, name)  # checks the geometry of the rows
    path = Path(folder) / f"{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split()
    num, dim = len(given.xy), int(header[1]) if len(header) > 1 else 0
    try:
        rows = [[float(value) for value in line.split()[4:]] for line in lines[1 : num + 1]]
        codes = np.array(rows, np.float32).reshape(num, dim)
    except ValueError as error:
        raise InputError(f"{path}: expected rows of 4 + {dim} numbers: {error}") from error
    signed = "signed" in header[2:]
    return Features(
        keypoints=given.xy,
        descriptors=_from_bytes(codes, signed),
        scores=np.ones(num, np.float32),
        scales=scale_from_sigma(given.sigmas),
        angles=np.zeros(num, np.float32) if given.angles is None else given.angles,
        image_size=image_size,
    )


def _to_bytes(descriptors: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    scaled = SIGNED_ZERO + SIGNED_SCALE * descriptors if signed else ROOTSIFT_SCALE * descriptors
    result: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return result


def _from_bytes(codes: NDArray[np.floating], signed: bool) -> NDArray[np.float32]:
    """Unit vectors; a code of zeros stays zero."""
    values = codes.astype(np.float32) - np.float32(SIGNED_ZERO if signed else 0)
    result: NDArray[np.float32] = values / np.maximum(
        np.linalg.norm(values, axis=1, keepdims=True), 1e-12
    ).astype(np.float32)
    return result
