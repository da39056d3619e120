"""`python -m desdis_match.reconstruct --images DIR`: photos in, a COLMAP model and a report out.

The stages joined: extract, pairs, match, map. The output folder holds features.h5, matches.h5,
pairs.txt, database.db, sparse/0 (the largest model; 1, 2, ... the others by size), points.ply, report.json,
report.html and colmap.log. The same command again goes on where a killed run was, or returns at once.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..colmap.mapping import MapConfig
from ..colmap.poses import with_cameras_of_poses
from ..errors import NoModelError
from ..features.extract import ExtractConfig
from ..matching.match import MatchConfig
from ..page.photos import Pictures
from ..page.write import write_report_page
from ..photos.video import VideoConfig, is_film
from ..storage.features_file import FeatureFile
from ..storage.report_file import Report
from ..storage.run_folder import RunFolder
from ..support.lazy import load_meanwhile
from ..support.native import pycolmap
from ..support.scratch import scratch_in
from . import (
    PairsConfig,
    RunConfig,
    extract,
    make_folder,
    match,
    pairs,
    run_in,
)
from .films import pairs_of, photos_of
from .inputs import check_extraction, check_mapping, check_pairs, check_photos
from .mapping import map_models
from .pairing import settle_pairs
from .report import StageUsage, make_report
from .verification import verify_pairs

log = logging.getLogger(__name__)

FOR_MAPPING = ("scipy.sparse.csgraph",)
"""What takes a third of a second to load: beside the database."""

REFRESH = 10.0
"""Seconds after which the page of a run at work loads itself again."""


@dataclass(frozen=True)
class ReconstructConfig:
    """Photos in, a COLMAP model out."""

    images: Path
    """Folder of photos, or of films, or a film; sub-folders are searched too."""
    output: Path | None = None
    """Folder for the results; by default DIR-model beside the photos."""
    masks: Path | None = None
    """Folder of masks, black = ignore: NAME.jpg.png (COLMAP's way) or NAME.png for NAME.jpg; or one mask
    for all photos."""
    keypoints: Path | None = None
    """Describe these keypoints instead of detecting: features.h5, or a folder of COLMAP's NAME.txt."""
    video: VideoConfig = field(default_factory=VideoConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    map: MapConfig = field(default_factory=MapConfig)
    run: RunConfig = field(default_factory=RunConfig)
    live: bool = False
    """Write OUT/report.html after every stage, not only at the end; open, it loads itself again."""
    verbose: bool = False
    """Say what each stage does and why."""
    quiet: bool = False
    """Print errors only."""
    json: bool = False
    """Print the report as JSON instead of a table."""


@dataclass(frozen=True)
class ReconstructResult:
    """What a run made."""

    output: Path
    models: list[pycolmap.Reconstruction]  # by registered images, largest first
    report: Report


def reconstruct(config: ReconstructConfig) -> ReconstructResult:
    """Run all stages, or what of them is not done yet.

    Raises InputError for wrong input or an output folder in which another run is at work, and NoModelError
    when no model forms: the report is written all the same, and the message says which stage starved.
    """
    check(config)
    return reconstruct_checked(config)


def reconstruct_checked(config: ReconstructConfig) -> ReconstructResult:
    """`reconstruct` after `check`, which reads what files the options name."""
    output = config.output or default_output(config.images)
    make_folder(output)
    with run_in(output), scratch_in(RunFolder(output).unfinished):
        photos = photos_of(config.images, output, config.video)
        chosen = pairs_of(config.images, photos, config.pairs) if config.map.poses is None else config.pairs
        return _reconstruct(replace(config, images=photos, pairs=chosen), output)


def check(config: ReconstructConfig) -> list[str]:
    """Names of the photos, empty where there are films. Raises InputError for all that is known to be wrong
    before anything is made."""
    names = check_photos(config.images, config.output or default_output(config.images))
    check_extraction(config.extract, config.masks, config.keypoints, config.run.device)
    check_pairs(config.pairs, names, config.map.poses)
    check_mapping(config.map, config.images, names)
    return names


def _reconstruct(config: ReconstructConfig, output: Path) -> ReconstructResult:
    folder = RunFolder(output)
    usage = StageUsage(folder.usage)
    so_far: dict[str, object] = {}

    def stage(name: str, **settings: object) -> AbstractContextManager[None]:
        so_far.update(settings)
        return usage.of(name, so_far)

    inputs = {"masks": config.masks, "keypoints": config.keypoints}
    chosen = settle_pairs(config.images, config.pairs, config.map.poses)
    cameras = with_cameras_of_poses(config.map.cameras, config.map.poses)
    if chosen.why:
        log.info("pairs: %s (%s)", chosen.config.pairs, chosen.why)
    with stage("extract", extract=asdict(config.extract), **inputs):
        extract(
            config.images,
            folder.features,
            config.extract,
            masks=config.masks,
            keypoints=config.keypoints,
            run=config.run,
            overwrite=True,
        )
    show(folder, config)
    with stage("pairs", pairs=asdict(config.pairs)):
        pairs(
            folder.features,
            folder.pairs,
            chosen.config,
            images=config.images,
            poses=config.map.poses,
            cameras=cameras,
        )
    with stage("match", match=asdict(config.match)):
        match(folder.features, folder.pairs, folder.matches, config.match, run=config.run, overwrite=True)
    show(folder, config)
    if config.map.cameras.rig_config is None:  # else the map stage verifies, with the rigs' cameras
        with stage("verify", verify=asdict(config.map.verify), cameras=asdict(cameras)):
            verify_pairs(
                config.images,
                folder.features,
                folder.matches,
                folder.two_view,
                config.map.verify,
                cameras,
                seed=config.map.seed,
                run=config.run,
                overwrite=True,
            )
    with FeatureFile(folder.features) as feature_file:
        pictures = Pictures(len(feature_file.names()))
    load_meanwhile(FOR_MAPPING)
    with stage("map", map=asdict(config.map)):
        models = map_models(
            config.images,
            folder.features,
            folder.matches,
            output,
            config.map,
            run=config.run,
            overwrite=True,
            look=pictures,
        )
    report = make_report(
        config.images, folder, models, usage, asdict(config), config.map.verify.min_num_inliers
    )
    report.save(folder.report)
    write_report_page(output, images=config.images, report=report, pictures=pictures)
    if not models:
        why = (report.diagnosis or "").rstrip(".")
        raise NoModelError(f"no model formed: {why}. The numbers are in {folder.page}.")
    return ReconstructResult(output, models, report)


def show(folder: RunFolder, config: ReconstructConfig) -> None:
    """With --live, the page of what there is so far, unless a page of whole models is there."""
    if not config.live or folder.database.exists():
        return
    report = Report(images_folder=str(config.images.resolve()))
    path = write_report_page(folder.path, images=config.images, report=report, refresh=REFRESH)
    log.warning("%s shows the run so far", path)


def default_output(images: Path) -> Path:
    """DIR-model beside the photos' folder DIR."""
    if images.name in ("", ".."):
        images = images.resolve()
    if is_film(images):
        images = images.with_suffix("")
    return images.with_name(f"{images.name}-model")
