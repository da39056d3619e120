"""One function a stage, paths in, path out: extract, pairs, match, map. Each is also a command.

A stage can be killed at any moment and run again: it goes on where it was, image by image and pair by pair,
and ends with the same files. Its output carries the configuration that made it and what it was made from; the
same configuration again does nothing, another one redoes the stage (`overwrite`) or is refused with the
fields that differ. Workers and device are no part of it: they change how long a result takes, not what it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .alignment import align_model
from .colmap import MapConfig, run_mapping, write_models, write_points
from .colmap_log import log_to
from .database import build_database, database_config
from .descriptors import load_descriptor
from .devices import pick_device
from .errors import InputError
from .extract import ExtractConfig, Extractor
from .extract_auto import (
    first_pass,
    first_pass_from_arrays,
    first_pass_to_arrays,
    probe_from_arrays,
    turn_features,
)
from .files import atomic_path, canonical_json, config_differences
from .images import UnreadableImage, list_images, mask_path, read_gray, read_mask
from .match import MatchConfig, match_pairs
from .orientation_auto import Turn, decide
from .pairs import Pair, exhaustive_pairs, pairs_from_file, reuse_order, sequential_pairs, write_pairs
from .progress import track
from .scale import available_cores, run_shards
from .shards import (
    Arrays,
    ShardFolder,
    features_from_arrays,
    features_to_arrays,
    matches_from_arrays,
    matches_to_arrays,
)
from .store import FeatureFile, MatchFile, check_pair_names, file_config, write_features, write_matches
from .verification import verify

log = logging.getLogger(__name__)

MAX_EXHAUSTIVE = 150
"""Images up to which every pair is matched: 11,175 pairs, about half an hour on two cores."""

MIN_PARALLEL_IMAGES = 6
"""Below this, starting worker processes (three seconds) costs more than they save."""


@dataclass(frozen=True)
class RunConfig:
    """Where the work runs. Nothing here changes a result."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""
    workers: int = 0
    """Photos or pairs worked on at a time, each by one thread; 0: one a core (one in all on a GPU)."""


@dataclass(frozen=True)
class PairsConfig:
    """Which images are matched with which."""

    pairs: Literal["auto", "exhaustive", "sequential"] = "auto"
    """auto: exhaustive up to 150 images, sequential beyond."""
    overlap: int = 10
    """Sequential pairs: each image with this many that follow it by name, and with those 16, 32, ... on."""
    loop: bool = False
    """Sequential pairs: the last images are followed by the first."""
    pairs_file: Path | None = None
    """Pairs from a file instead, `a b` a line."""


# extract


def extract(
    images: Path,
    output: Path,
    config: ExtractConfig | None = None,
    *,
    masks: Path | None = None,
    keypoints: Path | None = None,
    run: RunConfig | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> Path:
    """Photos below `images` -> features.h5 at `output`.

    Images that cannot be used are left out with a warning; `unusable_images` says why. `masks`: folder in
    COLMAP's convention. `keypoints`: a features.h5 or a folder of COLMAP text files whose keypoints are
    described as they are. Raises InputError for a missing folder, one without images, and an existing output
    of another configuration without `overwrite`.
    """
    config, run = config or ExtractConfig(), run or RunConfig()
    names = list_images(images)
    if not names:
        raise InputError(
            f"{images} holds no images (JPEG, PNG, TIFF, WebP, BMP, PPM); give the folder of photos"
        )
    check_pair_names(names)
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks} is not a folder; give the folder of masks (NAME.png for image NAME)")
    stamps = {name: _stamp(images, name, masks, keypoints) for name in names}
    descriptor = load_descriptor(config.descriptor, device="cpu").fingerprint
    made_by = {
        "extract": asdict(config),
        "descriptor": descriptor,
        "keypoints": None if keypoints is None else keypoints.name,
        "images": _digest(stamps),
    }
    if _is_current(output, made_by, overwrite, "features"):
        return output
    shards = ShardFolder(_parts(output), {k: v for k, v in made_by.items() if k != "images"})
    keys = {name: f"{name}\n{stamp}" for name, stamp in stamps.items()}
    finished = shards.done()
    jobs = [
        _ExtractJob(images, name, config, masks, keypoints, run.device)
        for name in names
        if keys[name] not in finished
    ]
    if len(jobs) < len(names):
        log.info("extract goes on: %d of %d images are done", len(names) - len(jobs), len(names))
    workers = num_workers(run, len(jobs), MIN_PARALLEL_IMAGES)
    results = run_shards(
        _extract_one, jobs, executor if workers > 1 else None, workers, name=lambda job: job.name
    )
    for job, result in track(results, "extract", len(jobs), "photos"):
        shards.save(keys[job.name], result)
    shards.done()
    usable, unusable, probes = [], {}, {}
    for name in names:
        arrays = shards.load(keys[name])
        if "unusable" in arrays:
            unusable[name] = str(arrays["unusable"])
            log.warning("%s is left out: it %s", name, unusable[name])
        else:
            usable.append(name)
        if "probe_angles" in arrays:
            probes[name] = probe_from_arrays(arrays)
    if not usable:
        first, why = next(iter(unusable.items()))
        raise InputError(f"none of the {len(names)} images in {images} can be used; {first}, for one, {why}")
    if probes:
        keys |= _turn_photos(images, shards, keys, decide(probes), config, run, executor)
    write_features(
        output, ((name, features_from_arrays(shards.load(keys[name]))) for name in usable), made_by
    )
    shards.remove()
    return output


