"""What task `speed` measures, a function a part: a table for people and records with every repeat."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..features.detectors import DetectorConfig, detect
from ..photos.images import list_images, read_gray
from ..support.checks import check_options
from ..support.progress import track
from .results import Cell, Chart, Column, Series, Table

Measured = Literal["peak", "patches", "photo", "match", "pairs", "reconstruct"]

GEMM_SIZE = 2048
SEED = 0


@dataclass(frozen=True)
class SpeedConfig:
    """Speed and memory of every stage, beside pycolmap where it does the same work."""

    images: Path | None = None
    """Folder of photos, for the parts photo, pairs and reconstruct."""
    only: tuple[Measured, ...] = ("peak", "patches", "photo", "match", "pairs", "reconstruct")
    """Which parts; those that need photos are left out, and named, when there are none."""
    descriptors: tuple[str, ...] = ("rootsift",)
    """Names, weight files, or module:Class of your own."""
    engines: tuple[str, ...] = ("auto",)
    """Engines of each descriptor: auto, torch, onnxruntime."""
    batches: tuple[int, ...] = (1024, 8000)
    """Patches in one call."""
    threads: tuple[int, ...] = (0,)
    """Threads of torch and ONNX Runtime; 0: as many as the machine has cores."""
    keypoints: tuple[int, ...] = (1000, 2000, 4000, 8000)
    """Keypoints in each of two photos, for matching."""
    num_images: tuple[int, ...] = (4, 8)
    """Photos of which all pairs are matched."""
    repeats: int = 5
    """Measurements of each, after one that does not count."""
    max_size: int = 1600
    """Long side of the photos."""
    device: str = "auto"
    detection: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated work."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the range between the quartiles over the median: what a timing may be off by."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float((high - low) / 2 / self.median)


def timed(work: Callable[[], Any], repeats: int) -> Timing:
    """Run `work` once to warm up, then `repeats` times."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds))


def peak_flops(repeats: int, device: str) -> tuple[float, Timing]:
    """Operations a second of a product of two square fp32 matrices: the machine's measured peak."""
    import torch

    from ..support.devices import pick_device

    place = pick_device(device)
    a, b = (torch.rand(GEMM_SIZE, GEMM_SIZE, device=place) for _ in range(2))

    def work() -> None:
        (a @ b)[0, 0].item()

    timing = timed(work, repeats)
    return 2 * GEMM_SIZE**3 / timing.median, timing


