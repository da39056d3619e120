"""Bundler v0.3 output files: cameras look along -z with y up, pixels from the principal point, y up.

A point (x, y) = -P[:2] / P[2] of the camera frame is seen at f (1 + k1 r^2 + k2 r^4) (x, y), r^2 = x^2 + y^2.
Bundler's own files have the principal point in the middle of the photo; other programs assume so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..support.files import atomic_path
from ..support.native import pycolmap
from .cameras import simple_lens_of
from .tracks import colour, join, sorted_images, views

BUNDLER_AXES = np.diag([1.0, -1, -1])
"""Bundler's camera from COLMAP's: y up, z backward."""


def write_bundler(model: pycolmap.Reconstruction, output: Path) -> Path:
    """Write `output`/bundle.out and list.txt (photo names in the order of the cameras, sorted).

    Raises InputError for cameras with two focal lengths or more than two radial terms.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    images = sorted_images(model)
    lines = list(_lines(model, images))
    with atomic_path(output / "list.txt") as temporary:
        temporary.write_text("".join(f"{image.name}\n" for image in images), encoding="utf-8")
    path = output / "bundle.out"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _lines(model: pycolmap.Reconstruction, images: list[pycolmap.Image]) -> Iterator[str]:
    index = {image.image_id: i for i, image in enumerate(images)}
    yield "# Bundle file v0.3"
    yield f"{len(images)} {model.num_points3D()}"
    for image in images:
        lens = simple_lens_of(model.camera(image.camera_id), "Bundler", num_radial=2)
        yield join(lens.fx, *lens.k[:2])
        matrix = BUNDLER_AXES @ image.cam_from_world().matrix()
        yield from (join(*row) for row in matrix[:, :3])
        yield join(*matrix[:, 3])
    for point_id in sorted(model.point3D_ids()):
        point = model.point3D(point_id)
        yield join(*point.xyz)
        yield colour(point)
        yield views(model, point, index, y_up=True)
