"""A study: many short runs that differ in one thing, each with its scores as a line of a log.

A study can be stopped and started again at any time: a run whose line is in the log is not repeated, a
half-done one goes on from its checkpoint. Several processes can share a study (`share`).
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..patchsets.patchset import PatchSet
from .config import TrainConfig
from .planar import PlanarPairs, planar_ap
from .record import read_log
from .train import LAST, train
from .validate import galleries, score

logger = logging.getLogger(__name__)

EARLIER = "earlier run"
"""Stands in `teacher.names` or `student.start` for the weights of the run named by `StudyRun.after`."""


@dataclass(frozen=True)
class StudyRun:
    """One run: what it belongs to in the table, and its configuration."""

    row: str
    """What is compared; runs of one row differ in the seed only."""
    config: TrainConfig
    after: str = ""
    """Name of the run (row/seed) whose weights stand where the configuration says EARLIER."""

    @property
    def name(self) -> str:
        """Unique in the study."""
        return f"{self.row}/{self.config.seed}"


def folder_name(run: str) -> str:
    """A run's name as that of its folder."""
    return re.sub(r"[^0-9A-Za-z]+", "-", run)


@dataclass(frozen=True)
class StudyData:
    """What all runs of a study share."""

    training: PatchSet
    held: PatchSet
    planar: dict[str, PlanarPairs]  # by name, for example oxford


def run_study(
    runs: Sequence[StudyRun], data: StudyData, work: Path, log: Path, share: tuple[int, int] = (0, 1)
) -> None:
    """Run what is not in `log` yet. `share` (i, n): only every n-th chain of runs, from the i-th."""
    for run in _of_share(runs, share):
        if run.name in {line["name"] for line in read_log(log)}:
            continue
        folder = work / folder_name(run.name)
        config = _with_earlier(run.config, str(work / folder_name(run.after) / LAST))
        start = time.process_time()
        result = train(config, folder, data=(data.training, data.held))
        line = {
            "name": run.name,
            "row": run.row,
            "seed": config.seed,
            "steps": result.steps,
            "batch": config.batch,
            **scores_of(result.last, data),
            "cpu_seconds": round(time.process_time() - start, 1),
            "version": __version__,
        }
        add_line(log, line)
        logger.info("%s", line)


def _with_earlier(config: TrainConfig, weights: str) -> TrainConfig:
    """The configuration with `weights` where it says EARLIER."""
    names = tuple(weights if name == EARLIER else name for name in config.teacher.names)
    start = weights if config.student.start == EARLIER else config.student.start
    return replace(
        config,
        teacher=replace(config.teacher, names=names),
        student=replace(config.student, start=start),
    )


def scores_of(descriptor: str | Path, data: StudyData) -> dict[str, float]:
    """Held-back scores (six galleries) and planar AP of a descriptor by name or file."""
    from ..descriptors import load_descriptor

    describe = load_descriptor(descriptor, device="cpu")
    held = score(describe, data.held, galleries(data.held, 6, 1000))
    planar = {f"ap_{name}": planar_ap(describe, pairs) for name, pairs in data.planar.items()}
    return {name: round(value, 7) for name, value in {**asdict(held), **planar}.items()}


def add_line(log: Path, line: dict[str, Any]) -> None:
    """Append one line of JSON; what a killed run left of its last line stays a line of its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    cut_short = log.is_file() and not log.read_bytes().endswith(b"\n") and log.stat().st_size > 0
    with open(log, "a") as file:
        file.write(("\n" if cut_short else "") + json.dumps(line) + "\n")


def _of_share(runs: Sequence[StudyRun], share: tuple[int, int]) -> list[StudyRun]:
    """Runs of one share, a run always in the share of the run that it builds on."""
    number, of = share
    chains: dict[str, int] = {}
    for run in runs:
        chains[run.name] = chains[run.after] if run.after in chains else len(set(chains.values()))
    return [run for run in runs if chains[run.name] % of == number]


@dataclass(frozen=True)
class RowSummary:
    """A row of a study's table."""

    row: str
    seeds: int
    mean: dict[str, float]
    deviation: dict[str, float]  # standard deviation over the seeds, nan for one


def summarize(lines: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[RowSummary]:
    """Means and deviations over the seeds of each row, rows in the order of the log."""
    rows = []
    for row in dict.fromkeys(line["row"] for line in lines):
        values = {key: np.array([line[key] for line in lines if line["row"] == row]) for key in keys}
        count = len(next(iter(values.values())))
        rows.append(
            RowSummary(
                row,
                count,
                {key: float(column.mean()) for key, column in values.items()},
                {
                    key: float(column.std(ddof=1)) if count > 1 else float("nan")
                    for key, column in values.items()
                },
            )
        )
    return rows
