"""Reconstructions of fountain-P11 and entry-P10 side by side with pycolmap's SIFT, against true cameras.

    python eval/reconstructions.py    # from the project's root, with the development data in ../shared/data

Writes eval/results/sfm.*; the reconstructions lie in the user's cache folder. Stopped, it goes on where it was.
"""

from pathlib import Path

from desdis_match.evaluate.__main__ import main

data = Path("../shared/data")
results = Path("eval/results")

main(
    ["sfm", "--scenes", f"{data}/strecha/fountain-P11", f"{data}/strecha/entry-P10"]
    + [
        "--descriptors",
        f"{data}/weights/desdis/DesDis-8.pth",
        f"{data}/weights/desdis/DesDis-32.pth",
        "rootsift",
    ]
    + ["--pycolmap-sift", "--intrinsics", "self", "given", "--max-size", "1600", "--max-keypoints", "8000"]
    + ["--json", f"{results}/sfm.json", "--markdown", f"{results}/sfm.md", "--plot", f"{results}/sfm.png"]
)
