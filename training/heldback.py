"""Planar sequences from the photo sets that are never trained on: python training/heldback.py --photos DIR.

Every photo of release.py's SCORED sets gives a sequence in HPatches' layout: the photo and five views of it
under random homographies, with other light, blur, noise and JPEG. On them choices are made that must not look
at HPatches or Oxford: `--descriptors` are scored with the AP of DoG and of Hessian keypoints, with `--tune`
also by the scale of the patch's frame and by the threshold of the ratio test (in training/logs/tune.json).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tyro
from release import SCORED

from desdis_match.cli import run
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.planar import PlanarPairs, planar_ap, read_planar
from desdis_match.distill.warps import WarpConfig, random_homography
from desdis_match.evaluate.contenders import RunConfig
from desdis_match.evaluate.homographies import HomographyConfig, evaluate_homographies
from desdis_match.images import list_images

LONG_SIDE = 800
"""Of the photos, pixels."""
VIEWS = 5
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


def make_sequence(photo: Path, folder: Path, seed: int) -> None:
    """Write 1.png ... 6.png and H_1_2 ... H_1_6; views get harder with their number."""
    image = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE)
    scale = LONG_SIDE / max(image.shape)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "1.png"), image)
    rng = np.random.default_rng([seed, 11])
    for view in range(1, VIEWS + 1):
        hard = view / VIEWS
        config = WarpConfig(rotation=0.3 * hard, zoom=0.5 * hard, tilt=1.2 * hard, perspective=0.4 * hard)
        matrix = random_homography(width, height, config, rng)
        seen = cv2.warpPerspective(
            cv2.GaussianBlur(image, (0, 0), 0.6), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
        )
        gamma, gain = np.exp(rng.normal(0, 0.4 * hard)), np.exp(rng.normal(0, 0.2 * hard))
        lit = np.clip((seen / 255) ** gamma * gain, 0, 1)
        lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 0.3 + 1.5 * hard))
        lit = np.clip(lit + rng.normal(0, 0.012 * hard, lit.shape), 0, 1)
        _, packed = cv2.imencode(".jpg", (lit * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])
        cv2.imwrite(str(folder / f"{view + 1}.png"), cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE))
        np.savetxt(folder / f"H_1_{view + 1}", matrix / matrix[2, 2])


def sequences(photos: Path, output: Path) -> list[Path]:
    """A folder for each photo of the SCORED sets, made where it is missing."""
    folders = []
    for name in SCORED:
        for number, photo in enumerate(list_images(photos / name)):
            folder = output / f"{name}-{Path(photo).stem}"
            if not (folder / f"H_1_{VIEWS + 1}").is_file():
                make_sequence(photos / name / photo, folder, number)
            folders.append(folder)
    return folders


def planar_sets(photos: Path, output: Path, keypoints: int = 1024) -> dict[str, PlanarPairs]:
    """The sequences' keypoints and patches by detector."""
    folders = sequences(photos, output)
    return {detector: read_planar(folders, output, detector, keypoints) for detector in DETECTORS}


def tune(folders: Path, descriptor: str) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of a descriptor by frame scale, and by ratio at the frame scale that is the package's."""
    start = HomographyConfig((folders,), run=RunConfig(descriptors=(descriptor,)))
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
    arguments = tyro.cli(Arguments, args=argv)
    sets = planar_sets(arguments.photos, arguments.output, arguments.keypoints)
    for name in arguments.descriptors:
        describe = load_descriptor(name)
        print(name, *(f"{detector} {planar_ap(describe, pairs):.4f}" for detector, pairs in sets.items()))
    if arguments.tune:
        found = {Path(name).stem: tune(arguments.output, name) for name in arguments.descriptors}
        log = Path(__file__).resolve().parent / "logs" / "tune.json"
        log.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
