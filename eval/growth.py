"""How pairs, matching and verification grow with the number of photos: seconds a photo, memory, disk.

    python eval/growth.py OUT [NUM_PHOTOS ...]

Sets of 250, 1000 and 4000 views of one made-up landscape, flown over in a grid so that neighbours overlap as
on drone flights. Only the views' features are made (120 keypoints each, a fifth of them of nothing;
descriptors are random directions with noise), so that the stages after extraction are measured and nothing
else. Each stage runs in a process of its own; seconds are CPU seconds. What 100,000 photos would take is
reckoned from the largest set: seconds and disk by photo, and the products of photos' vectors, which grow with
the square (VECTORS). Writes eval/results/growth.json.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.matching.pairs import PairsConfig
from desdis_match.pipeline import RunConfig, match, pairs
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.storage.two_view_file import TwoViewFile
from desdis_match.support.resources import measured
from desdis_match.types import Features

KEYPOINTS = 120
SIZE, FOCAL = (640, 480), 600.0
HEIGHT = 50.0  # metres above the ground
STEP = 0.35  # of the footprint's short side, between neighbours of the grid
VECTORS = 0.2e-6  # CPU seconds a pair of photos: one product of two 8 KB vectors, as retrieval.py says
MANY = 100_000  # photos
SKETCH_KIB, VECTOR_KIB = 64, 8  # scratch files of retrieval, a photo: 512 descriptors and a vector
STAGES = ("pairs", "match", "verify")


@dataclass(frozen=True)
class Arguments:
    """Measure growth."""

    out: tyro.conf.Positional[Path]
    """Folder for the sets and what is made of them."""
    sizes: tyro.conf.Positional[tuple[int, ...]] = (250, 1000, 4000)
    """Photos of each set."""
    stage: str = ""
    """Measure this stage alone, in this process: what the script calls itself with."""


def make(path: Path, num: int) -> None:
    """Features of `num` views of a landscape."""
    random = np.random.default_rng(0)
    short = HEIGHT * SIZE[1] / FOCAL
    side = int(np.ceil(np.sqrt(num)))
    extent = side * STEP * short + 3 * short
    seen = int(0.8 * KEYPOINTS)
    num_points = int(seen * extent**2 / (short * HEIGHT * SIZE[0] / FOCAL))
    points = random.uniform(0, extent, (num_points, 3)) * (1, 1, 0.1 * short / extent)
    points = points[np.argsort(points[:, 0])]
    looks = random.standard_normal((num_points, 128)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)

    def view(i: int) -> Features:
        own = np.random.default_rng([1, i])
        centre = short * (1.5 + STEP * np.array([i % side, i // side])) + own.normal(0, 0.05 * short, 2)
        near = slice(*np.searchsorted(points[:, 0], [centre[0] - short, centre[0] + short]))
        relative = points[near] - (*centre, HEIGHT)
        xy = FOCAL * relative[:, :2] / -relative[:, 2:] + np.array(SIZE) / 2
        inside = np.flatnonzero(((xy > 0) & (xy < np.array(SIZE))).all(axis=1))[:seen]
        found = looks[near][inside] + own.normal(0, 0.04, (len(inside), 128))
        found = np.concatenate([found, own.standard_normal((KEYPOINTS - len(inside), 128))])
        places = np.concatenate(
            [
                xy[inside] + own.normal(0, 0.4, (len(inside), 2)),
                own.uniform(0, 1, (KEYPOINTS - len(inside), 2)) * SIZE,
            ]
        )
        order = own.permutation(KEYPOINTS)
        found = found[order] / np.linalg.norm(found[order], axis=1, keepdims=True)
        scores = np.linspace(1, 0.1, KEYPOINTS, dtype=np.float32)
        ones = np.ones(KEYPOINTS, np.float32)
        keypoints = places[order].astype(np.float32)
        return Features(keypoints, found.astype(np.float32), scores, 8 * ones, 0 * ones, SIZE)

    write_features(path, ((f"{i:06}.jpg", view(i)) for i in range(num)), {"landscape": num})


def run_stage(stage: str, folder: Path) -> dict[str, float]:
    """One stage, its seconds and its memory."""
    run_config = RunConfig("cpu", workers=1)
    features, listed, matches = folder / "features.h5", folder / "pairs.txt", folder / "matches.h5"
    start = time.process_time()
    with measured() as usage:
        if stage == "pairs":
            pairs(features, listed, PairsConfig(pairs="retrieval"))
        elif stage == "match":
            match(features, listed, matches, run=run_config)
        else:
            verify_pairs(None, features, matches, folder / "two_view.h5", run=run_config)
    return {"seconds": time.process_time() - start, "peak_mib": (usage.peak_bytes or 0) / 2**20}


def measure(out: Path, num: int) -> dict[str, object]:
    """All stages of one size."""
    folder = out / str(num)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "features.h5").exists():
        make(folder / "features.h5", num)
    for made in ("pairs.txt", "pairs.json", "matches.h5", "two_view.h5"):
        (folder / made).unlink(missing_ok=True)
    result: dict[str, object] = {"photos": num}
    total = 0.0
    for stage in STAGES:
        command = [sys.executable, __file__, str(out), str(num), "--stage", stage]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        total += done["seconds"]
        result[stage] = {
            "seconds_a_photo": round(done["seconds"] / num, 4),
            "peak_mib": round(done["peak_mib"]),
        }
    result["seconds_a_photo"] = round(total / num, 4)
    result["peak_mib"] = max(result[stage]["peak_mib"] for stage in STAGES)
    result["pairs_a_photo"] = round(len((folder / "pairs.txt").read_text().splitlines()) / num, 2)
    with TwoViewFile(folder / "two_view.h5") as file:
        result["verified_a_photo"] = round(sum(n >= 15 for n in file.num_inliers()) / num, 2)
    for name in ("features.h5", "matches.h5", "two_view.h5"):
        result[f"{name} kib_a_photo"] = round((folder / name).stat().st_size / num / 1024, 1)
    with FeatureFile(folder / "features.h5") as file:
        result["keypoints"] = file.num_keypoints(file.names()[0])
    return result


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/growth.py")
    if arguments.stage:
        print(json.dumps(run_stage(arguments.stage, arguments.out / str(arguments.sizes[0]))))
        return 0
    results = []
    path = Path(__file__).parent / "results" / "growth.json"
    for size in arguments.sizes:
        results.append(measure(arguments.out, size))
        print(json.dumps(results[-1]), flush=True)
        first, last = results[0], results[-1]
        summary = {
            "sizes": results,
            "seconds_ratio": round(last["seconds_a_photo"] / first["seconds_a_photo"], 3),
            "memory_ratio": round(last["peak_mib"] / first["peak_mib"], 3),
        }
        summary[f"{MANY} photos"] = {
            "hours_of_a_core": round((last["seconds_a_photo"] * MANY + VECTORS * MANY**2) / 3600, 1),
            "of_these_vectors": round(VECTORS * MANY**2 / 3600, 1),
            "disk_gib": {
                name: round(last[f"{name} kib_a_photo"] * MANY / 2**20, 1)
                for name in ("features.h5", "matches.h5", "two_view.h5")
            },
            "scratch_gib_of_pairs": round(MANY * (SKETCH_KIB + VECTOR_KIB) / 2**20, 1),
        }
        path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
