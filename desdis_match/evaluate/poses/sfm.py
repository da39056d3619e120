"""Task `sfm`: reconstructions of the same photos by several contenders, side by side, against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...colmap.mapping import MapConfig, read_model
from ...errors import InputError
from ...features.detectors import DetectorConfig
from ...features.extract import ExtractConfig
from ...matching.match import MatchConfig
from ...photos.images import list_images
from ...pipeline import RunConfig
from ...support.checks import check_options
from ...support.files import sha256_of
from ...support.metrics import recall_at
from ..cache import code_hash, combined_hash, default_folder
from ..contenders import CompareConfig, Contender, load_contenders
from ..results import Cell, Chart, Column, Series, Table, TaskResult, Worst
from .ground_truth import Truth, find_truth, read_truth
from .sfm_runs import SfmRun, given_intrinsics, photo_size, reuse_features, run_ours, run_pycolmap_sift
from .sfm_scores import AUC_DEGREES, ModelScore, score_model

IntrinsicsSource = Literal["self", "given"]

SIFT = "pycolmap-sift"


@dataclass(frozen=True)
class SfmConfig:
    """Reconstruct photos with each descriptor (and pycolmap's SIFT), or score models that are there."""

    scenes: tuple[Path, ...]
    """Folders with photos, or with photos in images/ and ground truth beside it."""
    truth: tuple[Path, ...] = ()
    """Ground truth of each scene, in the order of --scenes, where it is not in the scene's folder."""
    descriptors: tuple[str, ...] = ()
    """Names or weight files; each reconstructs every scene."""
    models: tuple[str, ...] = ()
    """LABEL=FOLDER: COLMAP models to score as they are (with one scene)."""
    pycolmap_sift: bool = False
    """Reconstruct with pycolmap's own SIFT pipeline beside ours."""
    sift_keypoints: int = 8192
    """Its budget a photo, as COLMAP counts it: a keypoint with two orientations counts once."""
    intrinsics: tuple[IntrinsicsSource, ...] = ("self",)
    """self: the mapper finds focal length and distortion; given: from the ground truth, fixed; or both."""
    output: Path | None = None
    """Folder where reconstructions are kept; by default below the user's cache folder."""
    max_size: int = 1600
    """Long side of the photos when keypoints are sought; 0 keeps their size."""
    detection: DetectorConfig = field(default_factory=DetectorConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    map: MapConfig = field(default_factory=MapConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_options(self, sift_keypoints=(1, 10_000_000), max_size=(0, 1 << 20))


@dataclass(frozen=True)
class ScenePhotos:
    """Photos and what is known of their cameras."""

    name: str
    images: Path
    names: list[str]
    truth: Truth | None


def open_scenes(config: SfmConfig) -> tuple[list[ScenePhotos], list[str]]:
    """The scenes with their ground truth, and notes on photos without any."""
    if config.truth and len(config.truth) != len(config.scenes):
        raise InputError(
            f"{len(config.scenes)} scenes, but {len(config.truth)} places of ground truth; give one each"
        )
    scenes, notes = [], []
    for i, folder in enumerate(config.scenes):
        images = folder / "images" if (folder / "images").is_dir() else folder
        names = list_images(images)
        if len(names) < 2:
            raise InputError(f"{images} has {len(names)} photos; a reconstruction needs two or more")
        truth = read_truth(config.truth[i]) if config.truth else find_truth(folder)
        name = folder.resolve().name
        if truth is None:
            notes.append(f"{name}: no ground truth found, only the model itself is counted")
        else:
            truth = truth.named_as(names)
            if len(truth.cameras) < len(names):
                notes.append(
                    f"{name}: {len(names) - len(truth.cameras)} of {len(names)} photos have no true camera"
                )
        scenes.append(ScenePhotos(name, images, names, truth))
    if len({s.name for s in scenes}) < len(scenes):
        raise InputError("two scenes have the same folder name; their results would be mixed up")
    return scenes, notes


def mapping_for(config: SfmConfig, scene: ScenePhotos, intrinsics: IntrinsicsSource) -> MapConfig:
    """The mapper's options, with the true intrinsics fixed when they are to be given."""
    if intrinsics == "self":
        return config.map
    if scene.truth is None:
        raise InputError(f"{scene.name} has no ground truth to give intrinsics from")
    params = given_intrinsics(scene.truth, photo_size(scene.images / scene.names[0]))
    cameras = replace(config.map.cameras, camera_mode="single", camera_model="PINHOLE", camera_params=params)
    return replace(config.map, cameras=cameras, fix_intrinsics=True)


def sfm_folder() -> Path:
    """Where runs lie when no place is given: those that other code made are not taken for today's."""
    return default_folder() / "sfm" / code_hash("desdis_match.pipeline.reconstruct")[:16]


def score_run(scene: ScenePhotos, label: str, intrinsics: str, run: SfmRun) -> ModelScore:
    """What a run made, in numbers."""
    return score_model(
        run.model,
        scene.truth,
        scene.names,
        scene.name,
        label,
        intrinsics,
        num_keypoints=run.num_keypoints,
        num_verified=run.num_verified,
        seconds=run.seconds,
        notes=run.notes,
    )


def score_given_models(config: SfmConfig, scenes: Sequence[ScenePhotos]) -> list[ModelScore]:
    """Models that the user points to."""
    if config.models and len(scenes) != 1:
        raise InputError("--models are of one scene; give one with --scenes")
    scores = []
    for item in config.models:
        label, _, folder = item.rpartition("=")
        model = read_model(Path(folder))
        keypoints = [len(image.points2D) for image in model.images.values()]
        run = SfmRun(model, float(np.mean(keypoints)) if keypoints else 0.0, 0, {})
        scores.append(score_run(scenes[0], label or Path(folder).name, "as made", run))
    return scores


def evaluate_sfm(config: SfmConfig) -> TaskResult:
    """Reconstruct and score; see `SfmConfig`."""
    scenes, notes = open_scenes(config)
    contenders: list[Contender] = []
    if config.descriptors:
        contenders = load_contenders(CompareConfig(config.descriptors, device=config.run.device))
    if not contenders and not config.pycolmap_sift and not config.models:
        raise InputError("nothing to evaluate; give --descriptors, --pycolmap-sift or --models")
    output = config.output or sfm_folder()
    scores = score_given_models(config, scenes)
    for scene in scenes:
        for intrinsics in config.intrinsics:
            mapping = mapping_for(config, scene, intrinsics)
            place = output / scene.name / intrinsics
            if config.pycolmap_sift:
                run = run_pycolmap_sift(
                    scene.images, place / SIFT, config.max_size, config.sift_keypoints, mapping
                )
                scores.append(score_run(scene, SIFT, intrinsics, run))
            for given, contender in zip(config.descriptors, contenders, strict=True):
                extract = ExtractConfig(
                    **asdict(config.detection), max_size=config.max_size, descriptor=given
                )
                for other in config.intrinsics:
                    reuse_features(output / scene.name / other / contender.label, place / contender.label)
                run = run_ours(
                    scene.images, place / contender.label, extract, config.match, mapping, config.run
                )
                scores.append(score_run(scene, contender.label, intrinsics, run))
    for score in scores:
        notes += [f"{score.scene}, {score.label}, {score.intrinsics}: {note}" for note in score.notes]
        if score.unregistered:
            notes.append(
                f"{score.scene}, {score.label}, {score.intrinsics}: {len(score.unregistered)} of "
                f"{score.num_images} photos not registered (infinite error): {', '.join(score.unregistered)}"
            )
    hashes = {s.name: combined_hash([f"{n} {sha256_of(s.images / n)}" for n in s.names]) for s in scenes}
    return TaskResult(
        task="sfm",
        options=asdict(config),
        data={
            "scenes": {s.name: {"photos": len(s.names), "sha256": hashes[s.name]} for s in scenes},
            "truth": {s.name: s.truth.source if s.truth else None for s in scenes},
        },
        weights={c.label: c.fingerprint for c in contenders},
        tables=tables(scores),
        charts=charts(scores),
        content={
            "models": [asdict(s) | {"auc": s.areas()} for s in scores],
            "auc_degrees": list(AUC_DEGREES),
        },
        worst=worst_images(scores, scenes),
        notes=tuple(notes),
    )


def row_name(score: ModelScore) -> tuple[Cell, ...]:
    """What a row is of."""
    return score.label, score.intrinsics


NAMES = (Column("features"), Column("intrinsics"))


def tables(scores: Sequence[ModelScore]) -> tuple[Table, ...]:
    """Two tables a scene: the model itself, and its errors against the true cameras."""
    found = []
    for scene in dict.fromkeys(s.scene for s in scores):
        here = [s for s in scores if s.scene == scene]
        columns = (
            *NAMES,
            Column("registered"),
            Column("keypoints", ".0f"),
            Column("points", "d", "high"),
            Column("observations", "d", "high"),
            Column("obs./image", ".0f", "high"),
            Column("track", ".3f", "high"),
            Column("reproj. px", ".3f", "low"),
            Column("extract s", ".1f"),
            Column("match s", ".1f"),
            Column("map s", ".1f"),
        )
        rows = tuple(
            (
                *row_name(s),
                f"{s.num_registered}/{s.num_images}",
                s.num_keypoints,
                s.num_points,
                s.num_observations,
                s.num_observations / s.num_registered if s.num_registered else 0.0,
                s.track_length,
                s.reprojection_error,
                *(s.seconds.get(stage) for stage in ("extract", "match", "map")),
            )
            for s in here
        )
        found.append(Table(f"{scene}: model", columns, rows))
        measured = [s for s in here if s.pose_errors]
        if measured:
            found.append(error_table(scene, measured))
    return tuple(found)


def error_table(scene: str, scores: Sequence[ModelScore]) -> Table:
    """Errors against the true cameras of one scene."""
    unit = next((s.unit for s in scores if s.unit), "")
    columns = (
        *NAMES,
        Column("median rot. deg", ".4f", "low"),
        Column("median transl. deg", ".4f", "low"),
        *(Column(f"AUC@{t:g}", ".3f", "high") for t in AUC_DEGREES),
        Column(f"median centre {unit}", ".5f", "low"),
        Column(f"max centre {unit}", ".5f", "low"),
        Column("focal %", "+.3f"),
    )
    rows = []
    for s in scores:
        centers = list(s.center_errors.values())
        rows.append(
            (
                *row_name(s),
                float(np.median(s.rotation_errors)),
                float(np.nanmedian(s.translation_errors)),
                *s.areas()["pose"],
                float(np.median(centers)) if centers else None,
                max(centers) if centers else None,
                100 * s.focal_error,
            )
        )
    return Table(
        f"{scene}: errors over all pairs (AUC of the larger of rotation and translation)",
        columns,
        tuple(rows),
    )


def charts(scores: Sequence[ModelScore]) -> tuple[Chart, ...]:
    """Recall over pose error a scene, points and track length over all."""
    found = []
    steps = np.geomspace(0.05, 10, 60)
    for scene in dict.fromkeys(s.scene for s in scores):
        series = tuple(
            Series(
                f"{s.label}, {s.intrinsics}",
                tuple(steps.tolist()),
                tuple(recall_at(s.pose_errors, steps.tolist())),
            )
            for s in scores
            if s.scene == scene and s.pose_errors
        )
        if series:
            found.append(
                Chart(f"Pose error, {scene}", "lines", "degrees", "share of pairs", series, log_x=True)
            )
    labels = list(dict.fromkeys((s.label, s.intrinsics) for s in scores))
    for title, value in (("Points", "num_points"), ("Mean track length", "track_length")):
        bars = []
        for label, intrinsics in labels:
            of = [s for s in scores if (s.label, s.intrinsics) == (label, intrinsics)]
            bars.append(
                Series(
                    f"{label}, {intrinsics}",
                    tuple(s.scene for s in of),
                    tuple(float(getattr(s, value)) for s in of),
                )
            )
        found.append(Chart(title, "bars", "", title.lower(), tuple(bars)))
    return tuple(found)


def worst_images(
    scores: Sequence[ModelScore], scenes: Sequence[ScenePhotos], number: int = 30
) -> tuple[Worst, ...]:
    """Photos that did not register, then those whose centre is furthest off relative to the scene."""
    cases = []
    for s in scores:
        where = f"{s.label}, {s.intrinsics}"
        cases += [Worst(f"{s.scene}/{n}, {where}", "did not register", float("inf")) for n in s.unregistered]
        truth = next(scene.truth for scene in scenes if scene.name == s.scene)
        if truth is None or not s.center_errors:
            continue
        centers = np.array([c.pose.center for c in truth.cameras.values()])
        extent = float(np.linalg.norm(centers.max(axis=0) - centers.min(axis=0)))
        cases += [
            Worst(f"{s.scene}/{n}, {where}", f"centre off by {e:.4f} {s.unit}", e / extent)
            for n, e in s.center_errors.items()
        ]
    return tuple(sorted(cases, key=lambda w: -w.badness)[:number])
