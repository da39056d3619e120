"""Task `homographies`: detect, describe and match images of planar scenes whose homography is known.

Detections are made once an image and shared by all descriptors of a run. Whole local features (OpenCV's SIFT,
ALIKED) stand beside them with detections of their own. What is predicted - frames, nearest neighbours - is
cached; scores are computed anew each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...conventions import FRAME_SCALE
from ...errors import InputError
from ...features.detectors import DetectorConfig
from ...photos.formats import UnreadableImage
from ...photos.images import to_original
from ...photos.planar import PlanarSequence
from ...support.checks import ABOVE_ZERO, check_options
from ...support.progress import track
from ..cache import Arrays, PredictionCache, code_hash, combined_hash
from ..contenders import CompareConfig, Contender, check_distinct, load_contenders
from ..results import TaskResult
from ..shared import Described, SharedPhoto, describe_set
from . import scores as planar
from .baselines import Baseline, load_baselines
from .homography_fit import FITS
from .homography_report import PairScore, tell
from .sequences import find_sequences


def _detector() -> DetectorConfig:
    return DetectorConfig(max_keypoints=2048)


@dataclass(frozen=True)
class HomographyConfig:
    """Detection, description and matching on image sequences with homographies (HPatches, Oxford)."""

    root: tuple[Path, ...]
    """Folders of sequences, or sequences; each folder is a data set of its own in the tables."""
    only: tuple[str, ...] = ()
    """Names of the sequences to take; all by default."""
    max_size: int = 1600
    """Images are shrunk to this long side before detection; 0 keeps their size."""
    frame_scale: float = FRAME_SCALE
    """Half side of the described patch in sigmas of the keypoint."""
    pixels: float = 3.0
    """A match is correct, and a keypoint repeated, within this distance in the second image."""
    matcher: Literal["mnn", "mnn+ratio"] = "mnn"
    """Matches that accuracy and homographies are taken from."""
    ratio: float = 0.9
    """Largest ratio of the distances to the nearest and the second nearest, for mnn+ratio."""
    fit_pixels: float = 3.0
    """Inlier threshold of the robust fits."""
    local_features: tuple[str, ...] = ()
    """Whole local features beside the descriptors: opencv-sift, aliked:WEIGHTS."""
    pictures: Path | None = None
    """Folder for pictures of the worst pairs' matches, which the report page shows."""
    num_pictures: int = 12
    """How many of them."""
    detection: DetectorConfig = field(default_factory=_detector)
    run: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        check_options(
            self,
            max_size=(0, 1 << 20),
            frame_scale=ABOVE_ZERO,
            pixels=ABOVE_ZERO,
            ratio=(0.01, 1),
            fit_pixels=ABOVE_ZERO,
            num_pictures=(0, 100_000),
        )


SharedPhotos = dict[int, SharedPhoto]
"""Images of one sequence by number, image 1 first."""


def neighbours(
    key: dict[str, Any],
    photos: SharedPhotos,
    cache: PredictionCache,
    describe: Callable[[list[SharedPhoto]], list[Described]],
) -> tuple[dict[int, planar.NearestDescriptors], Arrays]:
    """Nearest neighbours of image 1 in each other image, from the cache or from `describe`."""
    numbers = list(photos)

    def compute() -> Arrays:
        arrays: Arrays = {}
        made = dict(zip(numbers, describe(list(photos.values())), strict=True))
        for k, d in made.items():
            arrays |= {f"xy_{k}": d.xy, f"size_{k}": np.array(d.size), f"seconds_{k}": np.array(d.seconds)}
        for k in numbers[1:]:
            near = planar.nearest_neighbours(made[1].descriptors, made[k].descriptors)
            arrays |= {f"{name}_{k}": value for name, value in vars(near).items()}
        return arrays

    arrays = cache.get(key, compute)
    fields = ("index", "distance", "second", "back")
    return {k: planar.NearestDescriptors(*(arrays[f"{f}_{k}"] for f in fields)) for k in numbers[1:]}, arrays


def neighbours_by(
    rival: Contender | Baseline, photos: SharedPhotos, config: HomographyConfig, cache: PredictionCache
) -> tuple[dict[int, planar.NearestDescriptors], Arrays]:
    """A descriptor on the shared detections of a sequence, or a local feature at the same size and budget."""
    key: dict[str, Any] = {"weights": rival.fingerprint, "numbers": list(photos)}
    key |= {"search": code_hash(planar)}
    if isinstance(rival, Contender):
        key |= {"task": "neighbours", "engine": config.run.engine, "frame_scale": config.frame_scale}
        key |= {"orientation": config.detection.orientation}
        key |= {"detections": [photo.key for photo in photos.values()]}
        return neighbours(key, photos, cache, lambda together: describe_set(together, rival))
    import kornia

    budget = config.detection.max_keypoints
    key |= {"task": "local-features", "label": rival.label, "budget": budget, "max_size": config.max_size}
    key |= {"images": [photo.hash for photo in photos.values()], "kornia": kornia.__version__}
    key |= {"code": code_hash(Baseline.__module__), "device": config.run.device}

    def describe(photo: SharedPhoto) -> Described:
        image = photo.image
        start = time.perf_counter()
        xy, descriptors = rival.extract(photo.path, image, budget)
        return Described(to_original(xy, image), descriptors, image.size, time.perf_counter() - start)

    return neighbours(key, photos, cache, lambda together: [describe(photo) for photo in together])


def chosen(near: planar.NearestDescriptors, config: HomographyConfig) -> NDArray[np.int64]:
    """(M, 2) matches that `config.matcher` takes."""
    pairs = near.mutual()
    if config.matcher == "mnn+ratio":
        pairs = pairs[near.ratio()[pairs[:, 0]] < config.ratio]
    return pairs