def _turn_photos(
    images: Path,
    shards: ShardFolder,
    keys: dict[str, str],
    turns: dict[str, Turn],
    config: ExtractConfig,
    run: RunConfig,
    executor: Executor | None,
) -> dict[str, str]:
    """Describe the photos that are not upright again; their new keys in `shards`."""
    turned = {
        name: f"{keys[name]}\n{turn.angle:.4f} {turn.per_keypoint}"
        for name, turn in turns.items()
        if not turn.upright
    }
    finished = shards.done()
    jobs = [
        _TurnJob(images, name, config, shards, keys[name], turns[name], run.device)
        for name, key in turned.items()
        if key not in finished
    ]
    workers = num_workers(run, len(jobs), MIN_PARALLEL_IMAGES)
    results = run_shards(
        _turn_one, jobs, executor if workers > 1 else None, workers, name=lambda job: job.name
    )
    for job, result in track(results, "turn", len(jobs), "photos"):
        shards.save(turned[job.name], result)
    shards.done()
    return turned


@dataclass(frozen=True)
class _ExtractJob:
    images: Path
    name: str
    config: ExtractConfig
    masks: Path | None
    keypoints: Path | None
    device: str


@lru_cache(maxsize=1)
def _extractor(config: ExtractConfig, device: str) -> Extractor:
    return Extractor(config, device)


def _extract_one(job: _ExtractJob) -> Arrays:
    """Features, for orientation `auto` the first pass of them, or why the image cannot be used."""
    extractor = _extractor(job.config, job.device)
    try:
        if job.config.orientation == "auto" and job.keypoints is None:
            return first_pass_to_arrays(first_pass(extractor, job.images, job.name, job.masks))
        return features_to_arrays(extractor(job.images, job.name, job.masks, job.keypoints))
    except UnreadableImage as error:
        return {"unusable": np.array(error.why)}


@dataclass(frozen=True)
class _TurnJob:
    images: Path
    name: str
    config: ExtractConfig
    shards: ShardFolder
    key: str
    turn: Turn
    device: str


def _turn_one(job: _TurnJob) -> Arrays:
    extractor = _extractor(job.config, job.device)
    first = first_pass_from_arrays(job.shards.load(job.key))
    features = turn_features(
        job.images / job.name, first, job.turn, job.config, extractor.descriptor, extractor.device
    )
    return features_to_arrays(features)


def unusable_images(images: Path, features: Path, masks: Path | None = None) -> dict[str, str]:
    """Images below `images` that are not in `features`, with the reason, found by reading them again."""
    with FeatureFile(features) as file:
        missing = [name for name in list_images(images) if name not in file]
    reasons = {}
    for name in missing:
        try:
            image = read_gray(images / name)
            if masks is not None:
                read_mask(masks, name, image)
            reasons[name] = "was not there when features were extracted"
        except UnreadableImage as error:
            reasons[name] = error.why
    return reasons


# pairs


def pairs(features: Path, output: Path, config: PairsConfig | None = None) -> Path:
    """Images of a features.h5 -> pairs.txt at `output`; the file is written only when it changes."""
    chosen = choose_pairs(_names(features), config or PairsConfig())
    return write_pairs(output, chosen)


