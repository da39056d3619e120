"""`desdis-match add`: new photos into the model of an earlier run.

The new photos are extracted with the run's own settings, matched with its photos and with each other,
verified, and registered into its largest model, which keeps its coordinates. Everything is prepared in a
folder of its own and put in place at the end; killed at any moment, the same command goes on.
"""

from __future__ import annotations

import filecmp
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..colmap.database import (
    CHANGED,
    add_images,
    content_changed,
    copy_database,
    database_config,
    open_database,
    remove_database,
    set_notes,
)
from ..colmap.diagnosis import starvation
from ..colmap.log import log_to
from ..colmap.mapping import (
    MapConfig,
    model_folders,
    model_summary,
    read_models,
    write_models,
    write_points,
)
from ..colmap.model_files import read_stamp
from ..colmap.registration import extend_model
from ..colmap.verification import VerifyConfig, verify
from ..conventions import to_colmap
from ..descriptors import load_descriptor
from ..errors import InputError
from ..features.extract import ExtractConfig, Extractor
from ..features.extract_later import WayUp
from ..features.orientation_policy import OrientationPolicy
from ..matching.match import MatchConfig
from ..matching.pairs import exhaustive_pairs, pairs_from_file, write_pairs
from ..page.write import write_report_page
from ..photos.cameras import CameraConfig
from ..photos.images import list_images
from ..storage.features_file import FeatureFile, merge_features, write_features
from ..storage.georeference import FILE, load_georeference
from ..storage.hdf5 import file_config
from ..storage.matches_file import MatchFile, check_pair_names, merge_matches
from ..storage.report_file import Report
from ..storage.run_folder import RunFolder
from ..support.files import canonical_json, read_json, write_text
from ..support.native import pycolmap
from ..support.progress import track
from ..support.scratch import scratch_in
from ..types import ModelSummary
from .extraction import extract
from .matching import match
from .report import StageUsage, make_report, unusable_reports
from .resume import RunConfig, fingerprint, run_in

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AddResult:
    """What became of the new photos."""

    registered: tuple[str, ...]
    left_out: Mapping[str, str]  # name -> why
    before: ModelSummary
    after: ModelSummary


def add_photos(
    output: Path,
    images: Path,
    *,
    masks: Path | None = None,
    run: RunConfig | None = None,
    fix_poses: bool = False,
) -> AddResult:
    """Register the photos below `images` that `output` does not know yet into its largest model.

    output: folder of an earlier reconstruct. images: its photo folder, grown, or a folder of new photos only.
    fix_poses: the poses that are there stay exactly as they are.
    Raises InputError when `output` holds no model of ours, `images` no new photo, or another run is at work.
    """
    folder, images = RunFolder(Path(output)), Path(images).resolve()
    if not _ready(folder).is_file():  # a killed run's: while it is put in place, a model may be missing
        _read_settings(folder)
    with run_in(folder.path), scratch_in(folder.addition.path):
        finished = _put_in_place(folder) if _ready(folder).is_file() else None
        if finished is not None:
            said = {*finished.registered, *finished.left_out}
            if said.issuperset(_new_names(folder, images)):
                return finished
            log.warning("an earlier `add` that was stopped is finished first, then %s is added", images)
        return _add(folder, images, _read_settings(folder), masks, run, fix_poses)


def _new_names(folder: RunFolder, images: Path) -> list[str]:
    """Photos below `images` that the run does not have; a warning for another photo of a known name."""
    with FeatureFile(folder.features) as features:
        known = set(features.names())
    names, places = list_images(images), _old_folders(folder)
    for name in known.intersection(names):
        others = [place / name for place in places if (place / name).is_file()]
        if others and not any(filecmp.cmp(images / name, other, shallow=False) for other in others):
            log.warning(
                "%s is left out: %s has another photo of this name; rename it", images / name, folder.path
            )
    return [name for name in names if name not in known]


def _ready(folder: RunFolder) -> Path:
    """Stands when all is prepared; it holds what to say of it."""
    return folder.addition.path / "ready"


def _new_features(folder: RunFolder) -> Path:
    return folder.addition.path / "new_features.h5"


def _new_matches(folder: RunFolder) -> Path:
    return folder.addition.path / "new_matches.h5"


