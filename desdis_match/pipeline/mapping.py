"""Stage map: features.h5 and matches.h5 -> COLMAP database, verified pairs, models."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..colmap.alignment import adjust, align_observations, photos_ahead
from ..colmap.colours import Look, colouring
from ..colmap.database import CHANGED, build_database, content_changed, database_config, notes
from ..colmap.log import log_to
from ..colmap.mappers import MAPPERS
from ..colmap.mapping import MapConfig, find_models, read_models, write_models, write_points
from ..colmap.model_files import read_stamp
from ..colmap.poses import with_cameras_of_poses
from ..colmap.ranking import MIN_SOLID_POINTS, best_first, leave_out_unseeing
from ..colmap.recovery import recover
from ..colmap.verification import verification_setting, verify, write_geometries
from ..errors import InputError
from ..storage.features_file import FeatureFile
from ..storage.georeference import FILE
from ..storage.hdf5 import file_config
from ..storage.matches_file import MatchFile
from ..storage.run_folder import RunFolder
from ..storage.two_view_file import TwoViewFile
from ..support.files import Config, canonical_json
from ..support.native import pycolmap
from ..support.parts import outside_code
from ..support.scratch import scratch_in
from ..support.workers import available_cores
from .georeferencing import georeference_models, targets_of
from .resume import RunConfig, digest, fingerprint, is_current, make_folder
from .verification import verify_pairs

log = logging.getLogger(__name__)


def map_models(
    images: Path,
    features: Path,
    matches: Path,
    output: Path,
    config: MapConfig | None = None,
    *,
    run: RunConfig | None = None,
    overwrite: bool = False,
    look: Look | None = None,
) -> list[pycolmap.Reconstruction]:
    """features.h5 and matches.h5 -> `output`/sparse, database.db and points.ply; the models, largest first.

    sparse/0 is the largest model, 1, 2, ... the others; `sparse` is empty when no model forms. COLMAP's own
    lines go to `output`/colmap.log. Raises InputError when the output was made with another configuration and
    `overwrite` is not given. Pairs are verified first (`verify_pairs`, its file in `output`), where that is
    not done yet, as `run` says. `look` is shown each photo that is read for colours, in threads.
    """
    config, folder = config or MapConfig(), RunFolder(output)
    config = replace(config, cameras=with_cameras_of_poses(config.cameras, config.poses))
    sources = {"features": fingerprint(features), "matches": fingerprint(matches)}
    _check_pedigree(features, matches, sources["features"])
    with FeatureFile(features) as feature_file:
        targets = targets_of(config, images, feature_file.names())
    positions = {"positions": digest(asdict(targets))} if targets else {}
    made_by = {"map": asdict(config), **sources, **_mapper_code(config), **positions}
    settings = {"cameras": asdict(config.cameras), **sources}
    make_folder(output)
    unfinished = folder.unfinished
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    if is_current(folder.stamp, made_by, overwrite, "a model", read_stamp):
        return read_models(folder.sparse)
    fixed = config.poses is not None and not config.refine_poses  # alignment would adjust them
    align, names = config.align and not fixed, []
    if align:
        with FeatureFile(features) as feature_file:
            names = feature_file.names()
    with log_to(folder.log), scratch_in(unfinished):
        with photos_ahead(images, names) as photos:
            _make_database(images, features, matches, folder, config, settings, run, overwrite)
            # The old model stays where it is until the new one is whole, its stamp in it.
            run = run or RunConfig()
            with run.opened() if config.mapper == "hierarchical" else nullcontext() as executor:
                workers = run.workers or available_cores()
                try:
                    placing = find_models(
                        folder.database, unfinished, config, workers=workers, executor=executor
                    )
                except BaseException:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    raise
            placing.record.save(folder.placing)
            models = placing.models
            aligned = models if align else []
            with FeatureFile(features) as feature_file:
                for model in aligned:
                    recover(model, folder.database, config)
                    align_observations(model, images, feature_file, photos=photos)
        del photos  # and what they hold
        with colouring(models, images, look):  # beside adjustment, which leaves a core idle
            for model in aligned:
                adjust(model, fix_intrinsics=config.fix_intrinsics)
        if config.poses is None:
            for model in models:
                leave_out_unseeing(model)
            if aligned:  # alignment tells false models: their patches are not alike
                models = [model for model in models if model.num_points3D() >= MIN_SOLID_POINTS]
        models = best_first(models)
    # Known poses have coordinates of their own, which stay unless others are asked for.
    keep = config.poses is not None and not (config.georeference or config.control)
    found = {} if keep else georeference_models(models, targets, images, config.georeference)
    if models:
        write_points(models[0], folder.points)
    else:
        folder.points.unlink(missing_ok=True)
    notes = {f"{number}/{FILE}": where.to_json() for number, where in found.items()}
    write_models(models, folder.sparse, {folder.stamp.name: canonical_json(made_by), **notes})
    shutil.rmtree(unfinished, ignore_errors=True)
    return models


def _check_pedigree(features: Path, matches: Path, fingerprint_now: str) -> None:
    """Raise InputError for matches that were found with other features than these."""
    made = file_config(matches) or {}
    if "added" not in made and made.get("features") not in (None, fingerprint_now):
        raise InputError(f"{matches} was matched from other features than {features} holds now; match again")


def _make_database(
    images: Path,
    features: Path,
    matches: Path,
    folder: RunFolder,
    config: MapConfig,
    settings: Config,
    run: RunConfig | None,
    overwrite: bool,
) -> None:
    """The folder's database with two-view geometries, where it is not there yet."""
    database = folder.database
    known = _known_config(database)
    if canonical_json(known or {}) != canonical_json(settings):
        if database.exists() and not overwrite and known is None:
            raise InputError(
                f"{database} was not made by desdis-match map; give another --output or --overwrite"
            )
        with FeatureFile(features) as feature_file, MatchFile(matches) as match_file:
            build_database(
                database,
                images,
                feature_file,
                match_file,
                cameras=config.cameras,
                config=settings,
            )
    _put_geometries(images, features, matches, folder, config, run, overwrite)


def _known_config(database: Path) -> dict[str, Any] | None:
    """What made a database; empty for a damaged one, which is built again from the files before it."""
    try:
        if content_changed(database):
            log.warning("%s %s; it is built again", database, CHANGED)
            return {}
        return database_config(database)
    except InputError as error:
        log.warning("%s; it is built again", error)
        return {}


def _mapper_code(config: MapConfig) -> dict[str, dict[str, str]]:
    return {} if config.mapper == "auto" else outside_code([("mappers", MAPPERS, config.mapper)])


def _put_geometries(
    images: Path,
    features: Path,
    matches: Path,
    folder: RunFolder,
    config: MapConfig,
    run: RunConfig | None,
    overwrite: bool,
) -> None:
    """Two-view geometries into the database, where they are not there yet."""
    if config.cameras.rig_config is not None:  # the rigs' cameras are in the database only
        with log_to(folder.log):
            verify(folder.database, config.verify, config.seed)
        return
    verify_pairs(
        images,
        features,
        matches,
        folder.two_view,
        config.verify,
        config.cameras,
        seed=config.seed,
        run=run,
        overwrite=overwrite,
    )
    setting, known = verification_setting(config.verify, config.seed), notes(folder.database)
    if known.get("verification") == setting and known.get("verified") == "yes":
        return
    with FeatureFile(features) as feature_file, MatchFile(matches) as match_file:
        pairs = sorted(match_file.pairs(feature_file.names()))
    with TwoViewFile(folder.two_view) as file:
        write_geometries(folder.database, ((a, b, file.get(a, b)) for a, b in pairs), setting, file.still())
