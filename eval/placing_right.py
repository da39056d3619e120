"""Whether models are right where nothing but the photos says so: cases with known cameras.

    python eval/placing_right.py CASES [--work DIR] [--seeds 5]

CASES is ../shared/cases: each case's make.py renders its photos in a copy below DIR. The street without EXIF
is compared with the model of all 29 photos of lund with EXIF, both as eval/placing.py left them in DIR (sets
lund, street, phone). Writes eval/results/placing_right.json and placing_right.md.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from desdis_match.colmap.database import build_database, open_database
from desdis_match.colmap.mapping import MapConfig, map_database, read_model
from desdis_match.colmap.verification import verify
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.poses.geometry import (
    Pose,
    fit_similarity,
    pair_errors,
    rotation_angle,
)
from desdis_match.evaluate.poses.ground_truth import read_colmap
from desdis_match.evaluate.poses.sfm_scores import poses_of
from desdis_match.features.extract import ExtractConfig
from desdis_match.photos.cameras import CameraConfig
from desdis_match.pipeline import extract, match, pairs
from desdis_match.pipeline.resume import RunConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile

RESULTS = Path(__file__).parent / "results"
CAMERA = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params="647.35,320,240")
"""Of the rendered courtyard at full size."""


@dataclass(frozen=True)
class Arguments:
    """Compare models with known cameras."""

    cases: tyro.conf.Positional[Path]
    work: Path = Path("placing-work")
    seeds: int = 5


@dataclass(frozen=True)
class Case:
    """Photos that were rendered, and where from."""

    name: str
    photos: str  # folder below the copy of CASES
    extract: ExtractConfig
    truth: Callable[[Path], dict[str, Pose]]  # of the copy of CASES
    known: bool = False  # whether the camera's parameters are given, as the case's run.sh does


def in_room(cases: Path) -> dict[str, Pose]:
    """As symmetric_room/make.py places its cameras."""
    angles, heights = 2 * np.pi * np.arange(16) / 16, np.random.default_rng(3).uniform(-0.2, 0.2, 16)
    room = importlib.util.spec_from_file_location("room", cases / "room.py")
    module = importlib.util.module_from_spec(room)
    room.loader.exec_module(module)
    return {
        f"s_{i:02}.jpg": Pose(module.rot_y(a).T, -np.array([0.9 * np.sin(a), heights[i], 0.9 * np.cos(a)]))
        for i, a in enumerate(angles)
    }


def in_courtyard(prefix: str, turned: Iterable[int] = ()) -> Callable[[Path], dict[str, Pose]]:
    """As the product's rendered scene has them; `turned`: photos stored a quarter turn to the left."""
    left = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])  # x to the right was y down

    def truth(cases: Path) -> dict[str, Pose]:
        poses = read_colmap(cases / "_base/ground_truth/sparse").poses()
        found = {}
        for i, name in enumerate(sorted(poses)[:8]):
            rotation = left @ poses[name].rotation if i in turned else poses[name].rotation
            found[f"{prefix}{i:03}.jpg"] = Pose(rotation, poses[name].center)
        return found

    return truth


CASES = (
    Case(
        "symmetric_room",
        "symmetric_room/photos",
        ExtractConfig(max_keypoints=900, orientation="upright"),
        in_room,
    ),
    Case(
        "turntable",
        "turntable/photos",
        ExtractConfig(max_keypoints=1500, orientation="upright"),
        in_courtyard("t_"),
    ),
    Case(
        "params_other_size, sizes",
        "params_other_size/sizes",
        ExtractConfig(max_keypoints=800),
        in_courtyard("view_"),
        known=True,
    ),
    Case(
        "params_other_size, portrait",
        "params_other_size/portrait",
        ExtractConfig(max_keypoints=800),
        in_courtyard("view_", range(4, 8)),
        known=True,
    ),
)


