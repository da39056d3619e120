"""`desdis-match doctor OUT`: whether a run's files are whole and belong together, and what is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..colmap.database import CHANGED, connect, content_changed, database_config, notes, readable_database
from ..colmap.model_files import PLY_POINT, changed_files, check_model_files, read_stamp
from ..errors import InputError
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from ..storage.run_folder import RunFolder
from ..support.files import read_json
from .resume import fingerprint

State = Literal["whole", "missing", "stale", "unfinished", "changed", "DAMAGED"]

SOUND: tuple[State, ...] = ("whole", "missing", "unfinished")
"""States in which a next command does the right thing by itself."""


@dataclass(frozen=True)
class Finding:
    """One file, or a model's folder."""

    file: str
    state: State
    text: str  # what is in it, or what is wrong and what a next command does about it


def check_run(out: Path) -> list[Finding]:
    """Read every file of a run's folder through. Raises InputError for what is no folder."""
    if not out.is_dir():
        raise InputError(f"{out} is not a folder; give the output folder of `desdis-match reconstruct`")
    folder = RunFolder(out)
    found: list[Finding] = []
    checks: dict[Path, Callable[[RunFolder], tuple[State, str]]] = {
        folder.features: _features,
        folder.matches: _matches,
        folder.database: _database,
        folder.points: _points,
        folder.report: _report,
    }
    for path, check in checks.items():
        found.append(_found(path.name, path, lambda check=check: check(folder)))  # type: ignore[misc]
    for model in sorted(folder.sparse.glob("[0-9]*"), key=lambda path: path.name):
        found.append(_found(f"sparse/{model.name}", model, lambda model=model: _model(model)))  # type: ignore[misc]
    if folder.sparse.is_dir():
        found.append(_found("sparse/made_by.json", folder.stamp, lambda: _stamp(folder)))
    found += [Finding(name, "unfinished", text) for name, text in _leftovers(folder)]
    return found


def _found(name: str, path: Path, check: Callable[[], tuple[State, str]]) -> Finding:
    if not path.exists():
        return Finding(name, "missing", "the next `reconstruct` makes it")
    try:
        with _quiet():
            return Finding(name, *check())
    except InputError as error:
        return Finding(name, "DAMAGED", str(error))


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings are findings here."""
    package = logging.getLogger("desdis_match")
    level = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(level)


def _features(folder: RunFolder) -> tuple[State, str]:
    with FeatureFile(folder.features) as file:
        total = sum(len(file.get(name)) for name in file.names())
        left_out = len(file.left_out())
        return "whole", f"{total} keypoints of {len(file.names())} photos, {left_out} left out"


def _matches(folder: RunFolder) -> tuple[State, str]:
    with FeatureFile(folder.features) as features, MatchFile(folder.matches) as file:
        made = file.config or {}
        if "added" not in made and made.get("features") not in (None, fingerprint(folder.features)):
            return "stale", "of other features than features.h5 holds; the next `reconstruct` matches again"
        counts = features.counts()
        pairs = file.pairs(counts)
        total = sum(len(file.get(*pair, counts)) for pair in pairs)
        return "whole", f"{total} matches of {len(pairs)} pairs"


def _database(folder: RunFolder) -> tuple[State, str]:
    with connect(folder.database) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        return "DAMAGED", f"{answer}; delete it, and the next `reconstruct` builds it again"
    if content_changed(folder.database):
        return "changed", f"it {CHANGED}; delete it, and the next `reconstruct` builds it again"
    with readable_database(folder.database) as database:
        num_images = database.num_images()
    made = database_config(folder.database) or {}
    for key, path in (("features", folder.features), ("matches", folder.matches)):
        if key in made and path.is_file() and made[key] != fingerprint(path):
            return (
                "stale",
                f"made of other {key} than {path.name} holds; the next `reconstruct` builds it again",
            )
    if notes(folder.database).get("verified", "yes") != "yes":
        return "unfinished", "verification goes on where it was"
    return "whole", f"{num_images} photos"


def _model(model: Path) -> tuple[State, str]:
    counts = check_model_files(model)
    if changed := changed_files(model):
        return "changed", f"{', '.join(changed)} are not as they were written: edited, or damaged"
    points = next((num for name, num in counts.items() if name.startswith("points3D")), 0)
    photos = next((num for name, num in counts.items() if name.startswith("images")), 0)
    return "whole", f"{photos} photos, {points} points"


def _stamp(folder: RunFolder) -> tuple[State, str]:
    made = read_stamp(folder.stamp)
    for key, path in (("features", folder.features), ("matches", folder.matches)):
        if key in made and path.is_file() and made[key] != fingerprint(path):
            return (
                "stale",
                f"the models are of other {key} than {path.name} holds; `reconstruct` maps again",
            )
    return "whole", "the models belong to features.h5 and matches.h5"


def _points(folder: RunFolder) -> tuple[State, str]:
    head, mark, points = folder.points.read_bytes().partition(b"end_header\n")
    count = next((int(line.split()[2]) for line in head.splitlines() if line[:14] == b"element vertex"), -1)
    if not mark or len(points) != count * PLY_POINT:
        return "DAMAGED", "it is cut short; `desdis-match export --format ply` makes it again"
    return "whole", f"{count} points"


def _report(folder: RunFolder) -> tuple[State, str]:
    return "whole", f"{len(read_json(folder.report).get('images', {}))} photos"


def _leftovers(folder: RunFolder) -> Iterator[tuple[str, str]]:
    if (folder.addition.path / "ready").is_file():
        yield ".add", "an addition is ready; the same `add` puts it in place"
    elif folder.addition.path.exists():
        yield ".add", "an addition was stopped; the same `add` goes on"
    for name in ("features.h5", "matches.h5"):
        if (folder.path / f".{name}.parts").exists():
            yield f".{name}.parts", "work of a stopped run; the same command goes on with it"
    if (folder.path / ".mapping").exists():
        yield ".mapping", "mapping was stopped; the next `reconstruct` maps again"
