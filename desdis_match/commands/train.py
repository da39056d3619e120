"""`desdis-match train PRESET [--output DIR] [overrides]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from ..distill.config import TrainConfig
from ..distill.presets import PRESETS
from ..errors import InputError
from ..support.checks import check_tree


@dataclass(frozen=True)
class TrainCommand:
    """Train a patch descriptor; a run that was stopped goes on with the same command."""

    output: Path = Path("out/train")
    """Gets best.safetensors, last.safetensors, the checkpoint, log.jsonl and TensorBoard's file."""
    restart: bool = False
    """Begin anew although the folder holds a checkpoint."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def usage() -> str:
    """How to call it, with the presets."""
    lines = ["usage: desdis-match train PRESET [--output DIR] [options]", "", "presets:"]
    lines += [f"  {name:<10}{text}" for name, (text, _) in PRESETS.items()]
    return "\n".join(
        [*lines, "", "desdis-match train PRESET --help shows all options and the preset's values"]
    )


def main(argv: Sequence[str]) -> int:
    """Train as the arguments say; prints where the weights are and what they score."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in PRESETS:
        raise InputError(f"there is no preset '{argv[0]}'; take one of {', '.join(PRESETS)}")
    preset = PRESETS[argv[0]][1]
    command = tyro.cli(
        TrainCommand,
        args=list(argv[1:]),
        prog=f"desdis-match train {argv[0]}",
        default=TrainCommand(output=Path("out") / f"train-{argv[0]}", config=preset),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    check_tree(command)
    from ..distill.train import train

    result = train(command.config, command.output, command.restart)
    scores = result.scores
    print(f"{result.steps} steps in {result.seconds:.0f} s")
    print(
        f"held-back points: FPR95 {100 * scores.fpr95:.4f} %, "
        f"matching mAP {scores.map:.4f}, with a detector's errors {scores.map_hard:.4f}"
    )
    print(f"weights: {result.last} (last), {result.best} (best)")
    return 0


if __name__ == "__main__":
    from .cli import run

    sys.exit(run(main, sys.argv[1:]))
