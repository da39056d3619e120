"""VisualSFM's NVM_V3: quaternion and centre a camera, pixels counted from the principal point, y down.

Its one distortion r corrects what was measured, m (1 + r |m|^2), where COLMAP's k distorts what is projected;
r = -k is their first order, so an NVM file is exact only without distortion. The format ends a name at a
blank; VisualSFM writes a quotation mark for it, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..support.files import atomic_path
from ..support.native import pycolmap
from .cameras import simple_lens_of
from .tracks import colour, join, sorted_images, views

BLANK = '"'
"""What stands for a blank in a photo's name."""


def write_nvm(model: pycolmap.Reconstruction, path: Path) -> Path:
    """Write one NVM file; cameras sorted by photo name.

    Raises InputError for cameras with two focal lengths or more than one radial term.
    """
    path = Path(path)
    images = sorted_images(model)
    lines = list(_lines(model, images))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _lines(model: pycolmap.Reconstruction, images: list[pycolmap.Image]) -> Iterator[str]:
    index = {image.image_id: i for i, image in enumerate(images)}
    yield "NVM_V3"
    yield ""
    yield str(len(images))
    for image in images:
        lens = simple_lens_of(model.camera(image.camera_id), "VisualSFM", num_radial=1)
        if " ".join(image.name.split()) != image.name:
            raise InputError(f"NVM holds no name such as {image.name!r}, with tabs or blanks in a row")
        x, y, z, w = image.cam_from_world().rotation.quat
        numbers = join(lens.fx, w, x, y, z, *image.projection_center(), -lens.k[0])
        yield f"{image.name.replace(' ', BLANK)} {numbers} 0"
    yield ""
    yield str(model.num_points3D())
    for point_id in sorted(model.point3D_ids()):
        point = model.point3D(point_id)
        yield " ".join([join(*point.xyz), colour(point), views(model, point, index, y_up=False)])
    yield ""
    yield "0"
