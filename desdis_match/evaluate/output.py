"""What every task does with its result: printed, stored as JSON and Markdown, drawn."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..support.versions import installed_versions
from .results import PLOT_FORMATS, Chart, TaskResult, best_value, plain, write_atomically


@dataclass(frozen=True)
class OutputConfig:
    """Where results go besides the terminal."""

    json: Path | None = None
    """Store everything with full precision."""
    markdown: Path | None = None
    """Write the tables as Markdown."""
    plot: Path | None = None
    """Draw the charts (png, svg or pdf by the name's ending)."""
    latex: Path | None = None
    """Write the tables as LaTeX, for a paper that loads booktabs."""
    figure: str = ""
    """Draw only the charts with these words in their titles."""
    size: tuple[float, float] = (6.5, 4.2)
    """Width and height of a chart, inches."""


def versions_and_machine() -> dict[str, str]:
    """Versions of this package, of what it stands on, and the machine's kind."""
    from .. import __version__

    found = {"desdis_match": __version__, **installed_versions()}
    return found | {"platform": platform.platform(), "processor": processor(), "cores": str(os.cpu_count())}


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def to_json(result: TaskResult, command: str) -> dict[str, Any]:
    """The stored form: provenance, then the task's own content, then tables and charts."""
    record: dict[str, Any] = {
        "task": result.task,
        "command": command,
        "versions": versions_and_machine(),
        "options": result.options,
        "data": result.data,
        "weights": result.weights,
        "notes": list(result.notes),
    }
    record |= {key: value for key, value in result.content.items() if key not in record}
    record["tables"] = [asdict(t) for t in result.tables]
    record["charts"] = [asdict(c) for c in result.charts]
    record["worst"] = [asdict(w) for w in result.worst]
    made: dict[str, Any] = plain(record)
    return made


def to_markdown(result: TaskResult, command: str) -> str:
    """Tables, notes and provenance as Markdown."""
    lines = [f"# {result.task}", ""]
    for table in result.tables:
        lines += [f"**{table.title}**", "", "| " + " | ".join(c.name for c in table.columns) + " |"]
        numbers = [
            any(not isinstance(r[i], (str, type(None))) for r in table.rows)
            for i in range(len(table.columns))
        ]
        lines.append("|" + "|".join("---:" if number else "---" for number in numbers) + "|")
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.text()]
        lines.append("")
    lines += [f"- {note}" for note in result.notes] + ([""] if result.notes else [])
    lines += ["Made by", "", f"```\n{command}\n```", ""]
    lines.append("with " + ", ".join(f"{k} {v}" for k, v in versions_and_machine().items()) + ".")
    for name, fingerprint in result.weights.items():
        lines.append(f"\n- {name}: weights sha256 {fingerprint}")
    return "\n".join(lines) + "\n"


def print_tables(result: TaskResult) -> None:
    """Tables and notes on stdout, for a person; the best number of a column stands out."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=220, no_color=True)
    for table in result.tables:
        grid = RichTable(title=table.title, title_justify="left")
        best = [best_value(table, i) for i in range(len(table.columns))]
        for column in table.columns:
            is_number = bool(column.format)
            grid.add_column(column.name, justify="right" if is_number else "left", no_wrap=not is_number)
        for row, text in zip(table.rows, table.text(), strict=True):
            cells = [
                Text(t, style="bold" if b is not None and v == b else "")
                for t, v, b in zip(text, row, best, strict=True)
            ]
            grid.add_row(*cells)
        console.print(grid)
    for note in result.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def check_output(output: OutputConfig) -> None:
    """Find out before hours of work whether its results can be stored."""
    for path in (output.json, output.markdown, output.latex, output.plot):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {path} ({error.strerror}); choose another place") from error
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"cannot write {path}; choose another place")
    if output.plot and output.plot.suffix.lstrip(".") not in PLOT_FORMATS:
        raise InputError(f"a plot can be {', '.join(PLOT_FORMATS)}, not '{output.plot.name}'")


def emit(result: TaskResult, output: OutputConfig, command: str) -> None:
    """Show a result and store it in every form asked for, with the command that makes it."""
    print_tables(result)
    if output.json:
        text = json.dumps(to_json(result, command), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(output.json, text.encode() + b"\n")
    if output.markdown:
        write_atomically(output.markdown, to_markdown(result, command).encode())
    if output.latex:
        from .latex import to_latex

        write_atomically(output.latex, to_latex(result.tables, command).encode())
    if output.plot:
        from .plots import draw_charts

        charts = chosen_charts(result.charts, output.figure)
        write_atomically(output.plot, draw_charts(charts, output.plot.suffix.lstrip("."), output.size))


def chosen_charts(charts: Sequence[Chart], words: str) -> list[Chart]:
    """The charts with `words` in their titles; raises InputError, with the titles, where there is none."""
    found = [chart for chart in charts if words.lower() in chart.title.lower()]
    if charts and not found:
        titles = ", ".join(f"'{chart.title}'" for chart in charts)
        raise InputError(f"no chart has '{words}' in its title; there are {titles}")
    return found
