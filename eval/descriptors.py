"""Descriptors side by side: the patch benchmark on hpatches_format, then images of planar scenes.

    python eval/descriptors.py        # from the project's root, with the development data in ../shared/data

Writes eval/results/hpatches.* and eval/results/homographies.*. Stopped, it goes on where it was.
"""

from pathlib import Path

from desdis_match.evaluate.__main__ import main

data = Path("../shared/data")
results = Path("eval/results")
weights = [f"{data}/weights/desdis/DesDis-{width}.pth" for width in (8, 16, 24, 32)]
weights += [f"{data}/weights/tfeat/tfeat-liberty.params", f"{data}/weights/affnet/HardTFeat.pth", "rootsift"]


def outputs(name: str) -> list[str]:
    ends = {"json": "json", "markdown": "md", "plot": "png"}
    return [f"--{kind}={results / name}.{end}" for kind, end in ends.items()]


patches = f"{data}/hpatches_format"
lists = ["--root", patches, "--tasks", f"{patches}/tasks", "--split", "demo"]
main(["hpatches", *lists, "--descriptors", *weights, *outputs("hpatches")])

scenes = ["--root", f"{data}/homographies/oxford_affine", f"{data}/homographies/hpatches/v_dogman"]
keypoints = ["--detector", "dog", "--orientation", "dominant", "--max-keypoints", "2048"]
whole = ["--local-features", "opencv-sift", f"aliked:{data}/weights/aliked/aliked-n16rot.pth"]
main(["homographies", *scenes, *keypoints, *whole, "--descriptors", *weights, *outputs("homographies")])