def made(cases: Path, work: Path) -> Path:
    """A copy of CASES in `work` with their photos."""
    copy = work / "cases"
    if not copy.is_dir():
        unfinished = work / "cases.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(cases, unfinished)
        subprocess.run(["chmod", "-R", "u+w", str(unfinished)], check=True)
        tool = unfinished / "tool.sh"
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m desdis_match "$@"\n')
        tool.chmod(0o755)
        environment = {**os.environ, "DESDIS_MATCH": str(tool.absolute())}
        for name in sorted({Path(case.photos).parts[0] for case in CASES}):
            make = unfinished / name / "make.py"
            subprocess.run([sys.executable, str(make.absolute())], check=True, env=environment)
        # The turntable's masks lie among its photos.
        shutil.move(unfinished / "turntable/photos/masks", unfinished / "turntable/masks")
        unfinished.rename(copy)
    return copy


def measured(case: Case, cases: Path, work: Path, seeds: int) -> list[dict]:
    """Errors of the pairs of a case's photos, a row a seed."""
    images, folder, one = cases / case.photos, work / case.name.replace(", ", "-"), RunConfig(workers=1)
    folder.mkdir(parents=True, exist_ok=True)
    features, listed, matches = (folder / name for name in ("features.h5", "pairs.txt", "matches.h5"))
    extract(images, features, case.extract, run=one)
    pairs(features, listed)
    match(features, listed, matches, run=one)
    truth, rows = case.truth(cases), []
    for seed in range(seeds):
        cameras = CAMERA if case.known else CameraConfig()
        config = MapConfig(cameras=cameras, fix_intrinsics=case.known, seed=seed)
        with TemporaryDirectory() as scratch, FeatureFile(features) as f, MatchFile(matches) as m:
            database = build_database(Path(scratch) / "d.db", images, f, m, cameras=cameras)
            verify(database, seed=seed, threads=1)
            placing = map_database(database, None, Path(scratch) / "sparse", config)
        found = poses_of(placing.models[0]) if placing.models else {}
        there = {name: pose for name, pose in truth.items() if name in found}
        errors = pair_errors(found, there) if len(there) > 1 else None
        rows.append(
            {
                "case": case.name,
                "seed": seed,
                "photos": f"{len(there)} of {len(truth)}",
                "rotation": float(errors.rotation.max()) if errors else None,
                "direction": float(np.nanmax(errors.translation)) if errors else None,
                "said": list(placing.record.notes),
            }
        )
        print(rows[-1], flush=True)
    return rows


QUARTER = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # of a turn, as photos may be stored


def upright(found: dict[str, Pose], reference: dict[str, Pose]) -> tuple[dict[str, Pose], np.ndarray]:
    """Poses with the photos that are stored turned turned back, and the mean turn of the world (3, 3).

    The world's turn is that of all photos' orientations: places on a straight path do not tell all of it.
    """
    turns = {name: reference[name].rotation.T @ pose.rotation for name, pose in found.items()}
    middle = min(turns.values(), key=lambda a: median(rotation_angle(a.T @ b) for b in turns.values()))
    turned = {}
    for name, pose in found.items():
        wanted = reference[name].rotation @ middle
        ways = [np.linalg.matrix_power(QUARTER, turns) @ pose.rotation for turns in range(4)]
        turned[name] = Pose(min(ways, key=lambda way: rotation_angle(way @ wanted.T)), pose.center)
    u, _, vt = np.linalg.svd(sum(reference[name].rotation.T @ turned[name].rotation for name in found))
    return turned, u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def street(work: Path, name: str, seed: int, reference: dict[str, Pose], focal: float) -> dict | None:
    """A model without EXIF beside the reference; its photos are the first by name."""
    folder = work / name / "models" / f"auto-{seed}"
    if not folder.is_dir():
        return None
    model = read_model(folder)
    known = sorted(reference)
    found = {}
    for photo, pose in poses_of(model).items():
        number = int(photo[4:8]) - 4000 if photo.startswith("IMG_") else known.index(photo)
        found[known[number]] = pose
    found, world = upright(found, reference)
    names = sorted(found)
    errors = pair_errors(found, {photo: reference[photo] for photo in names})
    source, target = (np.array([poses[n].center for n in names]) for poses in (found, reference))
    similarity = fit_similarity(source, target)
    apart = np.linalg.norm(similarity(source) - target, axis=1)
    extent = float(np.linalg.norm(target.max(axis=0) - target.min(axis=0)))
    lengths = [
        camera.mean_focal_length() / max(camera.width, camera.height) for camera in model.cameras.values()
    ]
    return {
        "set": name,
        "seed": seed,
        "photos": len(names),
        "focal": [round(length / focal, 3) for length in lengths],
        "rotation": [float(np.median(errors.rotation)), float(errors.rotation.max())],
        "direction": [float(np.nanmedian(errors.translation)), float(np.nanmax(errors.translation))],
        "turn": rotation_angle(similarity.rotation @ world.T),
        "place": [median(apart) / extent, float(max(apart)) / extent],
    }


