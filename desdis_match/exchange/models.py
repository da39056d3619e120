"""`desdis-match export`: a COLMAP model in the formats of other programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..colmap.mapping import new_folder, read_model
from ..colmap.model_files import write_model
from ..colmap.undistorting import undistort
from ..errors import InputError
from ..photos.formats import read_stored
from ..photos.masks import check_masks
from ..storage.georeference import load_georeference
from ..support.files import check_new_folder, check_not_read, new_files, writing
from ..support.native import pycolmap
from .bundler import write_bundler
from .cameras import has_panoramas
from .cloud import write_cloud, write_las
from .nerfstudio import write_nerfstudio
from .nvm import write_nvm
from .opensfm import write_opensfm
from .pinholes import EIGHT_FACES, FaceConfig, write_pinholes
from .splat import write_splat
from .tables import write_csv, write_geojson

ModelFormat = Literal[
    "3dgs",
    "nerfstudio",
    "undistorted",
    "colmap-bin",
    "colmap-txt",
    "ply",
    "las",
    "laz",
    "geojson",
    "csv",
    "opensfm",
    "bundler",
    "nvm",
]


@dataclass(frozen=True)
class ExportJob:
    """What is exported, and where to."""

    model: pycolmap.Reconstruction
    model_dir: Path
    output: Path
    images: Path | None = None
    masks: Path | None = None
    link: bool = False
    faces: FaceConfig | None = None

    def photos(self, what: str) -> Path:
        """The photos' folder. Raises InputError where there is none."""
        if self.images is None:
            raise InputError(f"{what} needs the photos; give their folder with --images")
        return self.images


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    holds: str  # in words
    next_command: str = ""  # that takes it


def export_model(
    model_dir: Path,
    model_format: ModelFormat,
    output: Path,
    images_dir: Path | None = None,
    *,
    masks: Path | None = None,
    link: bool = False,
    faces: FaceConfig | None = None,
) -> Exported:
    """Write the model in folder `model_dir` in another format.

    output: a file for the formats that are one, a folder for the others (made where it is missing).
    images_dir: the photos; needed for `3dgs` and `undistorted`, used by `nerfstudio` and `opensfm`.
    masks: for `3dgs` and `nerfstudio`. link: refer to photos by links instead of copies (`nerfstudio`,
    `opensfm`). faces: into which panoramas are cut; None: by default for `3dgs` and `undistorted`, for others
    not at all.
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
    check_not_read(output, *Path(model_dir).glob("*"))
    model = read_model(model_dir)
    if images_dir is not None:
        _check_photos(model, images_dir)
    if masks is not None:
        if model_format not in MASKED or images_dir is None:
            raise InputError(
                f"masks go with photos in {' and '.join(MASKED)}; leave them out, or give --images"
            )
        check_masks(masks, sorted(model.image(i).name for i in model.reg_image_ids()))
    job = ExportJob(model, Path(model_dir), output, images_dir, masks, link, faces)
    if faces is not None and not has_panoramas(model):
        raise InputError("no photo of the model is a panorama (EQUIRECTANGULAR); leave faces out")
    wanted = faces or (EIGHT_FACES if model_format in PINHOLES_ONLY else None)
    if wanted is None or not has_panoramas(model) or model_format == "3dgs":
        return FORMATS[model_format](job)
    if model_format in SINGLE_FILES:
        raise InputError(
            f"{model_format} is one file, without photos; faces are for formats that are a folder"
        )
    with _faces_instead(job, wanted) as cut:
        made = FORMATS[model_format](cut)
    return replace(made, holds=f"{made.holds}, faces of {model.num_reg_images()} photos")


def _check_photos(model: pycolmap.Reconstruction, images_dir: Path) -> None:
    names = sorted(model.image(i).name for i in model.reg_image_ids())
    missing = [name for name in names if not (images_dir / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the model's {len(names)} photos are not in {images_dir}, "
            f"'{missing[0]}' for one; is it the folder of another model?"
        )


def _points_of(job: ExportJob) -> str:
    return f"{job.model.num_points3D():,} points of {job.model.num_reg_images()} photos"


@contextmanager
def _faces_instead(job: ExportJob, faces: FaceConfig) -> Iterator[ExportJob]:
    """The job on faces of its panoramas; the faces stay in its output's images/."""
    if job.link:
        raise InputError("faces of panoramas are new photos, which nothing can link to; leave --link out")
    folder = job.output.absolute().with_name(f".{job.output.absolute().name}.faces")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing(folder):
            made = write_pinholes(job.model, folder, job.images, job.masks, faces)
            (folder / "sparse").mkdir(parents=True)
            write_model(made, folder / "sparse")
            where = load_georeference(job.model_dir)
            if where is not None:
                where.save(folder / "sparse")
        masks = folder / "masks" if (folder / "masks").is_dir() else None
        images = None if job.images is None else folder / "images"
        yield replace(job, model=made, model_dir=folder / "sparse", images=images, masks=masks)
        if images is not None and not (job.output / "images").exists():
            with writing(job.output):
                os.replace(images, job.output / "images")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _splat(job: ExportJob) -> Exported:
    made = write_splat(job.model, job.output, job.photos("a splat"), job.masks, job.faces or EIGHT_FACES)
    masked = ", masks" if (job.output / "masks").is_dir() else ""
    holds = f"images/ (also _2, _4, _8){masked}, sparse/0: {_points_of(job)}, "
    holds += f"{made.num_reg_images()} pinholes"
    return Exported(job.output, holds, f"python train.py -s {job.output}  (gaussian-splatting)")


