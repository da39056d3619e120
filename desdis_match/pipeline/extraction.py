"""Stage extract: photos -> features.h5, photo by photo, in worker processes where that pays."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..descriptors import load_descriptor
from ..descriptors.engine import Descriptor
from ..errors import InputError
from ..features.detectors import DETECTORS
from ..features.extract import ExtractConfig, Extractor
from ..features.extract_set import (
    first_pass,
    first_pass_from_arrays,
    first_pass_to_arrays,
    probe_from_arrays,
    probe_image,
    turn_features,
)
from ..features.octaves import make_room
from ..features.orientation_of_set import Probe, Turn, decide
from ..features.orientation_policy import OrientationPolicy
from ..features.whole import LOCAL_FEATURES
from ..photos.depth import stretched_range
from ..photos.formats import UnreadableImage
from ..photos.images import GrayImage
from ..photos.listing import Listing, look_through
from ..photos.masks import check_masks
from ..storage.features_file import FeatureFile, write_features
from ..storage.matches_file import check_pair_names
from ..support.checkpoint import Arrays, ShardFolder, features_from_arrays, features_to_arrays
from ..support.devices import pick_device
from ..support.parts import outside_code
from ..support.workers import LocalPool, available_cores
from ..types import Features
from .resume import RunConfig, digest, is_current, num_workers, stamp, still_to_do, unfinished
from .spread import Shard, Task, spread

log = logging.getLogger(__name__)

MIN_PARALLEL_IMAGES = 6
"""Below this, starting worker processes (three seconds) costs more than they save."""

PHOTOS_A_PIECE = 4
"""Photos that a worker of a cluster takes at a time: some seconds of work."""


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
    shard: Shard | None = None,
    merge: bool = False,
) -> Path:
    """Photos below `images` -> features.h5 at `output`.

    Images that cannot be used are left out with a warning; `unusable_images` says why. `masks`: a folder
    in COLMAP's convention, or one mask for all. `keypoints`: a features.h5 or a folder of COLMAP text files
    whose keypoints are described as they are. `executor` does the work where it is given, whatever `run`
    says. `shard`: only this part of the photos; the file is written by a call without it, or with `merge`,
    which refuses where photos are missing. With orientation `auto` the parts are to be run twice: the second
    time each turns what all photos together say is to be turned (else the last call does that).
    Raises InputError for a missing folder, one without images, and an existing output of another
    configuration without `overwrite`.
    """
    config, run = config or ExtractConfig(), run or RunConfig()
    if keypoints is not None:
        check_given_alone(config, masks)
    pick_device(run.device)
    names = _photos_to_read(images)
    if masks is not None:
        check_masks(masks, names)
    stamps = {name: stamp(images, name, masks, keypoints) for name in names}
    descriptor = load_descriptor(config.descriptor, device="cpu").fingerprint
    made_by = {
        "extract": asdict(config),
        "descriptor": descriptor,
        "keypoints": None if keypoints is None else keypoints.name,
        "images": digest(stamps),
    }
    made_by |= _outside_code(config)
    if is_current(output, made_by, overwrite, "features"):
        return output
    task = _ExtractTask(
        images.absolute(),  # workers may be in another folder
        config,
        None if masks is None else masks.absolute(),
        None if keypoints is None else keypoints.absolute(),
        run.device,
        descriptor,
    )
    with (
        unfinished(output, {k: v for k, v in made_by.items() if k != "images"}, shard) as shards,
        run.opened(executor) as executor,
        LocalPool() as pool,
    ):
        keys = {name: f"{name}\n{stamp}" for name, stamp in stamps.items()}
        todo, num_done = still_to_do(
            names,
            keys.__getitem__,
            shards,
            shard,
            stage="extract",
            unit="images",
            merge_into=output if merge else None,
        )
        keyed = [(name, keys[name]) for name in todo]
        _spread_photos(task, keyed, shards, "extract", run, executor, pool, num_done)
        if shard is not None and not all(key in shards.done() for key in keys.values()):
            return output  # what is to be turned, all photos together decide
        usable, unusable, probes = _look(names, keys, shards)
        if not usable:
            first, why = next(iter(unusable.items()))
            raise InputError(
                f"none of the {len(names)} images in {images} can be used; {first}, for one, {why}"
            )
        turns = {name: turn for name, turn in decide(probes).items() if not turn.upright} if probes else {}
        turned = {name: f"{keys[name]}\n{turn.angle:.4f} {turn.per_keypoint}" for name, turn in turns.items()}
        finished, mine = shards.done(), shard.of(names) if shard else names
        again = [name for name in mine if name in turned and turned[name] not in finished]
        idle = 1 if executor else (run.workers or available_cores()) // max(len(again), 1)
        turn_task = _TurnTask(task, shards.own(keys[name] for name in again), max(idle, 1))
        items = [(name, turned[name], keys[name], turns[name]) for name in again]
        all_turned: Future[None] = Future()

        def whole() -> Iterator[tuple[str, Features]]:
            for name in sorted(usable, key=turned.__contains__):  # those first that stay as they are
                if name in turned:
                    all_turned.result()
                yield name, features_from_arrays(shards.load(turned.get(name, keys[name])))

        with ThreadPoolExecutor(1) as beside:  # the file is begun while photos are still being turned
            if shard is None:
                written = beside.submit(write_features, output, whole(), made_by, left_out=unusable)
            try:
                _spread_photos(turn_task, items, shards, "turn", run, executor, pool)
                pool.end()
                all_turned.set_result(None)
            except BaseException as error:
                all_turned.set_exception(error)
                raise
        if shard is None:
            written.result()
    return output


OF_DETECTION = ("affine", "views", "detector", "ranking", "spread", "contrast_threshold", "edge_threshold")
"""Options, beside max_keypoints, that say where keypoints are sought, which are kept and how they are
shaped."""


def check_given_alone(config: ExtractConfig, masks: Path | None) -> None:
    """Raise InputError for what would do nothing beside given keypoints."""
    if config.local_feature is not None:
        raise InputError("a local feature brings its own keypoints; give --local-feature or --keypoints")
    changed = [
        *(("masks",) if masks is not None else ()),
        *_changed(config, (*OF_DETECTION, "max_keypoints")),
    ]
    if changed:
        raise InputError(
            f"given keypoints are described as they are; leave out {_option(changed[0])} or --keypoints"
        )


def check_whole_alone(config: ExtractConfig) -> None:
    """Raise InputError for what would do nothing beside a whole local feature of this package's own.

    Not asked of configurations of runs that are there: new photos are described as theirs were. Another
    package's may heed any option.
    """
    if config.local_feature not in LOCAL_FEATURES:
        return
    if changed := _changed(config, (*OF_DETECTION, "orientation", "descriptor")):
        raise InputError(
            f"local feature '{config.local_feature}' finds, turns and describes keypoints in its own way; "
            f"leave out {_option(changed[0])} or --local-feature"
        )


def _changed(config: ExtractConfig, options: Sequence[str]) -> list[str]:
    """Those of `options` that are not as they are by default."""
    usual = ExtractConfig()
    return [name for name in options if getattr(config, name) != getattr(usual, name)]


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _outside_code(config: ExtractConfig) -> dict[str, dict[str, str]]:
    """Code of a detector or a whole local feature of another package's: its change makes features anew."""
    if config.local_feature is not None:
        return outside_code([("features", LOCAL_FEATURES, config.local_feature)])
    return outside_code([("detectors", DETECTORS, config.detector)])


