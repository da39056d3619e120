"""A folder for splat trainers (3DGS, gsplat, and what reads the like): photos of pinholes and their model.

images/, images_2/, ...  undistorted, upright, under flat names; panoramas cut into faces
masks/, masks_2/, ...    the same of the masks, NAME.png for images/NAME.jpg
sparse/0/                cameras (PINHOLE), images, points3D in COLMAP's binary files, and points3D.ply
"""

from __future__ import annotations

from pathlib import Path

from ..colmap.mapping import new_folder
from ..colmap.model_files import write_model
from ..support.files import check_new_folder
from ..support.native import pycolmap
from .cloud import write_cloud
from .pinholes import EIGHT_FACES, FaceConfig, write_pinholes


def write_splat(
    model: pycolmap.Reconstruction,
    output: Path,
    images_dir: Path,
    masks: Path | None = None,
    faces: FaceConfig = EIGHT_FACES,
) -> pycolmap.Reconstruction:
    """Returns the model of what was written.

    Raises InputError for an output that is not empty, and photos that cannot be read.
    """
    check_new_folder(output)
    with new_folder(output) as folder:
        made = write_pinholes(model, folder, images_dir, masks, faces, shrunk=True)
        (folder / "sparse" / "0").mkdir(parents=True)
        write_model(made, folder / "sparse" / "0")
        write_cloud(made, folder / "sparse" / "0" / "points3D.ply", normals=True)
    return made
