"""Reconstructions of fountain-P11 and entry-P10 beside pycolmap's SIFT, against the true cameras.

    python eval/reconstructions.py    # from the project's root, with the development data in ../shared/data

Writes eval/results/sfm.*, sfm-hessian.*, sfm-12000.* and sfm-equal.*, and sfm-ours.* and
sfm-ours-hessian.* with the weights of this package (desdis-N; DesDis-N are the authors'). The models lie
in the cache folder. Stopped, it goes on where it was.
"""

from pathlib import Path

from desdis_match.commands.evaluate import main
from desdis_match.descriptors.registry import PACKAGED

data = Path("../shared/data")
results = Path("eval/results")

scenes = ["--scenes", f"{data}/strecha/fountain-P11", f"{data}/strecha/entry-P10"]
descriptors = [f"{data}/weights/desdis/DesDis-{width}.pth" for width in (8, 32)]
options = ["--intrinsics", "self", "given", "--max-size", "1600", "--max-keypoints", "8000"]
outputs = [f"--json={results}/sfm.json", f"--markdown={results}/sfm.md", f"--plot={results}/sfm.png"]
main(["sfm", *scenes, "--descriptors", *descriptors, "rootsift", "--pycolmap-sift", *options, *outputs])

hessian = ["--detector", "hessian", "--max-size", "1600", "--max-keypoints", "8000"]
outputs = [f"--json={results}/sfm-hessian.json", f"--markdown={results}/sfm-hessian.md"]
main(["sfm", *scenes, "--descriptors", descriptors[1], "rootsift", *hessian, *outputs])

many = ["--max-size", "1600", "--max-keypoints", "12000"]
outputs = [f"--json={results}/sfm-12000.json", f"--markdown={results}/sfm-12000.md"]
main(["sfm", *scenes[:2], "--descriptors", descriptors[1], "rootsift", *many, *outputs])

# COLMAP's budget counts a keypoint with two orientations once; 5100 give about 8000.
equal = ["--sift-keypoints", "5100", "--max-size", "1600", "--max-keypoints", "8000"]
outputs = [f"--json={results}/sfm-equal.json", f"--markdown={results}/sfm-equal.md"]
main(["sfm", *scenes, "--descriptors", descriptors[1], "--pycolmap-sift", *equal, *outputs])

ours = ["--descriptors", *PACKAGED, "rootsift", "--max-size", "1600"]
for detector, name, intrinsics in (
    ("dog", "sfm-ours", ("self", "given")),
    ("hessian", "sfm-ours-hessian", ("self",)),
):
    options = ["--intrinsics", *intrinsics, "--max-keypoints", "8000", "--detector", detector]
    outputs = [f"--json={results}/{name}.json", f"--markdown={results}/{name}.md"]
    main(["sfm", *scenes, *ours, *options, *outputs])
