"""How seconds and memory grow with keypoints, with pixels and with photos.

    python eval/growth_keypoints.py    # some minutes on a quiet machine; --quick for the small end

Keypoints: a generated picture is extracted with 1,000 to 32,000 of them, and as many made-up ones of two
views of a relief are matched, in both searches, and verified. Pixels: pictures of 1 to 50 megapixels are
extracted with 8,000 keypoints. Photos: sets of 10 to 300 made-up views of a landscape (those of growth.py,
300 keypoints each) go through pairs, matching, verification and mapping. Each measurement is a process of its
own on one thread; seconds are CPU seconds, memory is what the peak adds to that before. Every step has a
stated order; what grows faster between its last two sizes is marked. Writes growth_keypoints.json, .md, .png.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.output import processor
from desdis_match.support.resources import measured, tree_memory
from desdis_match.support.workers import one_thread
from desdis_match.types import Features

KEYPOINTS = (1000, 2000, 4000, 8000, 16000, 32000)
MEGAPIXELS = (1, 2, 5, 12, 25, 50)
PHOTOS = (10, 30, 100, 300)
PICTURE = (2400, 1800)
SEEN = 0.6
"""Of a view's keypoints that the other view shows too."""
SCENES = 8
"""Pairs of views of a size, whose mean counts: how many samples verification draws is a matter of luck."""
FLOOR_SECONDS, FLOOR_MIB = 0.05, 100
"""Below, nothing is said of growth: memory that was freed before is used again first."""
SLACK = 0.2
"""Of an exponent: small sizes have a constant part, which hides in none of the large ones."""


@dataclass(frozen=True)
class Step:
    """What is measured, over which sizes, and how it may grow."""

    name: str
    sizes: tuple[int, ...]
    unit: str
    order: float  # exponent of the seconds
    memory_order: float  # exponent of the memory


STEPS = (
    Step("extract", KEYPOINTS, "keypoints", 1, 1),
    Step("match, full search", KEYPOINTS, "keypoints", 2, 1),
    Step("match, guided search", KEYPOINTS, "keypoints", 2, 1),
    Step("verify", KEYPOINTS, "keypoints", 1, 1),
    Step("extract", MEGAPIXELS, "megapixels", 1, 1),
    Step("pairs", PHOTOS, "photos", 2, 1),
    Step("match", PHOTOS, "photos", 2, 1),
    Step("verify", PHOTOS, "photos", 2, 1),
    Step("map", PHOTOS, "photos", 2, 1),
)


@dataclass(frozen=True)
class Arguments:
    """Measure growth."""

    quick: bool = False
    """The smaller half of the sizes."""
    unit: str = ""
    """keypoints, megapixels or photos alone."""
    output: Path = Path(__file__).parent / "results"
    """Folder of the table and the plot."""
    step: str = ""
    """Measure this step alone, in this process, at --size: what the script calls itself with."""
    size: int = 0
    folder: Path = Path()


def picture(width: int, height: int) -> np.ndarray:
    """(height, width) float32 in [0, 1] with structure everywhere: a few generated tiles over and over."""
    from desdis_match.distill.warps import texture

    tiles = [texture(np.random.default_rng(seed), 1024) for seed in range(4)]
    across, down = math.ceil(width / 1024), math.ceil(height / 1024)
    rows = [np.hstack([tiles[(r * 3 + c) % 4] for c in range(across)]) for r in range(down)]
    return np.ascontiguousarray(np.vstack(rows)[:height, :width], np.float32) / 255


def two_views(count: int, seed: int = 0) -> list[Features]:
    """Two views of a relief with `count` keypoints each, of which a share SEEN shows the same point."""
    rng = np.random.default_rng(seed)
    shared = int(SEEN * count)
    points = rng.uniform((-4, -3, 8), (4, 3, 14), (shared, 3))
    looks = rng.standard_normal((shared, 128))
    found = []
    for view in range(2):
        xy = 1200 * (points[:, :2] - (0.8 * view, 0.1 * view)) / points[:, 2:] + np.array(PICTURE) / 2
        strange = rng.uniform(0, 1, (count - shared, 2)) * PICTURE
        xy = np.concatenate([xy + rng.normal(0, 0.4, xy.shape), strange])
        described = np.concatenate(
            [looks + 0.35 * rng.standard_normal(looks.shape), rng.standard_normal((count - shared, 128))]
        )
        described /= np.linalg.norm(described, axis=1, keepdims=True)
        order = rng.permutation(count)
        scores = np.where(order < shared, rng.uniform(0.3, 1, count), rng.uniform(0, 0.7, count))
        ones = np.ones(count, np.float32)
        columns = (xy[order], described[order], scores)
        found.append(Features(*(c.astype(np.float32) for c in columns), 8 * ones, 0 * ones, PICTURE))
    return found


