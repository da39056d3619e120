"""`desdis-match export`: a COLMAP model in the formats of other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..colmap.log import log_to
from ..colmap.mapping import new_folder, read_model, write_points
from ..colmap.model_files import write_model
from ..errors import InputError
from ..support.files import new_files
from ..support.native import pycolmap
from .bundler import write_bundler
from .nerfstudio import write_nerfstudio
from .nvm import write_nvm

ModelFormat = Literal["colmap-bin", "colmap-txt", "ply", "nerfstudio", "bundler", "nvm", "undistorted"]


def export_model(
    model_dir: Path, model_format: ModelFormat, output: Path, images_dir: Path | None = None
) -> Path:
    """Write the model in folder `model_dir` in another format; returns what was written.

    output: a file for ply and nvm, a folder for the others (made where it is missing).
    images_dir: the photos; needed for `undistorted`, used by `nerfstudio`.
    Raises InputError for an unknown format, an output of the wrong sort, a damaged model, missing photos, or
    cameras that the format lacks.
    """
    if model_format not in FORMATS:
        raise InputError(f"format '{model_format}' is unknown; there are {', '.join(FORMATS)}")
    output = Path(output)
    if model_format in SINGLE_FILES and output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a file for {model_format}")
    if model_format not in SINGLE_FILES and output.is_file():
        raise InputError(f"{output} is a file; give the name of a folder for {model_format}")
    model = read_model(model_dir)
    if images_dir is not None:
        _check_photos(model, images_dir)
    return FORMATS[model_format](model, Path(model_dir), output, images_dir)


def _check_photos(model: pycolmap.Reconstruction, images_dir: Path) -> None:
    names = sorted(model.image(i).name for i in model.reg_image_ids())
    missing = [name for name in names if not (images_dir / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the model's {len(names)} photos are not in {images_dir}, "
            f"'{missing[0]}' for one; is it the folder of another model?"
        )


def _colmap(suffix: str) -> Callable[..., Path]:
    def write(model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None) -> Path:
        if output.resolve() == model_dir.resolve():
            raise InputError(f"{output} is the model itself; give another folder")
        with new_files(output) as folder:
            write_model(model, folder, text=suffix == "txt")
        return output

    return write


def _ply(model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None) -> Path:
    return write_points(model, output)


def _nerfstudio(
    model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None
) -> Path:
    return write_nerfstudio(model, output, images_dir)


def _bundler(model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None) -> Path:
    return write_bundler(model, output)


def _nvm(model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None) -> Path:
    return write_nvm(model, output)


def _undistorted(
    model: pycolmap.Reconstruction, model_dir: Path, output: Path, images_dir: Path | None
) -> Path:
    """COLMAP's dense workspace: images/ without distortion, sparse/ with pinhole cameras, stereo/."""
    if images_dir is None:
        raise InputError("undistorting needs the photos; give their folder with --images")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty; give a new folder")
    with new_folder(output) as folder, log_to(None):
        pycolmap.undistort_images(folder, model_dir, images_dir)
        names = sorted(model.image(i).name for i in model.reg_image_ids())
        unread = [name for name in names if not (folder / "images" / name).is_file()]
        if unread:  # COLMAP only logs them
            raise InputError(f"{images_dir / unread[0]} cannot be read as a photo ({len(unread)} in all)")
        for script in folder.glob("run-colmap-*.sh"):  # they hold the temporary folder's name
            text = script.read_text(encoding="utf-8")
            script.write_text(text.replace(str(folder), str(output)), encoding="utf-8")
    return output


FORMATS: dict[str, Callable[..., Path]] = {
    "colmap-bin": _colmap("bin"),
    "colmap-txt": _colmap("txt"),
    "ply": _ply,
    "nerfstudio": _nerfstudio,
    "bundler": _bundler,
    "nvm": _nvm,
    "undistorted": _undistorted,
}

SINGLE_FILES = ("ply", "nvm")
"""Formats that are one file; the others are a folder."""
