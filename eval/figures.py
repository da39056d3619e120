"""Figures of README and eval/README.md, from what the other recipes stored.

    python eval/figures.py

Draws front.png (accuracy against speed), homographies.png and homographies-dominant.png (six contenders),
sfm.png (the default descriptor beside the authors', RootSIFT and pycolmap's SIFT) and hpatches.png into
eval/results.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.plots import draw_charts
from desdis_match.evaluate.results import Chart, Series, from_json
from desdis_match.viz.style import COLOURS, axes_of, label_points, styled

RESULTS = Path(__file__).parent / "results"
WIDTHS = (8, 16, 24, 32)
FAMILIES = {
    "ours": [*(f"desdis-{width}" for width in WIDTHS), "desdis-fast"],
    "the authors'": [f"DesDis-{width}" for width in WIDTHS],
    "others": ["HardTFeat", "tfeat-liberty", "rootsift"],
}
SIX = ("desdis-8", "desdis-16", "desdis-32", "DesDis-32", "rootsift", "aliked-n16rot")
FOUR = ("pycolmap-sift", "desdis-16", "DesDis-32", "rootsift")


@dataclass(frozen=True)
class Arguments:
    """Draw the figures."""

    results: Path = RESULTS
    """Folder of the stored results, to which the figures go."""


def main(argv: list[str]) -> int:
    folder = parse(Arguments, argv, "python eval/figures.py").results
    for name in ("homographies", "homographies-dominant", "hpatches"):
        charts = [only(chart, SIX) for chart in stored(folder / f"{name}.json")]
        (folder / f"{name}.png").write_bytes(draw_charts(charts, size=(5.2, 3.4)))
    shown = []
    for chart in stored(folder / "sfm.json"):
        poses = chart.kind == "lines"
        for way in ("self", "given") if poses else ("self",):
            names = tuple(f"{name}, {way}" for name in FOUR)
            plain = only(chart, names, cut=f", {way}")
            title = f"{chart.title}, {'intrinsics given' if way == 'given' else 'self-calibrated'}"
            shown.append(
                replace(plain, title=title, series=up_to_one(plain.series) if poses else plain.series)
            )
    (folder / "sfm.png").write_bytes(draw_charts(shown, size=(5.2, 3.4)))
    draw_front(folder)
    return 0


def stored(path: Path) -> tuple[Chart, ...]:
    return from_json(json.loads(path.read_text()), str(path)).charts


def only(chart: Chart, names: Sequence[str], cut: str = "") -> Chart:
    """The chart with the series named, in that order; `cut` is taken off their names."""
    found = {series.name: series for series in chart.series}
    series = [replace(found[name], name=name.removesuffix(cut)) for name in names if name in found]
    return replace(chart, series=tuple(series))


def up_to_one(series: Sequence[Series]) -> tuple[Series, ...]:
    """Cumulative curves, cut a little after all of them have reached 1."""
    end = max(next((k for k, y in enumerate(s.y) if y >= 1), len(s.y) - 1) for s in series) + 2
    return tuple(Series(s.name, s.x[:end], s.y[:end]) for s in series)


def draw_front(folder: Path) -> None:
    """Accuracy against speed; a family's networks are joined by a line."""
    rates = json.loads((folder / "describe.json").read_text())["patches_per_second"]
    matching = json.loads((folder / "hpatches.json").read_text())["descriptors"]
    images = json.loads((folder / "homographies.json").read_text())["summary"]["oxford_affine"]
    with styled():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, title in zip(
            axes, ("AP on Oxford's photos", "matching mAP on HPatches' patches"), strict=True
        ):
            axes_of(axis, title, "patches a second", title.partition(" on")[0])
            axis.set(xscale="log", xlim=(13_000, 420_000))
            axis.set_xticks([20_000, 50_000, 100_000, 200_000], ["20,000", "50,000", "100,000", "200,000"])
            axis.minorticks_off()
        for axis, value in zip(
            axes,
            (lambda name: images[name]["AP"], lambda name: matching[name]["matching"]["mAP"]["mean"]),
            strict=True,
        ):
            points, colours = [], []
            for colour, (family, names) in zip(COLOURS, FAMILIES.items(), strict=False):
                places = sorted((rate_of(rates, name), value(name), name) for name in names)
                style = "" if family == "others" else "-"
                axis.plot(*list(zip(*places, strict=True))[:2], "o" + style, color=colour, label=family)
                points += places
                colours += [colour] * len(places)
            label_points(axis, points, colours)
        axes[1].legend(frameon=False, loc="lower right")
        figure.savefig(folder / "front.png", dpi=110, metadata={"Software": None})


def rate_of(rates: dict[str, float], name: str) -> float:
    """Patches a second, by the faster engine that was measured."""
    kind = name.lower().replace("tfeat-liberty", "tfeat")
    return rates.get(f"{kind}, onnxruntime") or rates[kind]


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
