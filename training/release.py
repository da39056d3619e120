"""Our own weights: python training/release.py --photos DIR --notredame DIR [--width N] [--runs N N ...].

Reconstructs every set of photos and cuts the patches of its points, adds single photos under synthetic views
and PhotoTour Notre Dame, and trains desdis-WIDTH (or desdis-fast: `--student.kind desdis-fast`) from scratch
with the preset `release`, and with further runs from there where `--again` says so. desdis-8 to -32 are
older: they are made by runs with Adam that build on each other (`--runs`, `RUNS`). Every part that is there
already is kept, and the training goes on where it was: the same command again continues.
Nothing of Strecha, Oxford or HPatches goes in, nor two photo sets that choices are made on. training/cards.py
writes the model cards of what was copied into desdis_match/weights.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from desdis_match.commands.cli import run
from desdis_match.distill.average import average_runs
from desdis_match.distill.config import TrainConfig
from desdis_match.distill.datasets import load_sources
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.train import LAST, train
from desdis_match.distill.warps import WarpConfig, read_photos
from desdis_match.errors import DesDisError, InputError, NoModelError
from desdis_match.features.extract import ExtractConfig
from desdis_match.patchsets.from_model import BuildPatchesConfig, build_patches
from desdis_match.patchsets.patchfile import write_patch_file

LICENCES = {
    "reichstag": "Image Matching Challenge, via borglab/gtsfm (BSD repository)",
    "monstree": "alicevision/dataset_monstree, none stated",
    "stitch": "BoofCV-Data (CC BY 4.0)",
    "chair": "BoofCV-Data (CC BY 4.0)",
    "square": "3DOM-FBK/deep-image-matching (BSD repository)",
    "statue": "3DOM-FBK/deep-image-matching (BSD repository)",
    "cyprus": "3DOM-FBK/deep-image-matching (BSD repository)",
    "nadar": "3DOM-FBK/deep-image-matching (BSD repository)",
    "banana": "pierotofy/dataset_banana (MIT)",
    "buddha": "alicevision/dataset_buddha (CC BY 4.0)",
    "kermit": "snavely/bundler_sfm",
    "et": "snavely/bundler_sfm",
    "piazza_san_marco": "Shiaoming/ALIKED (BSD repository)",
    "st_pauls": "Shiaoming/ALIKED (BSD repository)",
    "barn": "borglab/gtsfm (BSD repository)",
    "single_photos": "glue-factory (Apache-2.0 repository)",
}
"""Licences of the photo sets, as their sources state them. Of lund no model worth cutting forms."""
SCORED = ("statue", "et")
"""Sets that are never trained on: a training's log has the scores on their patches, if a model forms, and
heldback.py makes views of their photos."""
KEYPOINTS = ExtractConfig(detector="dog+hessian", max_keypoints=4000)
"""Of these the photo sets are reconstructed: both detectors, so that patches of both are trained on."""
LIGHT = 3.0
"""The regularizer's weight before study `weight`."""
SINGLE = "single_photos"
"""The set of unrelated photos: each is matched with synthetic views of itself."""
WARPS = WarpConfig(points=400, tilt=(0.0, 1.5), perspective=0.3)
"""Of that set's photos: up to nearly three times as long in one direction as in the other."""
AS_SECOND: dict[str, Any] = {"clip_share": 0.0}
"""Preset `release`'s augmentation before study `clipped`: that of second runs and of earlier studies."""
AS_FIRST: dict[str, Any] = {"turns": "pair", "dominant": 0.0, **AS_SECOND}
"""The same before study `turned`: that of first runs and of still earlier studies."""


@dataclass(frozen=True)
class Part:
    """A part of the training: what it has other than the preset."""

    augment: dict[str, Any]
    loss: dict[str, Any]
    optim: dict[str, Any]


def adam(lr: float) -> dict[str, Any]:
    """The optimizer before study `optimizer`."""
    return {"kind": "adam", "lr": lr}


AS_BEFORE = {"regularizer_weight": LIGHT}
RUNS = (
    Part(AS_FIRST, AS_BEFORE, adam(0.02)),
    Part(AS_SECOND, AS_BEFORE, adam(0.02)),
    Part({}, AS_BEFORE, adam(0.01)),
)
"""The first run, the second, and all further ones: the recipe got better while the weights were trained."""
HEAVY = Part({}, {}, adam(0.01))
"""Those after study `weight`."""
PRESET, AGAIN = Part({}, {}, {}), Part({}, {}, {"lr": 0.02})
"""The run of the preset, and those that go on from where it ended."""

logger = logging.getLogger("release")


