"""How many photos find their place: mapper auto beside our other mappers and pycolmap's SIFT pipeline.

    python eval/placing.py PHOTOS [--sets et kermit ...] [--seeds 5] [--work DIR]

PHOTOS holds a folder of photos for each set. Features and matches are made with default options in DIR/SET,
or taken from there; each seed verifies and maps anew. A cell is the photos in the best model of each seed;
seconds are those of mapping, mean over the seeds. Writes eval/results/placing.json and placing.md.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from desdis_match.colmap.database import build_database
from desdis_match.colmap.log import log_to
from desdis_match.colmap.mapping import MapConfig, map_database
from desdis_match.colmap.ranking import ranked, standing
from desdis_match.colmap.verification import verify
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.photos.images import list_images
from desdis_match.pipeline import extract, match, pairs
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile
from desdis_match.support.native import pycolmap

RESULTS = Path(__file__).parent / "results"
OURS = ("auto", "incremental", "global")
THEIRS = ("SIFT incremental", "SIFT global")


@dataclass(frozen=True)
class Arguments:
    """Place photos."""

    photos: tyro.conf.Positional[Path]
    sets: tuple[str, ...] = ()
    """Folders of PHOTOS; all that hold photos."""
    seeds: int = 5
    work: Path = Path("placing-work")


def seeded(options: object, seed: int) -> object:
    """pycolmap's options with the seed and one thread wherever they have such fields."""
    for name in options.todict(recursive=False):
        value = getattr(options, name)
        if name in ("random_seed", "num_threads"):
            setattr(options, name, seed if name == "random_seed" else 1)
        elif hasattr(value, "todict"):
            seeded(value, seed)
    return options


def matched(images: Path, work: Path) -> tuple[Path, Path]:
    """features.h5 and matches.h5 of a set."""
    features, listed, matches = work / "features.h5", work / "pairs.txt", work / "matches.h5"
    if not matches.is_file():
        work.mkdir(parents=True, exist_ok=True)
        extract(images, features)
        pairs(features, listed)
        match(features, listed, matches)
    return features, matches


def sift_database(images: Path, path: Path) -> Path:
    """pycolmap's own features and verified matches, default options."""
    if not path.is_file():
        unfinished = path.with_suffix(".tmp")
        unfinished.unlink(missing_ok=True)
        pycolmap.extract_features(unfinished, images, device=pycolmap.Device.cpu)
        pycolmap.match_exhaustive(unfinished, device=pycolmap.Device.cpu)
        unfinished.rename(path)
    return path


def timed(place: Callable[[], list[pycolmap.Reconstruction]], seed: int, mapper: str) -> dict:
    """One cell of one seed."""
    started = time.perf_counter()
    models = ranked(place())
    seconds = time.perf_counter() - started
    best = standing(models[0]) if models else None
    return {
        "mapper": mapper,
        "seed": seed,
        "registered": best.num_registered if best else 0,
        "held": best.num_held if best else 0,
        "points": best.num_solid_points if best else 0,
        "seconds": round(seconds, 1),
    }


def ours(images: Path, work: Path, seed: int) -> list[dict]:
    """Our mappers on one verified database."""
    features, matches = matched(images, work)
    cells = []
    with TemporaryDirectory() as scratch, FeatureFile(features) as f, MatchFile(matches) as m:
        database = build_database(Path(scratch) / "database.db", images, f, m)
        verify(database, seed=seed)
        for mapper in OURS:
            config = MapConfig(mapper=mapper, seed=seed)
            sparse = Path(scratch) / mapper
            cells.append(timed(lambda: map_database(database, None, sparse, config).models, seed, mapper))  # noqa: B023
    return cells


def theirs(images: Path, work: Path, seed: int) -> list[dict]:
    """pycolmap's mappers on its own features."""
    with log_to(None), TemporaryDirectory() as scratch:
        path = Path(scratch) / "database.db"
        shutil.copy(sift_database(images, work / "sift.db"), path)
        options = seeded(pycolmap.IncrementalPipelineOptions(extract_colors=False), seed)
        cells = [
            timed(
                lambda: list(pycolmap.incremental_mapping(path, images, scratch, options).values()),
                seed,
                THEIRS[0],
            )
        ]
        pycolmap.calibrate_view_graph(path, pycolmap.ViewGraphCalibrationOptions(random_seed=seed))
        options = seeded(pycolmap.GlobalPipelineOptions(), seed)
        cells.append(
            timed(
                lambda: list(pycolmap.global_mapping(path, images, scratch, options).values()),
                seed,
                THEIRS[1],
            )
        )
    return cells


def table(results: dict) -> str:
    """Photos registered by seed, and mean seconds."""
    head = ["set", "photos", *(f"{name} | s" for name in (*OURS, *THEIRS))]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (2 + 2 * len(OURS + THEIRS))]
    for name, result in results.items():
        row = [name, str(result["photos"])]
        for mapper in (*OURS, *THEIRS):
            cells = [cell for cell in result["cells"] if cell["mapper"] == mapper]
            row.append(" ".join(str(cell["registered"]) for cell in cells))
            row.append(f"{sum(cell['seconds'] for cell in cells) / max(1, len(cells)):.1f}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/placing.py")
    RESULTS.mkdir(parents=True, exist_ok=True)
    results: dict = {}
    for name in arguments.sets or sorted(path.name for path in arguments.photos.iterdir() if path.is_dir()):
        images, work = arguments.photos / name, arguments.work / name
        cells = [
            cell
            for seed in range(arguments.seeds)
            for cell in ours(images, work, seed) + theirs(images, work, seed)
        ]
        results[name] = {"photos": len(list_images(images)), "cells": cells}
        (RESULTS / "placing.json").write_text(json.dumps(results, indent=1) + "\n")
        (RESULTS / "placing.md").write_text(table(results))
        print(table(results), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
