"""Scores of image pairs of planar sequences -> tables, charts, worst cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...support.metrics import area_under_recall
from ..results import Cell, Chart, Column, Series, Table, TaskResult, Worst

AUC_PIXELS = (1.0, 3.0, 5.0)


@dataclass(frozen=True)
class PairScore:
    """One descriptor on image 1 against image `target` of a sequence. Nan: nothing to measure."""

    dataset: str
    sequence: str
    kind: str
    target: int
    num_keypoints: tuple[int, int]
    num_shared: int  # keypoints of image 1 that fall into the other
    repeatability: float
    average_precision: float
    num_matches: int
    num_correct: int
    matching_score: float
    accuracy: tuple[float, ...]  # share of the matches within 1, 2, ..., 10 px; 0 without matches
    corner_errors: Mapping[str, float]  # by robust fit, px, infinite when it failed
    seconds: float  # to detect and describe a photo, when it was predicted

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.sequence} 1-{self.target}"


ScoresByPair = Mapping[str, Sequence[PairScore]]


def mean(values: Sequence[float]) -> float:
    """Mean of what could be measured; nan when nothing could."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def measures(pairs: Sequence[PairScore], pixels: float) -> list[tuple[Column, Cell]]:
    """Detection and matching of a set of pairs, each measure the mean over pairs, with its column."""

    def high(name: str, value: float) -> tuple[Column, Cell]:
        return Column(name, ".3f", "high"), value

    return [
        (Column("pairs", "d"), len(pairs)),
        (Column("keypoints", ".0f"), mean([float(np.mean(p.num_keypoints)) for p in pairs])),
        high(f"rep@{pixels:g}px", mean([p.repeatability for p in pairs])),
        high("AP", mean([p.average_precision for p in pairs])),
        high("match.score", mean([p.matching_score for p in pairs])),
        *(high(f"MMA@{t}", mean([p.accuracy[t - 1] for p in pairs])) for t in (1, 3, 5, 10)),
        (Column("matches", ".0f"), mean([p.num_matches for p in pairs])),
        (Column("correct", ".0f", "high"), mean([p.num_correct for p in pairs])),
        (Column("s/photo", ".2f", "low"), mean([p.seconds for p in pairs])),
    ]


def fit_measures(pairs: Sequence[PairScore], pixels: float) -> list[tuple[Column, Cell]]:
    """AUC of the corner error and the number of failed estimates, by robust fit."""
    cells: list[tuple[Column, Cell]] = []
    for fit in pairs[0].corner_errors:
        errors = [p.corner_errors[fit] for p in pairs]
        for limit, area in zip(AUC_PIXELS, area_under_recall(errors, AUC_PIXELS), strict=True):
            cells.append((Column(f"{fit} AUC@{limit:g}px", ".3f", "high"), area))
        cells.append((Column(f"{fit} failed", "d", "low"), int(np.isinf(errors).sum())))
    return cells


def summary(pairs: Sequence[PairScore], pixels: float) -> list[tuple[Column, Cell]]:
    """All measures of a set of pairs."""
    return measures(pairs, pixels) + fit_measures(pairs, pixels)


def grouped(scores: ScoresByPair, key: Callable[[PairScore], str]) -> dict[str, dict[str, list[PairScore]]]:
    """group -> descriptor -> pairs, groups in the order in which they appear."""
    groups: dict[str, dict[str, list[PairScore]]] = {}
    for name, pairs in scores.items():
        for pair in pairs:
            groups.setdefault(key(pair), {}).setdefault(name, []).append(pair)
    return groups


def group_tables(scores: ScoresByPair, key: Callable[[PairScore], str], pixels: float) -> list[Table]:
    """Two tables a group, matching and homographies, a row a descriptor."""
    tables = []
    for group, by_name in grouped(scores, key).items():
        for what, measure in (("matching", measures), ("homographies", fit_measures)):
            rows = {name: measure(pairs, pixels) for name, pairs in by_name.items()}
            columns = tuple(column for column, _ in next(iter(rows.values())))
            cells = tuple((name, *(value for _, value in row)) for name, row in rows.items())
            tables.append(Table(f"{group}: {what}", (Column("features"), *columns), cells))
    return tables


def sequence_table(scores: ScoresByPair) -> Table:
    """AP and AUC@5 of each sequence, descriptors side by side."""
    groups = grouped(scores, lambda p: f"{p.dataset}/{p.sequence}")
    columns = [Column("sequence"), *(Column(f"AP {name}", ".3f") for name in scores)]
    rows: list[tuple[Cell, ...]] = []
    for group, by_name in groups.items():
        rows.append((group, *(mean([p.average_precision for p in by_name.get(name, [])]) for name in scores)))
    return Table("AP by sequence", tuple(columns), tuple(rows))