def flops_a_patch(network: Any) -> float | None:
    """Multiplications and additions that torch counts for one patch; None for what it cannot count."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network(torch.rand(2, 1, 32, 32))
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    return counter.get_total_flops() / 2 or None


def measure_patches(
    config: SpeedConfig, peak: float | None
) -> tuple[Table, list[dict[str, Any]], dict[str, str]]:
    """Patches a second of every descriptor, engine, number of threads and batch."""
    import os

    import torch

    from ..descriptors import load_descriptor

    rows: list[tuple[Cell, ...]] = []
    records = []
    weights = {}
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(SEED)
    patches = torch.rand(max(config.batches), 1, 32, 32, generator=generator)
    cases = [(n, e, t) for n in config.descriptors for e in config.engines for t in config.threads]
    try:
        for name, engine, wanted in track(cases, "describe"):
            threads = wanted or os.cpu_count() or 1
            torch.set_num_threads(threads)
            descriptor = load_descriptor(name, device=config.device, engine=engine, threads=threads)
            weights[descriptor.name] = descriptor.fingerprint
            flops = flops_a_patch(descriptor.network) if config.device in ("auto", "cpu") else None
            for batch in config.batches:
                block = patches[:batch]
                timing = timed(functools.partial(descriptor, block), config.repeats)
                rate = batch / timing.median
                share = rate * flops / peak if flops and peak else None
                rows.append(
                    (descriptor.name, descriptor.engine, threads, batch, rate, 100 * timing.spread, share)
                )
                records.append(
                    {
                        "descriptor": descriptor.name,
                        "engine": descriptor.engine,
                        "threads": threads,
                        "batch": batch,
                    }
                    | {"patches_per_second": rate, "seconds": timing.seconds, "share_of_peak": share}
                )
    finally:
        torch.set_num_threads(before)
    columns = (
        Column("descriptor"),
        Column("engine"),
        Column("threads", "d"),
        Column("batch", "d"),
        Column("patches/s", ",.0f", "high"),
        Column("+- %", ".1f"),
        Column("of peak", ".2f"),
    )
    return Table("Describing", columns, tuple(rows)), records, weights


def measure_photo(config: SpeedConfig, path: Path) -> tuple[Table, list[dict[str, Any]]]:
    """The steps of one photo with each descriptor, and pycolmap's SIFT at the same size and budget."""
    import torch

    from ..descriptors import load_descriptor
    from ..features.frames import extract_patches
    from ..features.orientation_policy import OrientationPolicy
    from ..storage.features_file import write_features
    from ..support.devices import pick_device
    from ..support.resources import measured
    from ..types import Features

    place = pick_device(config.device)
    rows: list[tuple[Cell, ...]] = []
    records = []

    def add(features: str, step: str, timing: Timing, amount: int) -> None:
        rows.append((features, step, timing.median, 100 * timing.spread, amount))
        records.append({"features": features, "step": step, "seconds": timing.seconds, "keypoints": amount})

    image = read_gray(path, config.max_size or None)
    add("any", "decode", timed(lambda: read_gray(path, config.max_size or None), config.repeats), 0)
    detector = OrientationPolicy(config.detection).of_set
    found = detect(image.pixels, detector, device=place)
    detection = timed(lambda: detect(image.pixels, detector, device=place), config.repeats)
    add(config.detection.detector, "detect", detection, len(found))
    add("any", "cut", timed(lambda: extract_patches(found.pyramid, found.lafs), config.repeats), len(found))
    patches = extract_patches(found.pyramid, found.lafs)
    for name in config.descriptors:
        descriptor = load_descriptor(name, device=config.device)
        with measured() as usage:
            add(
                descriptor.name,
                "describe",
                timed(functools.partial(descriptor, patches), config.repeats),
                len(found),
            )
        records[-1]["peak_bytes"] = usage.peak_bytes
        with torch.inference_mode():
            described = descriptor(patches).cpu().numpy()
        zeros = np.zeros(len(found), np.float32)
        xy = np.ascontiguousarray(found.lafs[:, :, 2].cpu().numpy())
        features = Features(xy, described, zeros, zeros, zeros, image.size)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "features.h5"
            write = timed(functools.partial(write_features, target, [("a", features)], {}), config.repeats)
        add(descriptor.name, "write", write, len(found))
    seconds, count = pycolmap_extraction(path, config)
    add("pycolmap-sift", "decode, detect, describe, write", seconds, count)
    columns = (
        Column("features"),
        Column("step"),
        Column("seconds", ".3f", ""),
        Column("+- %", ".1f"),
        Column("keypoints", "d"),
    )
    return Table(f"One photo ({path.name})", columns, tuple(rows)), records


