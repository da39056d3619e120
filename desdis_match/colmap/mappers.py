"""COLMAP's ways from a verified database to models: incremental, global and hierarchical mapping.

Each takes a `Job` and returns the models that formed, in no order. `auto` (placing.py) calls them in turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ..errors import InputError
from ..photos.cameras import CameraConfig
from ..support.checks import check_options
from ..support.files import check_room, writing
from ..support.native import pycolmap
from ..support.parts import check_part
from ..support.progress import progress
from .database import copy_database, open_database, remove_database
from .verification import VerifyConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MapConfig:
    """From matches to models."""

    cameras: CameraConfig = field(default_factory=CameraConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    mapper: str = "auto"
    """auto: incremental, and where that leaves out photos that verified pairs join, other ways too, up to a
    bound; incremental: one image after the other; global: all at once, fast for many images; hierarchical:
    clusters of up to 200 images are mapped apart, where --executor says, and joined. Or another package's, or
    module:Class of your own."""
    mapper_threads: int = 1
    """Threads of one mapper. With 1 the same seed gives the same model bit by bit; with more, sums come in
    changing order, and models differ in the last digits and now and then by a point."""
    fix_intrinsics: bool = False
    """Keep focal lengths and distortion as given, for calibrated cameras."""
    min_model_size: int = 3
    """Registered images that a second or further model needs to be kept."""
    align: bool = True
    """Add what the poses bear out of the matches that were not verified (recovery.py), align the observations
    of the models to a fraction of a pixel on the photos, and adjust the models to them (alignment.py);
    --no-align leaves that out."""
    georeference: bool = False
    """Fail where a model cannot be brought into metres, east-north-up. Without this it is tried wherever
    three photos have a GPS position."""
    no_georeference: bool = False
    """Leave the models in their own units even where photos have GPS."""
    control: Path | None = None
    """Known positions or distances by file instead of GPS (docs/georeferencing.md has its rows)."""
    poses: Path | None = None
    """Known poses, which are triangulated instead of mapped: a COLMAP model, nerfstudio's transforms.json, or
    a table with lines NAME QW QX QY QZ TX TY TZ (camera from world). Cameras are those of the model or
    transforms.json, where no others are given."""
    refine_poses: bool = False
    """Adjust the known poses to the points; else they stay exactly as given."""
    seed: int = 0
    """The same seed gives the same model."""

    def __post_init__(self) -> None:
        check_options(self, min_model_size=(2, 1_000_000), seed=(0, None), mapper_threads=(1, 4096))
        check_part("mappers", MAPPERS, self.mapper, also=("auto",))
        if self.poses is not None and self.cameras.rig_config is not None:
            raise InputError(
                "give --poses or --rig-config: known poses say already how cameras lie to each other"
            )


@dataclass(frozen=True)
class Job:
    """A database to be mapped, and where."""

    database: Path  # verified; never written to
    scratch: Path  # an existing folder for what comes and goes
    config: MapConfig
    threads: int = 1
    workers: int = 1  # clusters of images mapped at a time, on `executor` or in processes
    executor: Executor | None = None

    def folder(self) -> Path:
        """A new empty folder in `scratch`."""
        return Path(mkdtemp(dir=self.scratch))


def map_incremental(job: Job, **changes: Any) -> list[pycolmap.Reconstruction]:
    """One image after the other. changes: options of COLMAP's, by name, wherever they lie."""
    output = job.folder()
    options = incremental_options(job.config, job.threads)
    _set_everywhere(options, **changes)
    with _registration_bar(_num_images(job.database)) as (first_pair, next_image):
        models = pycolmap.incremental_mapping(
            job.database,
            output,  # the photos, for colours that nobody asks for
            output,
            options,
            initial_image_pair_callback=first_pair,
            next_image_callback=next_image,
        )
    return list(models.values())


def grow(job: Job, model: pycolmap.Reconstruction, **changes: Any) -> pycolmap.Reconstruction:
    """A new model: `model` with what further images of the database register, all of it adjusted."""
    start, output = job.folder(), job.folder()
    model.write_binary(start)
    options = incremental_options(job.config, job.threads)
    options.multiple_models = False
    _set_everywhere(options, **changes)
    grown = pycolmap.incremental_mapping(job.database, output, output, options, input_path=start)
    return max(grown.values(), key=lambda found: found.num_reg_images(), default=model)


