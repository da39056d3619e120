"""Model cards of the weights in the package: python training/cards.py.

Writes training/cards/NAME.md for every desdis_match/weights/NAME.safetensors of a descriptor, from the file's
header, its recipe (training/recipes), the logs of its runs (training/logs/release), release.py's licences and
the evaluation in eval/results; and training/plots/release.png, all their curves.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from release import LICENCES, SCORED

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import read_weights
from desdis_match.descriptors.registry import PACKAGED, packaged_weights
from desdis_match.distill.recipe import Recipe, RecipeRun, read_recipe
from desdis_match.distill.record import read_log
from desdis_match.evaluate.plots import save_figure
from desdis_match.viz.style import COLOURS, axes_of, styled

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "card.template.md"
RESULTS = HERE.parent / "eval" / "results"
LOGS = HERE / "logs" / "release"
RECIPES = HERE / "recipes"
SEQUENCE = ("oxford_affine", "boat")
"""The sequence whose AP stands in the card's head, for a test to measure again."""
COLUMNS = (
    "verification AUC",
    "matching mAP",
    "AP, Oxford",
    "AP, v_dogman",
    "dominant: AP, Oxford",
    "AP, v_dogman",
)


def result(name: str) -> dict[str, Any]:
    """A file of eval/results."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def evaluated() -> dict[str, tuple[float, ...]]:
    """Label -> its scores in the order of COLUMNS, from eval/results."""
    patches = result("hpatches")["descriptors"]
    images = [result(name)["summary"] for name in ("homographies", "homographies-dominant")]
    scores = {}
    for label, one in patches.items():
        auc = [value for kind in one["verification"]["balanced_auc"].values() for value in kind.values()]
        scores[label] = (
            sum(auc) / len(auc),
            one["matching"]["mAP"]["mean"],
            *(of[scenes][label]["AP"] for of in images for scenes in ("oxford_affine", "v_dogman")),
        )
    return scores


def sequence_ap(label: str) -> float:
    """Mean AP of a descriptor on SEQUENCE in eval/results, dominant orientation."""
    pairs = result("homographies-dominant")["pairs"][label]
    found = [pair["average_precision"] for pair in pairs if (pair["dataset"], pair["sequence"]) == SEQUENCE]
    return sum(found) / len(found)


def score_table(name: str) -> str:
    """Its scores beside those of the authors' of the same width, or nearest in speed, and of RootSIFT."""
    scores = evaluated()
    others = ("desdis-8", "desdis-16") if name == "desdis-fast" else (name,)
    rows = {
        f"**{name}, ours**": scores[name],
        **{f"{other}, the authors'": scores[other.replace("desdis", "DesDis")] for other in others},
        "rootsift": scores["rootsift"],
    }
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * len(COLUMNS) + "|"]
    lines += [
        f"| {label} | " + " | ".join(f"{value:.4f}" for value in row) + " |" for label, row in rows.items()
    ]
    return "\n".join(lines)


def data_table(header: dict[str, Any]) -> str:
    """Sources of the training patches with their licences."""
    lines = ["| patches of | licence, as its source states it |", "|---|---|"]
    for source in header["data"]:
        name = source.rpartition(":")[2]
        notredame = "PhotoTour Notre Dame via marioavdullaj/SIFT, none stated"
        lines.append(f"| {name} | {LICENCES.get(name, notredame)} |")
    return "\n".join(lines)


def log_of(run: RecipeRun) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return read_log(LOGS / f"{run.name}.jsonl")


def layout(name: str, width: int) -> str:
    """What network it is."""
    if name == "desdis-fast":
        return (
            f"A network of this project's own: {width} filters of 8x8 pixels, {4 * width} and {4 * width} "
            "channels at 4x4\npixels behind them, trained as Liu and Dong (IJCV 2024) train DesDis"
        )
    return f"DesDis of width {width} (Liu and Dong, IJCV 2024)"


def listed(names: Sequence[str]) -> str:
    """`a`, `b` and `c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def run_table(recipe: Recipe) -> str:
    """The runs of a recipe."""
    lines = ["| run | starts from | steps | other than the preset `release` |", "|---|---|---:|---|"]
    for one in recipe.runs:
        own = [f"{name} {value}" for name, value in one.options.items()]
        own += [f"{teacher} teaches too" for teacher in one.teachers]
        lines.append(
            f"| {one.name} | {one.start or 'scratch'} | {one.steps:,} | {', '.join(own) or 'nothing'} |"
        )
    return "\n".join(lines)


def card(path: Path) -> str:
    """A model card as Markdown; its head is machine-readable."""
    name = path.stem
    recipe = read_recipe(RECIPES / f"{name}.json")
    _, header = read_weights(path)
    config, scores = header["config"], header["scores"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        sequence="/".join(SEQUENCE),
        ap=sequence_ap(name),
        layout=layout(name, config["student"]["width"]),
        dim=config["student"]["dim"],
        version=header["version"],
        size=path.stat().st_size,
        runs=run_table(recipe),
        averaged=listed(recipe.averaged),
        batch=config["batch"],
        pairs=sum(one.steps for one in recipe.runs) * config["batch"],
        minutes=sum(log_of(one)[-1]["seconds"] for one in recipe.runs) / 60,
        decay=config["optim"]["decay"],
        loss=config["loss"]["kind"],
        teacher=header["teacher"][0],
        data=data_table(header),
        scored=", ".join(SCORED),
        fpr95=100 * scores["fpr95"],
        map=scores["map"],
        map_hard=scores["map_hard"],
        table=score_table(name),
    )


def steps_before(recipe: Recipe) -> dict[str, int]:
    """By run, the steps of all runs that it builds on."""
    steps = {one.name: one.steps for one in recipe.runs}
    before = {"": 0}
    for one in recipe.runs:
        before[one.name] = before[one.start] + steps.get(one.start, 0)
    return before


def curves(files: list[Path], path: Path) -> None:
    """Held-back scores over the pairs seen, all networks."""
    with styled():
        draw_curves(files, path)


def draw_curves(files: list[Path], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for number, weights in enumerate(files):
        batch = read_weights(weights)[1]["config"]["batch"]
        recipe = read_recipe(RECIPES / f"{weights.stem}.json")
        before = steps_before(recipe)
        for one in recipe.runs:
            scored = [line for line in log_of(one) if "map_hard" in line]
            pairs = [(before[one.name] + line["step"]) * batch / 1e6 for line in scored]
            for axis, key in zip(axes, ("map", "map_hard"), strict=True):
                label = None if one.start else weights.stem
                axis.plot(pairs, [line[key] for line in scored], color=COLOURS[number], label=label)
    for axis, title in zip(axes, ("matching mAP", "with a detector's errors"), strict=True):
        axes_of(axis, title, x_label="million pairs")
    axes[0].legend()
    save_figure(figure, path)


@dataclass(frozen=True)
class Arguments:
    """Write the cards anew."""


def main(argv: list[str]) -> int:
    parse(Arguments, argv, "python training/cards.py")
    files = [packaged_weights(name) for name in PACKAGED]
    (HERE / "cards").mkdir(exist_ok=True)
    for path in files:
        (HERE / "cards" / f"{path.stem}.md").write_text(card(path), encoding="utf-8")
    curves(files, HERE / "plots" / "release.png")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
