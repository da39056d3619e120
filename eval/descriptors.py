"""Descriptors side by side: the patch benchmark on hpatches_format, then images of planar scenes.

    python eval/descriptors.py        # from the project's root, with the development data in ../shared/data

desdis-N are the weights of this package, DesDis-N the authors'. Writes eval/results/hpatches.*,
homographies.* (orientation `auto`, the package's default), homographies-dominant.* (a frame along each
keypoint's strongest gradient). Stopped, it goes on where it was; eval/figures.py draws what it stored.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors.registry import PACKAGED
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.output import OutputConfig, emit
from desdis_match.evaluate.patches.hpatches import HPatchesConfig, evaluate_hpatches
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.features.detectors import DetectorConfig

RESULTS = Path(__file__).parent / "results"
WIDTHS = (8, 16, 24, 32)


@dataclass(frozen=True)
class Arguments:
    """Score descriptors."""

    data: Path = Path("../shared/data")
    """Folder with hpatches_format, homographies and weights."""


def outputs(name: str) -> OutputConfig:
    return OutputConfig(*(RESULTS / f"{name}.{end}" for end in ("json", "md")))


def main(argv: list[str]) -> int:
    data = parse(Arguments, argv, "python eval/descriptors.py").data
    weights = [str(data / f"weights/desdis/DesDis-{width}.pth") for width in WIDTHS]
    others = [str(data / "weights" / name) for name in ("tfeat/tfeat-liberty.params", "affnet/HardTFeat.pth")]
    compared = CompareConfig(descriptors=(*PACKAGED, *weights, *others, "rootsift"))

    patches = data / "hpatches_format"
    lists = HPatchesConfig(patches, tasks=patches / "tasks", split="demo", run=compared)
    emit(evaluate_hpatches(lists), outputs("hpatches"), "python eval/descriptors.py")

    scenes = data / "homographies"
    for orientation, name in (("auto", "homographies"), ("dominant", "homographies-dominant")):
        planes = HomographyConfig(
            root=(scenes / "oxford_affine", scenes / "hpatches" / "v_dogman"),
            local_features=("opencv-sift", f"aliked:{data / 'weights/aliked/aliked-n16rot.pth'}"),
            detection=DetectorConfig(detector="dog", max_keypoints=2048, orientation=orientation),
            run=compared,
        )
        emit(evaluate_homographies(planes), outputs(name), "python eval/descriptors.py")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
