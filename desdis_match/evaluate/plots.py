"""Charts of a result, drawn by matplotlib without a display, in the style of viz/style.py."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..viz.style import COLOURS, axes_of, label_lines, label_points, styled
from .results import PLOT_FORMATS, Chart, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":")
"""Lines of further series, when all colours have been used."""
LETTER = 4.6
"""Mean width of a letter below bars, points."""
LABELLED = 12
"""Lines whose names stand beside their ends; more get a legend."""


def draw_charts(
    charts: Sequence[Chart], file_format: str = "png", size: tuple[float, float] = (6.5, 4.2)
) -> bytes:
    """All charts on one page, two a row, as the bytes of a file. size: of a chart, inches.

    A series has the same colour in every chart. Names stand beside lines and points; else
    there is one legend, above all charts.
    """
    from matplotlib.figure import Figure

    if file_format not in PLOT_FORMATS:
        raise InputError(f"a plot can be {', '.join(PLOT_FORMATS)}, not '{file_format}'")
    if not charts:
        raise InputError("this task has no chart to draw; leave --plot out")
    across = min(2, len(charts))
    down = math.ceil(len(charts) / across)
    stream = io.BytesIO()
    # No date: the same result gives the same bytes.
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with styled():
        figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
        names = list(dict.fromkeys(series.name for chart in charts for series in chart.series))
        explained: dict[str, Any] = {}
        for i, chart in enumerate(charts):
            axes = figure.add_subplot(down, across, i + 1)
            if not draw(axes, chart, names):
                for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                    explained.setdefault(name, handle)
        if explained:
            figure.legend(
                list(explained.values()),
                list(explained),
                loc="outside upper center",
                ncols=min(6, len(explained)),
                frameon=False,
            )
        figure.savefig(stream, format=file_format, dpi=110, metadata=undated[file_format])
    return stream.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """A script's own figure as PNG, without a date: the same figure gives the same bytes."""
    from matplotlib import pyplot

    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw(axes: Any, chart: Chart, names: Sequence[str] = ()) -> bool:
    """One chart into matplotlib axes; returns whether it says what its series are, else a legend must.

    names: of all series that share colours.
    """
    names = names or [series.name for series in chart.series]
    look = {name: (COLOURS[i % len(COLOURS)], STYLES[i // len(COLOURS) % 3]) for i, name in enumerate(names)}
    named = len(chart.series) > 1 or chart.series[0].name
    axes_of(axes, chart.title, chart.x_label, chart.y_label)
    if chart.kind == "bars":
        _bars(axes, chart, look)
        return not named
    for series in chart.series:
        colour, style = look[series.name]
        marker = "o" if chart.kind == "points" else ""
        axes.plot(series.x, series.y, marker=marker, linestyle=style, color=colour, label=series.name)
    if chart.log_x:
        _log(axes, [float(x) for series in chart.series for x in series.x])
    if chart.y_label.startswith("share") and all(1 in series.y for series in chart.series):
        axes.set_ylim(bottom=0)  # shares up to all of them begin at none
    if not named:
        return True
    if all(len(series.x) == 1 for series in chart.series):
        points = [(float(s.x[0]), s.y[0], s.name) for s in chart.series]
        label_points(axes, points, [look[s.name][0] for s in chart.series])
    elif len(chart.series) <= LABELLED and _end_apart(axes, chart.series):
        label_lines(axes)
    else:
        return False
    return True


def _bars(axes: Any, chart: Chart, look: dict[str, tuple[str, str]]) -> None:
    """Groups of bars over names; their axis begins at zero."""
    groups = list(dict.fromkeys(str(x) for s in chart.series for x in s.x))
    width = 0.8 / max(1, len(chart.series))
    for i, series in enumerate(chart.series):
        middle = (
            np.array([groups.index(str(x)) for x in series.x]) + (i - (len(chart.series) - 1) / 2) * width
        )
        colour, style = look[series.name]
        hatch = {"-": "", "--": "///", ":": "..."}[style]
        axes.bar(
            middle,
            series.y,
            width,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            label=series.name,
        )
    columns = axes.get_subplotspec().get_gridspec().ncols
    room = 0.85 * 72 * axes.figure.get_figwidth() / columns / len(groups)  # points for a group's name
    slanted = max(map(len, groups)) * LETTER > room
    axes.set_xticks(
        range(len(groups)), groups, rotation=30 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.grid(axis="x", visible=False)
    if all(value >= 0 for series in chart.series for value in series.y if not math.isnan(value)):
        axes.set_ylim(bottom=0)


def _log(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic x axis with plain numbers, few of them where the values span little."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    wide = max(values) > 30 * min(value for value in values if value > 0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if wide else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _end_apart(axes: Any, series: Sequence[Series]) -> bool:
    """Whether most lines end at heights of their own: else names at the ends would not tell them apart."""
    low, high = axes.get_ylim()
    ends = sorted(s.y[-1] for s in series)
    apart = sum(b - a > 0.005 * (high - low) for a, b in pairwise(ends))
    return bool(apart >= (len(ends) - 1) / 2)
