"""Descriptors side by side: the patch benchmark on hpatches_format, then images of planar scenes.

    python eval/descriptors.py        # from the project's root, with the development data in ../shared/data

desdis-N are the weights of this package, DesDis-N the authors'. Writes eval/results/hpatches.*,
homographies.* (orientation `auto`, the package's default), homographies-dominant.* (a frame along each
keypoint's strongest gradient), and front.png: accuracy against speed, with the rates that
eval/benchmark_describe.py stored. Stopped, it goes on where it was.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors.registry import PACKAGED
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.output import OutputConfig, emit
from desdis_match.evaluate.patches.hpatches import HPatchesConfig, evaluate_hpatches
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.evaluate.plots import save_figure
from desdis_match.features.detectors import DetectorConfig

RESULTS = Path(__file__).parent / "results"
WIDTHS = (8, 16, 24, 32)
FAMILIES = {
    "ours": [f"desdis-{width}" for width in WIDTHS],
    "desdis-fast": ["desdis-fast"],
    "the authors'": [f"DesDis-{width}" for width in WIDTHS],
    **{name: [name] for name in ("HardTFeat", "tfeat-liberty", "rootsift")},
}


@dataclass(frozen=True)
class Arguments:
    """Score descriptors."""

    data: Path = Path("../shared/data")
    """Folder with hpatches_format, homographies and weights."""


def outputs(name: str) -> OutputConfig:
    return OutputConfig(*(RESULTS / f"{name}.{end}" for end in ("json", "md", "png")))


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
    draw_front()
    return 0


def draw_front() -> None:
    """Accuracy against speed, from what is stored."""
    rates = json.loads((RESULTS / "describe.json").read_text())["patches_per_second"]
    matching = json.loads((RESULTS / "hpatches.json").read_text())["descriptors"]
    images = json.loads((RESULTS / "homographies.json").read_text())["summary"]["oxford_affine"]
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    for family, names in FAMILIES.items():
        kinds = [name.lower().replace("tfeat-liberty", "tfeat") for name in names]
        rate = [rates.get(f"{kind}, onnxruntime", rates.get(kind)) for kind in kinds]
        axes[0].plot(rate, [images[name]["AP"] for name in names], "o-", label=family)
        axes[1].plot(rate, [matching[name]["matching"]["mAP"]["mean"] for name in names], "o-", label=family)
    for axis, title in zip(axes, ("AP, Oxford", "matching mAP, HPatches' patches"), strict=True):
        axis.set(xscale="log", xlabel="patches a second", ylabel=title)
        axis.set_xticks([20_000, 50_000, 100_000, 200_000], ["20,000", "50,000", "100,000", "200,000"])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, RESULTS / "front.png")


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