def charts(scores: ScoresByPair) -> tuple[Chart, ...]:
    """Accuracy over pixels, AP and homography AUC by data set, speed against AP."""
    found = []
    steps = tuple(float(t) for t in range(1, 11))
    for group, by_name in grouped(scores, lambda p: p.dataset).items():
        series = tuple(
            Series(name, steps, tuple(np.mean([p.accuracy for p in pairs], axis=0).tolist()))
            for name, pairs in by_name.items()
        )
        found.append(Chart(f"Mean matching accuracy, {group}", "lines", "pixels", "share of matches", series))
    by_data = grouped(scores, lambda p: p.dataset)
    ap = {n: [mean([p.average_precision for p in d.get(n, [])]) for d in by_data.values()] for n in scores}
    found.append(
        Chart("AP", "bars", "", "AP", tuple(Series(n, tuple(by_data), tuple(v)) for n, v in ap.items()))
    )
    fit = next(iter(next(iter(scores.values()))[0].corner_errors))
    auc = {
        n: [area_under_recall([p.corner_errors[fit] for p in d[n]], [5.0])[0] for d in by_data.values()]
        for n in scores
    }
    bars = tuple(Series(n, tuple(by_data), tuple(v)) for n, v in auc.items())
    found.append(Chart(f"Homography AUC at 5 px ({fit})", "bars", "", "AUC", bars))
    points = tuple(
        Series(n, (mean([p.seconds for p in pairs]),), (mean([p.average_precision for p in pairs]),))
        for n, pairs in scores.items()
    )
    found.append(Chart("AP against time", "points", "seconds a photo", "AP", points, log_x=True))
    return tuple(found)


def worst_pairs(scores: ScoresByPair, number: int = 30) -> list[tuple[str, PairScore]]:
    """The pairs with the most wrong matches, (descriptor, pair)."""
    every = [(name, pair) for name, pairs in scores.items() for pair in pairs]
    return sorted(every, key=lambda c: c[1].num_correct - c[1].num_matches)[:number]


def describe_worst(name: str, pair: PairScore, picture: str = "") -> Worst:
    """A worst case in words."""
    wrong = pair.num_matches - pair.num_correct
    error = next(iter(pair.corner_errors.values()))
    reason = f"{wrong} of {pair.num_matches} matches wrong, homography off by {error:.1f} px"
    return Worst(f"{pair.name}, {name}", reason, float(wrong), picture)


def failures(scores: ScoresByPair) -> list[str]:
    """What could not be measured, or was counted as a failure, by descriptor."""
    notes = []
    for name, pairs in scores.items():
        silent = [p.name for p in pairs if not p.num_matches]
        if silent:
            notes.append(
                f"{name}: no match in {len(silent)} of {len(pairs)} pairs (accuracy 0): {', '.join(silent)}"
            )
        without = [p.name for p in pairs if np.isnan(p.average_precision)]
        if without:
            notes.append(
                f"{name}: AP left out of {len(without)} pairs, no keypoint is repeated: {', '.join(without)}"
            )
        for fit in pairs[0].corner_errors if pairs else ():
            failed = [p.name for p in pairs if np.isinf(p.corner_errors[fit])]
            if failed:
                notes.append(
                    f"{name}: no homography by {fit} in {len(failed)} of {len(pairs)} pairs "
                    f"(infinite error): {', '.join(failed)}"
                )
    return notes


def tell(scores: ScoresByPair, pixels: float, notes: Sequence[str]) -> TaskResult:
    """Everything that the task shows of its scores."""
    tables = group_tables(scores, lambda p: p.dataset, pixels)
    if len(grouped(scores, lambda p: p.kind)) > 1:
        tables += group_tables(scores, lambda p: f"change of {p.kind}", pixels)
    tables.append(sequence_table(scores))
    summaries: dict[str, Any] = {
        group: {name: {c.name: v for c, v in summary(pairs, pixels)} for name, pairs in by_name.items()}
        for group, by_name in grouped(scores, lambda p: p.dataset).items()
    }
    return TaskResult(
        task="homographies",
        options={},
        data={},
        weights={},
        tables=tuple(tables),
        charts=charts(scores),
        content={
            "summary": summaries,
            "pairs": {name: [asdict(p) for p in pairs] for name, pairs in scores.items()},
        },
        worst=tuple(describe_worst(name, pair) for name, pair in worst_pairs(scores)),
        notes=(*notes, *failures(scores)),
    )
