"""georeference.json: where on earth a model is, beside its cameras.bin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..support.files import write_text
from ..support.records import read_record

FILE = "georeference.json"

GPS_ERROR = 5.0
"""Metres, of a phone under open sky: positions must spread further to tell a scale or which way is up."""


@dataclass(frozen=True)
class Georeference:
    """Where a model is and how well its positions agree; metres, east-north-up of the origin."""

    source: str = "gps"  # gps, control or distances
    origin: tuple[float, ...] | None = None  # latitude, longitude, altitude; None: a frame of its own
    scale: float = 1.0  # metres a unit of the model had before
    residuals: Mapping[str, float] = field(default_factory=dict)  # by photo or marked point
    outliers: tuple[str, ...] = ()  # of them, which the fit left out
    median_residual: float = 0.0  # of all, outliers too
    up_from_photos: bool = False
    spread: float = 0.0  # root mean square distance of the positions from their mean

    def sentence(self) -> str:
        """For people."""
        if self.source == "distances":
            worst = max(self.residuals.values())
            return f"scaled to metres by {len(self.residuals)} distances, largest error {worst:.3f} m"
        by = "GPS positions" if self.source == "gps" else "control positions"
        parts = [f"metres by {len(self.residuals)} {by}, median residual {self.median_residual:.2f} m"]
        if self.outliers:
            parts.append(f"{len(self.outliers)} left out as wrong")
        if self.origin is not None:
            latitude, longitude, altitude = self.origin
            parts.append(f"east-north-up of {latitude:.7f}, {longitude:.7f}, {altitude:.1f} m")
        if self.up_from_photos:
            parts.append("up as the photos are held")
        if self.source == "gps" and self.spread < GPS_ERROR:
            parts.append(
                f"positions spread {self.spread:.1f} m, no more than GPS errs: the scale is doubtful"
            )
        return "; ".join(parts)

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    def save(self, model_dir: Path) -> Path:
        """Write it into a model's folder."""
        return write_text(Path(model_dir) / FILE, self.to_json())


def load_georeference(model_dir: Path) -> Georeference | None:
    """Of a model's folder; None where it has none. Raises InputError for a damaged file."""
    path = Path(model_dir) / FILE
    return read_record(path, Georeference) if path.is_file() else None
