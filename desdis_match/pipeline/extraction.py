"""Stage extract: photos -> features.h5, photo by photo, in worker processes where that pays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..descriptors import load_descriptor
from ..errors import InputError
from ..features.detectors import DETECTORS
from ..features.extract import ExtractConfig, Extractor
from ..features.extract_set import (
    first_pass,
    first_pass_from_arrays,
    first_pass_to_arrays,
    probe_from_arrays,
    turn_features,
)
from ..features.orientation_of_set import Turn, decide
from ..photos.depth import stretched_range
from ..photos.images import UnreadableImage
from ..photos.listing import look_through
from ..photos.masks import mask_path
from ..storage.features_file import FeatureFile, write_features
from ..storage.matches_file import check_pair_names
from ..support.checkpoint import Arrays, ShardFolder, features_from_arrays, features_to_arrays
from ..support.devices import pick_device
from ..support.parts import outside_code
from ..support.progress import track
from ..support.workers import run_shards, threads_of_a_worker
from .resume import RunConfig, digest, is_current, num_workers, stamp, unfinished

log = logging.getLogger(__name__)

MIN_PARALLEL_IMAGES = 6
"""Below this, starting worker processes (three seconds) costs more than they save."""


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

    Images that cannot be used are left out with a warning; `unusable_images` says why. `masks`: a folder
    in COLMAP's convention, or one mask for all. `keypoints`: a features.h5 or a folder of COLMAP text files
    whose keypoints are described as they are. `executor` does the work where it is given, whatever `run` says
    of workers. Raises InputError for a missing folder, one without images, and an existing output of another
    configuration without `overwrite`.
    """
    config, run = config or ExtractConfig(), run or RunConfig()
    names = _photos_to_read(images)
    if masks is not None:
        _check_masks(masks, names)
    stamps = {name: stamp(images, name, masks, keypoints) for name in names}
    descriptor = load_descriptor(config.descriptor, device="cpu").fingerprint
    made_by = {
        "extract": asdict(config),
        "descriptor": descriptor,
        "keypoints": None if keypoints is None else keypoints.name,
        "images": digest(stamps),
    }
    made_by |= outside_code([("detectors", DETECTORS, config.detector)])
    if is_current(output, made_by, overwrite, "features"):
        return output
    with unfinished(output, {k: v for k, v in made_by.items() if k != "images"}) as shards:
        keys = {name: f"{name}\n{stamp}" for name, stamp in stamps.items()}
        finished = shards.done()
        jobs = [
            _ExtractJob(images, name, config, masks, keypoints, run.device, descriptor)
            for name in names
            if keys[name] not in finished
        ]
        if len(jobs) < len(names):
            log.info("extract goes on: %d of %d images are done", len(names) - len(jobs), len(names))
        for job, result in _run_jobs(_extract_one, jobs, "extract", run, executor):
            shards.save(keys[job.name], result)
        shards.done()
        usable, unusable, probes, ranges = [], {}, {}, {}
        for name in names:
            arrays = shards.load(keys[name])
            if "used_range" in arrays:
                ranges[name] = arrays["used_range"]
            if "unusable" in arrays:
                unusable[name] = str(arrays["unusable"])
                log.warning("%s is left out: it %s", name, unusable[name])
            else:
                usable.append(name)
            if "probe_angles" in arrays:
                probes[name] = probe_from_arrays(arrays)
        _say_stretched(ranges)
        if not usable:
            first, why = next(iter(unusable.items()))
            raise InputError(
                f"none of the {len(names)} images in {images} can be used; {first}, for one, {why}"
            )
        if probes:
            keys |= _turn_photos(images, shards, keys, decide(probes), config, run, executor, descriptor)
        items = ((name, features_from_arrays(shards.load(keys[name]))) for name in usable)
        write_features(output, items, made_by, left_out=unusable)
    return output


def _photos_to_read(images: Path) -> list[str]:
    """Names of the photos; what lies among them and is not read is said. InputError where there are none."""
    listing = look_through(images)
    if not listing.names:
        beside = f" ({listing.sentence()})" if listing.unread else ""
        raise InputError(
            f"{images} holds no images (JPEG, PNG, TIFF, WebP, BMP, PPM, ...){beside}; "
            "give the folder of photos"
        )
    if listing.unread:
        log.warning("%s", listing.sentence())
    check_pair_names(listing.names)
    return list(listing.names)