def choose_pairs(names: Sequence[str], config: PairsConfig) -> list[Pair]:
    """Pairs of `names` by the configuration. Raises InputError for fewer than two images."""
    if config.pairs_file is not None:
        return pairs_from_file(config.pairs_file, names)
    if len(names) < 2:
        raise InputError(
            f"a reconstruction needs two usable images or more; there is {len(names)}: {', '.join(names)}"
        )
    if config.pairs == "exhaustive" or (config.pairs == "auto" and len(names) <= MAX_EXHAUSTIVE):
        return exhaustive_pairs(names)
    if config.pairs == "auto":
        log.warning(
            "%d images: matching each with the %d that follow it by name; where the names are no sequence, "
            "use --pairs exhaustive or --pairs-file",
            len(names),
            config.overlap,
        )
    return sequential_pairs(names, config.overlap, quadratic=True, loop=config.loop)


# match


def match(
    features: Path,
    pairs: Path,
    output: Path,
    config: MatchConfig | None = None,
    *,
    run: RunConfig | None = None,
    overwrite: bool = False,
) -> Path:
    """Match the pairs of pairs.txt by the descriptors of features.h5 -> matches.h5 at `output`."""
    config, run = config or MatchConfig(), run or RunConfig()
    with FeatureFile(features) as file:
        counts = file.counts()
        listed = pairs_from_file(pairs, counts)
        made_by = {"match": asdict(config), "features": fingerprint(features), "pairs": _digest(listed)}
        if _is_current(output, made_by, overwrite, "matches"):
            return output
        shards = ShardFolder(_parts(output), {k: v for k, v in made_by.items() if k != "pairs"})
        finished = shards.done()
        todo = [pair for pair in listed if _pair_key(pair) not in finished]
        if len(todo) < len(listed):
            log.info("match goes on: %d of %d pairs are done", len(listed) - len(todo), len(listed))
        found = match_pairs(
            lambda name: file.get(name).descriptors,
            reuse_order(todo),
            config,
            run.device,
            run.workers or None,
        )
        for pair, matches in track(found, "match", len(todo), "pairs"):
            shards.save(_pair_key(pair), matches_to_arrays(matches))
        shards.done()
        items = ((a, b, matches_from_arrays(shards.load(_pair_key((a, b))))) for a, b in listed)
        write_matches(output, items, made_by, counts)
    shards.remove()
    return output


def _pair_key(pair: Pair) -> str:
    return "\n".join(pair)


# map


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
    if _is_current(stamp, made_by, overwrite, "a model", _json_file):
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


# what the stages share


def fingerprint(path: Path) -> str:
    """Of a features or matches file: its configuration's hash; of hloc's, which have none, size and time."""
    config = file_config(path)
    if config is None:
        status = path.stat()
        return _digest([status.st_size, status.st_mtime_ns])
    return _digest(config)


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json({"": value}).encode()).hexdigest()


def _stamp(images: Path, name: str, masks: Path | None, keypoints: Path | None) -> str:
    """Changes when the image, its mask or its given keypoints change."""
    paths = [images / name]
    if masks is not None:
        paths.append(mask_path(masks, name))
    if keypoints is not None:
        paths.append(keypoints if keypoints.is_file() else keypoints / f"{name}.txt")
    states = [path.stat() for path in paths if path.exists()]
    return " ".join(f"{s.st_size}-{s.st_mtime_ns}" for s in states)


def _parts(output: Path) -> Path:
    """Where a stage keeps what is done until its output is whole."""
    return output.with_name(f".{output.name}.parts")


def _is_current(
    output: Path,
    made_by: dict[str, Any],
    overwrite: bool,
    what: str,
    read_config: Callable[[Path], dict[str, Any] | None] = file_config,
) -> bool:
    """Whether `output` was made by just this; raises InputError if it was made otherwise and must be kept."""
    if not output.exists():
        return False
    differences = config_differences(read_config(output), made_by)
    if not differences:
        return True
    shown = "; ".join(differences[:3]) + ("; ..." if len(differences) > 3 else "")
    if not overwrite:
        raise InputError(
            f"{output} holds {what} made otherwise ({shown}); give --overwrite or another output"
        )
    log.info("%s is made again (%s)", output.name, shown)
    return False


def _json_file(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def make_folder(path: Path) -> None:
    """Make an output folder. Raises InputError when it cannot be made or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"the output folder {path} cannot be written ({error.strerror}); give another with --output"
        ) from error


def num_workers(run: RunConfig, num_items: int, worthwhile: int) -> int:
    if run.workers:
        return min(run.workers, max(num_items, 1))
    if num_items < worthwhile or pick_device(run.device).type != "cpu":
        return 1
    return min(available_cores(), num_items)


def _names(features: Path) -> list[str]:
    with FeatureFile(features) as file:
        return file.names()