def _add(
    folder: RunFolder,
    images: Path,
    settings: _Settings,
    masks: Path | None,
    run: RunConfig | None,
    fix_poses: bool,
) -> AddResult:
    new, work = _new_names(folder, images), folder.addition
    with FeatureFile(folder.features) as features:
        old = features.names()
        _check_describable(folder.path, features, settings.extract)
    check_pair_names([*old, *new])
    if not new:
        raise InputError(
            f"{images} holds no photo that {folder.path} does not have; add photos to the folder first"
        )
    _gather(images, new, work.path / "photos")
    _extract(folder, settings, masks, run or RunConfig())
    with (
        FeatureFile(folder.features) as features,
        FeatureFile(_new_features(folder)) as new_features,
    ):
        usable = new_features.names()
        config = {**(features.config or {}), "added": new_features.config}
        merge_features(work.features, [features, new_features], config)
    pairs = [(a, b) for a in old for b in usable] + exhaustive_pairs(usable)
    new_pairs = work.path / "new_pairs.txt"
    write_pairs(new_pairs, pairs)
    match(
        work.features,
        new_pairs,
        _new_matches(folder),
        settings.match,
        run=run,
        overwrite=True,
    )
    with MatchFile(folder.matches) as matches, MatchFile(_new_matches(folder)) as new_matches:
        config = {**(matches.config or {}), "added": new_matches.config}
        merge_matches(work.matches, [matches, new_matches], config)
    write_pairs(work.pairs, [*pairs_from_file(folder.pairs, old), *pairs])
    _map(folder, images, usable, settings, fix_poses)
    before = asdict(model_summary(read_models(folder.sparse)[0]))
    write_text(_ready(folder), json.dumps({"new": new, "images": str(images), "before": before}))
    return _put_in_place(folder)


@dataclass(frozen=True)
class _Settings:
    """Of the earlier run."""

    extract: ExtractConfig
    match: MatchConfig
    map: MapConfig


def _read_settings(folder: RunFolder) -> _Settings:
    output, stamp = folder.path, folder.stamp
    if not stamp.is_file() or not model_folders(folder.sparse):
        raise InputError(f"{output} holds no model; run desdis-match reconstruct there first")
    missing = [file.name for file in (folder.features, folder.pairs, folder.matches) if not file.is_file()]
    if missing:
        raise InputError(
            f"{output} lacks {', '.join(missing)}; copy what the model was made of there, as "
            "`desdis-match reconstruct` leaves it"
        )
    made: dict[str, Any] = {
        "extract": (file_config(folder.features) or {}).get("extract"),
        "match": (file_config(folder.matches) or {}).get("match"),
        "map": read_stamp(stamp).get("map"),
    }
    unknown = [stage for stage, config in made.items() if config is None]
    if unknown:
        raise InputError(
            f"{output} does not say how its '{unknown[0]}' stage was set up; reconstruct it anew"
        )
    try:
        config = dict(made["map"])
        cameras, verification = CameraConfig(**config.pop("cameras")), VerifyConfig(**config.pop("verify"))
        return _Settings(
            ExtractConfig(**made["extract"]),
            MatchConfig(**made["match"]),
            MapConfig(**config, cameras=cameras, verify=verification),
        )
    except (TypeError, KeyError) as error:
        raise InputError(f"{output} was made by another version ({error}); reconstruct it anew") from error


def _check_describable(output: Path, features: FeatureFile, config: ExtractConfig) -> None:
    """Refuse a run whose photos were described as new ones cannot be."""
    made = features.config or {}
    if made.get("keypoints") is not None:
        raise InputError(
            f"{output} describes given keypoints ({made['keypoints']}), and new photos have none; "
            "reconstruct all photos anew"
        )
    known = made.get("descriptor")
    if known is not None and load_descriptor(config.descriptor, device="cpu").fingerprint != known:
        raise InputError(
            f"descriptor '{config.descriptor}' has other weights now than when {output} was made; "
            "reconstruct all photos anew"
        )


def _extract(folder: RunFolder, settings: _Settings, masks: Path | None, run: RunConfig) -> None:
    """features.h5 of the new photos, in `work`: described so that they match those that are there."""
    work, made = folder.addition.path, _new_features(folder)
    photos = work / "photos"
    with FeatureFile(folder.features) as old:
        newcomer = OrientationPolicy(settings.extract).of_newcomer(old.angles(name) for name in old.names())
        config = newcomer.config
        first = work / "upright.h5" if newcomer.turns else made
        extract(photos, first, config, masks=masks, run=run, overwrite=True)
        if not newcomer.turns:
            return
        way_up = WayUp((old.get(name) for name in old.names()), Extractor(config, run.device))
    with FeatureFile(first) as file:
        names = track(file.names(), "turn", len(file.names()), "photos")
        items = ((name, way_up(photos / name, file.get(name))) for name in names)
        write_features(made, items, file.config or {}, left_out=file.left_out())


