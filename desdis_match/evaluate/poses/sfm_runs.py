"""Photos -> COLMAP model by one contender: our pipeline with a descriptor, or pycolmap's own SIFT.

pycolmap's is mapped to the end by its own incremental mapper, unless another is asked for; ours by that one
or by `auto`, which stops earlier where tracks are aligned on the photos afterwards (`MapConfig.align`).
A run that is done is taken from its folder; one that was stopped goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...colmap.mapping import MapConfig, map_database, read_models
from ...conventions import to_colmap
from ...errors import InputError, NoModelError
from ...features.extract import ExtractConfig
from ...matching.match import MatchConfig
from ...photos.cameras import USUAL_MODEL, CameraConfig, assign_cameras, read_photo_info
from ...photos.images import list_images, open_header, stored_size
from ...pipeline import RunConfig
from ...pipeline.reconstruct import ReconstructConfig, reconstruct
from ...storage.report_file import Report
from ...storage.run_folder import RunFolder
from ...support.files import canonical_json
from ..results import plain, write_atomically
from .ground_truth import Truth


@dataclass(frozen=True)
class SfmRun:
    """What a run left: the largest model, and what is not in it."""

    model: Any | None  # pycolmap.Reconstruction
    num_keypoints: float  # mean a photo
    num_verified: int
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


def given_intrinsics(truth: Truth, size: tuple[int, int]) -> str:
    """`fx,fy,cx,cy` of the one camera that all true cameras share, for photos of `size`, as COLMAP takes it.

    Raises `InputError` where there are several, or none published, or the photos are distorted.
    """
    known = list(truth.cameras.values())
    if any(camera.intrinsics is None for camera in known):
        raise InputError(f"{truth.source} publishes no intrinsics, so they cannot be given")
    if any(camera.distorted for camera in known):
        raise InputError(
            f"the cameras of {truth.source} have distortion; give undistorted photos or self-calibrate"
        )
    matrices = np.array([camera.resized(size).intrinsics for camera in known], dtype=np.float64)
    if np.abs(matrices - matrices[0]).max() > 1e-3 * matrices[0, 0, 0]:
        raise InputError(
            f"{truth.source} has several cameras; given intrinsics need one that all photos share"
        )
    mean = matrices.mean(axis=0)
    return ",".join(f"{v:.6f}" for v in (mean[0, 0], mean[1, 1], *to_colmap(mean[:2, 2])))


def reuse_features(source: Path, target: Path) -> None:
    """Let a run in `target` begin with the features and matches of one in `source`, if it has none yet.

    They do not depend on the cameras, and their stages check that they were made as asked. The seconds that
    they took come along.
    """
    old, new = RunFolder(source), RunFolder(target)
    for before, here in (
        (old.features, new.features),
        (old.pairs, new.pairs),
        (old.matches, new.matches),
        (old.usage, new.usage),
    ):
        if before.is_file() and not here.exists():
            write_atomically(here, before.read_bytes())


def run_ours(
    images: Path, output: Path, extract: ExtractConfig, match: MatchConfig, mapping: MapConfig, run: RunConfig
) -> SfmRun:
    """`reconstruct` with a descriptor; its own stages see to going on."""
    config = ReconstructConfig(
        images=images, output=output, extract=extract, match=match, map=mapping, run=run, quiet=True
    )
    notes: tuple[str, ...] = ()
    try:
        model = reconstruct(config).models[0]
    except NoModelError as error:
        model, notes = None, (str(error),)
    report = Report.load(RunFolder(output).report)
    usable = [image.keypoints for image in report.images.values() if image.keypoints]
    return SfmRun(
        model,
        float(np.mean(usable)) if usable else 0.0,
        report.counts.verified_matches,
        {name: stage.seconds for name, stage in report.stages.items()},
        notes,
    )


def run_pycolmap_sift(
    images: Path, output: Path, max_size: int, max_keypoints: int, mapping: MapConfig, affine: bool = False
) -> SfmRun:
    """COLMAP's SIFT, exhaustive matching and verification on the CPU, then its incremental mapper or what
    `mapping` names."""
    from ...colmap.log import log_to
    from ...support.native import pycolmap

    # No alignment follows, for which adjustment could stop sooner.
    mapper = "incremental" if mapping.mapper == "auto" else mapping.mapper
    mapping = replace(mapping, mapper=mapper, align=False)
    mode = colmap_camera_mode(images, mapping.cameras)
    options = {
        "images": [f"{n} {(images / n).stat().st_size}" for n in list_images(images)],
        "max_size": max_size,
        "max_keypoints": max_keypoints,
        "affine": affine,
        "mapping": asdict(mapping),
        "pycolmap": pycolmap.__version__,
    }
    if mode != pycolmap.CameraMode.SINGLE:  # stored runs with one camera remain valid without
        options["camera_mode"] = mode.name
    folder, done = RunFolder(output), output / "run.json"
    database = folder.database
    output.mkdir(parents=True, exist_ok=True)
    if done.is_file():
        record = json.loads(done.read_text(encoding="utf-8"))
        if canonical_json(record["options"]) == canonical_json(plain(options)):
            models = read_models(folder.sparse)
            return SfmRun(
                models[0] if models else None,
                record["num_keypoints"],
                record["num_verified"],
                record["seconds"],
            )
        done.unlink()
    for old in output.glob(f"{database.name}*"):
        old.unlink()
    seconds = {}
    cameras = mapping.cameras
    reader = pycolmap.ImageReaderOptions(
        camera_model=USUAL_MODEL if cameras.camera_model == "auto" else cameras.camera_model
    )
    if cameras.camera_params:
        reader.camera_params = cameras.camera_params
    extraction = pycolmap.FeatureExtractionOptions(max_image_size=max_size or -1, use_gpu=False)
    extraction.sift.max_num_features = max_keypoints
    extraction.sift.estimate_affine_shape = affine
    with log_to(folder.log):
        pycolmap.set_random_seed(mapping.seed)
        start = time.perf_counter()
        pycolmap.extract_features(
            database,
            images,
            camera_mode=mode,
            reader_options=reader,
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        seconds["extract"] = time.perf_counter() - start
        start = time.perf_counter()
        pycolmap.match_exhaustive(database, device=pycolmap.Device.cpu)
        seconds["match"] = time.perf_counter() - start
    start = time.perf_counter()
    models = map_database(database, images, folder.sparse, mapping, log_path=folder.log).models
    seconds["map"] = time.perf_counter() - start
    with pycolmap.Database.open(database) as opened:
        keypoints = opened.num_keypoints() / max(1, opened.num_images())
        verified = opened.num_inlier_matches()
    record = {"options": options, "num_keypoints": keypoints, "num_verified": verified, "seconds": seconds}
    write_atomically(done, json.dumps(plain(record)).encode())
    return SfmRun(models[0] if models else None, keypoints, verified, seconds)


def colmap_camera_mode(images: Path, cameras: CameraConfig) -> Any:
    """The `pycolmap.CameraMode` that shares cameras as ours does, or AUTO where our rule forms groups."""
    from ...support.native import pycolmap

    modes = pycolmap.CameraMode
    told = {"single": modes.SINGLE, "per-folder": modes.PER_FOLDER, "per-image": modes.PER_IMAGE}
    if cameras.camera_mode != "auto":
        return told[cameras.camera_mode]
    sizes = {name: photo_size(images / name) for name in list_images(images)}
    count = len(assign_cameras(read_photo_info(images, sizes), cameras)[0])
    if count == 1:
        return modes.SINGLE
    return modes.PER_IMAGE if count == len(sizes) else modes.AUTO


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) from a file's header."""
    try:
        with open_header(path) as image:
            return stored_size(image)
    except OSError as error:
        raise InputError(f"{path} is no readable image ({error})") from error