def pycolmap_extraction(path: Path, config: SpeedConfig) -> tuple[Timing, int]:
    """COLMAP's SIFT on the CPU for one photo, database included, and its number of keypoints."""
    from ..colmap.log import log_to
    from ..support.native import pycolmap

    options = pycolmap.FeatureExtractionOptions(max_image_size=config.max_size or -1, use_gpu=False)
    options.sift.max_num_features = config.detection.max_keypoints
    with tempfile.TemporaryDirectory() as folder:
        number = 0

        def work() -> None:
            nonlocal number
            number += 1
            pycolmap.extract_features(
                Path(folder) / f"{number}.db",
                path.parent,
                image_names=[path.name],
                extraction_options=options,
                device=pycolmap.Device.cpu,
            )

        with log_to(Path(folder) / "log"):
            timing = timed(work, max(1, config.repeats // 2))
        with pycolmap.Database.open(Path(folder) / f"{number}.db") as database:
            return timing, database.num_keypoints()


def measure_matching(config: SpeedConfig) -> tuple[Table, Chart, list[dict[str, Any]]]:
    """Seconds to match two photos over their keypoints: unit vectors, a third of them with a noisy twin."""
    from ..matching.match import MatchConfig, match_prepared, prepare

    rng = np.random.default_rng(SEED)
    rows: list[tuple[Cell, ...]] = []
    records = []
    for count in track(config.keypoints, "match"):
        vectors = rng.normal(size=(2, count, 128)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        twins = vectors[0, : count // 3] + 0.05 * vectors[1, : count // 3]
        vectors[1, : count // 3] = twins / np.linalg.norm(twins, axis=1, keepdims=True)
        first, second = (prepare(v, config.device) for v in vectors)
        timing = timed(functools.partial(match_prepared, first, second, MatchConfig()), config.repeats)
        rows.append((count, timing.median, 100 * timing.spread, 2 * 128 * count**2 / timing.median / 1e9))
        records.append({"keypoints": count, "seconds": timing.seconds})
    columns = (
        Column("keypoints each", "d"),
        Column("s/pair", ".4f", ""),
        Column("+- %", ".1f"),
        Column("GFlop/s of one product", ",.0f"),
    )
    series = Series(
        "mnn+ratio", tuple(float(c) for c in config.keypoints), tuple(float(r[1] or 0) for r in rows)
    )
    chart = Chart("Matching", "points", "keypoints in each photo", "seconds a pair", (series,))
    return Table("Matching two photos", columns, tuple(rows)), chart, records


def measure_pairs(
    config: SpeedConfig, images: Path, names: Sequence[str]
) -> tuple[Table, list[dict[str, Any]]]:
    """Seconds to match all pairs of the first n photos, from stored features to stored matches."""
    from ..features.extract import ExtractConfig
    from ..matching.pairs import exhaustive_pairs, write_pairs
    from ..pipeline import RunConfig, extract, match

    rows: list[tuple[Cell, ...]] = []
    records = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        chosen = place / "images"
        chosen.mkdir()
        for name in names[: max(config.num_images)]:
            (chosen / name.replace("/", "-")).symlink_to((images / name).resolve())
        features = place / "features.h5"
        run = RunConfig(device=config.device)
        options = ExtractConfig(
            **asdict(config.detection), max_size=config.max_size, descriptor=config.descriptors[0]
        )
        extract(chosen, features, options, run=run)
        for count in sorted({min(n, len(names)) for n in config.num_images}):
            pairs = exhaustive_pairs(list_images(chosen)[:count])
            write_pairs(place / "pairs.txt", pairs)

            def work() -> None:
                (place / "matches.h5").unlink(missing_ok=True)
                match(features, place / "pairs.txt", place / "matches.h5", run=run)

            timing = timed(work, max(1, config.repeats // 2))
            rows.append(
                (count, len(pairs), timing.median, 100 * timing.spread, timing.median / max(1, len(pairs)))
            )
            records.append({"images": count, "pairs": len(pairs), "seconds": timing.seconds})
    columns = (
        Column("photos", "d"),
        Column("pairs", "d"),
        Column("seconds", ".2f"),
        Column("+- %", ".1f"),
        Column("s/pair", ".3f"),
    )
    return Table("All pairs, from features.h5 to matches.h5", columns, tuple(rows)), records


def measure_reconstruct(config: SpeedConfig, images: Path) -> tuple[Table, list[dict[str, Any]]]:
    """Stages of a whole reconstruction with each descriptor, beside pycolmap's, with peak memory."""
    from ..colmap.mapping import MapConfig
    from ..features.extract import ExtractConfig
    from ..matching.match import MatchConfig
    from ..pipeline import RunConfig
    from ..support.resources import measured
    from .poses.sfm_runs import run_ours, run_pycolmap_sift

    rows: list[tuple[Cell, ...]] = []
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pycolmap-sift", *config.descriptors):
            place = Path(folder) / str(len(rows))
            with measured() as usage:
                if name == "pycolmap-sift":
                    budget = config.detection.max_keypoints
                    run = run_pycolmap_sift(images, place, config.max_size, budget, MapConfig())
                else:
                    extract = ExtractConfig(
                        **asdict(config.detection), max_size=config.max_size, descriptor=name
                    )
                    stages = RunConfig(device=config.device)
                    run = run_ours(images, place, extract, MatchConfig(), MapConfig(), stages)
            label = name if name == "pycolmap-sift" else Path(name).stem
            seconds = [run.seconds.get(s) for s in ("extract", "match", "map")]
            gib = usage.peak_bytes / 2**30 if usage.peak_bytes else None
            points = run.model.num_points3D() if run.model is not None else 0
            rows.append((label, run.num_keypoints, *seconds, usage.seconds, gib, points))
            records.append(
                {
                    "features": label,
                    "stages": run.seconds,
                    "seconds": usage.seconds,
                    "peak_bytes": usage.peak_bytes,
                }
            )
    columns = (
        Column("features"),
        Column("keypoints", ".0f"),
        Column("extract s", ".1f", "low"),
        Column("match s", ".1f", "low"),
        Column("map s", ".1f", "low"),
        Column("all s", ".1f", "low"),
        Column("peak GiB", ".2f", "low"),
        Column("points", "d", "high"),
    )
    return Table("Whole reconstruction, once", columns, tuple(rows)), records
