"""Detector and orientation: what frames do for one descriptor, the authors' DesDis-32.

    python eval/frames.py        # from the project's root, with the development data in ../shared/data

Writes eval/results/frames.json and frames.md: a row a setting, 2048 keypoints, ALIKED last. Run it on a quiet
machine: seconds a photo are part of the table.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

from desdis_match.commands.evaluate import main

data = Path("../shared/data")
results = Path("eval/results")
roots = [f"{data}/homographies/oxford_affine", f"{data}/homographies/hpatches/v_dogman"]
common = ["homographies", "--root", *roots, "--max-keypoints", "2048"]
descriptor = ["--descriptors", f"{data}/weights/desdis/DesDis-32.pth"]
aliked = ["--local-features", f"aliked:{data}/weights/aliked/aliked-n16rot.pth"]
columns = ("AP", "opencv AUC@5px", "pycolmap AUC@5px", "s/photo")

rows = []
settings = [
    (detector, orientation)
    for detector in ("dog", "hessian")
    for orientation in ("upright", "dominant", "multi", "learned", "auto")
]
for detector, orientation in [*settings, ("dog+hessian", "auto")]:
    last = (detector, orientation) == ("dog+hessian", "auto")
    frames = ["--detector", detector, "--orientation", orientation]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        stored = Path(folder) / "run.json"
        main([*common, *frames, *descriptor, *(aliked if last else []), f"--json={stored}"])
        run = json.loads(stored.read_text())
    for name in run["weights"]:
        label = f"{detector}, {orientation}" if name == "DesDis-32" else name
        scores = {
            data_set: {key: of[name].get(key) for key in columns} for data_set, of in run["summary"].items()
        }
        rows.append({"frames": label, "command": run["command"], "scores": scores})
        print(label, scores)

sets = list(rows[0]["scores"])
table = ["| frames | " + " | ".join(f"{of}: {key}" for of in sets for key in columns) + " |"]
table.append("|---|" + "---:|" * (len(sets) * len(columns)))
for row in rows:
    cells = [f"{row['scores'][of][key]:.3f}" for of in sets for key in columns]
    table.append(f"| {row['frames']} | " + " | ".join(cells) + " |")
text = "# Frames\n\n" + "\n".join(table) + "\n\nMade by `python eval/frames.py`.\n"
(results / "frames.md").write_text(text)
everything = {"versions": run["versions"], "data": run["data"], "weights": run["weights"], "rows": rows}
(results / "frames.json").write_text(json.dumps(everything, indent=1) + "\n")
