"""Model cards of the weights in the package: python training/cards.py.

Writes training/cards/NAME.md for every desdis_match/weights/NAME.safetensors of a descriptor, from the file's
header, the logs of its runs (training/logs/release, named as release.py names their folders), the licences in
release.py and the evaluation in eval/results; and training/plots/release.png, all their curves.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from release import AGAIN, LICENCES, LIGHT, RUNS, SCORED

from desdis_match.descriptors import read_weights
from desdis_match.descriptors.registry import PACKAGED, packaged_weights
from desdis_match.distill.config import differences, with_defaults
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.record import read_log

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "card.template.md"
RESULTS = HERE.parent / "eval" / "results"
LOGS = HERE / "logs" / "release"
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


NOT_OF_THE_COMMAND = (
    "data.sources",
    "data.scored",
    "student.width",
    "student.start",
    "teacher.names",
    "optim.kind",
    "optim.lr",
    "loss.regularizer_weight",
    "steps",
    "seed",
    "validate_every",
)
"""Fields that release.py's command says otherwise, or that leave the weights as they are."""


def logs(name: str, heavy: bool = False) -> list[list[dict[str, Any]]]:
    """Lines of each of its runs, none of a run that was left out; heavy: of those of release.py's --heavy."""
    pattern = re.compile(re.escape(name) + ("-heavy" if heavy else "") + r"-(\d+)")
    files = {int(found[1]): path for path in LOGS.iterdir() if (found := pattern.fullmatch(path.stem))}
    return [read_log(files[n]) if n in files else [] for n in range(1, max(files, default=0) + 1)]


def made_again(header: dict[str, Any]) -> bool:
    """Whether by release.py's --steps and --again, not by its --runs."""
    return bool(header["config"]["optim"]["kind"] == PRESETS["release"][1].optim.kind)


def layout(name: str, width: int) -> str:
    """What network it is."""
    if name == "desdis-fast":
        return (
            f"A network of this project's own: {width} filters of 8x8 pixels, {4 * width} and {4 * width} "
            "channels at 4x4\npixels behind them, trained as Liu and Dong (IJCV 2024) train DesDis"
        )
    return f"DesDis of width {width} (Liu and Dong, IJCV 2024)"


def own_teacher(header: dict[str, Any]) -> bool:
    """Whether the second run's weights taught beside the authors'."""
    return len(header["teacher"]) > 1


def steps_of(runs: list[list[dict[str, Any]]]) -> list[int]:
    """Of each run; 0 for one that was left out."""
    return [run[-1]["step"] if run else 0 for run in runs]


def story(third: list[int], heavy: list[int], first: int, second: int, weight: float) -> str:
    """What release.py's --runs and --heavy did, in words."""
    parts = []
    if any(third):
        numbers = " and ".join(f"{number:,}" for number in third if number)
        parts.append(f"{numbers} with highlights or shadows cut off\nin a fifth of the patches as well")
    if heavy:
        numbers = " and ".join(f"{number:,}" for number in heavy)
        so = "with that" if parts else "with highlights or shadows\ncut off in a fifth of the patches"
        parts.append(f"{numbers} {so} and a regularizer of weight {weight:g}")
    several = len([number for number in (*third, *heavy) if number]) > 1
    others = ("each for itself, " if several else "") + ", and ".join(parts)
    return (
        f"Runs as the recipe got\nbetter: {first:,} steps on batches turned by quarters alone; "
        f"from there {second:,} of which half see pairs turned along\ntheir dominant gradient; "
        f"and from there, {others}.\n"
        "The weights are the average of what all but the first ended with."
    )


def story_again(steps: list[int]) -> str:
    """What release.py's --steps and --again did, in words."""
    first, *others = (f"{number:,}" for number in steps)
    several = "each for itself, " if len(others) > 1 else ""
    return (
        f"{first} steps from\nscratch; and from there, {several}{' and '.join(others)}.\n"
        "The weights are the average of what all of them ended with."
    )


