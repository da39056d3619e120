"""How fast training is and where the time goes: python training/speed.py [--batch 1024] [--threads 2].

Prints, for each student and each way to have a teacher, pairs a second and the share of a step spent on data
(drawing and augmentation), teacher, student, mining and loss, and update. Patches are noise: the time does
not depend on what they show.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import DesDis, save_weights
from desdis_match.distill.config import DataConfig, StudentConfig, TeacherConfig, TrainConfig
from desdis_match.distill.record import Stopwatch
from desdis_match.distill.train import prepare
from desdis_match.patchsets.patchset import make_patch_set, split

NETWORKS = ("student", "teacher", "backward")
"""Parts of a step that are a network's forward or backward pass."""


@dataclass(frozen=True)
class Arguments:
    """Time training steps."""

    widths: tuple[int, ...] = (8, 16, 24, 32)
    """Students."""
    teachers: tuple[str, ...] = ("none", "plain", "augmented")
    """No teacher; DesDis-32 on unaugmented patches, described once; DesDis-32 on the batch."""
    batch: int = 1024
    points: int = 20000
    steps: int = 10
    threads: int = 0
    device: str = "auto"
    precision: str = "32-true"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/speed.py")
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (2 * arguments.points, 64, 64), dtype=np.uint8)
    data = split(make_patch_set(patches, np.arange(len(patches)) // 2, "noise", "generated"), 0.1)
    print(
        f"batch {arguments.batch}, {arguments.threads or torch.get_num_threads()} threads, {arguments.device}"
    )
    print("student    teacher     pairs/s   data  teacher  forward  backward  mining+loss  update  networks")
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher.safetensors"
        save_weights(teacher, DesDis(width=32).eval(), {})
        for width in arguments.widths:
            for sees in arguments.teachers:
                config = TrainConfig(
                    data=DataConfig(gallery_size=10),
                    student=StudentConfig(width=width),
                    teacher=TeacherConfig()
                    if sees == "none"
                    else TeacherConfig((str(teacher),), sees, Path(folder)),  # type: ignore[arg-type]
                    batch=arguments.batch,
                    threads=arguments.threads,
                    device=arguments.device,  # type: ignore[arg-type]
                    precision=arguments.precision,  # type: ignore[arg-type]
                    tensorboard=False,
                )
                report(config, data, Path(folder), arguments.steps, sees)
    return 0


def report(config: TrainConfig, data: tuple, folder: Path, steps: int, sees: str) -> None:
    """Time `steps` steps after two of warming up, and print a line."""
    training = prepare(replace(config, steps=steps + 2), folder, data)
    on_gpu = training.fabric.device.type == "cuda"
    for _ in range(2):
        training.step()
        training.progress.step += 1
    training.watch = Stopwatch(synchronize=on_gpu)
    start = time.perf_counter()
    for _ in range(steps):
        training.step()
        training.progress.step += 1
    rate = steps * config.batch / (time.perf_counter() - start)
    share = {name: 100 * value for name, value in training.watch.shares().items()}
    print(
        f"desdis-{config.student.width:<3} {sees:<10} {rate:8.0f} {share['data']:5.1f}% "
        f"{share['teacher']:7.1f}% "
        f"{share['student']:7.1f}% {share['backward']:8.1f}% {share['mining and loss']:11.1f}% "
        f"{share['update']:6.1f}% {sum(share[name] for name in NETWORKS):8.1f}%",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
