"""Why RootSIFT's MMA is higher than its AP says: how right are equally many matches of each descriptor?

    python eval/equal_matches.py      # from the project's root, with the development data in ../shared/data

Mutual nearest neighbours of the same keypoints (2048, ranked by contrast, as in eval/descriptors.py), right
within 3 pixels: all of them, which is MMA@3, and the surest by the ratio of the nearest distance to the
second nearest, as many a pair as the descriptor with fewest has. Writes eval/results/equal_matches.json.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import desdis_match as dm
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.planes.scores import project_plane
from desdis_match.evaluate.planes.sequences import find_sequences

RESULTS = Path(__file__).parent / "results"
NAMES = ("desdis-16", "rootsift")


@dataclass(frozen=True)
class Arguments:
    """Score equally many matches."""

    root: Path = Path("../shared/data/homographies/oxford_affine")
    """Folder of sequences."""


def main(argv: list[str]) -> int:
    root = parse(Arguments, argv, "python eval/equal_matches.py").root
    whole: dict[str, list[float]] = {name: [] for name in NAMES}
    equal: dict[str, list[float]] = {name: [] for name in NAMES}
    numbers: dict[str, list[int]] = {name: [] for name in NAMES}
    for sequence in find_sequences([root])[0]:
        photos = sequence.images()
        described = {
            name: dict(
                zip(
                    photos,
                    dm.extract([*photos.values()], descriptor=name, max_keypoints=2048, ranking="contrast"),
                    strict=True,
                )
            )
            for name in NAMES
        }
        for k, truth in sequence.homographies.items():
            right = {name: sorted_by_ratio(of[1], of[k], truth) for name, of in described.items()}
            fewest = min(map(len, right.values()))
            for name, row in right.items():
                whole[name].append(float(row.mean()))
                equal[name].append(float(row[:fewest].mean()))
                numbers[name].append(len(row))
    found = {
        name: {
            "matches": float(np.mean(numbers[name])),
            "MMA@3": float(np.mean(whole[name])),
            "MMA@3, equally many": float(np.mean(equal[name])),
        }
        for name in NAMES
    }
    (RESULTS / "equal_matches.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def sorted_by_ratio(features0: dm.Features, features1: dm.Features, truth: np.ndarray) -> np.ndarray:
    """(M,) bool, right or wrong, of mutual nearest neighbours, surest first."""
    matches = dm.match(features0, features1, matcher="mnn")
    rows0, rows1 = matches.indices.T
    cosines = np.sort(features0.descriptors[rows0].astype(np.float64) @ features1.descriptors.T, axis=1)
    ratio = np.sqrt(np.maximum(2 - 2 * cosines[:, -1], 0) / np.maximum(2 - 2 * cosines[:, -2], 1e-12))
    errors = np.linalg.norm(
        project_plane(truth, features0.keypoints[rows0]) - features1.keypoints[rows1], axis=1
    )
    return errors[np.argsort(ratio, kind="stable")] < 3


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
