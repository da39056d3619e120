"""Progress bars for people at a terminal; silence everywhere else."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)
"""Where progress and notes to a person go; results go to stdout."""

_quiet = False


def set_verbosity(verbose: bool = False, quiet: bool = False) -> None:
    """Let the package's log messages through to stderr: warnings; `verbose` notes too; `quiet` errors only.

    `quiet` turns the bars off as well. For command lines only: a library's user sets up logging himself.
    """
    global _quiet
    _quiet = quiet
    package = logging.getLogger("desdis_match")
    package.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if not package.handlers:
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)


class _CurrentStderr(logging.StreamHandler):
    """Writes to what stderr is at the moment: while a bar is shown, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Yield `items`, showing a bar with rate and time left when stderr is a terminal."""
    if _quiet or not sys.stderr.isatty():
        yield from items
        return
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(description, total=total, rate="")
        for item in items:
            yield item
            bar.advance(task)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f}/s" if speed else "")
