"""How far work is: bars for people at a terminal, lines in a command's log, silence in a library's use."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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

SECONDS_BETWEEN_LINES = 2.0
"""A stage that is faster has its last line only."""

_quiet = False
_lines = False  # without a terminal: lines, for command lines only


def set_verbosity(verbose: bool = False, quiet: bool = False) -> None:
    """Let the package's log messages through to stderr: warnings; `verbose` notes too; `quiet` errors only.

    Where stderr is no terminal, work says its name and every tenth part of it in lines; `quiet` turns these
    and the bars off as well. For command lines only: a library's user sets up logging himself.
    """
    global _quiet, _lines
    _quiet, _lines = quiet, not quiet
    package = logging.getLogger("desdis_match")
    package.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if not package.handlers:
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)


class _CurrentStderr(logging.StreamHandler[Any]):
    """Writes to what stderr is at the moment: while a bar is shown, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def track(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "", done: int = 0
) -> Iterator[T]:
    """Yield `items`, saying how far they are.

    total: of `items`, by default their length; done: what a run before has done already, which counts too.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with progress(description, None if total is None else total + done, unit, done) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(
    description: str, total: int | None, unit: str = "", done: int = 0
) -> Iterator[Callable[[int], None]]:
    """A function that counts what has been done on top of `done`: a bar, lines, or nothing."""
    if _quiet or not (_lines or sys.stderr.isatty()):
        yield lambda num: None
    elif sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(description, total=total, completed=done, rate="", unit=unit)

            def advance(num: int) -> None:
                bar.advance(task, num)
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

            yield advance
            # What was left out is done with too: the bar ends at its end.
            bar.update(task, total=bar.tasks[0].completed)
    else:
        lines = _Lines(description, total, unit, done)
        yield lines.advance
        lines.end()


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=False)


class _Lines:
    """`match: 30 % (270 of 900 pairs, 41.2/s)`, a line every tenth part."""

    def __init__(self, description: str, total: int | None, unit: str, done: int) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.before = self.done = done
        self.started = self.said = time.monotonic()
        self.tenth = 10 * done // total if total else 0

    def advance(self, num: int) -> None:
        self.done += num
        now = time.monotonic()
        tenth = 10 * self.done // self.total if self.total else 0
        if tenth > self.tenth and self.done < (self.total or 0) and now - self.said >= SECONDS_BETWEEN_LINES:
            self.tenth, self.said = tenth, now
            rate = (self.done - self.before) / max(now - self.started, 1e-9)
            self._say(f"{10 * tenth} % ({self.done:,} of {self.total:,} {self.unit}, {rate:.1f}/s)")

    def end(self) -> None:
        seconds = time.monotonic() - self.started
        of = f" of {self.total:,}" if self.total is not None and self.total != self.done else ""
        self._say(f"{self.done:,}{of} {self.unit}".rstrip() + f" in {seconds:.1f} s")

    def _say(self, text: str) -> None:
        print(f"{self.description}: {text}", file=sys.stderr, flush=True)