def streets(work: Path, seeds: int) -> tuple[list[dict], str]:
    """Rows of the street without EXIF, and a sentence on what it is compared with."""
    folder = work / "lund/models/auto-0"
    if not folder.is_dir():
        return [], ""
    model = read_model(folder)
    camera = next(iter(model.cameras.values()))
    focal, reference = camera.mean_focal_length() / max(camera.width, camera.height), poses_of(model)
    rows = [
        street(work, name, seed, reference, focal) for name in ("street", "phone") for seed in range(seeds)
    ]
    with open_database(next((work / "lund").glob("verified-*-0.db"))) as database:
        by_exif = sorted(
            {round(c.mean_focal_length() / max(c.width, c.height), 3) for c in database.read_all_cameras()}
        )
    said = (
        f"EXIF of lund says {', '.join(map(str, by_exif))} of the long side as focal length, the model of "
        f"all {len(reference)} photos with EXIF has {focal:.3f}"
    )
    return [row for row in rows if row is not None], said


def text(cases: list[dict], rows: list[dict], said: str) -> str:
    """placing_right.md."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    lines = [
        "## Whether models are right",
        "",
        "Rendered cases, the largest error over all pairs of photos in degrees:",
        "",
        "| case | seed | photos | rotation | direction | said |",
        "|---|---|---|---|---|---|",
    ]
    for row in cases:
        errors = f"{shown(row['rotation'])} | {shown(row['direction'])}"
        lines.append(
            f"| {row['case']} | {row['seed']} | {row['photos']} | {errors} | {'; '.join(row['said'])} |"
        )
    if rows:
        lines += [
            "",
            "A street without EXIF (the first 16 photos of lund; `phone`: some turned, two blurred, one "
            f"empty). {said}; focal lengths are given as a ratio to that. Errors between all pairs of "
            "photos, which need no common frame, median and largest in degrees: of the rotation and of the "
            "direction from one to the other; photos that are stored turned are turned back. After a "
            "similarity, the places' error as a share of the path's length; it is nearly straight, so that "
            "the places hardly tell a turn about it: how far their turn is from the orientations', in "
            "degrees, is beside it.",
            "",
            "| set | seed | photos | focal | rotation | direction | place | turn of places |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in rows:
            lines.append(
                f"| {row['set']} | {row['seed']} | {row['photos']} | {' '.join(map(str, row['focal']))} | "
                f"{' '.join(map(shown, row['rotation']))} | {' '.join(map(shown, row['direction']))} | "
                f"{' '.join(f'{value:.3f}' for value in row['place'])} | {shown(row['turn'])} |"
            )
    return "\n".join(lines) + "\n\nMade by `python eval/placing_right.py ../shared/cases`.\n"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/placing_right.py")
    arguments.work.mkdir(parents=True, exist_ok=True)
    copy = made(arguments.cases, arguments.work)
    rows = [row for case in CASES for row in measured(case, copy, arguments.work, arguments.seeds)]
    along, said = streets(arguments.work, arguments.seeds)
    (RESULTS / "placing_right.json").write_text(json.dumps({"cases": rows, "street": along}, indent=1) + "\n")
    (RESULTS / "placing_right.md").write_text(text(rows, along, said))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