def _opensfm(job: ExportJob) -> Exported:
    where = load_georeference(job.model_dir)
    write_opensfm(job.model, job.output, job.images, job.link, where)
    photos = "" if job.images is None else "images/, "
    following = "" if job.images is None else f"bin/opensfm undistort {job.output}"
    holds = f"{photos}reconstruction.json, tracks.csv: {_points_of(job)}"
    return Exported(job.output, holds, following)


def _nerfstudio(job: ExportJob) -> Exported:
    level = load_georeference(job.model_dir) is not None
    path = write_nerfstudio(job.model, job.output, job.images, job.link, level, job.masks)
    masked = ", masks" if job.images is not None and job.masks is not None else ""
    photos = "" if job.images is None else f"images/ (also _2, _4, _8){masked}, "
    photos += "transforms.json"
    holds = f"{photos}, sparse_pc.ply: {_points_of(job)}"
    return Exported(path, holds, f"ns-train splatfacto --data {job.output}")


def _colmap(suffix: str) -> Callable[[ExportJob], Exported]:
    def write(job: ExportJob) -> Exported:
        if job.output.resolve() == job.model_dir.resolve():
            raise InputError(f"{job.output} is the model itself; give another folder")
        if suffix == "txt":
            _check_words(job.model)
        with new_files(job.output) as folder:
            write_model(job.model, folder, text=suffix == "txt")
        where = f"--import_path {job.output}"
        return Exported(job.output, _points_of(job), f"colmap gui --database_path NEW.db {where}")

    return write


def _check_words(model: pycolmap.Reconstruction) -> None:
    """COLMAP reads a name in its text files up to the first blank."""
    names = (model.image(image_id).name for image_id in model.reg_image_ids())
    if broken := next((name for name in names if name.split() != [name]), None):
        raise InputError(
            f"COLMAP's text files end a name at a blank, as in {broken!r}; take --format colmap-bin"
        )


def _ply(job: ExportJob) -> Exported:
    write_cloud(job.model, job.output)
    return Exported(job.output, f"{_points_of(job)}, with error and track", f"meshlab {job.output}")


def _las(job: ExportJob) -> Exported:
    where = load_georeference(job.model_dir)
    write_las(job.model, job.output, where)
    frame = "UTM, metres" if where is not None and where.origin is not None else "the model's own frame"
    return Exported(job.output, f"{_points_of(job)} in {frame}, with error and track")


def _geojson(job: ExportJob) -> Exported:
    write_geojson(job.model, job.output, load_georeference(job.model_dir))
    return Exported(job.output, f"positions of {job.model.num_reg_images()} photos", f"qgis {job.output}")


def _csv(job: ExportJob) -> Exported:
    write_csv(job.model, job.output)
    return Exported(job.output, f"poses and intrinsics of {job.model.num_reg_images()} photos")


def _bundler(job: ExportJob) -> Exported:
    return Exported(write_bundler(job.model, job.output), _points_of(job))


def _nvm(job: ExportJob) -> Exported:
    return Exported(write_nvm(job.model, job.output), _points_of(job))


def _undistorted(job: ExportJob) -> Exported:
    """COLMAP's dense workspace: images/ without distortion, sparse/ with pinhole cameras, stereo/."""
    images = job.photos("undistorting")
    check_new_folder(job.output)
    names = sorted(job.model.image(i).name for i in job.model.reg_image_ids())
    for name in names:
        read_stored(images / name)  # COLMAP says nothing of a damaged photo
    with new_folder(job.output) as folder:
        undistort(folder, job.model_dir, images, names)
        for script in folder.glob("run-colmap-*.sh"):  # they hold the temporary folder's name
            text = script.read_text(encoding="utf-8")
            script.write_text(text.replace(str(folder), str(job.output)), encoding="utf-8")
    holds = f"photos of {len(names)} pinholes, COLMAP's dense workspace (splat trainers want --format 3dgs)"
    return Exported(job.output, holds, f"colmap patch_match_stereo --workspace_path {job.output}")


FORMATS: dict[str, Callable[[ExportJob], Exported]] = {
    "3dgs": _splat,
    "nerfstudio": _nerfstudio,
    "undistorted": _undistorted,
    "colmap-bin": _colmap("bin"),
    "colmap-txt": _colmap("txt"),
    "ply": _ply,
    "las": _las,
    "laz": _las,
    "geojson": _geojson,
    "csv": _csv,
    "opensfm": _opensfm,
    "bundler": _bundler,
    "nvm": _nvm,
}

PINHOLES_ONLY = ("3dgs", "undistorted")
"""Formats that have no panoramas."""

MASKED = ("3dgs", "nerfstudio")
"""Formats that hold masks."""

SINGLE_FILES = ("ply", "las", "laz", "geojson", "csv", "nvm")
"""Formats that are one file; the others are a folder."""
