"""COLMAP database -> models: incremental, global and hierarchical mapping through pycolmap.

The steps before it are `build_database` (database.py) and `verify` (verification.py). Models lie in numbered
folders, the one with most registered images first.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ..errors import InputError
from ..photos.cameras import CameraConfig
from ..support.files import atomic_path
from ..support.native import pycolmap
from ..support.progress import track
from ..types import ModelSummary
from .colours import colour_black_points
from .database import build_database, copy_database, open_database, remove_database
from .log import log_to
from .verification import VerifyConfig, verify

__all__ = [
    "MapConfig",
    "build_database",
    "incremental_options",
    "model_folders",
    "model_summary",
    "read_model",
    "read_models",
    "run_mapping",
    "verify",
    "write_models",
    "write_points",
]

log = logging.getLogger(__name__)

Mapper = Literal["incremental", "global", "hierarchical"]


@dataclass(frozen=True)
class MapConfig:
    """From matches to models."""

    cameras: CameraConfig = field(default_factory=CameraConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    mapper: Mapper = "incremental"
    """incremental: one image after the other; global: all at once, fast for many images; hierarchical:
    clusters of images are mapped apart and joined."""
    fix_intrinsics: bool = False
    """Keep focal lengths and distortion as given, for calibrated cameras."""
    min_model_size: int = 3
    """Registered images that a second or further model needs to be kept."""
    align: bool = True
    """Align the observations of the models to a fraction of a pixel on the photos, and adjust the models to
    them (alignment.py); --no-align leaves that out."""
    seed: int = 0
    """The same seed gives the same model."""


def model_summary(model: pycolmap.Reconstruction) -> ModelSummary:
    """Count a model; the means are 0 where there is no point."""
    num_points = model.num_points3D()
    return ModelSummary(
        num_registered=model.num_reg_images(),
        num_points=num_points,
        num_observations=model.compute_num_observations(),
        mean_track_length=model.compute_mean_track_length() if num_points else 0.0,
        mean_reprojection_error=model.compute_mean_reprojection_error() if num_points else 0.0,
    )


def run_mapping(
    database_path: Path,
    images_dir: Path | None,
    output: Path,
    config: MapConfig | None = None,
    *,
    log_path: Path | None = None,
    threads: int = 1,
) -> list[pycolmap.Reconstruction]:
    """Models of a verified database, by registered images and then points, in `output`/0, 1, 2, ... (binary).

    `output` is replaced as a whole when mapping is over, also by an empty folder when no model forms.
    images_dir: for the colours of points; None: no colours. log_path: takes COLMAP's own lines.
    threads: with 1 the same seed gives the same model bit by bit; with more, bundle adjustment adds up its
    residuals in changing order, and models differ in the last digits and now and then by a point.
    """
    config = config or MapConfig()
    output = Path(output)
    with open_database(database_path) as database:
        num_images = database.num_images()
    with new_folder(output) as folder:
        raw = folder / "raw"
        raw.mkdir()
        with log_to(log_path):
            try:
                models = MAPPERS[config.mapper](database_path, images_dir, raw, config, threads, num_images)
            except (RuntimeError, ValueError) as error:
                raise InputError(f"COLMAP stopped on {database_path}: {error}") from error
            if images_dir is not None:
                for model in models:
                    colour_black_points(model, images_dir)
        shutil.rmtree(raw)
        return _write_numbered(models, folder)


def write_models(models: Sequence[pycolmap.Reconstruction], output: Path) -> list[pycolmap.Reconstruction]:
    """Replace `output` by a folder of the models, numbered by size; returns them in that order."""
    with new_folder(Path(output)) as folder:
        return _write_numbered(models, folder)


def _write_numbered(models: Sequence[pycolmap.Reconstruction], folder: Path) -> list[pycolmap.Reconstruction]:
    ranked = sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
    for number, model in enumerate(ranked):
        (folder / str(number)).mkdir()
        model.write_binary(folder / str(number))
    return ranked


def _map_incremental(
    database: Path, images_dir: Path | None, output: Path, config: MapConfig, threads: int, num_images: int
) -> list[pycolmap.Reconstruction]:
    with _registration_bar(num_images) as (first_pair, next_image):
        models = pycolmap.incremental_mapping(
            database,
            images_dir or output,
            output,
            incremental_options(config, threads, colours=images_dir is not None),
            initial_image_pair_callback=first_pair,
            next_image_callback=next_image,
        )
    return list(models.values())


def _map_global(
    database: Path, images_dir: Path | None, output: Path, config: MapConfig, threads: int, num_images: int
) -> list[pycolmap.Reconstruction]:
    """Global mapping takes focal lengths for granted, so those not known are found from the view graph first.

    That step writes focal lengths into its database, so it works on a copy.
    """
    copy = output.parent / "calibrated.db"
    copy_database(database, copy)
    try:
        if not config.fix_intrinsics and _has_unknown_focal(copy):
            calibration = pycolmap.ViewGraphCalibrationOptions(random_seed=config.seed)
            if not pycolmap.calibrate_view_graph(copy, calibration):
                log.warning("focal lengths could not be found from the view graph; EXIF or guesses are used")
        options = pycolmap.GlobalPipelineOptions(min_model_size=config.min_model_size)
        _set_everywhere(options, random_seed=config.seed, num_threads=threads)
        bundle = options.mapper.bundle_adjustment
        bundle.refine_focal_length = bundle.refine_extra_params = not config.fix_intrinsics
        if images_dir is not None:
            options.image_path = options.mapper.image_path = str(images_dir)
        models = list(pycolmap.global_mapping(copy, images_dir or output, output, options).values())
    finally:
        remove_database(copy)
    return models


def _map_hierarchical(
    database: Path, images_dir: Path | None, output: Path, config: MapConfig, threads: int, num_images: int
) -> list[pycolmap.Reconstruction]:
    options = pycolmap.HierarchicalPipelineOptions(num_threads=threads, num_workers=1)
    options.incremental_options = incremental_options(config, threads, colours=images_dir is not None)
    if images_dir is not None:
        options.image_path = str(images_dir)
    models = pycolmap.hierarchical_mapping(database, images_dir or output, output, options)
    return list(models.values())


MAPPERS: dict[str, Callable[..., list[pycolmap.Reconstruction]]] = {
    "incremental": _map_incremental,
    "global": _map_global,
    "hierarchical": _map_hierarchical,
}


def incremental_options(
    config: MapConfig, threads: int, colours: bool
) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options of incremental mapping."""
    options = pycolmap.IncrementalPipelineOptions(
        min_model_size=config.min_model_size,
        extract_colors=colours,
        ba_refine_focal_length=not config.fix_intrinsics,
        ba_refine_extra_params=not config.fix_intrinsics,
    )
    options.mapper.abs_pose_refine_focal_length = not config.fix_intrinsics
    options.mapper.abs_pose_refine_extra_params = not config.fix_intrinsics
    _set_everywhere(options, random_seed=config.seed, num_threads=threads)
    return options


