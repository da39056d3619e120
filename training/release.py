"""Our own weights: python training/release.py --photos DIR --notredame DIR --recipe recipes/NAME.json.

Reconstructs every set of photos and cuts the patches of its points, adds single photos under synthetic views
and PhotoTour Notre Dame, and trains by the recipe: the runs that desdis-8 to -32 and desdis-fast were made by
are training/recipes/NAME.json; what those do not say is of the preset `release`. Every part that is there
already is kept, and the training goes on where it was: the same command again continues.
Nothing of Strecha, Oxford or HPatches goes in, nor two photo sets that choices are made on. training/cards.py
writes the model cards of what was copied into desdis_match/weights.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import read_weights
from desdis_match.distill.datasets import load_sources
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.recipe import read_recipe, train_recipe
from desdis_match.distill.train import LAST
from desdis_match.distill.warps import WarpConfig, read_photos
from desdis_match.errors import DesDisError, NoModelError
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
SINGLE = "single_photos"
"""The set of unrelated photos: each is matched with synthetic views of itself."""
WARPS = WarpConfig(points=400, tilt=(0.0, 1.5), perspective=0.3)
"""Of that set's photos: up to nearly three times as long in one direction as in the other."""

logger = logging.getLogger("release")


@dataclass(frozen=True)
class Arguments:
    """Build the patches that are missing, then train by a recipe."""

    photos: Path
    """Folder with a folder a photo set."""
    notredame: Path
    """PhotoTour Notre Dame with the reconstructed ids."""
    recipe: Path | None = None
    """A file of training/recipes, or one like them; without it only patches are built."""
    teachers: tuple[str, ...] = ("authors-desdis-32",)
    """Descriptor names or weight files; several are averaged."""
    output: Path = Path("out/release")
    """Folder of the patches, the runs, and NAME/last.safetensors for a recipe NAME.json."""


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
    arguments = parse(Arguments, argv, "python training/release.py")
    recipe = read_recipe(arguments.recipe) if arguments.recipe else None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    patches = arguments.output / "patches"
    for name in LICENCES:
        build(arguments.photos, name, patches)
    if arguments.recipe is None or recipe is None:
        return 0
    preset = PRESETS["release"][1]
    sources, scored = release_sources(arguments.notredame, patches)
    config = replace(
        preset,
        data=replace(preset.data, sources=sources, scored=scored),
        teacher=replace(preset.teacher, names=arguments.teachers, cache=arguments.output),
    )
    data = load_sources(sources, config.data.held_back, scored)
    result = arguments.output / arguments.recipe.stem / LAST
    weights = train_recipe(recipe, config, data, arguments.output, result)
    print(f"{weights}: {read_weights(weights)[1]['scores']}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