def map_global(job: Job, **changes: Any) -> list[pycolmap.Reconstruction]:
    """Global mapping takes focal lengths for granted, so those not known are found from the view graph first.

    That step writes focal lengths into its database, so it works on a copy. changes: as of map_incremental.
    """
    with calibrated(job) as ready:
        output = job.folder()
        options = pycolmap.GlobalPipelineOptions(min_model_size=job.config.min_model_size)
        _set_everywhere(options, random_seed=job.config.seed, num_threads=job.threads, **changes)
        bundle = options.mapper.bundle_adjustment
        bundle.refine_focal_length = bundle.refine_extra_params = not job.config.fix_intrinsics
        return list(pycolmap.global_mapping(ready.database, output, output, options).values())


@contextmanager
def calibrated(job: Job) -> Iterator[Job]:
    """The job on a copy of its database whose unknown focal lengths come from the view graph."""
    copy = job.folder() / "calibrated.db"
    copy_database(job.database, copy)
    try:
        if not job.config.fix_intrinsics and _has_unknown_focal(copy):
            with writing(copy):  # where there is none, COLMAP would end the process
                check_room(copy.with_name("room"), copy.stat().st_size)
            options = pycolmap.ViewGraphCalibrationOptions(random_seed=job.config.seed)
            if not pycolmap.calibrate_view_graph(copy, options):
                log.warning("focal lengths could not be found from the view graph; EXIF or guesses are used")
        yield replace(job, database=copy)
    finally:
        remove_database(copy)


def map_hierarchical(job: Job) -> list[pycolmap.Reconstruction]:
    """Clusters of images are mapped apart, on the job's executor where it has one, and joined."""
    from .hierarchical import map_in_clusters  # which needs this module

    return map_in_clusters(job)


Mapper = Callable[[Job], list[pycolmap.Reconstruction]]

MAPPERS: dict[str, Mapper] = {
    "incremental": map_incremental,
    "global": map_global,
    "hierarchical": map_hierarchical,
}


def incremental_options(config: MapConfig, threads: int) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options of incremental mapping.

    Its adjustments stop where an iteration gains less than a share of the cost: COLMAP's own limit of 0
    spends half of the time on digits that the next image's adjustment changes again.
    """
    options = pycolmap.IncrementalPipelineOptions(
        ba_local_function_tolerance=1e-2,
        ba_global_function_tolerance=1e-4,
        min_model_size=config.min_model_size,
        extract_colors=False,  # colours.py has them, of every format, once the model is there
        ba_refine_focal_length=not config.fix_intrinsics,
        ba_refine_extra_params=not config.fix_intrinsics,
    )
    options.mapper.abs_pose_refine_focal_length = not config.fix_intrinsics
    options.mapper.abs_pose_refine_extra_params = not config.fix_intrinsics
    _set_everywhere(options, random_seed=config.seed, num_threads=threads)
    return options


def _set_everywhere(options: Any, **values: Any) -> None:
    """Set fields of an option object of pycolmap and of those nested in it, wherever they exist."""
    for name in options.todict(recursive=False):
        child = getattr(options, name)
        if name in values:
            setattr(options, name, values[name])
        elif hasattr(child, "todict"):
            _set_everywhere(child, **values)


def _has_unknown_focal(database_path: Path) -> bool:
    with open_database(database_path) as database:
        lenses = [camera for camera in database.read_all_cameras() if len(camera.focal_length_idxs())]
        return not all(camera.has_prior_focal_length for camera in lenses)


def _num_images(database_path: Path) -> int:
    with open_database(database_path) as database:
        return database.num_images()


@contextmanager
def _registration_bar(num_images: int) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Callbacks for the first pair and each further image that count registered images.

    A model that is given up and begun anew counts again, but never beyond all images.
    """
    with progress("map", num_images, "images") as advance:
        registered = 0

        def more(num: int) -> None:
            nonlocal registered
            num = min(num, num_images - registered)
            registered += num
            advance(num)

        yield lambda: more(2), lambda: more(1)