def _gather(images: Path, names: Sequence[str], folder: Path) -> None:
    """The photos `names` alone below `folder`: linked where the file system can, copied where it cannot."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link((images / name).resolve(), target)  # the photo, not a symbolic link to it
        except OSError:
            shutil.copy2(images / name, target)


def _map(folder: RunFolder, images: Path, new: Sequence[str], settings: _Settings, fix_poses: bool) -> None:
    """The grown database and models, in the folder of the addition."""
    work = folder.addition
    sources = {
        "features": fingerprint(work.features),
        "matches": fingerprint(work.matches),
    }
    database_path, config = work.database, settings.map
    if content_changed(folder.database):
        raise InputError(
            f"{folder.database} {CHANGED}; delete it and reconstruct again, which builds it anew"
        )
    copy_database(folder.database, database_path)
    set_notes(database_path, {"content": ""})
    with (
        FeatureFile(work.features) as features,
        MatchFile(_new_matches(folder)) as matches,
        open_database(database_path) as database,
    ):
        ids = {image.name: image.image_id for image in database.read_all_images()}
        sizes = {name: features.image_size(name) for name in new}
        ids |= add_images(database, sizes, images, config.cameras, _old_folders(folder))
        for name in new:
            database.write_keypoints(ids[name], to_colmap(features.keypoints(name)))
        for name0, name1 in matches.pairs(ids):
            found = matches.get(name0, name1).indices
            database.write_matches(ids[name0], ids[name1], found.astype(np.uint32))
    made_by = {**(database_config(database_path) or {}), **sources}
    set_notes(database_path, {"config": canonical_json(made_by), "verified": "no"})
    with log_to(folder.log):
        verify(database_path, config.verify, config.seed)
    first, *others = read_models(folder.sparse)
    grown = extend_model(database_path, images, first, config, fix_poses=fix_poses, log_path=folder.log)
    known = {f"{n}/{FILE}": load_georeference(folder.model(n)) for n in range(1 + len(others))}
    write_models([grown, *others], work.sparse, {n: where.to_json() for n, where in known.items() if where})
    write_text(work.stamp, canonical_json({**read_json(folder.stamp), **sources}))


def _put_in_place(folder: RunFolder) -> AddResult:
    """Move what is ready to where it belongs; goes on where a kill stopped it."""
    work, old_sparse = folder.addition, folder.addition.path / "old_sparse"
    ready = read_json(_ready(folder))
    for prepared, place in (
        (work.features, folder.features),
        (work.matches, folder.matches),
        (work.pairs, folder.pairs),
    ):
        if prepared.exists():
            os.replace(prepared, place)
    if work.database.exists():
        remove_database(folder.database)
        os.replace(work.database, folder.database)
    if work.sparse.exists():
        if folder.sparse.exists():
            shutil.rmtree(old_sparse, ignore_errors=True)
            os.replace(folder.sparse, old_sparse)
        os.replace(work.sparse, folder.sparse)
    before = ModelSummary(**ready["before"])
    models = read_models(folder.sparse)
    write_points(models[0], folder.points)
    diagnosis = starvation(folder.database, models)
    records = {record.name: record for record in diagnosis.images}
    with FeatureFile(folder.features) as features:
        unusable = features.left_out()
    left_out = {}
    for name in ready["new"]:
        if name not in records:
            left_out[name] = f"it {unusable.get(name, 'cannot be used')}"
        elif records[name].model != 0:
            left_out[name] = records[name].reason or f"it is in model {records[name].model}"
    result = AddResult(
        registered=tuple(name for name in ready["new"] if name not in left_out),
        left_out=left_out,
        before=before,
        after=model_summary(models[0]),
    )
    _refresh_report(folder, Path(ready["images"]), models)
    # `ready` goes last: killed before, the same command says once more what it did.
    for path in work.path.iterdir():
        if path != _ready(folder):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _ready(folder).unlink()
    work.path.rmdir()
    return result


def _old_folders(folder: RunFolder) -> list[Path]:
    """Where the photos of the run are, as far as they are still there: its own folder and added ones."""
    known = Report.load(folder.report)
    folders = [known.images_folder, *known.added_folders]
    return [Path(photos) for photos in folders if photos and Path(photos).is_dir()]


def _refresh_report(folder: RunFolder, images: Path, models: list[pycolmap.Reconstruction]) -> None:
    """report.json and report.html of the grown model, where the run has them."""
    if not folder.report.is_file():
        return
    settings = _read_settings(folder)
    old = Report.load(folder.report)
    with FeatureFile(folder.features) as features:
        grown = all((images / name).is_file() for name in features.names())
    photos, *added = [images] if grown else dict.fromkeys([*_old_folders(folder), images])
    configuration = {**old.configuration, "images": str(photos)}
    usage, min_num_inliers = StageUsage(folder.usage), settings.map.verify.min_num_inliers
    report = make_report(photos, folder, models, usage, configuration, min_num_inliers)
    records = dict(report.images)
    for further in added:
        records |= unusable_reports(further, folder)
    report = replace(
        report,
        images=dict(sorted(records.items())),
        counts=replace(report.counts, images=len(records)),
        added_folders=tuple(map(str, added)),
    )
    report.save(folder.report)
    write_report_page(folder.path, report=report)
