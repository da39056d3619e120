"""What a task hands back - tables, charts, full-precision content - and how it is shown and stored.

A stored result always says which command made it, with which versions, weights and data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..support.files import atomic_path

Cell = str | int | float | None

PLOT_FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Column:
    """A table's column: its heading, how numbers are written (format spec), and which end is good."""

    name: str
    format: str = ""
    better: Literal["high", "low", ""] = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; None is shown as a dash."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def text(self) -> list[list[str]]:
        """Every cell as it is shown."""
        return [
            [show(c, column.format) for c, column in zip(r, self.columns, strict=True)] for r in self.rows
        ]


@dataclass(frozen=True)
class Series:
    """One line or one group of bars."""

    name: str
    x: tuple[float | str, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Lines over numbers or bars over names."""

    title: str
    kind: Literal["lines", "bars", "points"]
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False


@dataclass(frozen=True)
class Worst:
    """A case to look at: what it is, why it is bad, and a picture of it where one was asked for."""

    name: str
    reason: str
    badness: float  # larger is worse
    picture: str = ""  # path of a JPEG, from where the command ran or from the stored JSON


@dataclass(frozen=True)
class TaskResult:
    """All that a task found."""

    task: str
    options: dict[str, Any]
    data: dict[str, Any]
    weights: dict[str, str]  # descriptor -> sha256 of its weights
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    content: dict[str, Any] = field(default_factory=dict)
    worst: tuple[Worst, ...] = ()
    notes: tuple[str, ...] = ()  # what was skipped, and why


def show(cell: Cell, spec: str = "") -> str:
    """A cell as text."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    return str(cell) if isinstance(cell, str) else format(cell, spec)


def best_value(table: Table, index: int) -> float | None:
    """The best number of a column, None where none is better than another."""
    values = [r[index] for r in table.rows]
    numbers = [v for v in values if isinstance(v, (int, float)) and not math.isnan(v)]
    better = table.columns[index].better
    if not better or len(set(numbers)) < 2:
        return None
    return max(numbers) if better == "high" else min(numbers)


def plain(value: Any) -> Any:
    """`value` as JSON has it: numbers that are not finite become null or "inf", paths become text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def from_json(record: dict[str, Any], source: str) -> TaskResult:
    """A `TaskResult` read back from its stored form; raises `InputError` when `record` is not one."""
    try:
        tables = tuple(
            Table(t["title"], tuple(Column(**c) for c in t["columns"]), tuple(tuple(r) for r in t["rows"]))
            for t in record["tables"]
        )
        charts = tuple(
            Chart(
                **{k: v for k, v in c.items() if k != "series"},
                series=tuple(
                    Series(
                        s["name"],
                        tuple(s["x"]),
                        tuple(float("nan") if y is None else float(y) for y in s["y"]),
                    )
                    for s in c["series"]
                ),
            )
            for c in record["charts"]
        )
        return TaskResult(
            task=record["task"],
            options=record["options"] | {"command": record["command"], "versions": record["versions"]},
            data=record["data"],
            weights=record["weights"],
            tables=tables,
            charts=charts,
            worst=tuple(Worst(**w) for w in record["worst"]),
            notes=tuple(record["notes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source} is not a result stored by `evaluate --json` ({error!r})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or none."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)
