"""Task `pairs`: the geometry of single image pairs, against known poses or labelled correspondences.

Known poses: scenes with true cameras (as for `sfm`); all pairs, or those of a file. Labelled
correspondences: folders with two images and `corrs.txt`, a line `x0 y0 x1 y1` each (the layout of WxBS).
Photos must be free of lens distortion where poses are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...features.detectors import DetectorConfig
from ...features.orientation_policy import OrientationPolicy
from ...matching import match as matching
from ...matching.match import MatchConfig, match_descriptors
from ...matching.pairs import exhaustive_pairs, pairs_from_file
from ...photos.formats import EXTENSIONS
from ...photos.images import list_images
from ...support.checks import ABOVE_ZERO, check_options
from ...support.files import sha256_of
from ...support.metrics import area_under_recall
from ...support.progress import track
from ..cache import Arrays, code_hash, combined_hash
from ..contenders import CompareConfig, Contender, check_distinct, load_contenders
from ..results import Cell, Chart, Column, Series, Table, TaskResult, Worst
from ..shared import Described, SharedPhoto, describe_set
from . import geometry
from .estimators import ESTIMATORS, Estimator
from .ground_truth import TrueCamera, find_truth, read_truth
from .sfm_runs import photo_size

Float = NDArray[np.float64]

AUC_DEGREES = (5.0, 10.0, 20.0)
AUC_PIXELS = (5.0, 10.0, 20.0)
EPIPOLAR_THRESHOLD = 5e-4
"""A match agrees with the true pose within this distance, normalised, as in SuperGlue's tables."""
KEPT_PHOTOS = 64


@dataclass(frozen=True)
class PairTaskConfig:
    """Two-view geometry of image pairs: pose errors, precision of the inliers."""

    scenes: tuple[Path, ...] = ()
    """Folders of photos with ground truth beside them (see task sfm)."""
    truth: tuple[Path, ...] = ()
    """Ground truth of each scene where it is not in its folder."""
    pairs: Path | None = None
    """Names of the pairs to take, `a b` a line, with one scene; all pairs by default."""
    labelled: tuple[Path, ...] = ()
    """Folders of pairs (two images and corrs.txt), or such pairs."""
    inlier_pixels: float = 1.5
    """Threshold of the robust estimate, pixels of the original photos."""
    estimator: Estimator = "colmap"
    """Of poses: COLMAP's LO-RANSAC, or poselib's, with which glue-factory's figures are made."""
    max_size: int = 1600
    """Long side of the photos when keypoints are sought; 0 keeps their size."""
    detection: DetectorConfig = field(default_factory=lambda: DetectorConfig(max_keypoints=2048))
    match: MatchConfig = field(default_factory=MatchConfig)
    run: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        check_options(self, inlier_pixels=ABOVE_ZERO, max_size=(0, 1 << 20))


@dataclass(frozen=True)
class Case:
    """One pair and what is known of it."""

    group: str
    name: str
    paths: tuple[Path, Path]
    cameras: tuple[TrueCamera, TrueCamera] | None = None
    points: Float | None = None  # (C, 4) labelled x0 y0 x1 y1


@dataclass(frozen=True)
class CaseScore:
    """One descriptor on one pair; infinite errors where no geometry was found."""

    group: str
    name: str
    num_matches: int
    num_inliers: int
    error: float  # degrees (known poses) or pixels (labelled)
    rotation: float  # degrees, nan for labelled pairs
    translation: float
    precision: float  # of the matches against the truth; nan without matches
    inlier_precision: float  # of those that the estimate kept