def prepare_extract(width: int, height: int, keypoints: int) -> Callable[[], dict[str, float]]:
    """Extraction from a picture in memory."""
    from desdis_match.descriptors import load_descriptor
    from desdis_match.features.extract import ExtractConfig, extract_image
    from desdis_match.photos.images import GrayImage

    config = ExtractConfig(
        max_keypoints=keypoints, orientation="upright", contrast_threshold=0.001, edge_threshold=0
    )
    photo = GrayImage(picture(width, height), (width, height), (1.0, 1.0))
    descriptor = load_descriptor(device="cpu")
    small = replace(photo, pixels=photo.pixels[:200, :200].copy(), size=(200, 200))
    extract_image(small, config, descriptor)  # warm up
    return lambda: {"found": len(extract_image(photo, config, descriptor))}


def prepare_pair(step: str, size: int) -> Callable[[], dict[str, float]]:
    """Matching or verifying two views of each of SCENES reliefs."""
    from desdis_match import verify
    from desdis_match.matching.match import MatchConfig, match_features

    scenes = [two_views(size, seed) for seed in range(SCENES)]
    config = MatchConfig(search="full" if "full" in step else "guided")
    small = two_views(200)
    matches = match_features(*small, config, "cpu")  # warm up
    if step != "verify":
        return lambda: {"found": sum(len(match_features(*views, config, "cpu")) for views in scenes) / SCENES}
    verify(*small, matches)
    found = [match_features(*views, config, "cpu") for views in scenes]
    return lambda: {
        "found": sum(len(verify(*views, m)) for views, m in zip(scenes, found, strict=True)) / SCENES
    }


