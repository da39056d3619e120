"""The studies: python training/studies.py STUDY [--scale small|full], STUDY as in `Arguments`.

`small` is sized for two CPU cores (short runs of small networks, said in RESULTS.md); `full` for a GPU.
Every finished run is a line of training/logs/STUDY-SCALE.jsonl; training/results.py makes tables and plots.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from heldback import planar_sets
from release import release_sources

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.distill.augment import NO_AUGMENTATION, AugmentConfig
from desdis_match.distill.config import DataConfig, OptimConfig, StudentConfig, TeacherConfig, TrainConfig
from desdis_match.distill.datasets import load_sources
from desdis_match.distill.objective import LossConfig
from desdis_match.distill.planar import read_planar
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.record import read_log
from desdis_match.distill.study import EARLIER, StudyData, StudyRun, add_line, run_study, scores_of
from desdis_match.patchsets.patchset import split

HERE = Path(__file__).resolve().parent
FEW_POINTS = 0.1
"""Share of the points that `equal-weight` trains on at small scale, so that a teacher comes to its end."""
TAUGHT = (4, 6)
"""Of `equal-weight`: the rounds of a teacher's training after which it teaches a student."""
ON_RELEASE_DATA = ("recipe", "aslant", "turned", "clipped", "weight", "optimizer")
"""Studies on the data of the released weights."""
LIGHT = 3.0
"""The regularizer's weight before study `weight`."""
AS_SECOND: dict[str, Any] = {"clip_share": 0.0}
"""Preset `release`'s augmentation before study `clipped`."""
AS_FIRST: dict[str, Any] = {"turns": "pair", "dominant": 0.0, **AS_SECOND}
"""The same before study `turned`."""
BASELINES = ("rootsift", "DesDis-8", "DesDis-16", "DesDis-32", "HardTFeat")


@dataclass(frozen=True)
class Arguments:
    """Run a study, or what of it is not in its log yet."""

    study: tyro.conf.Positional[
        Literal[
            "equal-weight",
            "light-weight",
            "ablation",
            "recipe",
            "aslant",
            "turned",
            "clipped",
            "weight",
            "optimizer",
            "baselines",
        ]
    ]
    scale: Literal["small", "full"] = "small"
    """small: short runs for two CPU cores. full: long ones for a GPU."""
    data: Path = Path("../shared/data")
    """Folder with patches_notredame, photos, homographies and weights."""
    patches: Path = Path("out/release/patches")
    """Of the studies from recipe on: the patch files that release.py built."""
    second: Path = Path("out/release/desdis-8-2/last.safetensors")
    """clipped, weight: what release.py's second run left; the weights of desdis-32 are sought beside it."""
    work: Path = Path("out/studies")
    """Folder for checkpoints and weights of the runs."""
    share: tuple[int, int] = (0, 1)
    """Which of how many processes this is."""
    threads: int = 1


def base(scale: str, cache: Path) -> TrainConfig:
    """What all runs have in common."""
    small = scale == "small"
    return TrainConfig(
        data=DataConfig(sources=("phototour:patches_notredame",)),
        student=StudentConfig(width=8),
        teacher=TeacherConfig(cache=cache),
        optim=OptimConfig(lr=5e-3),
        batch=256 if small else 1024,
        steps=300 if small else 20000,
        validate_every=10**9,
        log_every=50,
        threads=1 if small else 0,
        tensorboard=not small,
    )


def ablation(start: TrainConfig, weights: Path) -> list[StudyRun]:
    """The regularizer's weight, form, measure, negatives, schedule; the teacher's view; the triplet loss."""
    taught = replace(start, teacher=replace(start.teacher, names=(str(weights / "desdis/DesDis-32.pth"),)))

    def row(name: str, seed: int = 0, teacher: dict | None = None, **loss: object) -> StudyRun:
        config = replace(taught, seed=seed, loss=replace(taught.loss, **loss))
        return StudyRun(name, replace(config, teacher=replace(config.teacher, **(teacher or {}))))

    runs = []
    for seed in (0, 1, 2):
        runs += [row("default", seed), row("no regularizer", seed, teacher={"names": ()})]
    return [
        *runs,
        row("weight 1", regularizer_weight=1.0),
        row("weight 10", regularizer_weight=10.0),
        row("distance, weight 3", measure="distance"),
        row("absolute, weight 1", form="absolute", regularizer_weight=1.0),
        row("distance absolute, weight 1", measure="distance", form="absolute", regularizer_weight=1.0),
        row("all negatives, weight 3", negatives="all"),
        row("all negatives, weight 30", negatives="all", regularizer_weight=30.0),
        row("no triplet loss, all, weight 30", negatives="all", regularizer_weight=30.0, weight=0.0),
        row("linear to zero", schedule="linear"),
        row("cosine to zero", schedule="cosine"),
        row("teacher sees plain patches", teacher={"sees": "plain"}),
        row("sosnet", kind="sosnet"),
        row("hynet", kind="hynet", margin=1.2),
    ]