def cases_of_scenes(config: PairTaskConfig) -> tuple[list[Case], list[str]]:
    """All pairs of photos with a true camera and intrinsics, and notes on those left out."""
    if config.truth and len(config.truth) != len(config.scenes):
        raise InputError(
            f"{len(config.scenes)} scenes, but {len(config.truth)} places of ground truth; give one each"
        )
    if config.pairs and len(config.scenes) != 1:
        raise InputError("--pairs names pairs of one scene; give one with --scenes")
    cases, notes = [], []
    for i, folder in enumerate(config.scenes):
        images = folder / "images" if (folder / "images").is_dir() else folder
        names = list_images(images)
        truth = read_truth(config.truth[i]) if config.truth else find_truth(folder)
        if truth is None:
            raise InputError(f"{folder} has no ground truth, so its pairs cannot be scored")
        cameras = {
            name: camera.resized(photo_size(images / name))
            for name, camera in truth.named_as(names).cameras.items()
        }
        if any(c.distorted for c in cameras.values()):
            raise InputError(f"the cameras of {truth.source} have distortion; give undistorted photos")
        usable = sorted(n for n, c in cameras.items() if c.intrinsics is not None)
        if len(usable) < len(names):
            notes.append(f"{folder.name}: {len(names) - len(usable)} photos without a true camera left out")
        pairs = pairs_from_file(config.pairs, names) if config.pairs else exhaustive_pairs(usable)
        for a, b in pairs:
            if a not in usable or b not in usable:
                notes.append(f"{folder.name}: pair {a} {b} left out, it has no true cameras")
                continue
            cases.append(
                Case(folder.resolve().name, f"{a} {b}", (images / a, images / b), (cameras[a], cameras[b]))
            )
    return cases, notes


def cases_of_labels(roots: Sequence[Path]) -> list[Case]:
    """Pairs with labelled correspondences: each root itself, or the folders below it."""
    cases = []
    for root in roots:
        folders = (
            [root] if (root / "corrs.txt").is_file() else sorted(p.parent for p in root.rglob("corrs.txt"))
        )
        if not folders:
            raise InputError(f"{root} holds no corrs.txt with labelled correspondences")
        for folder in folders:
            images = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS)
            if len(images) != 2:
                raise InputError(f"{folder} should hold two images beside corrs.txt, not {len(images)}")
            try:
                points = np.loadtxt(folder / "corrs.txt", ndmin=2)
            except ValueError as error:
                raise InputError(f"{folder / 'corrs.txt'} is not a table of numbers ({error})") from error
            if points.shape[1:] != (4,) or not np.isfinite(points).all() or not len(points):
                raise InputError(f"{folder / 'corrs.txt'} should hold x0 y0 x1 y1 a line, not {points.shape}")
            cases.append(Case(root.resolve().name, folder.name, (images[0], images[1]), None, points))
    return cases


class PairPhotos:
    """Photos of a run and their descriptors, the last few of which stay in memory."""

    def __init__(self, config: PairTaskConfig) -> None:
        self.config = config
        self.cache = config.run.predictions()
        self.photo = lru_cache(KEPT_PHOTOS)(self._photo)
        self.described = lru_cache(KEPT_PHOTOS)(self._described)

    def _photo(self, path: Path) -> SharedPhoto:
        config = self.config
        return SharedPhoto(path, config.detection, self.cache, config.max_size, device=config.run.device)

    def _described(self, path: Path, contender: Contender) -> Described:
        return self.photo(path).described_by(contender)

    def matched(self, case: Case, contender: Contender) -> Arrays:
        """`xy0`, `xy1` (M, 2) of the matches of a pair, in original pixels."""
        key = {
            "task": "pairs",
            "orientation": self.config.detection.orientation,
            "detections": [self.photo(path).key for path in case.paths],
            "weights": contender.fingerprint,
            "match": asdict(self.config.match),
            "engine": self.config.run.engine,
            "code": code_hash(matching),
        }

        def compute() -> Arrays:
            if OrientationPolicy(self.config.detection).compares:
                both = describe_set([self.photo(path) for path in case.paths], contender)
            else:
                both = [self.described(path, contender) for path in case.paths]
            found = match_descriptors(both[0].descriptors, both[1].descriptors, self.config.match).indices
            return {"xy0": both[0].xy[found[:, 0]], "xy1": both[1].xy[found[:, 1]]}

        return self.cache.get(key, compute)


