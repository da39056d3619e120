"""Our own weights: python training/release.py --photos DIR --notredame DIR --teachers FILE... [--width 8].

Reconstructs every set of photos and cuts the patches of its points, adds single photos under synthetic views
and PhotoTour Notre Dame, and trains desdis-WIDTH from scratch with the preset `release`. Every part that is
there already is kept, and the training goes on where it was: the same command again continues.
Nothing of Strecha, Oxford or HPatches goes in; two photo sets are only scored on.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from desdis_match.cli import run
from desdis_match.distill.build_patches import BuildPatchesConfig, build_patches
from desdis_match.distill.config import TrainConfig
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.train import train
from desdis_match.errors import DesDisError

LICENCES = {
    "reichstag": "Image Matching Challenge, via borglab/gtsfm (BSD repository)",
    "lund": "mapillary/OpenSfM (BSD)",
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
}
"""Photo sets of several views, as their sources state."""
SCORED = ("statue", "et")
"""Sets that are never trained on; the checkpoint is chosen on them and on held-back points."""
SINGLE = "single_photos"
"""The set of unrelated photos."""

logger = logging.getLogger("release")


@dataclass(frozen=True)
class Arguments:
    """Build the patches that are missing, then train."""

    photos: Path
    """Folder with a folder a photo set."""
    notredame: Path
    """PhotoTour Notre Dame with the reconstructed ids."""
    teachers: tuple[str, ...] = ("desdis-32",)
    """Descriptor names or weight files; several are averaged."""
    width: int = 8
    output: Path = Path("out/release")
    patches_only: bool = False
    """Stop when the patches are built."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = PRESETS["release"][1]
    """Overrides of the preset."""


def built(photos: Path, name: str, folder: Path) -> Path | None:
    """The set's patch file; None, with the reason in the log, when its photos give no model."""
    path = folder / f"{name}.h5"
    if not path.is_file():
        try:
            made = build_patches(
                BuildPatchesConfig(images=photos / name, output=path, licence=LICENCES[name])
            )
        except DesDisError as error:
            logger.warning("%s is left out: %s", name, error)
            return None
        logger.info("%s: %d patches of %d points", name, len(made), made.num_points)
    return path


def main(argv: list[str]) -> int:
    arguments = tyro.cli(Arguments, args=argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    files = {name: built(arguments.photos, name, arguments.output / "patches") for name in LICENCES}
    if arguments.patches_only:
        return 0
    sources = [f"patches:{path}" for name, path in files.items() if path and name not in SCORED]
    sources += [f"photos:{arguments.photos / SINGLE}", f"phototour:{arguments.notredame},doubt=4"]
    scored = [f"patches:{files[name]}" for name in SCORED if files[name]]
    preset = arguments.config
    config = replace(
        preset,
        data=replace(preset.data, sources=tuple(sources), scored=tuple(scored)),
        student=replace(preset.student, width=arguments.width),
        teacher=replace(preset.teacher, names=arguments.teachers),
    )
    result = train(config, arguments.output / f"desdis-{arguments.width}")
    print(f"{result.last}: {result.scores}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
