"""Detector and orientation: what frames do for one descriptor, the authors' DesDis-32.

    python eval/frames.py        # from the project's root, with the development data in ../shared/data

Writes eval/results/frames.json and frames.md: a row a setting, 2048 keypoints, ALIKED last. Run it on a quiet
machine: seconds a photo are part of the table.
"""

import json
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.output import to_json
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.features.detectors import DetectorConfig

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("AP", "opencv AUC@5px", "pycolmap AUC@5px", "s/photo")
LAST = ("dog+hessian", "auto")
ORIENTATIONS = ("upright", "dominant", "multi", "learned", "auto")
SETTINGS = [*product(("dog", "hessian"), ORIENTATIONS), LAST]


@dataclass(frozen=True)
class Arguments:
    """Score detectors and orientations."""

    data: Path = Path("../shared/data")
    """Folder with homographies and weights."""


def main(argv: list[str]) -> int:
    data = parse(Arguments, argv, "python eval/frames.py").data
    weights, scenes = data / "weights", data / "homographies"
    rows, stored = [], {}
    for detector, orientation in SETTINGS:
        last = (detector, orientation) == LAST
        config = HomographyConfig(
            root=(scenes / "oxford_affine", scenes / "hpatches" / "v_dogman"),
            local_features=(f"aliked:{weights / 'aliked/aliked-n16rot.pth'}",) if last else (),
            detection=DetectorConfig(detector=detector, orientation=orientation, max_keypoints=2048),
            run=CompareConfig(descriptors=(str(weights / "desdis/DesDis-32.pth"),)),
        )
        stored = to_json(evaluate_homographies(config), "python eval/frames.py")
        for name in stored["weights"]:
            label = f"{detector}, {orientation}" if name == "DesDis-32" else name
            scores = {
                data_set: {key: of[name].get(key) for key in COLUMNS}
                for data_set, of in stored["summary"].items()
            }
            rows.append({"frames": label, "options": stored["options"], "scores": scores})
            print(label, scores)

    sets = list(rows[0]["scores"])
    table = ["| frames | " + " | ".join(f"{of}: {key}" for of in sets for key in COLUMNS) + " |"]
    table.append("|---|" + "---:|" * (len(sets) * len(COLUMNS)))
    for row in rows:
        cells = [f"{row['scores'][of][key]:.3f}" for of in sets for key in COLUMNS]
        table.append(f"| {row['frames']} | " + " | ".join(cells) + " |")
    text = "# Frames\n\n" + "\n".join(table) + "\n\nMade by `python eval/frames.py`.\n"
    (RESULTS / "frames.md").write_text(text)
    about = {key: stored[key] for key in ("command", "versions", "data", "weights")}
    (RESULTS / "frames.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