def normalised(xy: NDArray[Any], camera: TrueCamera) -> Float:
    """(N, 2) pixels -> coordinates on the plane at distance 1."""
    assert camera.intrinsics is not None
    points = (
        np.column_stack([np.asarray(xy, np.float64), np.ones(len(xy))]) @ np.linalg.inv(camera.intrinsics).T
    )
    return np.asarray(points[:, :2])


def score_posed(
    case: Case, xy0: NDArray[Any], xy1: NDArray[Any], pixels: float, estimator: Estimator = "colmap"
) -> CaseScore:
    """Estimate the relative pose with the true intrinsics and compare it with the true pose."""
    assert case.cameras is not None
    camera0, camera1 = case.cameras
    true = geometry.relative_pose(camera0.pose, camera1.pose)
    matrix = geometry.essential(*true)
    distance = geometry.epipolar_line_distance(matrix, normalised(xy0, camera0), normalised(xy1, camera1))
    right = distance < EPIPOLAR_THRESHOLD
    found = ESTIMATORS[estimator](xy0, xy1, camera0, camera1, pixels) if len(xy0) >= 5 else None
    mean = float(right.mean()) if len(right) else float("nan")
    if found is None:
        infinite = float("inf")
        return CaseScore(case.group, case.name, len(xy0), 0, infinite, infinite, infinite, mean, float("nan"))
    estimate, kept = found
    rotation, translation = geometry.relative_errors(estimate, true)
    inlier = float(right[kept].mean()) if kept.any() else float("nan")
    error = float(np.fmax(rotation, translation))
    return CaseScore(
        case.group, case.name, len(xy0), int(kept.sum()), error, rotation, translation, mean, inlier
    )


def score_labelled_pair(case: Case, xy0: NDArray[Any], xy1: NDArray[Any], pixels: float) -> CaseScore:
    """Estimate a fundamental matrix and measure how far the labelled points are from their epipolar lines."""
    import cv2

    assert case.points is not None
    truth0, truth1 = case.points[:, :2], case.points[:, 2:]
    nan, matrix, kept = float("nan"), None, np.zeros(len(xy0), bool)
    if len(xy0) >= 8:
        try:
            matrix, mask = cv2.findFundamentalMat(xy0, xy1, cv2.USAC_MAGSAC, pixels, 0.9999, 10_000)
        except cv2.error:  # raised now and then where the matches lie in one plane
            mask = None
        if mask is not None:
            kept = mask.ravel().astype(bool)
    right = np.zeros(len(xy0), bool)
    if len(truth0) >= 8 and len(xy0):
        true, _ = cv2.findFundamentalMat(truth0, truth1, cv2.FM_8POINT)
        if true is not None:
            right = geometry.epipolar_line_distance(np.asarray(true, np.float64), xy0, xy1) <= 2 * pixels
    error = float("inf")
    if matrix is not None and np.shape(matrix) == (3, 3):
        apart = geometry.epipolar_line_distance(np.asarray(matrix, np.float64), truth0, truth1)
        error = float(np.median(apart))
    known = len(truth0) >= 8 and len(xy0) > 0
    return CaseScore(
        case.group,
        case.name,
        len(xy0),
        int(kept.sum()),
        error,
        nan,
        nan,
        float(right.mean()) if known else nan,
        float(right[kept].mean()) if known and kept.any() else nan,
    )


