"""The output folder of a run: where each file of it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """`OUT` of `reconstruct --output OUT`; nothing in it looks whether a file is there."""

    path: Path

    @property
    def features(self) -> Path:
        """Keypoints and descriptors, in hloc's layout."""
        return self.path / "features.h5"

    @property
    def pairs(self) -> Path:
        """The pairs to match, `a b` a line."""
        return self.path / "pairs.txt"

    @property
    def matches(self) -> Path:
        """Matches, in hloc's layout."""
        return self.path / "matches.h5"

    @property
    def two_view(self) -> Path:
        """Two-view geometries of the matched pairs."""
        return self.path / "two_view.h5"

    @property
    def database(self) -> Path:
        """COLMAP's database."""
        return self.path / "database.db"

    @property
    def sparse(self) -> Path:
        """The folder of the models 0, 1, ..., largest first."""
        return self.path / "sparse"

    @property
    def stamp(self) -> Path:
        """What made the models."""
        return self.sparse / "made_by.json"

    def model(self, number: int = 0) -> Path:
        """A model in COLMAP's binary files."""
        return self.sparse / str(number)

    @property
    def points(self) -> Path:
        """The points of the largest model."""
        return self.path / "points.ply"

    @property
    def report(self) -> Path:
        """What happened, for machines."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """What happened, for people."""
        return self.path / "report.html"

    @property
    def placing(self) -> Path:
        """How the models were found."""
        return self.path / "placing.json"

    @property
    def log(self) -> Path:
        """COLMAP's own lines."""
        return self.path / "colmap.log"

    @property
    def usage(self) -> Path:
        """Seconds and memory of the stages so far."""
        return self.path / ".usage.json"

    @property
    def unfinished(self) -> Path:
        """What comes and goes while models are made; the next run empties it."""
        return self.path / ".mapping"

    @property
    def addition(self) -> RunFolder:
        """Where `add` prepares what it will put in place."""
        return RunFolder(self.path / ".add")


def holds_run(path: Path) -> bool:
    """Whether there is anything of a run below `path` but features.h5, which other commands write, too."""
    folder = RunFolder(path)
    files = (folder.pairs, folder.matches, folder.two_view, folder.database, folder.report, folder.usage)
    return folder.sparse.is_dir() or any(file.is_file() for file in files)
