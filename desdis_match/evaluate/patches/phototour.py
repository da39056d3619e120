"""Task `phototour`: false positive rate at 95 % recall on PhotoTour (Brown, Hua, Winder, TPAMI 2011), and
mAP of matching by the ratio of nearest distances, after brown_phototour_revisited (Mishkin).

On the official pair lists (`m50_100000_100000_0.txt`), or on pairs drawn from point ids where there are none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import descriptors
from ...errors import InputError
from ...patchsets.patchset import PatchSet, resize
from ...patchsets.phototour import LabelledPairs, read_labelled_pairs, read_phototour
from ...support import metrics
from ...support.checks import check_options
from ...support.progress import track
from ..cache import Arrays, PredictionCache, code_hash
from ..contenders import CompareConfig, Contender, check_distinct, load_contenders
from ..results import Cell, Chart, Column, Series, Table, TaskResult, Worst
from .hpatches_scores import INPUT_SIZE, check_descriptors

OFFICIAL = "m50_100000_100000_0.txt"
CHUNK = 4096
CURVE_POINTS = 300


@dataclass(frozen=True)
class PhotoTourConfig:
    """FPR95 and ROC on sets of patches whose 3-D points are known."""

    root: tuple[Path, ...]
    """Folders with patches0000.bmp ..., info.txt and perhaps m50_*.txt (Liberty, Notre Dame, Yosemite)."""
    list: str = OFFICIAL
    """Name of the pair list within each folder; pairs are drawn where it is missing."""
    num_pairs: int = 100_000
    """Pairs to draw where there is no list, half of them of one point."""
    doubt: int = 0
    """Ids that differ by this much or less may be one point, so they make no negative (published ids: 0)."""
    seed: int = 0
    """Of the drawn pairs."""
    ratio_points: int = 10_000
    """Points, of two patches each, that mAP by ratio matches among."""
    run: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        check_options(self, num_pairs=(1, None), doubt=(0, None), seed=(0, None))


def draw(data: PatchSet, count: int, seed: int) -> LabelledPairs:
    """`count` random pairs, half of one point; a negative never joins points that may be one."""
    rng = np.random.default_rng(seed)
    half = count // 2
    if half < 1:
        raise InputError("at least two pairs are needed: --num-pairs 2")
    starts, counts = data.spans[rng.integers(0, data.num_points, half)].T
    one = rng.integers(0, counts)
    other = (one + rng.integers(1, counts)) % counts
    first, second = [data.order[starts + one]], [data.order[starts + other]]
    missing = half
    for _ in range(100):
        a, b = rng.integers(0, len(data), (2, missing))
        apart = np.abs(data.groups[a] - data.groups[b]) > np.maximum(data.doubt[a], data.doubt[b])
        first.append(a[apart])
        second.append(b[apart])
        missing -= int(apart.sum())
        if not missing:
            break
    else:
        raise InputError("there are hardly any points that are surely different; lower --doubt")
    same = np.repeat([True, False], half)
    return LabelledPairs(np.concatenate(first), np.concatenate(second), same)


def pair_distances(
    contender: Contender, data: PatchSet, pairs: LabelledPairs, cache: PredictionCache, key: dict[str, object]
) -> NDArray[np.float64]:
    """L2 distance of each pair, (M,); only the patches that occur are described."""

    def compute() -> Arrays:
        rows, place = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        parts = []
        chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
        for chunk in track(chunks, contender.label[:12]):
            small = resize(data.patches[chunk], INPUT_SIZE)[:, None].astype(np.float32) / np.float32(255)
            found = contender.describe(small)
            check_descriptors(contender.label, found, len(chunk), data.sources[0])
            parts.append(found)
        described = np.concatenate(parts)
        a, b = place[: len(pairs.first)], place[len(pairs.first) :]
        distances = np.empty(len(a))
        for i in range(0, len(a), 1 << 16):
            block = slice(i, i + (1 << 16))
            distances[block] = np.linalg.norm(
                described[a[block]].astype(np.float64) - described[b[block]], axis=1
            )
        return {"distances": distances}

    return cache.get({"task": "phototour", "weights": contender.fingerprint} | key, compute)["distances"]


def ratio_map(
    contender: Contender, data: PatchSet, cache: PredictionCache, key: dict[str, object], points: int
) -> float:
    """AP of matching a patch of each point to another one of it, by nearest over second-nearest distance.

    The first two patches of up to `points` points that have them, evenly spread: the nearest of all second
    patches to a first one is right when it is of the same point.
    """
    rows = np.flatnonzero(data.spans[:, 1] >= 2)
    rows = rows[np.linspace(0, len(rows) - 1, min(points, len(rows))).round().astype(int)]
    if len(rows) < 2:
        raise InputError("mAP by ratio needs two points with two patches each")

    def compute() -> Arrays:
        sides = []
        for k in (0, 1):
            chosen = data.order[data.spans[rows, 0] + k]
            parts = []
            for start in range(0, len(chosen), CHUNK):
                small = resize(data.patches[chosen[start : start + CHUNK]], INPUT_SIZE)
                parts.append(contender.describe(small[:, None].astype(np.float32) / np.float32(255)))
            sides.append(np.concatenate(parts).astype(np.float64))
        ratios, right = np.empty(len(rows)), np.empty(len(rows), bool)
        for start in range(0, len(rows), 1024):
            block = slice(start, start + 1024)
            apart = _distances(sides[0][block], sides[1])
            two = np.argpartition(apart, 1, axis=1)[:, :2]
            near = np.take_along_axis(apart, two, axis=1)
            ratios[block] = near.min(axis=1) / np.maximum(near.max(axis=1), metrics.TINY)
            nearest = np.take_along_axis(two, near.argmin(axis=1)[:, None], axis=1)[:, 0]
            right[block] = nearest == np.arange(len(rows))[block]
        return {"ratios": ratios, "right": right}

    what = {"task": "phototour ratio", "weights": contender.fingerprint, "points": points}
    found = cache.get(what | key, compute)
    return metrics.precision_recall(found["ratios"], found["right"].astype(bool), len(rows)).area


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(A, D), (B, D) -> L2 distances (A, B), by a product of matrices."""
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def evaluate_phototour(config: PhotoTourConfig) -> TaskResult:
    """FPR95 of each descriptor on each set; see `PhotoTourConfig`."""
    check_distinct((folder.resolve().name for folder in config.root), "folders")
    contenders = load_contenders(config.run)
    cache = config.run.predictions()
    scores: dict[str, dict[str, dict[str, float]]] = {c.label: {} for c in contenders}
    curves: dict[str, list[Series]] = {}
    worst: list[Worst] = []
    data_of: dict[str, object] = {}
    notes = []
    for folder in config.root:
        data = read_phototour(folder, doubt=config.doubt)
        name = folder.resolve().name
        if (folder / config.list).is_file():
            pairs, origin = read_labelled_pairs(folder / config.list), config.list
            if max(pairs.first.max(), pairs.second.max()) >= len(data):
                raise InputError(f"{folder / config.list} names patches beyond the {len(data)} of {folder}")
        else:
            pairs, origin = draw(data, config.num_pairs, config.seed), "drawn"
            notes.append(f"{name}: no {config.list}; {len(pairs.same)} pairs drawn from point ids")
        content = hashlib.sha256(data.patches.tobytes())
        for array in (pairs.first, pairs.second, pairs.same):
            content.update(np.ascontiguousarray(array).tobytes())
        key: dict[str, object] = {
            "data": content.hexdigest(),
            "device": config.run.device,
            "engine": config.run.engine,
            "code": code_hash(descriptors, __name__),
        }
        data_of[name] = {
            "patches": len(data),
            "pairs": len(pairs.same),
            "list": origin,
            "sha256": key["data"],
        }
        curves[name] = []
        for contender in contenders:
            distances = pair_distances(contender, data, pairs, cache, key)
            curve = metrics.roc(distances, pairs.same)
            rate = metrics.false_positive_rate(distances, pairs.same)
            ratio = ratio_map(contender, data, cache, key, config.ratio_points)
            scores[contender.label][name] = {"fpr95": rate, "auc": curve.area, "ratio_map": ratio}
            curves[name].append(thinned(contender.label, curve))
            worst.append(Worst(f"{name}, {contender.label}", f"FPR95 {100 * rate:.2f} %", rate))
    return TaskResult(
        task="phototour",
        options={
            "roots": config.root,
            "doubt": config.doubt,
            "seed": config.seed,
            "engine": config.run.engine,
        },
        data=data_of,
        weights={c.label: c.fingerprint for c in contenders},
        tables=(table(scores, list(data_of)),),
        charts=tuple(
            Chart(
                f"ROC, {name}",
                "lines",
                "false positive rate",
                "true positive rate",
                tuple(series),
                log_x=True,
            )
            for name, series in curves.items()
        ),
        content={"descriptors": scores},
        worst=tuple(sorted(worst, key=lambda w: -w.badness)),
        notes=tuple(notes),
    )