def prepare_set(step: str, size: int, folder: Path) -> Callable[[], dict[str, float]]:
    """A stage over a set of views, on what the stage before left in `folder`."""
    from growth import SIZE, make

    from desdis_match.colmap.mappers import MapConfig
    from desdis_match.pipeline import RunConfig, map_models, match, pairs
    from desdis_match.pipeline.verification import verify_pairs
    from desdis_match.storage.features_file import FeatureFile
    from desdis_match.storage.matches_file import MatchFile

    features, listed, matches = folder / "features.h5", folder / "pairs.txt", folder / "matches.h5"
    images = folder / "images"
    if not features.exists():
        make(features, size)
        images.mkdir()
        blank = cv2.imencode(".jpg", np.full(SIZE[::-1], 128, np.uint8))[1].tobytes()
        for i in range(size):  # mapping reads EXIF and colours
            (images / f"{i:06}.jpg").write_bytes(blank)
    one = RunConfig("cpu", workers=1)

    def work() -> dict[str, float]:
        if step == "pairs":
            pairs(features, listed)
            found = len(listed.read_text().splitlines())
            return {"found": found, "all": found == size * (size - 1) // 2}
        if step == "match":
            match(features, listed, matches, run=one)
            with FeatureFile(features) as file, MatchFile(matches) as matched:
                return {"found": len(list(matched.pairs(file.names())))}
        if step == "verify":
            verify_pairs(None, features, matches, folder / "two_view.h5", run=one)
            return {}
        models = map_models(images, features, matches, folder, MapConfig(align=False), run=one)
        return {"found": max((model.num_reg_images() for model in models), default=0)}

    return work


def measure(arguments: Arguments) -> dict[str, float]:
    """One step at one size, in this process."""
    one_thread()
    step, size = arguments.step, arguments.size
    if arguments.unit == "megapixels":
        height = round(math.sqrt(size * 1e6 * 3 / 4))
        work = prepare_extract(round(height * 4 / 3), height, 8000)
    elif arguments.unit == "photos":
        work = prepare_set(step, size, arguments.folder)
    elif step == "extract":
        work = prepare_extract(*PICTURE, size)
    else:
        work = prepare_pair(step, size)
    before = tree_memory(os.getpid()) or 0
    start = time.process_time()
    with measured() as usage:
        result = work()
    spent = time.process_time() - start
    if arguments.unit == "keypoints" and step != "extract":
        spent /= SCENES
    return {"seconds": spent, "mib": ((usage.peak_bytes or 0) - before) / 2**20, **result}


def exponent(rows: list[dict[str, float]], key: str, floor: float) -> float:
    """How `key` grows between the last two sizes, done in one way (all pairs, or those of retrieval): of what
    is below `floor` nothing can be said, 0."""
    if len(rows) > 1 and rows[-1].get("all") != rows[-2].get("all"):
        rows = rows[:-1]
    if len(rows) < 2 or rows[-1][key] < floor:
        return 0.0
    first, last = rows[-2:]
    return math.log(last[key] / max(first[key], floor)) / math.log(last["size"] / first["size"])


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [f"# Growth on {record['processor']}, one thread", "", f"`{record['command']}`", ""]
    lines += ["| step | size | CPU s | MiB more | found |", "|---|---|---|---|---|"]
    for step in record["steps"]:
        for row in step["rows"]:
            found = f"{row['found']:g}" if "found" in row else ""
            size = f"{row['size']:,} {step['unit']}"
            lines.append(f"| {step['name']} | {size} | {row['seconds']:.3g} | {row['mib']:.0f} | {found} |")
    lines += ["", "Exponents between the last two sizes, and those stated:", ""]
    lines += ["| step | in | seconds | stated | memory | stated | |", "|---|---|---|---|---|---|---|"]
    for step in record["steps"]:
        lines.append(
            f"| {step['name']} | {step['unit']} | {step['exponent']:.2f} | {step['order']:g} | "
            f"{step['memory_exponent']:.2f} | {step['memory_order']:g} | {step['verdict']} |"
        )
    return "\n".join(lines) + "\n"


def draw(record: dict[str, Any], path: Path) -> None:
    """Seconds and memory over each kind of size."""
    units = list(dict.fromkeys(step["unit"] for step in record["steps"]))
    figure = Figure(figsize=(5 * len(units), 7), layout="constrained")
    grid = figure.subplots(2, len(units), squeeze=False)
    for column, unit in enumerate(units):
        for row, (key, label) in enumerate((("seconds", "CPU seconds"), ("mib", "MiB more"))):
            axes = grid[row, column]
            for step in record["steps"]:
                if step["unit"] == unit:
                    sizes = [one["size"] for one in step["rows"]]
                    axes.loglog(
                        sizes, [max(one[key], 1e-3) for one in step["rows"]], "o-", label=step["name"]
                    )
            axes.set(xlabel=unit, ylabel=label)
            axes.grid(alpha=0.3)
            axes.legend()
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/growth_keypoints.py")
    if arguments.step:
        print(json.dumps(measure(arguments)))
        return 0
    record: dict[str, Any] = {
        "command": " ".join(["python eval/growth_keypoints.py", *argv]),
        "processor": processor(),
        "steps": [],
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        for step in STEPS:
            if arguments.unit not in ("", step.unit):
                continue
            rows = []
            for size in step.sizes[: len(step.sizes) // 2] if arguments.quick else step.sizes:
                command = [sys.executable, __file__, "--step", step.name, "--size", str(size)]
                place = Path(folder) / str(size)
                place.mkdir(exist_ok=True)
                command += ["--unit", step.unit, "--folder", str(place)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                rows.append({"size": size, **json.loads(done.splitlines()[-1])})
                print(f"{step.name}, {size} {step.unit}: {rows[-1]}", flush=True)
            grows, memory = exponent(rows, "seconds", FLOOR_SECONDS), exponent(rows, "mib", FLOOR_MIB)
            worse = grows > step.order + SLACK or memory > step.memory_order + SLACK
            record["steps"].append(
                {
                    **{"name": step.name, "unit": step.unit, "rows": rows},
                    **{"exponent": grows, "order": step.order},
                    **{"memory_exponent": memory, "memory_order": step.memory_order},
                    "verdict": "WORSE" if worse else "",
                }
            )
            for name, text in (("json", json.dumps(record, indent=1) + "\n"), ("md", markdown(record))):
                (arguments.output / f"growth_keypoints.{name}").write_text(text, encoding="utf-8")
    draw(record, arguments.output / "growth_keypoints.png")
    print(markdown(record))
    return 1 if any(step["verdict"] for step in record["steps"]) else 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
