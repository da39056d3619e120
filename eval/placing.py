"""How many photos find their place: mapper auto beside our other mappers and pycolmap's SIFT pipeline.

    python eval/placing.py PHOTOS [--sets et street=FOLDER ...] [--seeds 5] [--work DIR]

PHOTOS holds a folder of photos for each set. Features and matches are made with default options in DIR/SET,
or taken from there; each seed verifies and maps anew. What is measured is kept in DIR/SET, so a run that was
stopped goes on, and after a change of the mappers only our cells are measured again. A cell is the photos in
the best model of each seed; seconds are those of mapping, mean over the seeds. Writes
eval/results/placing.json and placing.md, which takes in what eval/placing_right.py says of the models.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from desdis_match.colmap.database import build_database
from desdis_match.colmap.log import log_to
from desdis_match.colmap.mapping import MapConfig, map_database
from desdis_match.colmap.placing import Placing
from desdis_match.colmap.ranking import best_first, standing
from desdis_match.colmap.verification import verify
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.cache import code_hash
from desdis_match.evaluate.output import versions_and_machine
from desdis_match.photos.images import list_images
from desdis_match.pipeline import extract, match, pairs
from desdis_match.pipeline.resume import RunConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile
from desdis_match.support.native import pycolmap

RESULTS = Path(__file__).parent / "results"
OURS = ("auto", "incremental", "global")
THEIRS = ("SIFT incremental", "SIFT global")
CODE = {
    "auto": code_hash("desdis_match.colmap.placing", "desdis_match.colmap.verification"),
    **dict.fromkeys(OURS[1:], code_hash("desdis_match.colmap.mappers", "desdis_match.colmap.verification")),
    **dict.fromkeys(THEIRS, pycolmap.__version__),
}
"""What a cell was measured with; another cell is measured again."""


@dataclass(frozen=True)
class Arguments:
    """Place photos."""

    photos: tyro.conf.Positional[Path]
    sets: tuple[str, ...] = ()
    """Folders of PHOTOS, or NAME=FOLDER for one elsewhere; all that hold photos."""
    seeds: int = 5
    mappers: tuple[str, ...] = (*OURS, *THEIRS)
    """Columns to measure; others show what is known of them."""
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
        one = RunConfig(workers=1)
        extract(images, features, run=one)
        pairs(features, listed)
        match(features, listed, matches, run=one)
    return features, matches


def verified_database(images: Path, work: Path, seed: int) -> Path:
    """Our matches, verified with a seed."""
    code = code_hash("desdis_match.colmap.verification", "desdis_match.colmap.database")
    path = work / f"verified-{code[:8]}-{seed}.db"
    if not path.is_file():
        unfinished = path.with_suffix(".tmp")
        features, matches = matched(images, work)
        with FeatureFile(features) as f, MatchFile(matches) as m:
            build_database(unfinished, images, f, m)
        verify(unfinished, seed=seed, threads=1)
        unfinished.rename(path)
    return path


def sift_database(images: Path, path: Path) -> Path:
    """pycolmap's own features and verified matches, default options."""
    if not path.is_file():
        unfinished = path.with_suffix(".tmp")
        unfinished.unlink(missing_ok=True)
        pycolmap.extract_features(unfinished, images, device=pycolmap.Device.cpu)
        pycolmap.match_exhaustive(unfinished, device=pycolmap.Device.cpu)
        unfinished.rename(path)
    return path


def timed(place: Callable[[], Placing], folder: Path) -> dict:
    """One cell; the best model stays in `folder`."""
    started = time.perf_counter()
    placing = place()
    seconds = time.perf_counter() - started
    models = best_first(placing.models)
    best = standing(models[0]) if models else None
    shutil.rmtree(folder, ignore_errors=True)
    if models:
        folder.mkdir(parents=True)
        models[0].write_binary(folder)
    return {
        "registered": best.num_registered if best else 0,
        "most": max((model.num_reg_images() for model in models), default=0),  # of any model
        "held": best.num_held if best else 0,
        "points": best.num_solid_points if best else 0,
        "seconds": round(seconds, 1),
        "tries": [[a.what, a.num_photos, a.num_points, a.seconds] for a in placing.record.attempts],
        "notes": list(placing.record.notes),
    }


def ours(images: Path, work: Path, seed: int, mapper: str) -> dict:
    """One of our mappers on our verified database."""
    database = verified_database(images, work, seed)
    with TemporaryDirectory() as scratch:
        config = MapConfig(mapper=mapper, seed=seed)
        return timed(
            lambda: map_database(database, None, Path(scratch) / "sparse", config),
            work / "models" / f"{mapper}-{seed}",
        )


