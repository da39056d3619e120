"""Register further images of a database into an existing model, whose coordinates stay."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.native import pycolmap
from ..support.scratch import scratch_in
from .colours import colour_points
from .log import log_to
from .mapping import MapConfig, incremental_options

log = logging.getLogger(__name__)

MAX_ALIGNMENT_ERROR = 1e-2
"""How far a point may move, as a share of the scene's size, and still count as the same."""


def extend_model(
    database_path: Path,
    images_dir: Path,
    model: pycolmap.Reconstruction,
    config: MapConfig,
    *,
    fix_poses: bool = False,
    log_path: Path | None = None,
) -> pycolmap.Reconstruction:
    """A new model: `model` with those of the database's other images that register; the given one stays.

    database_path: verified, with the images of `model` by name and new ones. images_dir: for the colours of
    new points, taken from the images that are there. Without `fix_poses` bundle adjustment moves all images
    a little, and the result is brought back to the old coordinates by a similarity.
    Raises InputError when the database does not have the model's images.
    """
    options = incremental_options(config, threads=1)
    options.multiple_models = False
    options.fix_existing_frames = options.mapper.fix_existing_frames = fix_poses
    with TemporaryDirectory(dir=database_path.parent) as scratch, log_to(log_path):
        start, raw = Path(scratch) / "start", Path(scratch) / "raw"
        start.mkdir()
        raw.mkdir()
        model.write_binary(start)
        try:
            found = pycolmap.incremental_mapping(database_path, raw, raw, options, input_path=start)
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(
                f"the model could not be extended from {database_path}; does it have other images? ({error})"
            ) from error
    grown = max(found.values(), key=lambda result: result.num_reg_images(), default=model)
    if grown.num_reg_images() <= model.num_reg_images():
        return pycolmap.Reconstruction(model)
    if not fix_poses:
        _align(grown, model)
    with scratch_in(database_path.parent):
        colour_points(grown, images_dir)
    return grown


def _align(grown: pycolmap.Reconstruction, model: pycolmap.Reconstruction) -> None:
    """Move `grown` to the coordinates of `model` by the points that both have."""
    old, new = _common_points(model, grown)
    extent = float(np.linalg.norm(model.compute_bounding_box().diagonal()))
    options = pycolmap.RANSACOptions(max_error=MAX_ALIGNMENT_ERROR * extent, random_seed=0)
    # A dict with "tgt_from_src", whatever pycolmap 4.2's signature says.
    found: Any = pycolmap.estimate_sim3d_robust(new, old, options) if len(old) >= 3 else None
    if found is None:
        log.warning("the grown model is too different from the old one to keep its coordinates")
    else:
        grown.transform(found["tgt_from_src"])


def _common_points(
    model: pycolmap.Reconstruction, grown: pycolmap.Reconstruction
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) each: points of `model` and where `grown` has them; a keypoint that both use tells."""
    old, new = [], []
    for point in model.points3D.values():
        for element in point.track.elements:
            if grown.exists_image(element.image_id):
                keypoint = grown.image(element.image_id).point2D(element.point2D_idx)
                if keypoint.has_point3D():
                    old.append(point.xyz)
                    new.append(grown.point3D(keypoint.point3D_id).xyz)
                    break
    return np.array(old).reshape(-1, 3), np.array(new).reshape(-1, 3)
