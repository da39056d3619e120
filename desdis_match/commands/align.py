"""`desdis-match align`: a model that exists into metres, east-north-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..pipeline.georeferencing import georeference_model
from .flags import parse


@dataclass(frozen=True)
class AlignCommand:
    """A model into metres by its photos' GPS positions, by known positions or by known distances."""

    model: Path
    """Folder of the model, for example OUT/sparse/0; it stays as it is."""
    output: Path
    """New folder for the model in metres."""
    images: Path | None = None
    """Folder of the photos, for their GPS positions."""
    control: Path | None = None
    """Known positions or distances by file (docs/georeferencing.md has its rows), instead of GPS."""


def main(argv: Sequence[str]) -> int:
    """`desdis-match align`: prints what fits how well, the largest residuals first."""
    command = parse(AlignCommand, argv, "align")
    made = georeference_model(command.model, command.output, command.images, command.control)
    where = made.georeference
    print(f"{made.folder}: {where.sentence()}")
    for name, residual in sorted(where.residuals.items(), key=lambda item: -item[1])[:10]:
        print(f"  {residual:8.3f} m  {name}{'  (left out)' if name in where.outliers else ''}")
    return 0