def theirs(images: Path, work: Path, seed: int, mapper: str) -> dict:
    """One of pycolmap's mappers on its own features."""
    with log_to(None), TemporaryDirectory() as scratch:
        path = Path(scratch) / "database.db"
        shutil.copy(sift_database(images, work / "sift.db"), path)

        def place() -> Placing:
            if mapper == "SIFT incremental":
                options = seeded(pycolmap.IncrementalPipelineOptions(extract_colors=False), seed)
                return Placing(list(pycolmap.incremental_mapping(path, images, scratch, options).values()))
            pycolmap.calibrate_view_graph(path, pycolmap.ViewGraphCalibrationOptions(random_seed=seed))
            options = seeded(pycolmap.GlobalPipelineOptions(), seed)
            return Placing(list(pycolmap.global_mapping(path, images, scratch, options).values()))

        return timed(place, work / "models" / f"{mapper}-{seed}")


def cells_of(images: Path, work: Path, seeds: int, mappers: tuple[str, ...]) -> list[dict]:
    """All cells of a set, those that are known from before too.

    Where auto was content with its first try, incremental is that try, and not made once more.
    """
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "cells.json"
    known = {(c["mapper"], c["seed"]): c for c in (json.loads(kept.read_text()) if kept.is_file() else [])}
    order = (*OURS, *THEIRS)
    for mapper, seed in product([mapper for mapper in order if mapper in mappers], range(seeds)):
        if known.get((mapper, seed), {}).get("code") != CODE[mapper]:
            measure = ours if mapper in OURS else theirs
            found = measure(images, work, seed, mapper)
            known[mapper, seed] = {"mapper": mapper, "seed": seed, "code": CODE[mapper], **found}
            if mapper == "auto" and [what for what, *_ in found["tries"]] == ["incremental"]:
                twin = {"mapper": "incremental", "seed": seed, "code": CODE["incremental"]}
                known["incremental", seed] = {**found, **twin, "seconds": found["tries"][0][-1]}
            kept.write_text(json.dumps(list(known.values()), indent=1) + "\n")
    wanted = [c for c in known.values() if c["seed"] < seeds and c["code"] == CODE[c["mapper"]]]
    return sorted(wanted, key=lambda cell: (cell["seed"], order.index(cell["mapper"])))


def missed(cells: list[dict]) -> list[int]:
    """Seeds with which auto has fewer photos than some other cell."""
    most = {cell["seed"]: 0 for cell in cells}
    for cell in cells:
        most[cell["seed"]] = max(most[cell["seed"]], cell["most"])
    return [c["seed"] for c in cells if c["mapper"] == "auto" and c["registered"] < most[c["seed"]]]


def table(results: dict) -> str:
    """Photos registered by seed, and mean seconds."""
    head = ["set", "photos", *(f"{name} | s" for name in (*OURS, *THEIRS)), "auto has fewer with seed"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (3 + 2 * len(OURS + THEIRS))]
    for name, result in results.items():
        row = [name, str(result["photos"])]
        for mapper in (*OURS, *THEIRS):
            cells = [cell for cell in result["cells"] if cell["mapper"] == mapper]
            key = "registered" if mapper == "auto" else "most"
            row.append(" ".join(str(cell[key]) for cell in cells) or "-")
            row.append(f"{sum(cell['seconds'] for cell in cells) / len(cells):.1f}" if cells else "-")
        row.append(" ".join(map(str, missed(result["cells"]))) or "none")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def text(results: dict) -> str:
    """placing.md."""
    right = RESULTS / "placing_right.md"
    seeds = 1 + max((cell["seed"] for result in results.values() for cell in result["cells"]), default=0)
    return (
        "# Photos that find their place\n\n"
        f"Photos of the model with most of them, seeds 0 to {seeds - 1}; for auto those of the model that "
        "stands first. Where auto places all, no other can place more, and `-` stands for what was not "
        "measured. Seconds of mapping alone, mean over the seeds, on a machine that did other work too.\n\n"
        f"{table(results)}\nMade by `python eval/placing.py ../shared/data/photos`.\n"
        + (f"\n{right.read_text()}" if right.is_file() else "")
    )


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/placing.py")
    RESULTS.mkdir(parents=True, exist_ok=True)
    stored = RESULTS / "placing.json"
    results = json.loads(stored.read_text())["sets"] if stored.is_file() else {}
    for given in arguments.sets or sorted(p.name for p in arguments.photos.iterdir() if p.is_dir()):
        name, _, folder = given.partition("=")
        images = Path(folder) if folder else arguments.photos / name
        cells = cells_of(images, arguments.work / name, arguments.seeds, arguments.mappers)
        results[name] = {"photos": len(list_images(images)), "cells": cells}
        stored.write_text(json.dumps({"versions": versions_and_machine(), "sets": results}, indent=1) + "\n")
        (RESULTS / "placing.md").write_text(text(results))
        print(table({name: results[name]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
