"""Descriptors side by side: the patch benchmark on hpatches_format, then images of planar scenes.

    python eval/descriptors.py        # from the project's root, with the development data in ../shared/data

desdis-N are the weights of this package, DesDis-N the authors'. Writes eval/results/hpatches.*,
homographies.* (orientation `auto`, the package's default), homographies-dominant.* (a frame along each
keypoint's strongest gradient), and front.png: accuracy against speed, with the rates that
eval/benchmark_describe.py stored. Stopped, it goes on where it was.
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from desdis_match.commands.evaluate import main
from desdis_match.descriptors.registry import PACKAGED

data = Path("../shared/data")
results = Path("eval/results")
widths = (8, 16, 24, 32)
weights = [f"{data}/weights/desdis/DesDis-{width}.pth" for width in widths]
weights += [f"{data}/weights/tfeat/tfeat-liberty.params", f"{data}/weights/affnet/HardTFeat.pth", "rootsift"]
weights = [*PACKAGED, *weights]


def outputs(name: str) -> list[str]:
    ends = {"json": "json", "markdown": "md", "plot": "png"}
    return [f"--{kind}={results / name}.{end}" for kind, end in ends.items()]


patches = f"{data}/hpatches_format"
lists = ["--root", patches, "--tasks", f"{patches}/tasks", "--split", "demo"]
main(["hpatches", *lists, "--descriptors", *weights, *outputs("hpatches")])

scenes = ["--root", f"{data}/homographies/oxford_affine", f"{data}/homographies/hpatches/v_dogman"]
keypoints = ["--detector", "dog", "--max-keypoints", "2048"]
whole = ["--local-features", "opencv-sift", f"aliked:{data}/weights/aliked/aliked-n16rot.pth"]
compared = [*scenes, *keypoints, *whole, "--descriptors", *weights]
main(["homographies", *compared, "--orientation", "auto", *outputs("homographies")])
main(["homographies", *compared, "--orientation", "dominant", *outputs("homographies-dominant")])

rates = json.loads((results / "describe.json").read_text())["patches_per_second"]
matching = json.loads((results / "hpatches.json").read_text())["descriptors"]
images = json.loads((results / "homographies.json").read_text())["summary"]["oxford_affine"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
families = {"ours": [f"desdis-{width}" for width in widths], "desdis-fast": ["desdis-fast"]}
families |= {"the authors'": [f"DesDis-{width}" for width in widths]}
families |= {name: [name] for name in ("HardTFeat", "tfeat-liberty", "rootsift")}
for family, names in families.items():
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
figure.tight_layout()
figure.savefig(results / "front.png", dpi=110, metadata={"Software": None})
