"""How all charts of this project look: colours, grids, names beside what they name.

Colours are Okabe and Ito's, which differ for colour-blind eyes too, darkest first; `styled` sets them and the
fonts for what is drawn within it, `use_style` for all that follows; the functions below finish axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe and Ito, Color Universal Design (2008), their yellow replaced by a brown that shows on white."""
LINE_HEIGHT = 1.25
"""Of names beside lines, in font sizes."""


def styled() -> AbstractContextManager[Any]:
    """A context in which charts have this project's colours and fonts."""
    import matplotlib

    return matplotlib.rc_context(_settings())


def use_style() -> None:
    """Give all charts from now on this project's colours and fonts; for notebooks."""
    import matplotlib

    matplotlib.rcParams.update(_settings())


def _settings() -> Any:
    from cycler import cycler

    return {
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "lines.linewidth": 1.5,
        "lines.markersize": 5,
        "svg.hashsalt": "desdis",  # no random ids: the same chart gives the same bytes
        "svg.fonttype": "path",
    }


def axes_of(axis: Axes, title: str = "", x_label: str = "", y_label: str = "") -> None:
    """A faint grid behind, no frame above and at the right, names."""
    axis.set(title=title, xlabel=x_label, ylabel=y_label)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def label_lines(axis: Axes, size: float = 8) -> None:
    """Each line's name to the right of the axes, at the height of its end, in its colour; no legend."""
    lines = [line for line in axis.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [np.asarray(line.get_xydata())[-1] for line in lines]
    axis.get_ylim()  # settles the limits that the heights are of
    heights = [float(axis.transAxes.inverted().transform(axis.transData.transform(end))[1]) for end in ends]
    points = axis.get_window_extent().height / axis.figure.dpi * 72
    for line, height in zip(lines, spread(heights, LINE_HEIGHT * size / points), strict=True):
        axis.text(
            1.02,
            height,
            str(line.get_label()),
            color=line.get_color(),
            fontsize=size,
            va="center",
            transform=axis.transAxes,
        )


def label_points(
    axis: Axes, points: Sequence[tuple[float, float, str]], colours: Sequence[str] = (), size: float = 8
) -> None:
    """Names beside points (x, y, name): to the right, or where they lie on no others and no lines.

    colours: of the names; black where none are given.
    """
    axis.figure.draw_without_rendering()  # type: ignore[union-attr]
    marks = [axis.transData.transform((x, y)) for x, y, _ in points]
    marks += [mark for line in axis.get_lines() if line.get_linestyle() != "None" for mark in _along(line)]
    frame = axis.get_window_extent()
    taken: list[Any] = []
    for (x, y, name), colour in zip(points, colours or ["black"] * len(points), strict=True):
        text = None
        for shift, across, up in PLACES:
            if text is not None:
                text.remove()
            look: dict[str, Any] = {"fontsize": size, "color": colour, "ha": across, "va": up}
            text = axis.annotate(name, (x, y), shift, textcoords="offset points", **look)
            box = text.get_window_extent()
            covers = any(box.overlaps(other) for other in taken)
            covers |= any(box.padded(2).contains(*mark) for mark in marks)
            if not covers and box.x1 <= frame.x1 and box.x0 >= frame.x0:
                break
        taken.append(box)


def _along(line: Line2D) -> NDArray[np.float64]:
    """(N, 2) places on the screen, a few pixels apart, that the line passes."""
    corners = line.axes.transData.transform(line.get_xydata())  # type: ignore[union-attr]
    steps = np.linspace(0, 1, 200)[:, None]
    pieces = [start + steps * (end - start) for start, end in pairwise(corners)]
    return np.concatenate(pieces) if pieces else corners


PLACES = (
    ((5, 3), "left", "bottom"),
    ((6, 0), "left", "center"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((-6, 0), "right", "center"),
    ((-6, 8), "right", "bottom"),
    ((6, -8), "left", "top"),
    ((-6, -8), "right", "top"),
)
"""Where the name of a point is tried: shift in points, how the text is aligned there."""


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The same numbers, moved as little as keeps any two `gap` apart, their order kept."""
    order = np.argsort(heights, kind="stable")
    groups: list[tuple[float, int]] = []  # (mean of the wanted middle, members)
    for index in order:
        groups.append((heights[index], 1))
        while len(groups) > 1:
            (below, many), (above, more) = groups[-2:]
            if above - below >= gap * (many + more) / 2:
                break
            groups[-2:] = [((below * many + above * more) / (many + more), many + more)]
    placed = np.empty(len(heights))
    place = [middle + gap * (k - (many - 1) / 2) for middle, many in groups for k in range(many)]
    placed[order] = place
    return [float(value) for value in placed]