def trial(small: bool, data: Path) -> TrainConfig:
    """Preset `release` as a short run of desdis-8, with the optimizer and the regularizer's weight of before
    studies `weight` and `optimizer`."""
    preset = PRESETS["release"][1]
    return replace(
        preset,
        student=replace(preset.student, width=8),
        teacher=replace(preset.teacher, names=(str(data / "weights/desdis/DesDis-32.pth"),)),
        loss=replace(preset.loss, regularizer_weight=LIGHT),
        optim=OptimConfig(lr=2e-2),
        steps=600 if small else 20000,
        validate_every=10**9,
        threads=1 if small else 0,
        tensorboard=not small,
    )


def lit(augment: AugmentConfig, times: float) -> AugmentConfig:
    """The same with light, blur, noise and JPEG so many times as often."""
    shares = ("light_share", "blur_share", "noise_share", "jpeg_share")
    return replace(augment, **{name: times * getattr(augment, name) for name in shares})


def recipe(small: bool, data: Path) -> list[StudyRun]:
    """Teacher, loss, augmentation, batches and step for the weights that are released, on their data.

    Rows "A, B" have what was chosen before: first the light and the teacher, then the loss and so on.
    """
    final = trial(small, data)
    (best,), ours = final.teacher.names, "desdis-32"
    start = replace(
        final,
        data=replace(final.data, stretch=0),
        augment=PRESETS["short"][1].augment,
        student=StudentConfig(width=8),
        teacher=TeacherConfig(names=(best,)),
        loss=LossConfig(),
        optim=OptimConfig(lr=1e-2),
    )
    augment = start.augment
    shapes = {name: getattr(augment, name) for name in ("rotation", "zoom", "shift", "shear")}
    half, more, twice = ({name: by * value for name, value in shapes.items()} for by in (0.5, 1.5, 2.0))
    often = lit(augment, 3)
    plain = replace(start, augment=often, teacher=replace(start.teacher, sees="plain"))
    sosnet = replace(plain, loss=LossConfig(kind="sosnet"))
    whole = replace(sosnet, student=replace(plain.student, dropout=0.0))
    near = replace(whole, data=replace(start.data, stretch=400))
    fast = replace(near, optim=replace(start.optim, lr=2e-2))
    wide = replace(fast, data=replace(start.data, stretch=1000))

    def row(name: str, config: TrainConfig = start, **changes: object) -> StudyRun:
        return StudyRun(name, replace(config, **changes))

    return [
        row("default"),
        row("no teacher", teacher=TeacherConfig()),
        row("teacher sees plain patches", teacher=plain.teacher),
        row("light three times as often", augment=often),
        row("hynet", loss=LossConfig(kind="hynet", margin=1.2)),
        row("half the geometry", augment=replace(augment, **half)),
        row("that light, 1.5 times the geometry", augment=replace(often, **more)),
        row("that light, twice the geometry", augment=replace(often, **twice)),
        row("A: that light, plain teacher", plain),
        row("A, sosnet", sosnet),
        row("B: A, sosnet, no dropout", whole),
        row("B, also our desdis-32 as teacher", whole, teacher=replace(plain.teacher, names=(best, ours))),
        row("C: B, stretches of 400 points", near),
        row("C, stretches of 150", near, data=replace(start.data, stretch=150)),
        row("C, regularizer's weight 10", near, loss=replace(near.loss, regularizer_weight=10.0)),
        row("C, batch 1024, half the steps", near, batch=1024, steps=near.steps // 2),
        row("D: C, learning rate 0.02", fast),
        row("D, stretches of 3000", fast, data=replace(start.data, stretch=3000)),
        row("D, 64 numbers", fast, student=replace(fast.student, dim=64)),
        row("E: D, stretches of 1000", wide),
        row("E, no teacher", wide, teacher=TeacherConfig()),
        row("E, live teacher", wide, teacher=start.teacher),
        row("E, half the geometry", wide, augment=replace(often, **half)),
    ]


def aslant(small: bool, data: Path) -> list[StudyRun]:
    """Augmentation for surfaces seen aslant, from the recipe of study `recipe` ("E") on."""
    start = trial(small, data)
    seldom = PRESETS["short"][1].augment
    sheared = replace(start, augment=lit(seldom, 3))
    tilted = replace(start, augment=replace(sheared.augment, shear=0.0, tilt=0.22))

    def row(name: str, config: TrainConfig = tilted, **augment: float) -> StudyRun:
        return StudyRun(name, replace(config, augment=replace(config.augment, **augment)))

    return [
        row("E: shear 0.1", sheared),
        row("shear 0.2", sheared, shear=0.2),
        row("tilt 0.14", tilt=0.14),
        row("F: tilt 0.22", tilted),
        row("tilt 0.29", tilt=0.29),
        row("F, rotation and zoom 0.1", rotation=0.1, zoom=0.1),
        row("F, live teacher", replace(tilted, teacher=replace(start.teacher, sees="augmented"))),
        row("F, light a third as often", replace(tilted, augment=replace(seldom, shear=0.0, tilt=0.22))),
        row(
            "G: F, light two thirds as often",
            replace(start, augment=replace(start.augment, **AS_FIRST)),
        ),
    ]


def turned(small: bool, data: Path) -> list[StudyRun]:
    """Batches turned along dominant gradients or by one quarter turn, from study `aslant` ("G") on."""
    final = trial(small, data)
    start = replace(final, augment=replace(final.augment, **AS_FIRST))
    turning = replace(final.augment, **AS_SECOND)

    def row(name: str, augment: AugmentConfig = start.augment, **changes: Any) -> StudyRun:
        return StudyRun(name, replace(start, augment=replace(augment, **changes)))

    return [
        row("G: quarter turns of each pair"),
        row("dominant, a third", dominant=0.33),
        row("dominant, half", dominant=0.5),
        row("dominant, always", dominant=1.0),
        row("quarter turns of a batch", turns="batch"),
        row("the same, dominant, a third", turns="batch", dominant=0.33),
        row("H: the same, dominant, half", turning),
        row("H, light half as often", lit(turning, 0.5)),
        row("H, rotation 0.08", turning, rotation=0.08),
        row("H, no ramp of light", turning, light=0.0),
    ]


def second_gone_on(small: bool, data: Path, second: Path) -> TrainConfig:
    """A short third run of desdis-8, from the weights of the second."""
    final = trial(small, data)
    return replace(
        final,
        seed=5,
        steps=2500 if small else final.steps,
        student=replace(final.student, start=str(second)),
        optim=replace(final.optim, lr=7e-3),
    )


def wide_second(second: Path) -> str:
    """What the second run of desdis-32 left, beside that of another width."""
    return str(second.parent.with_name("desdis-32-2") / second.name)


def clipped(small: bool, data: Path, second: Path) -> list[StudyRun]:
    """Patches whose highlights or shadows are cut off, from the weights of the second run ("H") on."""
    start = second_gone_on(small, data, second)
    chosen = start.augment
    unclipped = replace(start, augment=replace(chosen, **AS_SECOND))

    def row(name: str, **augment: Any) -> StudyRun:
        return StudyRun(name, replace(start, augment=replace(chosen, **augment)))

    return [
        StudyRun("H, gone on", unclipped),
        StudyRun(
            "H, our desdis-32 as teacher",
            replace(unclipped, teacher=replace(start.teacher, names=(wide_second(second),))),
        ),
        row("I: clip up to 0.4, a fifth of the patches"),
        row("clip up to 0.5, two fifths", clip=0.5, clip_share=0.4),
        row("I, less geometry", rotation=0.11, zoom=0.11, tilt=0.17, shift=0.03),
    ]


def weight(small: bool, data: Path, second: Path) -> list[StudyRun]:
    """The regularizer's weight, and two teachers under a heavy one, from the weights of the second run on."""
    start = second_gone_on(small, data, second)
    (theirs,), ours = start.teacher.names, wide_second(second)
    heavy = PRESETS["release"][1].loss.regularizer_weight

    def row(name: str, weight: float, *teachers: str) -> StudyRun:
        config = replace(start, loss=replace(start.loss, regularizer_weight=weight))
        return StudyRun(name, replace(config, teacher=replace(start.teacher, names=teachers or (theirs,))))

    return [
        row("weight 0", 0.0),
        row("weight 1", 1.0),
        row("I: weight 3", LIGHT),
        row("weight 10", 10.0),
        row("J: weight 30", heavy),
        row("weight 100", 100.0),
        row("weight 30, ours teaches too", heavy, theirs, ours),
    ]


def optimizer(small: bool, data: Path) -> list[StudyRun]:
    """Muon beside Adam, from scratch with "I"."""
    start = trial(small, data)

    def row(name: str, **optim: Any) -> StudyRun:
        return StudyRun(name, replace(start, optim=replace(start.optim, **optim)))

    return [
        row("I: adam, learning rate 0.02"),
        *(row(f"muon, learning rate {lr:g}", kind="muon", lr=lr) for lr in (0.1, 0.05, 0.2)),
    ]


def light_weight(start: TrainConfig, weights: Path) -> list[StudyRun]:
    """DesDis-8/16/24/32 with and without the regularizer, and teachers of different strength."""
    best = str(weights / "desdis/DesDis-32.pth")
    teachers = {
        "rootsift": ("rootsift",),
        "HardTFeat": (str(weights / "affnet/HardTFeat.pth"),),
        "DesDis-8": (str(weights / "desdis/DesDis-8.pth"),),
        "DesDis-32 and HardTFeat": (best, str(weights / "affnet/HardTFeat.pth")),
    }

    def row(width: int, label: str, names: tuple[str, ...], seed: int = 0) -> StudyRun:
        config = replace(start, seed=seed, student=replace(start.student, width=width))
        return StudyRun(
            f"desdis-{width}, {label}", replace(config, teacher=replace(start.teacher, names=names))
        )

    runs = []
    for seed in (0, 1, 2):
        runs += [row(8, "no teacher", (), seed), row(8, "teacher DesDis-32", (best,), seed)]
    runs += [row(8, f"teacher {label}", names) for label, names in teachers.items()]
    for width in (16, 24, 32):
        runs += [row(width, "no teacher", ()), row(width, "teacher DesDis-32", (best,))]
    return runs


def equal_weight(start: TrainConfig) -> list[StudyRun]:
    """A teacher by the triplet loss alone, in rounds, and DesDis students of two of its rounds.

    Every round has the same steps and schedule, batches of its own, and starts from the round before. So does
    a student: the teacher's next round is its control, the same without the regularizer. Flips and quarter
    turns are the only augmentation, as in the paper: so a teacher's training ends.
    """
    plain = replace(NO_AUGMENTATION, flips=True)
    start = replace(start, steps=6 * start.steps, augment=plain)
    runs = []
    for kind, seed in product(("hardnet", "sosnet"), range(3)):
        alone = replace(start, loss=replace(start.loss, kind=kind))
        earlier = ""
        for number in range(1, max(TAUGHT) + 2):
            config = replace(alone, seed=seed + 10 * (number - 1))
            if earlier:
                config = replace(config, student=replace(start.student, start=EARLIER))
            if number - 1 in TAUGHT:
                teacher = replace(start.teacher, names=(EARLIER,))
                runs.append(
                    StudyRun(
                        f"{kind}, student of round {number - 1}", replace(config, teacher=teacher), earlier
                    )
                )
            runs.append(StudyRun(f"{kind}, teacher, round {number}", config, earlier))
            earlier = runs[-1].name
    return runs


def baselines(arguments: Arguments, data: StudyData, log: Path) -> None:
    """Scores of RootSIFT and of published weights on the same data."""
    files = {path.stem: path for path in (arguments.data / "weights").glob("*/*.pth")}
    for name in BASELINES:
        if name not in {line["name"] for line in read_log(log)}:
            add_line(log, {"name": name, "row": name, **scores_of(files.get(name, name), data)})


def study_data(arguments: Arguments) -> StudyData:
    """Patches to train and score on, and planar sequences."""
    if arguments.study in ON_RELEASE_DATA:
        photos, notredame = arguments.data / "photos", arguments.data / "patches_notredame"
        sources, scored = release_sources(notredame, arguments.patches)
        training, held = load_sources(sources, PRESETS["release"][1].data.held_back, scored)
        return StudyData(training, held, planar_sets(photos, arguments.work / "heldback"))
    training, held = load_sources([f"phototour:{arguments.data / 'patches_notredame'},doubt=4"], 0.2)
    if arguments.study == "equal-weight" and arguments.scale == "small":
        training, _ = split(training, 1 - FEW_POINTS)
    scenes = arguments.data / "homographies"
    return StudyData(
        training,
        held,
        {
            "oxford": read_planar(sorted((scenes / "oxford_affine").iterdir()), arguments.work),
            "dogman": read_planar([scenes / "hpatches/v_dogman"], arguments.work),
        },
    )


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/studies.py")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    work, weights = arguments.work / arguments.scale, arguments.data / "weights"
    data = study_data(arguments)
    start = base(arguments.scale, work)
    if arguments.study == "baselines":
        baselines(arguments, data, HERE / "logs" / "baselines.jsonl")
        return 0
    runs = {
        "ablation": lambda: ablation(start, weights),
        "recipe": lambda: recipe(arguments.scale == "small", arguments.data),
        "aslant": lambda: aslant(arguments.scale == "small", arguments.data),
        "turned": lambda: turned(arguments.scale == "small", arguments.data),
        "clipped": lambda: clipped(arguments.scale == "small", arguments.data, arguments.second),
        "weight": lambda: weight(arguments.scale == "small", arguments.data, arguments.second),
        "optimizer": lambda: optimizer(arguments.scale == "small", arguments.data),
        "light-weight": lambda: light_weight(start, weights),
        "equal-weight": lambda: equal_weight(start),
    }[arguments.study]()
    log = HERE / "logs" / f"{arguments.study}-{arguments.scale}.jsonl"
    run_study(runs, data, work / arguments.study, log, arguments.share)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