def listed_photos(images: Path, listing: Listing | None = None) -> Listing:
    """What the folder of photos holds. Raises InputError where that is no photo.

    listing: what it holds, where that is known already.
    """
    listing = listing or look_through(images)
    if not listing.names:
        beside = f" ({listing.sentence()})" if listing.unread else ""
        raise InputError(
            f"{images} holds no images (JPEG, PNG, TIFF, WebP, BMP, PPM, ...){beside}; "
            "give the folder of photos"
        )
    return listing


def _photos_to_read(images: Path) -> list[str]:
    """Names of the photos; what lies among them and is not read is said. InputError where there are none."""
    listing = listed_photos(images)
    if listing.unread:
        log.warning("%s", listing.sentence())
    check_pair_names(listing.names)
    return list(listing.names)


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


def _look(
    names: list[str], keys: dict[str, str], shards: ShardFolder
) -> tuple[list[str], dict[str, str], dict[str, Probe]]:
    """Photos that can be used, those that cannot and why, and the probes of a first pass."""
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
    return usable, unusable, probes


def _spread_photos(
    task: Task,
    items: list[Any],
    shards: ShardFolder,
    label: str,
    run: RunConfig,
    executor: Executor | None,
    pool: LocalPool,
    done: int = 0,
) -> None:
    """On `executor`, else in processes, those of `pool`, or, where new ones do not pay, in this one."""
    spread(
        task,
        items,
        shards,
        label,
        "photos",
        piece_size=1 if executor is None else PHOTOS_A_PIECE,
        workers=num_workers(run, len(items), MIN_PARALLEL_IMAGES),
        executor=executor,
        pool=pool,
        alone=pick_device(run.device).type == "cpu",
        name=lambda item: item[0],
        done=done,
    )


