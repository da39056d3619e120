"""Reconstructions of fountain-P11 and entry-P10 beside pycolmap's SIFT, against the true cameras.

    python eval/reconstructions.py    # from the project's root, with the development data in ../shared/data

Writes eval/results/sfm.* (DesDis-N are the authors' weights), sfm-hessian.* and, of pycolmap with about as
many keypoints as ours, sfm-equal.*. The models lie in the cache folder. Stopped, it goes on where it was;
eval/figures.py draws what it stored.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import DEFAULT_DESCRIPTOR
from desdis_match.descriptors.registry import PACKAGED
from desdis_match.evaluate.output import OutputConfig, emit
from desdis_match.evaluate.poses.sfm import SfmConfig, evaluate_sfm
from desdis_match.features.detectors import DetectorConfig

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Arguments:
    """Reconstruct and score."""

    data: Path = Path("../shared/data")
    """Folder with strecha and weights."""


def main(argv: list[str]) -> int:
    data = parse(Arguments, argv, "python eval/reconstructions.py").data
    scenes = (data / "strecha" / "fountain-P11", data / "strecha" / "entry-P10")
    small, large = (str(data / f"weights/desdis/DesDis-{width}.pth") for width in (8, 32))
    dog, hessian = (DetectorConfig(detector=name, max_keypoints=8000) for name in ("dog", "hessian"))

    def sfm(name: str, config: SfmConfig) -> None:
        places = OutputConfig(RESULTS / f"{name}.json", RESULTS / f"{name}.md")
        emit(evaluate_sfm(config), places, "python eval/reconstructions.py")

    sfm(
        "sfm",
        SfmConfig(
            scenes,
            descriptors=(*PACKAGED, small, large, "rootsift"),
            pycolmap_sift=True,
            intrinsics=("self", "given"),
            detection=dog,
        ),
    )
    sfm("sfm-hessian", SfmConfig(scenes, descriptors=(DEFAULT_DESCRIPTOR, large), detection=hessian))
    # COLMAP's budget counts a keypoint with two orientations once; 5100 give about 8000.
    sfm("sfm-equal", SfmConfig(scenes, pycolmap_sift=True, sift_keypoints=5100, detection=dog))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
