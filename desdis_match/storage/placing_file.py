"""placing.json: the ways of mapping that were tried on a run's photos, and what was found out about them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..support.files import atomic_path
from ..support.records import read_record


@dataclass(frozen=True)
class Attempt:
    """One way of mapping and what it brought."""

    what: str
    num_photos: int  # that its models hold
    num_points: int  # that hold up, in its best model
    seconds: float
    kept: bool  # a model of it stood, at least for a while


@dataclass(frozen=True)
class PlacingRecord:
    """How the models of a run were found."""

    attempts: tuple[Attempt, ...] = ()  # in the order they were made
    notes: tuple[str, ...] = ()  # sentences on the photos, for people

    def save(self, path: Path) -> Path:
        """Write as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> PlacingRecord:
        """Read one; an empty one where there is no file. Raises InputError for what is none."""
        return read_record(path, cls) if path.is_file() else cls()