def command(steps: list[int], heavy: list[int], header: dict[str, Any]) -> str:
    """What makes these weights again: release.py with the steps of each run and every option that differs
    from the preset."""
    preset, config = PRESETS["release"][1].as_dict(), with_defaults(header["config"])
    words = [f"--width {config['student']['width']}"]
    if made_again(header):
        words += [f"--steps {steps[0]} --again", *map(str, steps[1:])]
    else:
        words += ["--runs", *map(str, steps)]
    words += ["--heavy", *map(str, heavy)] if heavy else []
    for name in differences(preset, config):
        if name not in NOT_OF_THE_COMMAND:
            group, _, field = name.rpartition(".")
            value = (config[group] if group else config)[field]
            words.append(f"--{name.replace('_', '-')} {value}")
    if own_teacher(header):
        words.append("--own-teacher")
    return "python training/release.py --photos PHOTOS --notredame NOTREDAME \\\n    " + " ".join(words)


def card(path: Path) -> str:
    """A model card as Markdown; its head is machine-readable."""
    name = path.stem
    _, header = read_weights(path)
    config = header["config"]
    optim, loss, scores = config["optim"], config["loss"], header["scores"]
    runs = logs(name)
    steps, heavy = steps_of(runs), steps_of(logs(name, heavy=True))
    runs += logs(name, heavy=True)
    again = made_again(header)
    first_rate = PRESETS["release"][1].optim.lr
    rates = [first_rate, AGAIN.optim["lr"]] if again else [part.optim["lr"] for part in RUNS]
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        sequence="/".join(SEQUENCE),
        ap=sequence_ap(name),
        command=command(steps, heavy, header),
        layout=layout(name, config["student"]["width"]),
        dim=config["student"]["dim"],
        version=header["version"],
        size=path.stat().st_size,
        runs=story_again(steps) if again else story(steps[2:], heavy, *steps[:2], loss["regularizer_weight"]),
        batch=config["batch"],
        pairs=sum(steps + heavy) * config["batch"],
        minutes=sum(run[-1]["seconds"] for run in runs if run) / 60,
        optimizer=f"{optim['kind']}, {optim['decay']} decay",
        rates=", ".join(f"{rate:g}" for rate in rates),
        loss=loss["kind"],
        weight=loss["regularizer_weight"] if again else LIGHT,
        elsewhere="" if again else " where nothing else is said",
        teacher=header["teacher"][0],
        own=", in the last run beside what the second ended with" if own_teacher(header) else "",
        data=data_table(header),
        scored=", ".join(SCORED),
        fpr95=100 * scores["fpr95"],
        map=scores["map"],
        map_hard=scores["map_hard"],
        table=score_table(name),
    )


def curves(files: list[Path], path: Path) -> None:
    """Held-back scores over the pairs seen, all networks."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for number, weights in enumerate(files):
        header = read_weights(weights)[1]
        batch, base = header["config"]["batch"], 1 if made_again(header) else 2
        behind = 0
        for run, lines in enumerate(logs(weights.stem) + logs(weights.stem, heavy=True)):
            if not lines:
                continue
            scored = [line for line in lines if "map_hard" in line]
            pairs = [(behind + line["step"]) * batch / 1e6 for line in scored]
            behind += lines[-1]["step"] if run < base else 0  # all others start where this one ended
            for axis, key in zip(axes, ("map", "map_hard"), strict=True):
                label = None if run else weights.stem
                axis.plot(pairs, [line[key] for line in scored], color=f"C{number}", label=label)
    for axis, title in zip(axes, ("matching mAP", "with a detector's errors"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("million pairs")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    files = [packaged_weights(name) for name in PACKAGED]
    (HERE / "cards").mkdir(exist_ok=True)
    for path in files:
        (HERE / "cards" / f"{path.stem}.md").write_text(card(path), encoding="utf-8")
    curves(files, HERE / "plots" / "release.png")


if __name__ == "__main__":
    main()