def _check_masks(masks: Path, names: Sequence[str]) -> None:
    """Say which photos have no mask. Raises InputError where there is nothing of that name."""
    if not masks.exists():
        raise InputError(
            f"{masks} does not exist; give the folder of masks (NAME.png for image NAME) or a mask for all"
        )
    without = [name for name in names if not mask_path(masks, name).is_file()]
    if len(without) == len(names):
        place = mask_path(masks, names[0])
        log.warning("%s holds no mask of any photo; that of %s would be %s", masks, names[0], place)
    elif without:
        shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        log.warning("%d of %d photos have no mask: %s", len(without), len(names), shown)


def _say_stretched(ranges: Mapping[str, NDArray[np.float64]]) -> None:
    if ranges:
        name, (low, high) = next(iter(ranges.items()))
        log.warning(
            "%d photos use a part of the values that their type can hold (%s: %.6g to %.6g) and are "
            "stretched to it",
            len(ranges),
            name,
            low,
            high,
        )


def _turn_photos(
    images: Path,
    shards: ShardFolder,
    keys: dict[str, str],
    turns: dict[str, Turn],
    config: ExtractConfig,
    run: RunConfig,
    executor: Executor | None,
    fingerprint: str,
) -> dict[str, str]:
    """Describe the photos that are not upright again; their new keys in `shards`."""
    turned = {
        name: f"{keys[name]}\n{turn.angle:.4f} {turn.per_keypoint}"
        for name, turn in turns.items()
        if not turn.upright
    }
    finished = shards.done()
    jobs = [
        _TurnJob(images, name, config, shards, keys[name], turns[name], run.device, fingerprint)
        for name, key in turned.items()
        if key not in finished
    ]
    for job, result in _run_jobs(_turn_one, jobs, "turn", run, executor):
        shards.save(turned[job.name], result)
    shards.done()
    return turned


def _run_jobs(
    function: Callable[[Job], Arrays], jobs: list[Job], label: str, run: RunConfig, executor: Executor | None
) -> Iterator[tuple[Job, Arrays]]:
    """(job, its result) in the order of `jobs`: on `executor`, else in processes or, where they do not pay,
    in this one.
    """
    workers = num_workers(run, len(jobs), MIN_PARALLEL_IMAGES)
    alone = executor is None and workers == 1 and pick_device(run.device).type == "cpu"
    with threads_of_a_worker(alone):
        results = run_shards(function, jobs, executor, workers, name=lambda job: job.name)
        yield from track(results, label, len(jobs), "photos")


@dataclass(frozen=True)
class _ExtractJob:
    images: Path
    name: str
    config: ExtractConfig
    masks: Path | None
    keypoints: Path | None
    device: str
    fingerprint: str  # of the descriptor's weights


@lru_cache(maxsize=1)
def _extractor(config: ExtractConfig, device: str, fingerprint: str) -> Extractor:
    """Kept from photo to photo; `fingerprint` because a weight file may be another one by the next run."""
    return Extractor(config, device)


def _extract_one(job: _ExtractJob) -> Arrays:
    """Features, for orientation `auto` the first pass of them, or why the image cannot be used."""
    extractor = _extractor(job.config, job.device, job.fingerprint)
    used = stretched_range(job.images / job.name)
    said = {} if used is None else {"used_range": np.array(used)}
    try:
        if job.config.orientation == "auto" and job.keypoints is None:
            return first_pass_to_arrays(first_pass(extractor, job.images, job.name, job.masks)) | said
        return features_to_arrays(extractor(job.images, job.name, job.masks, job.keypoints)) | said
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
    fingerprint: str


Job = TypeVar("Job", _ExtractJob, _TurnJob)


def _turn_one(job: _TurnJob) -> Arrays:
    extractor = _extractor(job.config, job.device, job.fingerprint)
    first = first_pass_from_arrays(job.shards.load(job.key))
    features = turn_features(
        job.images / job.name, first, job.turn, job.config, extractor.descriptor, extractor.device
    )
    return features_to_arrays(features)


def unusable_images(images: Path, features: Path) -> dict[str, str]:
    """Images below `images` that are not in `features`, with the reason."""
    with FeatureFile(features) as file:
        reasons = file.left_out()
        missing = [name for name in look_through(images).names if name not in file]
    return {name: reasons.get(name, "was not there when features were extracted") for name in missing}
