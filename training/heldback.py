"""Planar sequences from the photo sets that are never trained on: python training/heldback.py --photos DIR.

Every photo of release.py's SCORED sets gives three sequences in HPatches' layout, the photo and five views of
it: `mixed` under random homographies with other light, blur, noise and JPEG, `aslant` ever more aslant and
hardly changed otherwise, `overexposed` hardly moved with ever more of its highlights cut off. On them choices
are made that must not look at HPatches or Oxford: `--descriptors` are scored with the AP of keypoints (of the
first two kinds upright DoG, upright Hessian and turned DoG, of the third upright DoG), with `--tune` on
`mixed` also by the scale of the patch's frame and by the threshold of the ratio test (logs/tune.json).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from release import SCORED

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.planar import PlanarPairs, planar_ap, read_planar
from desdis_match.distill.warps import WarpConfig, random_homography
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.photos.images import list_images

Gray = NDArray[np.uint8]
Matrix = NDArray[np.float64]
View = Callable[[Gray, int, np.random.Generator], tuple[Gray, Matrix]]

LONG_SIDE = 800
"""Of the photos, pixels."""
VIEWS = 5
ASLANT = (0.6, 0.9, 1.2, 1.5, 1.8)
"""log2 stretch of the views of an `aslant` sequence."""
STOPS = 0.6
"""Of each view of an `overexposed` sequence more than of the one before, log2 of the exposure."""
DETECTORS = ("dog", "hessian")
FRAME_SCALES = (9.0, 10.5, 12.0, 14.0, 16.0)
RATIOS = (0.8, 0.85, 0.9, 0.95, 1.0)
TUNED = ("AP", "correct", "MMA@3", "opencv AUC@3px", "opencv AUC@5px")


@dataclass(frozen=True)
class Arguments:
    """Make the sequences that are missing, then score descriptors on them."""

    photos: Path
    """Folder with a folder a photo set."""
    descriptors: tuple[str, ...] = ()
    """Descriptor names or weight files."""
    output: Path = Path("out/heldback")
    keypoints: int = 1024
    tune: bool = False
    """Score frame scales and ratio thresholds too."""


def make_sequence(kind: str, photo: Path, folder: Path, seed: int) -> None:
    """Write 1.png ... 6.png and H_1_2 ... H_1_6; views get harder with their number."""
    image = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE)
    scale = LONG_SIDE / max(image.shape)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "1.png"), image)
    part_of_seed, make_view = KINDS[kind]
    rng = np.random.default_rng([seed, part_of_seed])
    for view in range(1, VIEWS + 1):
        seen, matrix = make_view(image, view, rng)
        cv2.imwrite(str(folder / f"{view + 1}.png"), seen)
        np.savetxt(folder / f"H_1_{view + 1}", matrix / matrix[2, 2])


def mixed_view(image: Gray, view: int, rng: np.random.Generator) -> tuple[Gray, Matrix]:
    """The photo (h, w) under a random homography with other light, blur, noise, JPEG; and view_from_photo."""
    height, width = image.shape
    hard = view / VIEWS
    config = WarpConfig(rotation=0.3 * hard, zoom=0.5 * hard, tilt=(0.0, 1.2 * hard), perspective=0.4 * hard)
    matrix = random_homography(width, height, config, rng)
    seen = cv2.warpPerspective(
        cv2.GaussianBlur(image, (0, 0), 0.6), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    gamma, gain = np.exp(rng.normal(0, 0.4 * hard)), np.exp(rng.normal(0, 0.2 * hard))
    lit = np.clip((seen / 255) ** gamma * gain, 0, 1)
    lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 0.3 + 1.5 * hard))
    lit = np.clip(lit + rng.normal(0, 0.012 * hard, lit.shape), 0, 1)
    _, packed = cv2.imencode(".jpg", (lit * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), matrix


def aslant_view(image: Gray, view: int, rng: np.random.Generator) -> tuple[Gray, Matrix]:
    """The photo (h, w) stretched by ASLANT[view - 1], sampled at twice its size; and view_from_photo."""
    height, width = image.shape
    stretch = ASLANT[view - 1]
    config = WarpConfig(rotation=0.15, zoom=0.2, tilt=(stretch, stretch), perspective=0.15)
    matrix = random_homography(width, height, config, rng)
    twice = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    seen = cv2.warpPerspective(
        cv2.GaussianBlur(large, (0, 0), 0.8),
        twice @ matrix @ np.linalg.inv(twice),
        (2 * width, 2 * height),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
    lit = (seen / 255) ** np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.006, seen.shape)
    return (np.clip(lit, 0, 1) * 255).round().astype(np.uint8), matrix


def overexposed_view(image: Gray, view: int, rng: np.random.Generator) -> tuple[Gray, Matrix]:
    """The photo (h, w), hardly moved, at STOPS x view more exposure, with what is too bright cut off."""
    height, width = image.shape
    config = WarpConfig(rotation=0.05, zoom=0.05, tilt=(0, 0.1), perspective=0.02)
    matrix = random_homography(width, height, config, rng)
    linear = cv2.warpPerspective(
        (image / 255) ** 2.2, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    seen = np.clip(linear * 2 ** (STOPS * view), 0, 1) ** (1 / 2.2)
    return (seen * 255).round().astype(np.uint8), matrix


KINDS: dict[str, tuple[int, View]] = {
    "mixed": (11, mixed_view),
    "aslant": (77, aslant_view),
    "overexposed": (8, overexposed_view),
}
"""Kind of sequence -> its part of the seed, what makes a view of it."""


def sequences(kind: str, photos: Path, output: Path) -> list[Path]:
    """A folder for each photo of the SCORED sets, made where it is missing."""
    folders = []
    for name in SCORED:
        for number, photo in enumerate(list_images(photos / name)):
            folder = output / kind / f"{name}-{Path(photo).stem}"
            if not (folder / f"H_1_{VIEWS + 1}").is_file():
                make_sequence(kind, photos / name / photo, folder, number)
            folders.append(folder)
    return folders


def planar_sets(photos: Path, output: Path, keypoints: int = 1024) -> dict[str, PlanarPairs]:
    """KIND_DETECTOR -> upright keypoints and patches of those sequences; KIND_dominant -> turned DoG ones."""
    folders = {kind: sequences(kind, photos, output) for kind in KINDS}
    moved = ("mixed", "aslant")
    sets = {
        f"{kind}_{detector}": read_planar(folders[kind], output, detector, keypoints)
        for kind, detector in product(moved, DETECTORS)
    }
    for kind in moved:
        sets[f"{kind}_dominant"] = read_planar(folders[kind], output, "dog", keypoints, "dominant")
    return sets | {"overexposed_dog": read_planar(folders["overexposed"], output, "dog", keypoints)}


def tune(folders: Path, descriptor: str) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of a descriptor by frame scale, and by ratio at the frame scale that is the package's."""
    start = HomographyConfig((folders,), run=CompareConfig(descriptors=(descriptor,)))
    settings = {f"frame scale {scale:g}": replace(start, frame_scale=scale) for scale in FRAME_SCALES}
    settings |= {f"ratio {ratio:g}": replace(start, matcher="mnn+ratio", ratio=ratio) for ratio in RATIOS}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for detector in DETECTORS:
        for name, config in settings.items():
            detection = replace(config.detection, detector=detector, orientation="auto")
            result = evaluate_homographies(replace(config, detection=detection))
            (scores,) = result.content["summary"][folders.name].values()
            found.setdefault(detector, {})[name] = {key: scores[key] for key in TUNED}
            print(Path(descriptor).stem, detector, name, found[detector][name])
    return found


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/heldback.py")
    sets = planar_sets(arguments.photos, arguments.output, arguments.keypoints)
    for name in arguments.descriptors:
        describe = load_descriptor(name)
        print(name, *(f"{which} {planar_ap(describe, pairs):.4f}" for which, pairs in sets.items()))
    if arguments.tune:
        found = {Path(name).stem: tune(arguments.output / "mixed", name) for name in arguments.descriptors}
        log = Path(__file__).resolve().parent / "logs" / "tune.json"
        log.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