def score_pair(
    sequence: PlanarSequence,
    k: int,
    near: planar.NearestDescriptors,
    arrays: Arrays,
    config: HomographyConfig,
) -> PairScore:
    """All scores of image 1 against image k."""
    truth = sequence.homographies[k]
    xy0, xy1 = arrays["xy_1"], arrays[f"xy_{k}"]
    size0, size1 = tuple(arrays["size_1"].tolist()), tuple(arrays[f"size_{k}"].tolist())
    geometry = planar.relate(truth, xy0, xy1, size0, size1)
    pairs = chosen(near, config)
    errors = planar.match_errors(geometry, xy1, pairs)
    correct = int((errors <= config.pixels).sum())
    matched0, matched1 = xy0[pairs[:, 0]].astype(np.float64), xy1[pairs[:, 1]].astype(np.float64)
    fits = {
        name: planar.corner_error(fit(matched0, matched1, config.fit_pixels), truth, size0)
        for name, fit in FITS.items()
    }
    return PairScore(
        dataset=sequence.dataset,
        sequence=sequence.name,
        kind=sequence.kind,
        target=k,
        num_keypoints=(len(xy0), len(xy1)),
        num_shared=int(geometry.inside0.sum()),
        repeatability=planar.repeatability(geometry, config.pixels),
        average_precision=planar.ranked_average_precision(geometry, xy1, near, config.pixels),
        num_matches=len(pairs),
        num_correct=correct,
        matching_score=planar.matching_score(geometry, correct),
        accuracy=tuple(float((errors <= t).mean()) if len(errors) else 0.0 for t in range(1, 11)),
        corner_errors=fits,
        seconds=float(np.mean([arrays["seconds_1"], arrays[f"seconds_{k}"]])),
    )


def usable(sequence: PlanarSequence, photos: SharedPhotos) -> tuple[PlanarSequence | None, list[str]]:
    """The sequence without images that are unreadable or share nothing with image 1, and notes on those."""
    notes = []
    try:
        size0 = photos[1].image.size
    except UnreadableImage as error:
        return None, [f"{sequence.name} left out: {error}"]
    good = {}
    for k, path in sequence.targets.items():
        try:
            size1 = photos[k].image.size
        except UnreadableImage as error:
            notes.append(f"{sequence.name} image {k} left out: {error}")
            continue
        if planar.covers(sequence.homographies[k], size0, size1) == 0:
            notes.append(
                f"{sequence.name} image {k} left out: its homography maps nothing of image 1 into it"
            )
            continue
        good[k] = path
    if not good:
        return None, [*notes, f"{sequence.name} left out: no image is left to match"]
    kept = {k: sequence.homographies[k] for k in good}
    return replace(sequence, targets=good, homographies=kept), notes


def evaluate_homographies(config: HomographyConfig) -> TaskResult:
    """Score descriptors and local features on planar sequences; see `HomographyConfig`."""
    sequences, notes = find_sequences(config.root)
    if config.only:
        unknown = sorted(set(config.only) - {s.name for s in sequences})
        if unknown:
            raise InputError(
                f"there is no sequence {', '.join(unknown)}; there are {', '.join(s.name for s in sequences)}"
            )
        sequences = [s for s in sequences if s.name in config.only]
    if config.pixels <= 0 or config.fit_pixels <= 0 or config.frame_scale <= 0:
        raise InputError("--pixels, --fit-pixels and --frame-scale must be above 0")
    contenders = load_contenders(config.run) if config.run.descriptors else []
    baselines = load_baselines(config.local_features, config.run.device)
    rivals: list[Contender | Baseline] = [*contenders, *baselines]
    if not rivals:
        raise InputError("nothing to evaluate; give --descriptors or --local-features")
    check_distinct((rival.label for rival in rivals), "features")
    cache = config.run.predictions()
    scores: dict[str, list[PairScore]] = {c.label: [] for c in rivals}
    matched: dict[tuple[str, str, str, int], Any] = {}
    hashes = []
    for sequence in track(sequences, "sequences", unit="sequences"):
        photos = {
            k: SharedPhoto(
                path, config.detection, cache, config.max_size, config.frame_scale, config.run.device
            )
            for k, path in sequence.images().items()
        }
        kept, remarks = usable(sequence, photos)
        notes += remarks
        if kept is None:
            continue
        photos = {k: photos[k] for k in kept.images()}
        hashes += [f"{kept.dataset}/{kept.name}/{k} {photo.hash}" for k, photo in photos.items()]
        for rival in rivals:
            near, arrays = neighbours_by(rival, photos, config, cache)
            for k in kept.targets:
                scores[rival.label].append(score_pair(kept, k, near[k], arrays, config))
                if config.pictures:
                    matched[(rival.label, kept.dataset, kept.name, k)] = (
                        kept,
                        chosen(near[k], config),
                        arrays,
                    )
    if not hashes:
        raise InputError("no sequence could be used: " + "; ".join(notes))
    result = tell(scores, config.pixels, notes)
    worst = result.worst
    if config.pictures:
        from .pictures import draw_worst

        worst = draw_worst(scores, matched, config.pictures, config.pixels, config.num_pictures)
    return replace(
        result,
        options=asdict(config) | {"run": {"device": config.run.device, "engine": config.run.engine}},
        data={"images": len(hashes), "sha256": combined_hash(hashes), "roots": list(config.root)},
        weights={c.label: c.fingerprint for c in rivals},
        worst=worst,
    )
