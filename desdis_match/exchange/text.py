"""COLMAP's text features: a file `NAME.txt` an image, for `colmap feature_importer`.

The first line is `N 128`, then each keypoint has a row `x y scale orientation d1 ... d128`: pixels with the
origin at the corner of the top-left pixel, the blob's sigma, radians clockwise as seen, bytes. COLMAP takes
128 bytes and nothing else; its matcher understands them when they are a RootSIFT's, 512 times its values.
Descriptors with negative values are written as 128 + 256 times their values (a third word, `signed`, stands
in the first line, where COLMAP does not look), which COLMAP's matcher does not understand: bring the matches
along with `desdis-match export-database`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..conventions import to_colmap_columns
from ..errors import InputError
from ..storage.features_file import FeatureFile
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


def _to_bytes(descriptors: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    scaled = SIGNED_ZERO + SIGNED_SCALE * descriptors if signed else ROOTSIFT_SCALE * descriptors
    result: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return result
