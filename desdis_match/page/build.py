"""What the page of a reconstruction holds: the model, down-scaled photos, keypoints and matches.

Arrays are quantised and in base64, the scripts are those of viewer/. What would make the page too large is
thinned out by fixed budgets, always in the same way, and the page says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import PIXEL_CENTRE
from ..errors import InputError
from ..photos.images import UnreadableImage, read_header, read_rgb
from ..storage.report_file import Report
from ..support.progress import track
from ..types import Float32
from .run import Model, PairCounts, Shown

MAX_POINTS = 200_000
MAX_KEYPOINTS = 600_000
"""Of all images together."""
MAX_PAIRS = 20_000
MAX_MATCHES = 500_000
"""Of all pairs together."""
MAX_MATCHES_OF_PAIR = 3000
PHOTO_BYTES = 14_000_000
"""Of all photos together; their size follows from it."""
PHOTO_SIDES = (240, 1280)
"""Long side of a photo on the page: least and most, pixels."""
BYTES_PER_PIXEL = 0.17
"""Of a JPEG at the quality used here, for textured photos."""
JPEG_QUALITY = 78
STYLES = ("page.css",)
SCRIPTS = ("data.js", "canvas.js", "model.js", "graph.js", "photo.js", "tables.js", "main.js")


def build_page(run: Shown, images: Path | None, title: str) -> str:
    """The whole HTML text of a run's page."""
    blocks = Blocks()
    notes: list[str] = []
    meta: dict[str, Any] = {"title": title, "report": _for_people(run.report)}
    folders = _photo_folders(run, images)
    sizes = _sizes(run, folders)
    meta["images"] = _images(run, sizes)
    _add_keypoints(blocks, run, sizes, notes)
    meta["pairs"] = _add_pairs(blocks, run, sizes, notes)
    meta["left_out"] = run.left_out
    if run.left_out:
        notes.append(run.left_out)
    meta["model"] = None if run.model is None else _add_model(blocks, run.model, meta["images"], notes)
    if run.num_models > 1:
        notes.append(
            f"{run.num_models} models formed; the others are shown by `view OUT --model 1` and so on."
        )
    if folders:
        _add_photos(blocks, run, folders, meta, notes)
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


class Blocks:
    """Data as script elements that the browser does not run: JSON, and typed arrays in base64."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Little-endian bytes of `array` under the element id `name`."""
        little = array.astype(array.dtype.newbyteorder("<"))
        self.add_bytes(name, little.tobytes())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Any bytes."""
        text = base64.b64encode(data).decode("ascii")
        self._parts.append(f'<script type="application/octet-stream" id="data-{name}">{text}</script>')

    def add_json(self, name: str, value: Any) -> None:
        """JSON; `<` is escaped, so no name of an image can end the element."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text = text.replace("<", "\\u003c")
        self._parts.append(f'<script type="application/json" id="data-{name}">{text}</script>')

    def html(self) -> str:
        """All elements."""
        return "\n".join(self._parts)


def _photo_folders(run: Shown, images: Path | None) -> list[Path]:
    """Where photos are looked for; empty without the run's own folder."""
    if images is None or not images.is_dir():
        return []
    return [images, *map(Path, run.report.added_folders)]


def _sizes(run: Shown, folders: Sequence[Path]) -> list[tuple[int, int]]:
    """(width, height) by image; what the run does not tell is the photo's own, else the keypoints' extent."""
    sizes = list(run.source.sizes)
    for i, name in enumerate(run.source.names):
        if not all(sizes[i]):
            headers = (read_header(folder / name) for folder in folders)
            found = (header.size for header in headers if header is not None)
            sizes[i] = next(found, None) or _extent(run.source.keypoints(i))
    return sizes


def _extent(xy: Float32) -> tuple[int, int]:
    """(width, height) of the smallest photo that holds the keypoints; (0, 0) if there are none."""
    width, height = np.ceil(xy + PIXEL_CENTRE).max(axis=0, initial=0).astype(int).tolist()
    return width, height


