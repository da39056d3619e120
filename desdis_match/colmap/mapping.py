"""COLMAP database -> models in numbered folders, the best first (ranking.py).

The steps before it are `build_database` (database.py) and `verify` (verification.py); the ways of mapping are
in mappers.py and placing.py.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..support.files import atomic_path, write_text, writing
from ..support.native import pycolmap
from ..support.parts import find_part
from ..support.scratch import scratch_in
from ..types import ModelSummary
from .colours import colouring
from .database import build_database, notes, open_database
from .log import log_to
from .mappers import MAPPERS, Job, MapConfig, incremental_options
from .model_files import check_model_files, write_checksums, write_model, write_ply
from .placing import Placing, place
from .poses import read_poses, triangulated
from .ranking import best_first
from .verification import verify

__all__ = [
    "MapConfig",
    "build_database",
    "incremental_options",
    "map_database",
    "model_folders",
    "model_summary",
    "read_model",
    "read_models",
    "verify",
    "write_models",
    "write_points",
]

log = logging.getLogger(__name__)


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


def map_database(
    database_path: Path,
    images_dir: Path | None,
    output: Path,
    config: MapConfig | None = None,
    *,
    log_path: Path | None = None,
    workers: int = 1,
    executor: Executor | None = None,
) -> Placing:
    """Models of a verified database, best first, in `output`/0, 1, 2, ... (binary), and how they were found.

    `output` is replaced as a whole when mapping is over, also by an empty folder when no model forms.
    images_dir: for the colours of points; None: no colours. log_path: takes COLMAP's own lines.
    The hierarchical mapper has `workers` clusters mapped at a time, on `executor` or else in processes.
    """
    with new_folder(Path(output)) as folder:
        raw = folder / "raw"
        with log_to(log_path):
            placing = find_models(database_path, raw, config, workers=workers, executor=executor)
            with scratch_in(raw), colouring(placing.models, images_dir):
                pass
        shutil.rmtree(raw)
        _write_numbered(placing.models, folder)
    return placing


def find_models(
    database_path: Path,
    scratch: Path,
    config: MapConfig | None = None,
    *,
    workers: int = 1,
    executor: Executor | None = None,
) -> Placing:
    """As `map_database`, but writes nothing but what comes and goes, in the folder `scratch`."""
    config = config or MapConfig()
    with open_database(database_path):  # or a sentence that says what is wrong with it
        pass
    with writing(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    job = Job(Path(database_path), scratch, config, config.mapper_threads, workers, executor)
    with writing(scratch), scratch_in(scratch):
        try:
            placing = _placed(job)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"COLMAP stopped on {database_path}: {error}") from error
    said = notes(database_path).get("still matches")
    record = replace(placing.record, notes=(*((said,) if said else ()), *placing.record.notes))
    return replace(placing, record=record)


def _placed(job: Job) -> Placing:
    if job.config.poses is not None:
        with open_database(job.database) as database:
            names = sorted(image.name for image in database.read_all_images())
        given = read_poses(Path(job.config.poses), names)
        return Placing([triangulated(job, given, job.config.refine_poses)])
    if job.config.mapper == "auto":
        return place(job)
    return Placing(best_first(find_part("mappers", MAPPERS, job.config.mapper)(job)))


def write_models(
    models: Sequence[pycolmap.Reconstruction], output: Path, notes: Mapping[str, str] | None = None
) -> list[pycolmap.Reconstruction]:
    """Replace `output` by a folder of the models, numbered best first; returns them in that order.

    notes: text files that lie beside or in the models (0/NAME), by name.
    """
    with new_folder(Path(output)) as folder:
        with scratch_in(folder):
            models = best_first(models)
        for name, text in (notes or {}).items():
            write_text(folder / name, text)
        _write_numbered(models, folder)
    return models


def _write_numbered(models: Sequence[pycolmap.Reconstruction], folder: Path) -> None:
    for number, model in enumerate(models):
        (folder / str(number)).mkdir(exist_ok=True)
        write_model(model, folder / str(number))
    write_checksums(folder)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty hidden folder beside `path` that takes its place as a whole when the block ends well."""
    if not path.name or path.name == "..":
        raise InputError(f"{path} cannot be replaced; give the name of a new folder")
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with writing(path):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is no folder; give the name of a folder")
        if old.exists() and not path.exists():  # a kill between the two renames below
            os.replace(old, path)
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        with writing(path):
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
    check_model_files(folder)
    try:
        with log_to(None):
            return pycolmap.Reconstruction(folder)
    except (RuntimeError, ValueError, IndexError, OverflowError, MemoryError) as error:
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
        write_ply(model, temporary)
    return Path(path)
