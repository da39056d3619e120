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

from ..detectors import DetectorConfig, detect
from ..errors import InputError
from ..extract import resolved_device
from ..images import GrayImage, UnreadableImage, read_gray, to_original
from ..patches import FRAME_SCALE, PatchPyramid, extract_patches
from ..progress import track
from . import planar
from .baselines import Baseline, load_baselines
from .cache import Arrays, PredictionCache, combined_hash, describing_code, file_hash
from .contenders import Contender, RunConfig, load_contenders
from .homography_fit import FITS
from .homography_report import PairScore, tell
from .results import TaskResult
from .sequences import PlanarSequence, find_sequences


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
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class Keypoints:
    """What matching and scoring need of one image."""

    xy: NDArray[np.float32]  # (N, 2) original pixels
    descriptors: NDArray[np.float32] | None  # (N, D), None while the cache knows the neighbours


class SequenceFeatures:
    """Images, detections, patches and descriptors of one sequence; each is made when first asked for."""

    def __init__(self, sequence: PlanarSequence, config: HomographyConfig, cache: PredictionCache) -> None:
        self.sequence = sequence
        self.config = config
        self.cache = cache
        self.paths = sequence.images()
        self.hashes = {k: file_hash(path) for k, path in self.paths.items()}
        self._images: dict[int, GrayImage] = {}
        self._detections: dict[int, Arrays] = {}
        self._patches: dict[int, tuple[Any, float]] = {}

    def image(self, k: int) -> GrayImage:
        if k not in self._images:
            self._images[k] = read_gray(self.paths[k], self.config.max_size or None)
        return self._images[k]

    def detection_key(self, k: int) -> dict[str, Any]:
        """All that the frames of image k depend on."""
        return {
            "task": "detections",
            "image": self.hashes[k],
            "detector": asdict(self.config.detection),
            "max_size": self.config.max_size,
            "device": self.config.run.device,
            "code": describing_code(),
        }

    def detection(self, k: int) -> Arrays:
        """`lafs` (N, 2, 3) of the resized image, `xy` (N, 2) in original pixels, `size` and `seconds`."""
        if k not in self._detections:

            def compute() -> Arrays:
                image = self.image(k)
                start = time.perf_counter()
                found = detect(
                    image.pixels, self.config.detection, device=resolved_device(self.config.run.device)
                )
                lafs = found.lafs.cpu().numpy()
                seconds = time.perf_counter() - start
                xy = to_original(lafs[:, :, 2], image)
                return {"lafs": lafs, "xy": xy, "size": np.array(image.size), "seconds": np.array(seconds)}

            self._detections[k] = self.cache.get(self.detection_key(k), compute)
        return self._detections[k]

    def patches(self, k: int) -> tuple[Any, float]:
        """Patches (N, 1, 32, 32) of image k, and the seconds that they took."""
        if k not in self._patches:
            import torch

            image, lafs = self.image(k), torch.from_numpy(self.detection(k)["lafs"])
            start = time.perf_counter()
            device = resolved_device(self.config.run.device)
            pyramid = PatchPyramid(torch.as_tensor(image.pixels, device=device))
            patches = extract_patches(pyramid, lafs.to(device), frame_scale=self.config.frame_scale)
            self._patches[k] = patches, time.perf_counter() - start
        return self._patches[k]


def neighbours(
    kind: str, key: dict[str, Any], numbers: list[int], cache: PredictionCache, describe: Callable[[int], Any]
) -> tuple[dict[int, planar.Nearest], Arrays]:
    """Nearest neighbours of image 1 in each other image, from the cache or from `describe`.

    `describe(k)` gives xy (N, 2), descriptors (N, D), size and seconds of image k.
    """

    def compute() -> Arrays:
        arrays: Arrays = {}
        made = {k: describe(k) for k in numbers}
        for k, (xy, _, size, seconds) in made.items():
            arrays |= {f"xy_{k}": xy, f"size_{k}": np.array(size), f"seconds_{k}": np.array(seconds)}
        for k in numbers[1:]:
            near = planar.nearest_neighbours(made[numbers[0]][1], made[k][1])
            arrays |= {f"{name}_{k}": value for name, value in vars(near).items()}
        return arrays

    arrays = cache.get({"task": kind} | key, compute)
    fields = ("index", "distance", "second", "back")
    return {k: planar.Nearest(*(arrays[f"{f}_{k}"] for f in fields)) for k in numbers[1:]}, arrays