def _images(run: Shown, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """A row of the table per image: the ones in the database first, then those that could not be used."""
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
        pose = run.model.poses.get(name) if run.model else None
        lengths = run.model.track_lengths(name, run.source.num_keypoints[i]) if run.model and pose else None
        row = {
            "name": name,
            "width": sizes[i][0],
            "height": sizes[i][1],
            "keypoints": run.source.num_keypoints[i],
            "points": 0 if lengths is None else int(np.count_nonzero(lengths)),
            "pairs": int(partners[i]),
            "matches": int(matches[i]),
            "verified": int(verified[i]),
            "registered": pose is not None,
            "reason": "" if pose is not None else reasons.get(name, ""),
        }
        if pose is not None:
            row["center"], row["rotation"], row["half"] = pose.center, pose.rotation, pose.half
        rows.append(row)
    empty = {"width": 0, "height": 0, "keypoints": 0, "points": 0, "pairs": 0, "matches": 0, "verified": 0}
    for name in sorted(set(reasons) - set(run.source.names)):
        rows.append({"name": name, **empty, "registered": False, "reason": reasons[name], "unusable": True})
    return rows


def _add_keypoints(blocks: Blocks, run: Shown, sizes: Sequence[tuple[int, int]], notes: list[str]) -> None:
    """x, y as 16-bit fractions of the photo, and the length of the keypoint's track."""
    source = run.source
    most = MAX_KEYPOINTS // max(len(source.names), 1)
    positions, lengths, starts = [np.zeros((0, 2), np.uint16)], [np.zeros(0, np.uint8)], [0]
    for i, name in enumerate(track(source.names, "keypoints", unit="images")):
        xy = source.keypoints(i)
        track_lengths = run.model.track_lengths(name, len(xy)) if run.model else np.zeros(len(xy), np.int64)
        chosen = _spread(len(xy), most)
        positions.append(_quantise(xy[chosen], sizes[i]))
        lengths.append(np.minimum(track_lengths[chosen], 255).astype(np.uint8))
        starts.append(starts[-1] + len(chosen))
    if max(source.num_keypoints, default=0) > most:
        notes.append(f"Photos show at most {most:,} keypoints each.")
    blocks.add("keypoints", np.concatenate(positions))
    blocks.add("keypoint-lengths", np.concatenate(lengths))
    blocks.add("keypoint-starts", np.array(starts, np.uint32))


def _add_pairs(
    blocks: Blocks, run: Shown, sizes: Sequence[tuple[int, int]], notes: list[str]
) -> dict[str, Any]:
    """The pairs with most verified matches, and a share of the matches of each."""
    source = run.source
    ranked = sorted(source.pairs, key=lambda pair: (-pair.verified, -pair.matches, pair.image0, pair.image1))
    shown = ranked[:MAX_PAIRS]
    if len(ranked) > len(shown):
        notes.append(f"{len(shown):,} of {len(ranked):,} matched pairs are shown, those with most matches.")
    most = min(MAX_MATCHES_OF_PAIR, max(10, MAX_MATCHES // max(len(shown), 1)))
    places: dict[int, NDArray[np.uint16]] = {}
    point_rows: dict[int, NDArray[np.int64]] = {}

    def known(image: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        if image not in places:
            places[image] = xy = _quantise(source.keypoints(image), sizes[image])
            name = source.names[image]
            missing = np.full(len(xy), -1, np.int64)
            point_rows[image] = run.model.point_rows(name, len(xy)) if run.model else missing
        return places[image], point_rows[image]

    ends, states, counts = [np.zeros((0, 4), np.uint16)], [np.zeros(0, np.uint8)], []
    thinned = False
    for pair in track(shown, "matches", unit="pairs"):
        ends_of_pair, states_of_pair = _match_rows(run, pair, known(pair.image0), known(pair.image1), most)
        thinned |= len(states_of_pair) < pair.matches
        ends.append(ends_of_pair)
        states.append(states_of_pair)
        counts.append(len(states_of_pair))
    if thinned:
        notes.append(f"Pairs show at most {most:,} matches each, verified ones first.")
    blocks.add("matches", np.concatenate(ends))
    blocks.add("match-states", np.concatenate(states))
    kinds = sorted({pair.kind for pair in shown})
    columns = {
        "image0": [pair.image0 for pair in shown],
        "image1": [pair.image1 for pair in shown],
        "matches": [pair.matches for pair in shown],
        "verified": [pair.verified for pair in shown],
        "kind": [kinds.index(pair.kind) for pair in shown],
        "shown": counts,
    }
    num_verified = sum(pair.verified > 0 for pair in ranked)
    return {"kinds": kinds, "total": len(ranked), "num_verified": num_verified, **columns}


def _match_rows(
    run: Shown,
    pair: PairCounts,
    image0: tuple[NDArray[np.uint16], NDArray[np.int64]],
    image1: tuple[NDArray[np.uint16], NDArray[np.int64]],
    most: int,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """(M, 4) quantised x0, y0, x1, y1, and (M,): 0 rejected by verification, 1 verified, 2 in the model.

    image0, image1: quantised keypoints (N, 2) and the rows of their points (N,), -1 where there is none.
    """
    stored = run.source.matches(pair)
    num_verified = int(np.count_nonzero(stored.verified))
    num_rejected = len(stored.indices) - num_verified
    # A quarter for rejected matches, if there are any: they tell what went wrong.
    room = most - min(num_rejected, most // 4)
    rejected = num_verified + _spread(num_rejected, most - min(num_verified, room))
    chosen = np.concatenate([_spread(num_verified, room), rejected])
    rows0, rows1 = stored.indices[chosen].T
    (xy0, points0), (xy1, points1) = image0, image1
    if len(chosen) and (rows0.max() >= len(xy0) or rows1.max() >= len(xy1)):
        names = run.source.names[pair.image0], run.source.names[pair.image1]
        raise InputError(
            f"matches of '{names[0]}' and '{names[1]}' go beyond their keypoints; match them again"
        )
    states = stored.verified[chosen].astype(np.uint8)
    states[(states == 1) & (points0[rows0] >= 0) & (points0[rows0] == points1[rows1])] = 2
    return np.hstack([xy0[rows0], xy1[rows1]]), states


def _add_model(
    blocks: Blocks, model: Model, images: Sequence[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """Points, and what the page needs to place its camera."""
    chosen = _spread(len(model.points), MAX_POINTS)
    if len(chosen) < len(model.points):
        notes.append(f"{len(chosen):,} of {len(model.points):,} points are shown.")
    blocks.add("points", model.points[chosen])
    blocks.add("point-colors", model.colors[chosen])
    blocks.add("point-errors", model.errors[chosen])
    blocks.add("point-lengths", np.minimum(model.lengths[chosen], 255).astype(np.uint8))
    row_of = np.full(len(model.points), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    seen, starts = [np.zeros(0, np.uint32)], [0]
    for image in images:
        rows = row_of[model.observations[image["name"]][1]] if image["registered"] else np.zeros(0, np.int64)
        rows = rows[rows >= 0]
        rows = rows[_spread(len(rows), MAX_KEYPOINTS // max(len(images), 1))]
        seen.append(rows.astype(np.uint32))
        starts.append(starts[-1] + len(rows))
    blocks.add("seen", np.concatenate(seen))
    blocks.add("seen-starts", np.array(starts, np.uint32))
    centers = np.array([pose.center for pose in model.poses.values()]).reshape(-1, 3)
    downs = np.array([pose.rotation[3:6] for pose in model.poses.values()]).reshape(-1, 3)
    body = model.points if len(model.points) else centers.astype(np.float32)
    middle = np.median(body, axis=0) if len(body) else np.zeros(3)
    radius = float(np.percentile(np.linalg.norm(body - middle, axis=1), 80)) if len(body) else 1.0
    return {
        **{key: float(value) for key, value in model.summary.items()},
        "registered": len(model.poses),
        "middle": [float(v) for v in middle],
        "radius": radius or 1.0,
        "up": _upwards(centers, downs),
    }


def _upwards(centers: NDArray[np.float64], downs: NDArray[np.float64]) -> list[float]:
    """Where up is (3,): against the images' y axes, or across the cameras' plane where photos are turned."""
    mean = -downs.mean(axis=0) if len(downs) else np.array([0.0, 0.0, 1.0])
    if np.linalg.norm(mean) < 0.5 and len(centers) > 3:
        across = np.linalg.svd(centers - centers.mean(axis=0))[2][2]
        mean = across if across @ mean >= 0 else -across
    return [float(v) for v in mean / (np.linalg.norm(mean) or 1.0)]


def _add_photos(
    blocks: Blocks, run: Shown, folders: Sequence[Path], meta: dict[str, Any], notes: list[str]
) -> None:
    """JPEG copies of the photos, and the sizes of these."""
    names = run.source.names
    pixels = PHOTO_BYTES / max(len(names), 1) / BYTES_PER_PIXEL
    side = int(np.clip(np.sqrt(pixels / 0.75), *PHOTO_SIDES))
    missing, reduced = [], False
    for i, name in enumerate(track(names, "photos", unit="photos")):
        found = (_small_photo(folder / name, side) for folder in folders)
        photo = next((photo for photo in found if photo is not None), None)
        if photo is None:
            missing.append(name)
            continue
        jpeg = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        blocks.add_bytes(f"photo-{i}", jpeg.tobytes())
        row = meta["images"][i]
        reduced |= max(photo.shape[:2]) < max(row["width"], row["height"])
        row["photo"] = [photo.shape[1], photo.shape[0]]
    if missing:
        notes.append(f"{len(missing)} photos are not in {folders[0]} any more, {missing[0]} for one.")
    if reduced:
        notes.append(f"Photos are shown with a long side of at most {side} pixels.")


def _small_photo(path: Path, side: int) -> NDArray[np.uint8] | None:
    """The photo (blue, green, red) as stored, long side at most `side`; None if unreadable."""
    try:
        photo = cv2.cvtColor(read_rgb(path), cv2.COLOR_RGB2BGR)
    except UnreadableImage:
        return None
    scale = side / max(photo.shape[:2])
    if scale < 1:
        size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return np.asarray(photo, np.uint8)


def _spread(num: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `num` rows, evenly spread, ascending."""
    if num <= most:
        return np.arange(num)
    return np.linspace(0, num - 1, most).round().astype(np.int64)


def _quantise(xy: Float32, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Pixels (N, 2) as 16-bit fractions of the photo, whose area goes from -0.5 to size - 0.5."""
    fractions = (xy + PIXEL_CENTRE) / np.maximum(size, 1)
    return np.round(np.clip(fractions, 0, 1) * 65535).astype(np.uint16)


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
        "cameras": [
            [
                f"{camera.model} {camera.width} x {camera.height}",
                ", ".join(f"{name} {value:.5g}" for name, value in camera.params.items()),
                str(camera.images),
            ]
            for camera in report.cameras
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