_descriptors: dict[tuple[str, str, str], Descriptor] = {}
"""The one in use by name, device and fingerprint, kept from photo to photo; a weight file may be another one
by the next run."""


def _descriptor(name: str, device: str, fingerprint: str) -> Descriptor:
    found = _descriptors.get((name, device, fingerprint))
    if found is None:
        found = load_descriptor(name, device)
        _descriptors.clear()
        _descriptors[name, device, fingerprint] = found
    return found


def get_ready() -> None:
    """For a worker that waits for its first photo: what that would pay for beside what others cost, if the
    configuration is the usual one."""
    config = ExtractConfig()
    with suppress(Exception):  # of which the photo will say what it is
        importlib.import_module("PIL.JpegImagePlugin")
        descriptor = load_descriptor(config.descriptor, device="cpu")
        _descriptors[config.descriptor, "cpu", descriptor.fingerprint] = descriptor
        noise = np.random.default_rng(0).random((96, 128), np.float32)
        probe_image(GrayImage(noise, (128, 96), (1.0, 1.0)), config, descriptor)
        make_room(config.max_size, config.max_size * 3 // 4)


@dataclass(frozen=True)
class _ExtractTask:
    """(name, key) of photos -> features, for orientation `auto` the first pass of them, or why a photo cannot
    be used.
    """

    images: Path
    config: ExtractConfig
    masks: Path | None
    keypoints: Path | None
    device: str
    fingerprint: str  # of the descriptor's weights

    def extractor(self) -> Extractor:
        """With the descriptor that is kept."""
        device = str(pick_device(self.device))
        return Extractor(self.config, device, _descriptor(self.config.descriptor, device, self.fingerprint))

    def __call__(self, items: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Arrays]]:
        extractor = self.extractor()
        for name, key in items:
            used = stretched_range(self.images / name)
            said = {} if used is None else {"used_range": np.array(used)}
            try:
                if OrientationPolicy(self.config).compares and self.keypoints is None:
                    first = first_pass(extractor, self.images, name, self.masks)
                    yield key, first_pass_to_arrays(first) | said
                else:
                    features = extractor(self.images, name, self.masks, self.keypoints)
                    yield key, features_to_arrays(features) | said
            except UnreadableImage as error:
                yield key, {"unusable": np.array(error.why)}


@dataclass(frozen=True)
class _TurnTask:
    """(name, new key, key of the first pass, turn) of photos -> features in turned frames."""

    first: _ExtractTask
    shards: ShardFolder  # with the first passes
    threads: int = 1  # to describe one with: fewer photos than cores leave some idle

    def __call__(self, items: Sequence[tuple[str, str, str, Turn]]) -> Iterator[tuple[str, Arrays]]:
        config = self.first.config
        extractor = self.first.extractor()
        descriptor = extractor.descriptor
        if self.threads > 1 and isinstance(descriptor, Descriptor):
            descriptor = descriptor.on_threads(self.threads)
        for name, key, first_key, turn in items:
            first = first_pass_from_arrays(self.shards.load(first_key))
            photo = self.first.images / name
            features = turn_features(photo, first, turn, config, descriptor, extractor.device)
            yield key, features_to_arrays(features)


def unusable_images(images: Path, features: Path) -> dict[str, str]:
    """Images below `images` that are not in `features`, with the reason."""
    with FeatureFile(features) as file:
        reasons = file.left_out()
        missing = [name for name in look_through(images).names if name not in file]
    return {name: reasons.get(name, "was not there when features were extracted") for name in missing}
