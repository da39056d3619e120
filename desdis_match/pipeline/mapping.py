"""Stage map: features.h5 and matches.h5 -> COLMAP database, verified pairs, models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ..colmap.alignment import align_model
from ..colmap.database import build_database, database_config
from ..colmap.log import log_to
from ..colmap.mapping import MapConfig, run_mapping, write_models, write_points
from ..colmap.verification import verify
from ..errors import InputError
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from ..support.files import atomic_path, canonical_json
from .resume import fingerprint, is_current, json_file, make_folder


def map_images(
    images: Path,
    features: Path,
    matches: Path,
    output: Path,
    config: MapConfig | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """features.h5 and matches.h5 -> `output`/sparse, which is returned, database.db and points.ply.

    sparse/0 is the largest model, 1, 2, ... the others; `sparse` is empty when no model forms. COLMAP's own
    lines go to `output`/colmap.log. Raises InputError when the output was made with another configuration and
    `overwrite` is not given.
    """
    config = config or MapConfig()
    database, sparse = output / "database.db", output / "sparse"
    sources = {"features": fingerprint(features), "matches": fingerprint(matches)}
    made_by = {"map": asdict(config), **sources}
    settings = {"cameras": asdict(config.cameras), **sources}
    stamp = sparse / "made_by.json"
    make_folder(output)
    if is_current(stamp, made_by, overwrite, "a model", json_file):
        return sparse
    if canonical_json(database_config(database) or {}) != canonical_json(settings):
        if database.exists() and not overwrite and database_config(database) is None:
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
    with log_to(output / "colmap.log"):
        verify(database, config.verify, config.seed)
    models = run_mapping(database, images, sparse, config, log_path=output / "colmap.log")
    if config.align and models:
        with FeatureFile(features) as feature_file, log_to(output / "colmap.log"):
            for model in models:
                align_model(model, images, feature_file, fix_intrinsics=config.fix_intrinsics)
        models = write_models(models, sparse)
    if models:
        write_points(models[0], output / "points.ply")
    else:
        (output / "points.ply").unlink(missing_ok=True)
    with atomic_path(stamp) as temporary:
        temporary.write_text(canonical_json(made_by), encoding="utf-8")
    return sparse