def evaluate_pairs(config: PairTaskConfig) -> TaskResult:
    """Score descriptors on image pairs; see `PairTaskConfig`."""
    check_distinct((folder.resolve().name for folder in (*config.scenes, *config.labelled)), "folders")
    posed, notes = cases_of_scenes(config)
    labelled = cases_of_labels(config.labelled)
    if not posed and not labelled:
        raise InputError("no pair to score; give --scenes with ground truth or --labelled")
    contenders = load_contenders(config.run)
    scores: dict[str, list[CaseScore]] = {c.label: [] for c in contenders}
    photos = PairPhotos(config)
    for case in track(posed + labelled, "pairs", unit="pairs"):
        for contender in contenders:
            found = photos.matched(case, contender)
            xy0, xy1 = found["xy0"], found["xy1"]
            if case.cameras:
                score = score_posed(case, xy0, xy1, config.inlier_pixels, config.estimator)
            else:
                score = score_labelled_pair(case, xy0, xy1, config.inlier_pixels)
            scores[contender.label].append(score)
    hashes = sorted({f"{p.name} {sha256_of(p)}" for c in posed + labelled for p in c.paths})
    for label, items in scores.items():
        failed = [f"{s.group}: {s.name}" for s in items if np.isinf(s.error)]
        if failed:
            listed = "; ".join(failed)
            notes.append(
                f"{label}: no geometry for {len(failed)} of {len(items)} pairs (infinite error): {listed}"
            )
    return TaskResult(
        task="pairs",
        options=asdict(config),
        data={"pairs": len(posed) + len(labelled), "photos": len(hashes), "sha256": combined_hash(hashes)},
        weights={c.label: c.fingerprint for c in contenders},
        tables=tuple(tables(scores)),
        charts=tuple(charts(scores)),
        content={"pairs": {label: [asdict(s) for s in items] for label, items in scores.items()}},
        worst=worst(scores),
        notes=tuple(notes),
    )


def by_group(scores: dict[str, list[CaseScore]]) -> Iterator[tuple[str, dict[str, list[CaseScore]]]]:
    """group, descriptor -> pairs."""
    groups = dict.fromkeys(s.group for items in scores.values() for s in items)
    for group in groups:
        yield group, {label: [s for s in items if s.group == group] for label, items in scores.items()}


def tables(scores: dict[str, list[CaseScore]]) -> Iterator[Table]:
    """A table a group, a row a descriptor."""
    for group, by_label in by_group(scores):
        first = next(iter(by_label.values()))
        unit, limits = ("px", AUC_PIXELS) if np.isnan(first[0].rotation) else ("deg", AUC_DEGREES)
        rows: list[tuple[Cell, ...]] = []
        for label, items in by_label.items():
            precision = [s.precision for s in items if not np.isnan(s.precision)]
            inlier = [s.inlier_precision for s in items if not np.isnan(s.inlier_precision)]
            rows.append(
                (
                    label,
                    len(items),
                    float(np.mean([s.num_matches for s in items])),
                    float(np.mean(precision)) if precision else None,
                    float(np.mean([s.num_inliers for s in items])),
                    float(np.mean(inlier)) if inlier else None,
                    float(np.median([s.error for s in items])),
                    *area_under_recall([s.error for s in items], limits),
                )
            )
        columns = (
            Column("descriptor"),
            Column("pairs", "d"),
            Column("matches", ".0f"),
            Column("precision", ".3f", "high"),
            Column("inliers", ".0f", "high"),
            Column("inlier precision", ".3f", "high"),
            Column(f"median error {unit}", ".3f", "low"),
            *(Column(f"AUC@{t:g}{unit}", ".3f", "high") for t in limits),
        )
        yield Table(f"{group}: two-view geometry", columns, tuple(rows))


def charts(scores: dict[str, list[CaseScore]]) -> Iterator[Chart]:
    """Share of pairs over error."""
    steps = np.geomspace(0.05, 20, 60)
    for group, by_label in by_group(scores):
        series = tuple(
            Series(
                label,
                tuple(steps.tolist()),
                tuple(float(np.mean([s.error <= t for s in items])) for t in steps),
            )
            for label, items in by_label.items()
        )
        yield Chart(f"Two-view error, {group}", "lines", "error", "share of pairs", series, log_x=True)


def worst(scores: dict[str, list[CaseScore]], number: int = 30) -> tuple[Worst, ...]:
    """The pairs with the largest errors."""
    cases = [
        Worst(
            f"{s.group}: {s.name}, {label}",
            f"error {s.error:.2f}, {s.num_inliers} inliers of {s.num_matches} matches",
            s.error,
        )
        for label, items in scores.items()
        for s in items
    ]
    return tuple(sorted(cases, key=lambda w: -w.badness)[:number])
