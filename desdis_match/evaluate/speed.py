"""Task `speed`: what work costs on this machine, as medians with their spread after a warm-up.

Measured in one run: the machine's own peak (a matrix product), patches a second by descriptor, engine,
batch and threads, the steps of one photo (decode, detect, cut, describe, write), matching over keypoints,
pairs over images, and a whole reconstruction beside pycolmap's. Nothing is cached.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..errors import InputError
from ..photos.images import list_images
from ..support.files import sha256_of
from .cache import combined_hash
from .results import Chart, Column, Series, Table, TaskResult
from .speed_measures import (
    GEMM_SIZE,
    SpeedConfig,
    measure_matching,
    measure_pairs,
    measure_patches,
    measure_photo,
    measure_reconstruct,
    peak_flops,
)

__all__ = ["SpeedConfig", "evaluate_speed"]


def evaluate_speed(config: SpeedConfig) -> TaskResult:
    """Measure what is asked for; see `SpeedConfig`."""
    if config.repeats < 1:
        raise InputError("--repeats must be 1 or more")
    names = list_images(config.images) if config.images else []
    if config.images and len(names) < 2:
        raise InputError(f"{config.images} has {len(names)} photos; two or more are needed")
    needed = [part for part in config.only if part in ("photo", "pairs", "reconstruct")]
    notes = []
    if needed and not names:
        notes.append(f"left out, as there are no photos (--images): {', '.join(needed)}")
    tables: list[Table] = []
    charts: list[Chart] = []
    content: dict[str, Any] = {}
    weights: dict[str, str] = {}
    peak = None
    if "peak" in config.only:
        peak, timing = peak_flops(config.repeats, config.device)
        content["peak"] = {"flops_per_second": peak, "seconds": timing.seconds, "size": GEMM_SIZE}
        columns = (Column("product"), Column("GFlop/s", ",.0f"), Column("+- %", ".1f"))
        row = (f"fp32, {GEMM_SIZE} x {GEMM_SIZE}", peak / 1e9, 100 * timing.spread)
        tables.append(Table("The machine's peak", columns, (row,)))
    if "patches" in config.only:
        table, content["patches"], weights = measure_patches(config, peak)
        tables.append(table)
        best: dict[str, float] = {}
        for record in content["patches"]:
            best[record["descriptor"]] = max(best.get(record["descriptor"], 0), record["patches_per_second"])
        bars = Series("", tuple(best), tuple(best.values()))
        charts.append(Chart("Describing, the best of each", "bars", "", "patches/s", (bars,)))
    if "photo" in config.only and names and config.images:
        table, content["photo"] = measure_photo(config, config.images / names[0])
        tables.append(table)
    if "match" in config.only:
        table, chart, content["match"] = measure_matching(config)
        tables.append(table)
        charts.append(chart)
    if "pairs" in config.only and names and config.images:
        table, content["pairs"] = measure_pairs(config, config.images, names)
        tables.append(table)
    if "reconstruct" in config.only and names and config.images:
        table, content["reconstruct"] = measure_reconstruct(config, config.images)
        tables.append(table)
    hashes = [f"{n} {sha256_of(config.images / n)}" for n in names] if config.images else []
    return TaskResult(
        task="speed",
        options=asdict(config),
        data={"photos": len(names), "sha256": combined_hash(hashes) if hashes else None},
        weights=weights,
        tables=tuple(tables),
        charts=tuple(charts),
        content=content,
        notes=tuple(notes),
    )
