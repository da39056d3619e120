"""report.json: what a reconstruct run made, in numbers, as a record that is written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..support.files import atomic_path
from ..support.records import read_record
from ..types import ModelSummary
from .georeference import Georeference
from .placing_file import Attempt

REPORT_FORMAT = "desdis_match report 2"


@dataclass(frozen=True)
class ImageReport:
    """One photo of the run."""

    keypoints: int = 0
    matches: int = 0  # with all its partners, before verification
    verified_matches: int = 0
    registered: bool = False
    why: str | None = None  # it is not in the largest model; None when it is


@dataclass(frozen=True)
class StageReport:
    """What a stage cost, over all the runs that it took."""

    seconds: float = 0.0
    peak_bytes: int | None = None  # None where the system does not tell


@dataclass(frozen=True)
class Counts:
    """The run in numbers."""

    images: int = 0
    usable: int = 0  # images with keypoints
    keypoints: int = 0
    pairs: int = 0
    matched_pairs: int = 0
    matches: int = 0
    verified_pairs: int = 0
    verified_matches: int = 0
    components: int = 0  # of the view graph
    models: int = 0


@dataclass(frozen=True)
class CameraReport:
    """A camera of the largest model."""

    model: str  # COLMAP's name
    width: int
    height: int
    params: Mapping[str, float]  # by COLMAP's names, pixels; its pixel centres are at (0.5, 0.5)
    images: int  # that it took, of those in the model


@dataclass(frozen=True)
class WayReport:
    """What a way of choosing pairs brought that no way before it did."""

    pairs: int = 0
    verified: int = 0


@dataclass(frozen=True)
class Report:
    """report.json."""

    images_folder: str | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, StageReport] = field(default_factory=dict)  # in the order they ran
    counts: Counts = field(default_factory=Counts)
    ways: Mapping[str, WayReport] = field(default_factory=dict)  # of choosing pairs
    models: tuple[ModelSummary, ...] = ()  # largest first
    cameras: tuple[CameraReport, ...] = ()  # of the largest model
    images: Mapping[str, ImageReport] = field(default_factory=dict)
    diagnosis: str | None = None  # why no model formed, or why photos are left out
    attempts: tuple[Attempt, ...] = ()  # ways of mapping that were tried
    notes: tuple[str, ...] = ()  # sentences on the photos and the models
    georeference: Georeference | None = None  # of the largest model
    added_folders: tuple[str, ...] = ()  # of photos that `add` brought in from elsewhere
    format: str = REPORT_FORMAT

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    def save(self, path: Path) -> Path:
        """Write as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), "utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read one; an empty one where there is no file. Raises InputError for what is none."""
        return read_record(path, cls) if path.is_file() else cls()
