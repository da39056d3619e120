"""Model cards of the weights in the package: python training/cards.py.

Writes training/cards/NAME.md for every desdis_match/weights/NAME.safetensors of a descriptor, from the file's
header, the logs of its runs (training/logs/release/NAME-1.jsonl and so on, in release.py's order), the
licences in release.py and the evaluation in eval/results; and training/plots/release.png, all their curves.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from release import LICENCES, RUNS, SCORED

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
    """Its scores beside those of the authors' network of the same width and of RootSIFT."""
    scores = evaluated()
    rows = {
        f"**{name}, ours**": scores[name],
        f"{name}, the authors'": scores.get(name.replace("desdis", "DesDis")),
        "rootsift": scores["rootsift"],
    }
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * len(COLUMNS) + "|"]
    lines += [
        f"| {label} | " + " | ".join(f"{value:.4f}" for value in row) + " |"
        for label, row in rows.items()
        if row
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
    "optim.lr",
    "steps",
    "seed",
    "validate_every",
)
"""Fields that release.py's command says otherwise, or that leave the weights as they are."""


def logs(name: str) -> list[list[dict[str, Any]]]:
    """Lines of each of its runs, none of a run that was left out."""
    files = {int(path.stem.rpartition("-")[2]): path for path in LOGS.glob(f"{name}-*.jsonl")}
    return [read_log(files[number]) if number in files else [] for number in range(1, max(files) + 1)]


def command(steps: list[int], config: dict[str, Any]) -> str:
    """What makes these weights again: release.py with the steps of each run and every option that differs
    from the preset."""
    preset, config = PRESETS["release"][1].as_dict(), with_defaults(config)
    words = [f"--width {config['student']['width']}", "--runs", *map(str, steps)]
    for name in differences(preset, config):
        if name not in NOT_OF_THE_COMMAND:
            group, _, field = name.rpartition(".")
            value = (config[group] if group else config)[field]
            words.append(f"--{name.replace('_', '-')} {value}")
    return "python training/release.py --photos PHOTOS --notredame NOTREDAME \\\n    " + " ".join(words)


def card(path: Path) -> str:
    """A model card as Markdown; its head is machine-readable."""
    name = path.stem
    _, header = read_weights(path)
    config = header["config"]
    optim, loss, scores = config["optim"], config["loss"], header["scores"]
    runs = logs(name)
    steps = [run[-1]["step"] if run else 0 for run in runs]
    third = [number for number in steps[2:] if number]
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        sequence="/".join(SEQUENCE),
        ap=sequence_ap(name),
        command=command(steps, config),
        width=config["student"]["width"],
        dim=config["student"]["dim"],
        version=header["version"],
        size=path.stat().st_size,
        first=steps[0],
        second=steps[1],
        others=("each for itself, " if len(third) > 1 else "")
        + " and ".join(f"{number:,}" for number in third),
        batch=config["batch"],
        pairs=sum(steps) * config["batch"],
        minutes=sum(run[-1]["seconds"] for run in runs if run) / 60,
        optimizer=f"{optim['kind']}, {optim['decay']} decay",
        rates=", ".join(f"{lr:g}" for _, lr in RUNS),
        loss=loss["kind"],
        weight=loss["regularizer_weight"],
        teachers=", ".join(header["teacher"]) or "none",
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
        batch = read_weights(weights)[1]["config"]["batch"]
        behind = 0
        for run, lines in enumerate(logs(weights.stem)):
            if not lines:
                continue
            scored = [line for line in lines if "map_hard" in line]
            pairs = [(behind + line["step"]) * batch / 1e6 for line in scored]
            behind += lines[-1]["step"] if run < 2 else 0  # all others start where the second ended
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
