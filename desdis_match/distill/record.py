"""What a run tells: JSON lines on disk, TensorBoard scalars, and a progress bar for a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import missing_extra
from ..support.files import atomic_path
from ..support.progress import console
from .validate import Glance


class Record:
    """Log of a run, `folder`/log.jsonl; a resumed run forgets what came after its checkpoint."""

    def __init__(self, folder: Path, first_step: int, tensorboard: bool) -> None:
        self.path = folder / "log.jsonl"
        kept = (
            [line for line in read_log(self.path) if line.get("step", 0) <= first_step] if first_step else []
        )
        with atomic_path(self.path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._writer = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise missing_extra("TensorBoard (--no-tensorboard does without) needs", "train") from None
            self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def write(self, step: int, **values: Any) -> None:
        """Add a line; numbers also go to TensorBoard."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, step)

    def show(self, step: int, seen: Glance) -> None:
        """Patches, their matches and what was taken for them as a picture; histograms of the distances."""
        if self._writer is None:
            return
        rows = [np.concatenate(list(row), axis=1) for row in seen.patches]  # (32, 32 N) each
        self._writer.add_image("patch, match, nearest", np.concatenate(rows), step, dataformats="HW")
        self._writer.add_histogram("distance of matches", seen.right, step)
        self._writer.add_histogram("distance of the nearest other", seen.wrong, step)

    @property
    def shows(self) -> bool:
        """Whether `show` has somewhere to show."""
        return self._writer is not None

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; those half-written (the run was killed) are left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


class Stopwatch:
    """Seconds by part of a step. Work on a GPU is waited for only when `synchronize` is set."""

    def __init__(self, synchronize: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._synchronize = synchronize

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time under `name`."""
        start = time.perf_counter()
        yield
        if self._synchronize:
            import torch

            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def shares(self) -> dict[str, float]:
        """Each part's share of the time counted so far."""
        whole = sum(self.seconds.values()) or 1.0
        return {name: seconds / whole for name, seconds in self.seconds.items()}


class Bar:
    """Progress with loss, throughput and time left; nothing when stderr is no terminal."""

    def __init__(self, done: float) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}% {task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=1.0, text="")
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: float, text: str) -> None:
        """`done` in [0, 1]."""
        self._bar.update(self._task, completed=done, text=text)
