"""two_view.h5: the two-view geometry of every pair that has matches, written whole or not at all.

A group as in matches.h5 holds `inliers` (M, 2) int32, rows of the features, and, where the geometry has them,
`F`, `E`, `H` (3, 3) float64, `pose` (7,) of camera 1 from camera 0, a quaternion x, y, z, w and a
translation, and `camera0`, `camera1`, where focal lengths were found: COLMAP's id of the camera, number of
the model, width, height, whether the focal length was known (0 or 1), parameters. All are COLMAP's, in whose
pixels the centre of the top-left one is at (0.5, 0.5). Attributes: `config`, COLMAP's number of the kind, and
`tri_angle`, radians.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.files import Config
from .hdf5 import TWO_VIEW_FORMAT, H5Reader, groups_with, new_h5, write_array
from .matches_file import pair_group

MODELS = ("F", "E", "H", "pose", "camera0", "camera1")


@dataclass(frozen=True)
class PairGeometry:
    """What geometric verification found of a pair."""

    kind: int  # COLMAP's TwoViewGeometryConfiguration
    inliers: NDArray[np.int32]  # (M, 2) rows of features0 and features1
    models: dict[str, NDArray[np.float64]]  # those of MODELS that there are
    tri_angle: float  # median angle between rays of a point, radians; -1 unknown


def write_two_view(
    path: Path, items: Iterable[tuple[str, str, PairGeometry]], config: Config, still: str = ""
) -> Path:
    """Write a whole two_view.h5. still: a sentence on matches that were left out.

    Raises InputError where it cannot be written.
    """
    with new_h5(path, TWO_VIEW_FORMAT, config) as file:
        file.attrs["still_matches"] = still
        for name0, name1, geometry in items:
            group = file.create_group(pair_group(name0, name1))
            group.attrs["config"] = geometry.kind
            group.attrs["tri_angle"] = geometry.tri_angle
            write_array(group, "inliers", geometry.inliers.astype(np.int32, copy=False), pack=True)
            for name in MODELS:
                if name in geometry.models:
                    group.create_dataset(name, data=geometry.models[name], dtype=np.float64)
    return Path(path)


class TwoViewFile(H5Reader):
    """Reads two_view.h5; usable as a context manager."""

    kind = TWO_VIEW_FORMAT

    def still(self) -> str:
        """A sentence on matches that were left out because they stay at the same pixels; empty for none."""
        return str(self.file().attrs.get("still_matches", ""))

    def num_inliers(self) -> Iterator[int]:
        """Of every pair."""
        for group in groups_with(self.file(), "inliers"):
            yield int(self.file()[group]["inliers"].shape[0])

    def get(self, name0: str, name1: str) -> PairGeometry:
        """Of a pair in the order it was written. Raises InputError when it is not there or damaged."""
        key = pair_group(name0, name1)
        if key not in self.file():
            raise InputError(f"{self.path} has no pair '{name0}', '{name1}'; verify it first")
        group: h5py.Group = self.file()[key]
        try:
            return PairGeometry(
                int(group.attrs["config"]),
                self._array(group, "inliers"),
                {name: self._array(group, name) for name in MODELS if name in group},
                float(group.attrs["tri_angle"]),
            )
        except (KeyError, OSError) as error:
            raise InputError(f"{self.path}: {key} is damaged: {error}") from error
