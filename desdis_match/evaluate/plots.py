"""Charts of a result, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .results import PLOT_FORMATS, Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSIDE = 4
"""Series up to which the legend lies in the chart; more would hide it."""

COLOURS = 10
"""Series that matplotlib's own colours tell apart; more take a map of twenty."""


def draw_charts(
    charts: Sequence[Chart], file_format: str = "png", size: tuple[float, float] = (6.5, 4.2)
) -> bytes:
    """All charts on one page, two a row, as the bytes of a file. size: of a chart, inches."""
    from matplotlib.figure import Figure

    if file_format not in PLOT_FORMATS:
        raise InputError(f"a plot can be {', '.join(PLOT_FORMATS)}, not '{file_format}'")
    if not charts:
        raise InputError("this task has no chart to draw; leave --plot out")
    across = min(2, len(charts))
    down = math.ceil(len(charts) / across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    for i, chart in enumerate(charts):
        draw(figure.add_subplot(down, across, i + 1), chart)
    stream = io.BytesIO()
    # No date and no random ids: the same result gives the same bytes.
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "desdis", "svg.fonttype": "path"}):
        figure.savefig(stream, format=file_format, dpi=110, metadata=undated[file_format])
    return stream.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """A script's own figure as PNG, without a date: the same figure gives the same bytes."""
    from matplotlib import pyplot

    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw(axes: Any, chart: Chart) -> None:
    """One chart into matplotlib axes."""
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, NullFormatter

    if len(chart.series) > COLOURS:
        axes.set_prop_cycle(color=[colormaps["tab20"](i) for i in range(20)])

    if chart.kind == "bars":
        names = list(dict.fromkeys(str(x) for s in chart.series for x in s.x))
        width = 0.8 / max(1, len(chart.series))
        for i, series in enumerate(chart.series):
            places = (
                np.array([names.index(str(x)) for x in series.x]) + (i - (len(chart.series) - 1) / 2) * width
            )
            axes.bar(places, series.y, width, label=series.name)
        axes.set_xticks(
            range(len(names)),
            names,
            rotation=30 if len(names) > 4 else 0,
            ha="right" if len(names) > 4 else "center",
        )
    elif chart.kind == "points":
        for series in chart.series:
            axes.plot(series.x, series.y, "o-" if len(series.x) > 1 else "o", label=series.name)
    else:
        for series in chart.series:
            axes.plot(series.x, series.y, label=series.name)
    if chart.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    axes.grid(alpha=0.3)
    if len(chart.series) > INSIDE:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    elif len(chart.series) > 1 or chart.series[0].name:
        axes.legend(fontsize=7)
