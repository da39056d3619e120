"""Tables and plots of training/RESULTS.md from training/logs: python training/results.py.

In RESULTS.md what is between `<!-- table NAME -->` and `<!-- end -->` is made anew from logs/NAME.jsonl, and
plots/NAME.png beside it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.distill.record import read_log
from desdis_match.distill.study import RowSummary, summarize
from desdis_match.evaluate.plots import save_figure
from desdis_match.viz.style import COLOURS, axes_of, styled

HERE = Path(__file__).resolve().parent
COLUMNS = {
    "fpr95": "FPR95, %",
    "map": "mAP",
    "map_hard": "mAP, hard",
    "ap_oxford": "AP Oxford",
    "ap_dogman": "AP v_dogman",
    "ap_mixed_dog": "AP, DoG",
    "ap_mixed_hessian": "AP, Hessian",
    "ap_aslant_dog": "AP aslant, DoG",
    "ap_aslant_hessian": "AP aslant, Hessian",
    "ap_mixed_dominant": "AP, DoG turned",
    "ap_aslant_dominant": "AP aslant, DoG turned",
    "ap_overexposed_dog": "AP overexposed, DoG",
    "frames_own": "the detector's",
    "frames_place": "place true",
    "frames_shape": "shape",
    "frames_turn": "turn",
    "frames_scale": "scale",
    "frames_similar": "place, turn, scale",
    "frames_affine": "all",
    "ceiling": "faultless",
    "apart_own": "the detector's, overlaps left out",
    "apart_affine": "all, overlaps left out",
    "other_scale": "partners of another scale, %",
    "lost_own": "partners lost, %",
    "lost_other_scale_own": "of another scale and lost, %",
    "lost_affine": "lost with true frames, %",
    "wrong_own": "wrong matches a pair",
    "overlapping_own": "of these overlapping, %",
    "alike_own": "alike, %",
    "alone_own": "without partner, %",
    "wrong_affine": "wrong with true frames",
    "overlapping_affine": "of these overlapping, %",
    "alike_affine": "alike, %",
    "alone_affine": "without partner, %",
}
SHARES = ("other_scale", "lost", "overlapping", "alike", "alone")
PERCENT = {key: 100.0 for key in COLUMNS if key == "fpr95" or key.startswith(SHARES)}
DIGITS = {"fpr95": 3} | {key: 1 for key in COLUMNS if key.startswith((*SHARES, "wrong"))}
PLOTTED = (
    "map_hard",
    "ap_oxford",
    "ap_mixed_dog",
    "ap_aslant_dog",
    "ap_mixed_dominant",
    "ap_overexposed_dog",
)


def cell(row: RowSummary, key: str) -> str:
    """Mean, and the standard deviation over the seeds where there are several."""
    scale, digits = PERCENT.get(key, 1.0), DIGITS.get(key, 4)
    text = f"{scale * row.mean[key]:.{digits}f}"
    return text if row.seeds == 1 else f"{text} ± {scale * row.deviation[key]:.{digits}f}"


def table(rows: list[RowSummary]) -> str:
    keys = list(rows[0].mean)
    lines = [
        "| run | seeds | " + " | ".join(COLUMNS[key] for key in keys) + " |",
        "|---" * (len(keys) + 2) + "|",
    ]
    lines += [
        f"| {row.row} | {row.seeds} | " + " | ".join(cell(row, key) for key in keys) + " |" for row in rows
    ]
    return "\n".join(lines)


def plot(rows: list[RowSummary], path: Path) -> None:
    with styled():
        draw(rows, path)


def draw(rows: list[RowSummary], path: Path) -> None:
    plotted = [key for key in PLOTTED if key in rows[0].mean]
    figure, axes = plt.subplots(
        1, len(plotted), figsize=(10, 0.8 + 0.28 * len(rows)), sharey=True, squeeze=False
    )
    for axis, key in zip(axes[0], plotted, strict=True):
        means = [row.mean[key] for row in rows]
        errors = [row.deviation[key] if row.seeds > 1 else 0.0 for row in rows]
        axis.errorbar(means, [row.row for row in rows], xerr=errors, fmt="o", capsize=2, color=COLOURS[0])
        axes_of(axis, x_label=COLUMNS[key])
        axis.locator_params(axis="x", nbins=2)
    axes[0][0].invert_yaxis()
    save_figure(figure, path)


@dataclass(frozen=True)
class Arguments:
    """Make tables and plots anew."""


def main(argv: list[str]) -> int:
    parse(Arguments, argv, "python training/results.py")
    report = HERE / "RESULTS.md"
    text = report.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- table (\S+) -->", text):
        lines = read_log(HERE / "logs" / f"{name}.jsonl")
        rows = summarize(lines, [key for key in COLUMNS if lines and key in lines[0]])
        made = table(rows) if rows else "(no run yet)"
        if rows and set(PLOTTED) & set(rows[0].mean):
            plot(rows, HERE / "plots" / f"{name}.png")
            made += f"\n\n![{name}](plots/{name}.png)"
        marked = rf"<!-- table {name} -->.*?<!-- end -->"
        filled = f"<!-- table {name} -->\n{made}\n<!-- end -->"
        text = re.sub(marked, lambda _, filled=filled: filled, text, flags=re.DOTALL)
    report.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