@dataclass(frozen=True)
class Arguments:
    """Build the patches that are missing, then train."""

    photos: Path
    """Folder with a folder a photo set."""
    notredame: Path
    """PhotoTour Notre Dame with the reconstructed ids."""
    teachers: tuple[str, ...] = ("authors-desdis-32",)
    """Descriptor names or weight files; several are averaged."""
    width: int | None = None
    """8, 16, 24 or 32 (desdis-fast: 16); --student.width where it is not given."""
    runs: tuple[int, ...] = ()
    """Steps of each run, made as RUNS says in folders desdis-WIDTH-1 and so on: the second goes on from the
    first, all others go on from the second, and the average of all from the second on goes to desdis-WIDTH;
    0 leaves one of those others out, with the batches that its number stands for.
    None: a run from scratch with the preset, --steps long. Beside --runs the options --steps, --optim.kind,
    --optim.lr and the regularizer's weight have no effect, nor in the first two runs those of turns and
    clipping."""
    again: tuple[int, ...] = ()
    """Steps of further runs, each from where that of the preset ended (in folder desdis-WIDTH-1), in folders
    desdis-WIDTH-2 and so on; the average of all goes to desdis-WIDTH."""
    heavy: tuple[int, ...] = ()
    """Steps of still further runs, with the preset's weight of the regularizer, in folders
    desdis-WIDTH-heavy-1 and so on; they too go on from the second run and are averaged."""
    own_teacher: bool = False
    """In the heavy runs what the second run ended with is a teacher too."""
    output: Path = Path("out/release")
    patches_only: bool = False
    """Stop when the patches are built."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = PRESETS["release"][1]
    """Overrides of the preset."""


def build(photos: Path, name: str, folder: Path) -> None:
    """Cut the patches of a set where that is not done; NAME.txt says why when its photos give no model."""
    path, left_out = folder / f"{name}.h5", folder / f"{name}.txt"
    if path.is_file() or left_out.is_file():
        return
    if name == SINGLE:
        made = read_photos(photos / name, WARPS)
        views = {"points": str(WARPS.points), "tilt": str(WARPS.tilt[1])}
        write_patch_file(path, replace(made, licences=(LICENCES[name],)), views)
        return
    try:
        made = build_patches(
            BuildPatchesConfig(photos / name, path, licence=LICENCES[name], extract=KEYPOINTS)
        )
        logger.info("%s: %d patches of %d points", name, len(made), made.num_points)
    except DesDisError as error:
        logger.warning("%s is left out: %s", name, error)
        if isinstance(error, NoModelError):
            left_out.write_text(f"{error}\n", encoding="utf-8")


def release_sources(notredame: Path, patches: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources to train on and sources only scored on, of the sets whose patches are built."""
    built_sets = [name for name in LICENCES if (patches / f"{name}.h5").is_file()]
    training = [f"patches:{patches / name}.h5" for name in built_sets if name not in SCORED]
    training.append(f"phototour:{notredame},doubt=4")
    return tuple(training), tuple(f"patches:{patches / name}.h5" for name in built_sets if name in SCORED)


def main(argv: list[str]) -> int:
    arguments = tyro.cli(Arguments, args=argv)
    preset, untouched = arguments.config, PRESETS["release"][1]
    if (preset.data.sources, preset.data.scored, preset.teacher.names) != (
        untouched.data.sources,
        untouched.data.scored,
        untouched.teacher.names,
    ):
        raise InputError("the data are set by --photos and --notredame, the teachers by --teachers")
    if 0 in arguments.runs[:2]:
        raise InputError("all further --runs go on from the first two, so 0 cannot leave those out")
    if arguments.heavy and len(arguments.runs) < 2:
        raise InputError("--heavy runs go on from the second of --runs, so give both of those")
    if arguments.again and arguments.runs:
        raise InputError("--again runs go on from the preset's, --runs are instead of that: give one of both")
    width = arguments.width or preset.student.width
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    patches = arguments.output / "patches"
    for name in LICENCES:
        build(arguments.photos, name, patches)
    if arguments.patches_only:
        return 0
    sources, scored = release_sources(arguments.notredame, patches)
    config = replace(
        preset,
        data=replace(preset.data, sources=sources, scored=scored),
        student=replace(preset.student, width=width),
        teacher=replace(preset.teacher, names=arguments.teachers, cache=arguments.output),
    )
    kind = preset.student.kind
    folder = arguments.output / (f"desdis-{width}" if kind == "desdis" else kind)
    data = load_sources(sources, config.data.held_back, scored)
    if not arguments.runs and not arguments.again:
        result = train(config, folder, data=data)
        print(f"{result.last}: {result.scores}")
        return 0
    if arguments.again:
        steps_of_parts = [(preset.steps, PRESET), *((steps, AGAIN) for steps in arguments.again)]
    else:
        steps_of_parts = [(n, RUNS[min(i, len(RUNS) - 1)]) for i, n in enumerate(arguments.runs)]
    runs = [
        (f"{folder.name}-{number + 1}", number, steps, part)
        for number, (steps, part) in enumerate(steps_of_parts)
        if steps
    ]
    runs += [
        (f"{folder.name}-heavy-{number + 1}", number + 2, steps, HEAVY)
        for number, steps in enumerate(arguments.heavy)
    ]
    base = 1 if arguments.again else 2  # further runs go on from this one and are averaged with it
    ended: list[Path] = []
    run_config = config
    for name, number, steps, part in runs:
        start = str(ended[min(len(ended), base) - 1]) if ended else config.student.start
        own = (str(ended[1]),) if arguments.own_teacher and part is HEAVY else ()
        run_config = replace(
            config,
            steps=steps,
            seed=config.seed + number,  # other batches
            augment=replace(config.augment, **part.augment),
            loss=replace(config.loss, **part.loss),
            optim=replace(config.optim, **part.optim),
            student=replace(config.student, start=start),
            teacher=replace(config.teacher, names=(*arguments.teachers, *own)),
        )
        ended.append(train(run_config, folder.with_name(name), data=data).last)
    weights = folder / LAST
    print(f"{weights}: {average_runs(ended[base - 1 :] or ended, run_config, data, weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
