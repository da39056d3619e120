"""`desdis-match evaluate report RESULTS... --output report.html`: stored results as one self-contained page.

Tables that sort by a click, charts as SVG, pictures inside the file: it opens without a network.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .plots import draw_charts
from .results import Cell, Column, Table, TaskResult, best_value, from_json

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; }
body { margin: 0 auto; max-width: 1250px; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 2px solid #d5dbe3; padding-bottom: .2rem; }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .4rem 0 1.4rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .22rem .6rem; border-bottom: 1px solid #e3e7ec; text-align: right; white-space: nowrap; }
th { cursor: pointer; background: #f3f5f8; position: sticky; top: 0; user-select: none; }
th[aria-sort=ascending]::after { content: " \\25b2"; } th[aria-sort=descending]::after { content: " \\25bc"; }
td.text, th.text { text-align: left; } td.best { font-weight: 700; }
img { max-width: 100%; height: auto; }
pre { background: #f3f5f8; padding: .7rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; }
figure img { max-width: 100%; } figcaption { font-size: .9em; }
details { margin: .5rem 0; } .note { color: #6b4a00; }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((th, column) => {
    const sort = () => {
      const down = th.getAttribute("aria-sort") === "descending" ||
        (!th.hasAttribute("aria-sort") && th.classList.contains("text"));
      const sign = down ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column], value = cell.dataset.value;
        return value === undefined ? cell.textContent : value === "" ? NaN : Number(value);
      };
      const rows = [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b);
        if (typeof x === "string") return sign * x.localeCompare(y, "en", { numeric: true });
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return x === y ? 0 : sign * (x < y ? -1 : 1);
      });
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", down ? "ascending" : "descending");
      body.append(...rows);
    };
    th.tabIndex = 0;
    th.addEventListener("click", sort);
    th.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
document.documentElement.dataset.ready = "yes";
"""


@dataclass(frozen=True)
class ReportConfig:
    """Put stored results (`--json`) into one page."""

    results: tuple[Path, ...]
    """JSON files that tasks stored."""
    output: Path = Path("report.html")
    """The page."""


def sort_key(value: Cell) -> str:
    """A number as JavaScript reads it; empty for what is none."""
    if not isinstance(value, (int, float)) or value != value:
        return ""
    return str(float(value)).replace("inf", "Infinity")


def table_html(table: Table) -> str:
    """A table whose cells carry their full-precision numbers for sorting."""
    numeric = [bool(column.format) for column in table.columns]
    best = [best_value(table, i) for i in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{"" if is_number else " class=text"}>{html.escape(column.name)}</th>'
        for column, is_number in zip(table.columns, numeric, strict=True)
    )
    rows = []
    for row, text in zip(table.rows, table.text(), strict=True):
        cells = []
        for value, shown, is_number, top in zip(row, text, numeric, best, strict=True):
            if is_number:
                mark = ' class="best"' if top is not None and value == top else ""
                cells.append(f'<td{mark} data-value="{sort_key(value)}">{html.escape(shown)}</td>')
            else:
                cells.append(f'<td class="text">{html.escape(shown)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = html.escape(table.title)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def charts_html(result: TaskResult) -> str:
    """All charts of a result as one SVG picture."""
    if not result.charts:
        return ""
    data = base64.b64encode(draw_charts(result.charts, "svg")).decode()
    titles = html.escape("; ".join(chart.title for chart in result.charts))
    return f'<img class="charts" alt="{titles}" src="data:image/svg+xml;base64,{data}">'


def picture_html(name: str, places: Sequence[Path]) -> str:
    """A picture inside the page; a note where it is not there any more."""
    for place in places:
        path = place / name
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            return f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return f'<p class="note">the picture {html.escape(name)} is not there any more</p>'


def worst_html(result: TaskResult, places: Sequence[Path]) -> str:
    """Worst cases, worst first; those with a picture also in pictures."""
    if not result.worst:
        return ""
    columns = Column("case"), Column("what is wrong")
    table = Table("Worst cases, worst first", columns, tuple((w.name, w.reason) for w in result.worst))
    figures = "".join(
        f"<figure>{picture_html(w.picture, places)}"
        f"<figcaption>{html.escape(w.name)}: {html.escape(w.reason)}</figcaption></figure>"
        for w in result.worst
        if w.picture
    )
    return table_html(table) + figures


def section(result: TaskResult, anchor: str, places: Sequence[Path]) -> str:
    """One stored result."""
    versions = ", ".join(f"{k} {v}" for k, v in result.options["versions"].items())
    weights = "".join(
        f"<li><b>{html.escape(name)}</b> <code>{html.escape(fingerprint)}</code></li>"
        for name, fingerprint in result.weights.items()
    )
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in result.notes)
    return (
        f'<section id="{anchor}"><h2>{html.escape(result.task)}</h2>'
        f"{''.join(map(table_html, result.tables))}{notes}{charts_html(result)}{worst_html(result, places)}"
        f"<details><summary>How it was made</summary><pre>{html.escape(result.options['command'])}</pre>"
        f"<p>{html.escape(versions)}</p><ul>{weights}</ul>"
        f"<pre>{html.escape(json.dumps(result.data, indent=1, ensure_ascii=False))}</pre></details></section>"
    )


def read_result(path: Path) -> TaskResult:
    """A stored result; raises `InputError` when the file is not one."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a result stored by `evaluate --json`")
    return from_json(record, str(path))


def build_report(paths: Sequence[Path]) -> str:
    """The page of the stored results, in the order given."""
    if not paths:
        raise InputError("no result to show; give JSON files that tasks stored with --json")
    results = [(path, read_result(path)) for path in paths]
    links = "".join(
        f'<a href="#r{i}">{html.escape(r.task)} ({html.escape(p.stem)})</a>'
        for i, (p, r) in enumerate(results)
    )
    sections = "".join(section(r, f"r{i}", (Path(), p.parent)) for i, (p, r) in enumerate(results))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>desdis-match evaluation</title>'
        f"<style>{STYLE}</style></head><body><h1>Evaluation</h1><nav>{links}</nav>{sections}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