def _set_everywhere(options: Any, **values: int) -> None:
    """Set fields of an option object of pycolmap and of those nested in it, wherever they exist."""
    for name in options.todict(recursive=False):
        child = getattr(options, name)
        if name in values:
            setattr(options, name, values[name])
        elif hasattr(child, "todict"):
            _set_everywhere(child, **values)


def _has_unknown_focal(database_path: Path) -> bool:
    with open_database(database_path) as database:
        return not all(camera.has_prior_focal_length for camera in database.read_all_cameras())


@contextmanager
def _registration_bar(num_images: int) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Callbacks for the first pair and each further image that drive a bar of registered images.

    A model that is given up and begun anew counts again, so the bar stops at its end.
    """
    bar = cast(Generator[int, None, None], track(range(num_images), "map", total=num_images, unit="images"))
    next(bar, None)

    def one() -> None:
        next(bar, None)

    def two() -> None:
        one()
        one()

    try:
        yield two, one
    finally:
        bar.close()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty hidden folder beside `path` that takes its place as a whole when the block ends well."""
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    for folder in (temporary, old):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def model_folders(sparse: Path) -> list[Path]:
    """The numbered model folders of `sparse`, largest model first."""
    folders = [folder for folder in Path(sparse).glob("*") if folder.name.isdigit() and folder.is_dir()]
    return sorted(folders, key=lambda folder: int(folder.name))


def read_model(folder: Path) -> pycolmap.Reconstruction:
    """A COLMAP model, binary or text. Raises InputError when it is missing or damaged."""
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        path = Path(folder) / name
        # Without the 8 bytes of the count that it begins with, COLMAP reads on until the memory is full.
        if path.is_file() and path.stat().st_size < 8:
            raise InputError(f"{folder} holds no readable COLMAP model: {name} is cut off; make it again")
    try:
        return pycolmap.Reconstruction(folder)
    except (RuntimeError, ValueError, IndexError) as error:
        why = _lacks(Path(folder)) or str(error)
        raise InputError(f"{folder} holds no readable COLMAP model: {why}") from error


def _lacks(folder: Path) -> str:
    """What a folder lacks to be a model's, and where one may be instead; empty when its files are there."""
    if not folder.is_dir():
        return "there is no such folder"
    if any((folder / f"cameras.{end}").is_file() for end in ("bin", "txt")):
        return ""
    inside = [model for sparse in (folder, folder / "sparse") for model in model_folders(sparse)]
    return "it has no cameras.bin or cameras.txt" + (f"; did you mean {inside[0]}?" if inside else "")


def read_models(sparse: Path) -> list[pycolmap.Reconstruction]:
    """All models of `sparse`, largest first."""
    return [read_model(folder) for folder in model_folders(sparse)]


def write_points(model: pycolmap.Reconstruction, path: Path) -> Path:
    """The coloured points of a model as PLY."""
    with atomic_path(path) as temporary:
        model.export_PLY(temporary)
    return Path(path)
