"""Which keypoints: every detector with desdis-16 beside ALIKED and OpenCV's SIFT; every width on the best.

    python eval/keypoints.py        # from the project's root, with the development data in ../shared/data

Writes eval/results/keypoints.json and keypoints.md: 2048 keypoints, orientation auto, mutual neighbours. CPU
seconds a photo - detection, orientation, patches, description - are measured on the first two of each
sequence, one contender after the other, on one thread.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.output import to_json
from desdis_match.evaluate.planes.baselines import load_baselines
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.evaluate.planes.sequences import find_sequences
from desdis_match.features.detectors import DetectorConfig
from desdis_match.features.extract import ExtractConfig
from desdis_match.features.extract_set import extract_together
from desdis_match.photos.images import read_gray

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "keypoints",
    "rep@3px",
    "AP",
    "MMA@3",
    "match.score",
    "correct",
    "opencv AUC@5px",
    "pycolmap AUC@5px",
)
BUDGET = 2048
WIDTHS = ("desdis-16", "desdis-8", "desdis-fast", "desdis-24", "desdis-32")
SETTINGS = (
    ("dog", "contrast", WIDTHS[:1]),
    ("dog", "matchability", WIDTHS[:1]),
    ("hessian", "matchability", WIDTHS[:1]),
    ("dog+hessian", "matchability", WIDTHS[:1]),
    ("hessian-multiscale", "contrast", WIDTHS),
)
TIMED = ("dog", "hessian", "dog+hessian", "hessian-multiscale")


@dataclass(frozen=True)
class Arguments:
    """Score detectors."""

    data: Path = Path("../shared/data")
    """Folder with homographies and weights."""


def main(argv: list[str]) -> int:
    data = parse(Arguments, argv, "python eval/keypoints.py").data
    roots = (data / "homographies" / "oxford_affine", data / "homographies" / "hpatches" / "v_dogman")
    rivals = ("opencv-sift", f"aliked:{data / 'weights/aliked/aliked-n16rot.pth'}")
    rows, stored = [], {}
    for detector, ranking, widths in SETTINGS:
        config = HomographyConfig(
            root=roots,
            local_features=rivals if len(widths) > 1 else (),
            detection=DetectorConfig(detector=detector, ranking=ranking, max_keypoints=BUDGET),
            run=CompareConfig(descriptors=widths),
        )
        stored = to_json(evaluate_homographies(config), "python eval/keypoints.py")
        for name in stored["weights"]:
            label = f"{detector}, {ranking}, {name}" if name in WIDTHS else name
            scores = {of: {c: rows_of[name][c] for c in COLUMNS} for of, rows_of in stored["summary"].items()}
            rows.append({"keypoints": label, "options": stored["options"], "scores": scores})
            print(label, scores)

    # CPU seconds: the contenders take turns, so that whatever else the machine does meets all of them.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    aliked = load_baselines(rivals[1:], "cpu")[0]
    descriptor = load_descriptor("desdis-16", device="cpu")
    seconds = {name: [] for name in (*TIMED, aliked.label)}
    for sequence in find_sequences(roots)[0]:
        paths = list(sequence.images().values())[:2]
        photos = [read_gray(path, 1600) for path in paths]
        for detector in TIMED:
            start = time.process_time()
            extract_together(photos, ExtractConfig(detector=detector, max_keypoints=BUDGET), descriptor)
            seconds[detector].append((time.process_time() - start) / len(photos))
        start = time.process_time()
        for path, photo in zip(paths, photos, strict=True):
            aliked.extract(path, photo, BUDGET)
        seconds[aliked.label].append((time.process_time() - start) / len(photos))
    cpu = {name: sum(each) / len(each) for name, each in seconds.items()}
    print(cpu)

    sets = list(rows[0]["scores"])[:2]
    table = ["| keypoints | " + " | ".join(f"{of}: {c}" for of in sets for c in COLUMNS) + " |"]
    table.append("|---|" + "---:|" * (len(sets) * len(COLUMNS)))
    for row in rows:
        cells = [row["scores"][of][c] for of in sets for c in COLUMNS]
        shown = [f"{value:.3f}" if value < 2 else f"{value:.0f}" for value in cells]
        table.append(f"| {row['keypoints']} | " + " | ".join(shown) + " |")
    times = ["| desdis-16 on | CPU s a photo | of ALIKED's |", "|---|---:|---:|"]
    times += [f"| {name} | {s:.3f} | {s / cpu[aliked.label]:.3f} |" for name, s in cpu.items()]
    text = "\n".join(["# Keypoints", "", *table, "", *times, "", "Made by `python eval/keypoints.py`."])
    (RESULTS / "keypoints.md").write_text(text + "\n")
    about = {key: stored[key] for key in ("command", "versions", "data", "weights")}
    (RESULTS / "keypoints.json").write_text(json.dumps({**about, "rows": rows, "cpu": cpu}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
