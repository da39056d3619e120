"""What the page of a reconstruction holds: the models, down-scaled photos, keypoints and matches.

Arrays are quantised and in base64, the scripts are those of viewer/. What would make the page too large is
thinned out by fixed budgets, always in the same way, and the page says so.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..storage.report_file import Report
from .blocks import Blocks
from .matches import Shapes, add_keypoints, add_pairs
from .photos import Pictures, add_photo_files, photo_folders, sizes_and_orientations
from .run import Shown
from .scene import add_models

STYLES = ("page.css",)
SCRIPTS = (
    "data.js",
    "vectors.js",
    "canvas.js",
    "orbit.js",
    "points.js",
    "overlay.js",
    "model.js",
    "measuring.js",
    "playing.js",
    "pointers.js",
    "layout.js",
    "graph.js",
    "photo.js",
    "pair.js",
    "tables.js",
    "runtab.js",
    "main.js",
)


def build_page(
    run: Shown, images: Path | None, title: str, refresh: float = 0, pictures: Pictures | None = None
) -> str:
    """The whole HTML text of a run's page.

    refresh: seconds after which the page loads itself again, for a run that is still at work; 0 never.
    pictures: of photos, where some are made already.
    """
    blocks = Blocks()
    notes: list[str] = []
    meta: dict[str, Any] = {"title": title, "report": _for_people(run.report), "refresh": refresh}
    folders = photo_folders(run, images)
    sizes, orientations = sizes_and_orientations(run, folders)
    shapes = list(zip(sizes, orientations, strict=True))
    meta["images"] = _images(run, shapes)
    add_keypoints(blocks, run, shapes, notes)
    meta["pairs"] = add_pairs(blocks, run, shapes, notes)
    meta["left_out"] = run.left_out
    if run.left_out:
        notes.append(run.left_out)
    meta["models"] = add_models(blocks, run.models, run.source.names, orientations, notes)
    for k, row in enumerate(meta["models"]):
        row["number"] = run.numbers[k] if run.numbers else k
        row["metres"] = bool(run.metres) and run.metres[k]
    meta["first"] = run.first
    if folders:
        add_photo_files(blocks, run, folders, meta["images"], notes, pictures)
    else:
        where = f"{images} is not there" if images is not None else "their folder is not known"
        notes.append(f"No photos: {where}. `view OUT --images DIR` finds them.")
    meta["notes"] = notes
    blocks.add_json("meta", meta)
    assets = resources.files("desdis_match.page") / "viewer"
    page = (assets / "page.html").read_text(encoding="utf-8")
    for mark, names in (("style", STYLES), ("script", SCRIPTS)):
        text = "\n".join((assets / name).read_text(encoding="utf-8") for name in names)
        page = page.replace(f"/*{mark}*/", text)
    return page.replace("<!--title-->", _escape(title)).replace("<!--data-->", blocks.html())


def _images(run: Shown, shapes: Shapes) -> list[dict[str, Any]]:
    """A row of the table per image: the ones in the database first, then those that could not be used.

    Width and height are those of the photo as it is shown, upright.
    """
    rows: list[dict[str, Any]] = []
    partners = np.zeros(len(run.source.names), np.int64)
    verified = np.zeros(len(run.source.names), np.int64)
    matches = np.zeros(len(run.source.names), np.int64)
    for pair in run.source.pairs:
        for image in (pair.image0, pair.image1):
            partners[image] += pair.verified > 0
            verified[image] += max(pair.verified, 0)
            matches[image] += pair.matches
    reasons = _reasons(run.report)
    for i, name in enumerate(run.source.names):
        _, lengths = run.points_of(name, run.source.num_keypoints[i])
        size, orientation = shapes[i]
        row = {
            "name": name,
            "width": size[orientation >= 5],
            "height": size[orientation < 5],
            "keypoints": run.source.num_keypoints[i],
            "points": int(np.count_nonzero(lengths)),
            "pairs": int(partners[i]),
            "matches": int(matches[i]),
            "verified": int(verified[i]),
            "model": run.model_of(name),
            "reason": reasons.get(name, ""),
        }
        if orientation > 1:
            row["turn"] = orientation
        rows.append(row)
    empty = dict.fromkeys(("width", "height", "keypoints", "points", "pairs", "matches", "verified"), 0)
    for name in sorted(set(reasons) - set(run.source.names)):
        rows.append({"name": name, **empty, "model": -1, "reason": reasons[name], "unusable": True})
    return rows


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _reasons(report: Report) -> dict[str, str]:
    """Why images are not in the model, by name."""
    return {name: image.why for name, image in report.images.items() if image.why}


def _for_people(report: Report) -> dict[str, Any]:
    """What the page says of the run."""
    return {
        "diagnosis": report.diagnosis,
        "found_out": report.notes,
        "attempts": [
            [found.what, str(found.num_photos), f"{found.num_points:,}", f"{found.seconds:.1f}"]
            for found in report.attempts
        ],
        "versions": report.versions,
        "config": report.configuration,
        "stages": [
            {
                "name": name,
                "seconds": f"{stage.seconds:.1f}",
                "memory": f"{stage.peak_bytes / 2**20:,.0f}" if stage.peak_bytes else "",
            }
            for name, stage in report.stages.items()
        ],
    }