def thinned(name: str, curve: metrics.Curve) -> Series:
    """A ROC curve at CURVE_POINTS rates between 0.1 % and 100 %, evenly in the logarithm."""
    rates = np.geomspace(1e-3, 1, CURVE_POINTS)
    reached = np.searchsorted(curve.x, rates, side="right") - 1
    return Series(name, tuple(rates.tolist()), tuple(curve.y[reached].tolist()))


def table(scores: dict[str, dict[str, dict[str, float]]], names: Sequence[str]) -> Table:
    """FPR95 in percent by set, and their mean."""
    columns = [Column("descriptor")]
    for name in names:
        columns += [
            Column(f"FPR95 % {name}", ".3f", "low"),
            Column(f"AUC {name}", ".5f", "high"),
            Column(f"mAP by ratio {name}", ".4f", "high"),
        ]
    rows: list[tuple[Cell, ...]] = []
    for label, by_set in scores.items():
        values = []
        for name in names:
            values += [100 * by_set[name]["fpr95"], by_set[name]["auc"], by_set[name]["ratio_map"]]
        rows.append((label, *values, float(np.mean([100 * by_set[name]["fpr95"] for name in names]))))
    return Table("PhotoTour", (*columns, Column("mean FPR95 %", ".3f", "low")), tuple(rows))