def of_contender(
    contender: Contender, features: SequenceFeatures
) -> tuple[dict[int, planar.Nearest], Arrays]:
    """A descriptor on the shared detections of a sequence."""
    config = features.config
    numbers = list(features.paths)
    key = {
        "weights": contender.fingerprint,
        "engine": config.run.engine,
        "frame_scale": config.frame_scale,
        "detections": [features.detection_key(k) for k in numbers],
    }

    def describe(k: int) -> Any:
        detection = features.detection(k)
        patches, seconds = features.patches(k)
        start = time.perf_counter()
        descriptors = contender.describe(patches.cpu().numpy())
        seconds += time.perf_counter() - start + float(detection["seconds"])
        return detection["xy"], descriptors, detection["size"], seconds

    return neighbours("neighbours", key, numbers, features.cache, describe)


def of_baseline(baseline: Baseline, features: SequenceFeatures) -> tuple[dict[int, planar.Nearest], Arrays]:
    """A whole local feature on the images of a sequence, at the same size and budget."""
    config = features.config
    numbers = list(features.paths)
    key = {
        "baseline": baseline.label,
        "weights": baseline.fingerprint,
        "images": [features.hashes[k] for k in numbers],
        "max_size": config.max_size,
        "max_keypoints": config.detection.max_keypoints,
    }

    def describe(k: int) -> Any:
        image = features.image(k)
        start = time.perf_counter()
        xy, descriptors = baseline.extract(features.paths[k], image, config.detection.max_keypoints)
        return to_original(xy, image), descriptors, image.size, time.perf_counter() - start

    return neighbours("local-features", key, numbers, features.cache, describe)


def score_pair(
    sequence: PlanarSequence, k: int, near: planar.Nearest, arrays: Arrays, config: HomographyConfig
) -> PairScore:
    """All scores of image 1 against image k."""
    truth = sequence.homographies[k]
    xy0, xy1 = arrays["xy_1"], arrays[f"xy_{k}"]
    size0, size1 = tuple(arrays["size_1"].tolist()), tuple(arrays[f"size_{k}"].tolist())
    geometry = planar.relate(truth, xy0, xy1, size0, size1)
    pairs = near.mutual()
    if config.matcher == "mnn+ratio":
        pairs = pairs[near.ratio()[pairs[:, 0]] < config.ratio]
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


def usable(sequence: PlanarSequence, features: SequenceFeatures) -> tuple[PlanarSequence | None, list[str]]:
    """The sequence without images that are unreadable or share nothing with image 1, and notes on those."""
    notes = []
    try:
        size0 = features.image(1).size
    except UnreadableImage as error:
        return None, [f"{sequence.name} left out: {error}"]
    good = {}
    for k, path in sequence.targets.items():
        try:
            size1 = features.image(k).size
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
    cache = config.run.predictions()
    scores: dict[str, list[PairScore]] = {c.label: [] for c in rivals}
    matched: dict[tuple[str, str, str, int], Any] = {}
    hashes = []
    for sequence in track(sequences, "sequences", unit="sequences"):
        features = SequenceFeatures(sequence, config, cache)
        kept, remarks = usable(sequence, features)
        notes += remarks
        if kept is None:
            continue
        if kept is not sequence:
            used = SequenceFeatures(kept, config, cache)
            used._images = features._images
            features = used
        hashes += [f"{kept.dataset}/{kept.name}/{k} {h}" for k, h in features.hashes.items()]
        for rival in rivals:
            if isinstance(rival, Contender):
                near, arrays = of_contender(rival, features)
            else:
                near, arrays = of_baseline(rival, features)
            for k in kept.targets:
                scores[rival.label].append(score_pair(kept, k, near[k], arrays, config))
                if config.pictures:
                    matched[(rival.label, kept.dataset, kept.name, k)] = (kept, near[k].mutual(), arrays)
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
