"""`desdis-match add`: new photos into the model of an earlier run.

The new photos are extracted with the run's own settings, matched with its photos and with each other,
verified, and registered into its largest model, which keeps its coordinates. Everything is prepared in a
folder of its own and put in place at the end; killed at any moment, the same command goes on.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..colmap.database import add_images, copy_database, database_config, open_database, set_notes
from ..colmap.diagnosis import starvation
from ..colmap.log import log_to
from ..colmap.mapping import (
    MapConfig,
    ModelSummary,
    model_folders,
    model_summary,
    read_models,
    write_models,
    write_points,
)
from ..colmap.registration import extend_model
from ..colmap.verification import VerifyConfig, verify
from ..conventions import to_colmap
from ..descriptors import load_descriptor
from ..errors import InputError
from ..features.extract import ExtractConfig, Extractor
from ..features.extract_later import WayUp, joining_orientation
from ..matching.match import MatchConfig
from ..matching.pairs import exhaustive_pairs, pairs_from_file, write_pairs
from ..photos.cameras import CameraConfig
from ..photos.images import list_images
from ..storage.features_file import FeatureFile, merge_features, write_features
from ..storage.hdf5 import file_config
from ..storage.matches_file import MatchFile, check_pair_names, merge_matches
from ..support.files import canonical_json
from ..support.native import pycolmap
from ..support.progress import track
from .extraction import extract, unusable_images
from .matching import match
from .resume import RunConfig, alone_in, fingerprint

log = logging.getLogger(__name__)

STAMP = "made_by.json"
"""In sparse/: what made the models (pipeline/mapping.py)."""


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
    output, work, images = Path(output), Path(output) / ".add", Path(images).resolve()
    ready = (work / "ready").is_file()  # a killed run's: while it is put in place, a model may be missing
    settings = None if ready else _read_settings(output)
    with alone_in(output):
        if settings is None:
            return _put_in_place(output, work)
        return _add(output, work, images, settings, masks, run, fix_poses)


def _add(
    output: Path,
    work: Path,
    images: Path,
    settings: _Settings,
    masks: Path | None,
    run: RunConfig | None,
    fix_poses: bool,
) -> AddResult:
    names = list_images(images)
    with FeatureFile(output / "features.h5") as features:
        old = features.names()
        _check_describable(output, features, settings.extract)
    new = [name for name in names if name not in set(old)]
    check_pair_names([*old, *new])
    if not new:
        raise InputError(
            f"{images} holds no photo that {output} does not have; add photos to the folder first"
        )
    _gather(images, new, work / "photos")
    _extract(output, work, settings, masks, run or RunConfig())
    with (
        FeatureFile(output / "features.h5") as features,
        FeatureFile(work / "new_features.h5") as new_features,
    ):
        usable = new_features.names()
        config = {**(features.config or {}), "added": new_features.config}
        merge_features(work / "features.h5", [features, new_features], config)
    pairs = [(a, b) for a in old for b in usable] + exhaustive_pairs(usable)
    write_pairs(work / "new_pairs.txt", pairs)
    match(
        work / "features.h5",
        work / "new_pairs.txt",
        work / "new_matches.h5",
        settings.match,
        run=run,
        overwrite=True,
    )
    with MatchFile(output / "matches.h5") as matches, MatchFile(work / "new_matches.h5") as new_matches:
        config = {**(matches.config or {}), "added": new_matches.config}
        merge_matches(work / "matches.h5", [matches, new_matches], config)
    write_pairs(work / "pairs.txt", [*pairs_from_file(output / "pairs.txt", old), *pairs])
    _map(output, work, images, usable, settings, fix_poses)
    (work / "ready").write_text(json.dumps({"new": new, "images": str(images)}), encoding="utf-8")
    return _put_in_place(output, work)


@dataclass(frozen=True)
class _Settings:
    """Of the earlier run."""

    extract: ExtractConfig
    match: MatchConfig
    map: MapConfig


def _read_settings(output: Path) -> _Settings:
    stamp = output / "sparse" / STAMP
    if not stamp.is_file() or not model_folders(output / "sparse"):
        raise InputError(f"{output} holds no model; run desdis-match reconstruct there first")
    made = {
        "extract": (file_config(output / "features.h5") or {}).get("extract"),
        "match": (file_config(output / "matches.h5") or {}).get("match"),
        "map": json.loads(stamp.read_text(encoding="utf-8")).get("map"),
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


def _extract(output: Path, work: Path, settings: _Settings, masks: Path | None, run: RunConfig) -> None:
    """features.h5 of the new photos, in `work`: described so that they match those that are there."""
    photos, made, config = work / "photos", work / "new_features.h5", settings.extract
    with FeatureFile(output / "features.h5") as old:
        as_set = config.orientation == "auto"
        if as_set:
            config = replace(
                config, orientation=joining_orientation(old.angles(name) for name in old.names())
            )
        turned = as_set and config.orientation == "upright"
        first = work / "upright.h5" if turned else made
        extract(photos, first, config, masks=masks, run=run, overwrite=True)
        if not turned:
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


def _map(
    output: Path, work: Path, images: Path, new: Sequence[str], settings: _Settings, fix_poses: bool
) -> None:
    """The grown database and models, in `work`."""
    sources = {
        "features": fingerprint(work / "features.h5"),
        "matches": fingerprint(work / "matches.h5"),
    }
    database_path, config = work / "database.db", settings.map
    copy_database(output / "database.db", database_path)
    with (
        FeatureFile(work / "features.h5") as features,
        MatchFile(work / "new_matches.h5") as matches,
        open_database(database_path) as database,
    ):
        ids = {image.name: image.image_id for image in database.read_all_images()}
        sizes = {name: features.image_size(name) for name in new}
        ids |= add_images(database, sizes, images, config.cameras, _old_folders(output))
        with pycolmap.DatabaseTransaction(database):
            for name in new:
                database.write_keypoints(ids[name], to_colmap(features.keypoints(name)))
            for name0, name1 in matches.pairs(ids):
                found = matches.get(name0, name1).indices
                database.write_matches(ids[name0], ids[name1], found.astype(np.uint32))
    made_by = {**(database_config(database_path) or {}), **sources}
    set_notes(database_path, {"config": canonical_json(made_by), "verified": "no"})
    with log_to(output / "colmap.log"):
        verify(database_path, config.verify, config.seed)
    first, *others = read_models(output / "sparse")
    grown = extend_model(
        database_path, images, first, config, new, fix_poses=fix_poses, log_path=output / "colmap.log"
    )
    write_models([grown, *others], work / "sparse")
    stamp = json.loads((output / "sparse" / STAMP).read_text(encoding="utf-8"))
    (work / "sparse" / STAMP).write_text(canonical_json({**stamp, **sources}), encoding="utf-8")


def _put_in_place(output: Path, work: Path) -> AddResult:
    """Move what is ready from `work` to `output`; goes on where a kill stopped it."""
    ready = json.loads((work / "ready").read_text(encoding="utf-8"))
    for name in ("features.h5", "matches.h5", "pairs.txt"):
        if (work / name).exists():
            os.replace(work / name, output / name)
    if (work / "database.db").exists():
        for journal in ("database.db-wal", "database.db-shm"):
            (output / journal).unlink(missing_ok=True)
        os.replace(work / "database.db", output / "database.db")
    if (work / "sparse").exists():
        if (output / "sparse").exists():
            shutil.rmtree(work / "old_sparse", ignore_errors=True)
            os.replace(output / "sparse", work / "old_sparse")
        os.replace(work / "sparse", output / "sparse")
    before = model_summary(read_models(work / "old_sparse")[0])
    models = read_models(output / "sparse")
    write_points(models[0], output / "points.ply")
    diagnosis = starvation(output / "database.db", models)
    records = {record.name: record for record in diagnosis.images}
    with FeatureFile(output / "features.h5") as features:
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
    _refresh_report(output, Path(ready["images"]), models)
    (work / "ready").unlink()
    shutil.rmtree(work)
    return result


def _old_folders(output: Path) -> list[Path]:
    """Where the photos of the run are, as far as they are still there: its own folder and added ones."""
    path = output / "report.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    folders = [known.get("images_folder"), *known.get("added_folders", ())]
    return [Path(folder) for folder in folders if folder and Path(folder).is_dir()]


def _refresh_report(output: Path, images: Path, models: list[pycolmap.Reconstruction]) -> None:
    """report.json and report.html of the grown model, where the run has them."""
    from ..page.write import write_report_page
    from .report import ImageReport, StageUsage, make_report

    path = output / "report.json"
    if not path.is_file():
        return
    settings = _read_settings(output)
    old = json.loads(path.read_text(encoding="utf-8"))
    with FeatureFile(output / "features.h5") as features:
        grown = all((images / name).is_file() for name in features.names())
    folder, *added = [images] if grown else dict.fromkeys([*_old_folders(output), images])
    report = make_report(
        folder,
        output,
        models,
        StageUsage(output / ".usage.json"),
        {**old.get("configuration", {}), "images": str(folder)},
        settings.map.verify.min_num_inliers,
    )
    records = dict(report.images)
    for further in added:
        unusable = unusable_images(further, output / "features.h5")
        records |= {name: ImageReport(0, 0, 0, False, f"it {why}") for name, why in unusable.items()}
    replace(
        report,
        images=dict(sorted(records.items())),
        counts={**report.counts, "images": len(records)},
        added_folders=tuple(map(str, added)),
    ).save(path)
    write_report_page(output)
