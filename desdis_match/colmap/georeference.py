"""A model into metres, east-north-up: by its photos' GPS positions, by ground control or by known distances.

The origin is the mean of the positions that agree. Where these lie on a line, or are no further apart than
GPS errs, they cannot tell which way is up: then the photos' own horizontals do (upright.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..photos.gps import Position, east_north_up, same_heights
from ..storage.georeference import GPS_ERROR, Georeference
from ..support.native import pycolmap
from .control import Control, marked_points
from .similarity import Fit, fit_similarity
from .upright import quarter_turns, up_direction

MIN_POSITIONS = 3
MAX_RESIDUAL, LEAST_RESIDUAL = 0.7, 0.15
"""Of the spread of GPS positions: those that miss the model by more in the median are not the photos'. The
first of very many, the second of a handful, which a similarity fits wherever they are: of positions drawn at
random three miss by 0.2 to 0.7, eight by 0.5 to 0.9, sixty by 0.8; those of a walk of 8 m radius whose GPS
errs by 3 m and 6 m in height by 0.57 however many they are."""
FLAT = 1e-3
"""Of the longest spread: control closer to a line than this does not tell either."""


@dataclass(frozen=True)
class Targets:
    """Where things of a model are said to be."""

    positions: Mapping[str, Position] = field(default_factory=dict)  # of photos
    control: Control | None = None

    def __bool__(self) -> bool:
        return self.control is not None or len(self.positions) >= MIN_POSITIONS


def georeference(
    model: pycolmap.Reconstruction, targets: Targets, images_dir: Path | None = None
) -> Georeference:
    """Transform a model in place. images_dir: for the photos' Orientation.

    Raises InputError where the targets do not fix a similarity.
    """
    if targets.control is not None and not (targets.control.points or targets.control.cameras):
        return _by_distances(model, targets.control)
    names, source, target, origin = _pairs(model, targets)
    if len(names) < 2:
        raise InputError(
            f"{len(names)} of the model's photos and points have a known position; {MIN_POSITIONS} are needed"
        )
    sideways = np.linalg.svd(target - target.mean(0), compute_uv=False)[1] / np.sqrt(len(names))
    longest = np.linalg.svd(target - target.mean(0), compute_uv=False)[0] / np.sqrt(len(names))
    by_gps = targets.control is None
    level = len(names) < MIN_POSITIONS or sideways < (GPS_ERROR if by_gps else FLAT * longest)
    up = up_direction(model, quarter_turns(model, images_dir)) if level else None
    fit = fit_similarity(source, target, up)
    if fit is None:
        raise InputError("the known positions are all one, or the model's photos are: they tell no scale")
    if by_gps:
        _check_agreement(fit, target)
    model.transform(fit.transform)
    return _record(names, fit, origin, "gps" if by_gps else "control", level, target)


def _check_agreement(fit: Fit, target: NDArray[np.float64]) -> None:
    """Raise InputError for positions that say something, but not about these photos: a phone that repeats an
    old one for many photos agrees with any model that is shrunk to a point."""
    if _spread(target) < GPS_ERROR:
        return
    agree, residual = _spread(target[fit.inliers]), float(np.median(fit.residuals[fit.inliers]))
    if agree < GPS_ERROR:
        raise InputError(
            f"the photos' GPS positions spread {_spread(target):.0f} m, but the {int(fit.inliers.sum())} of "
            f"{len(target)} that agree with the model lie within {agree:.1f} m, no more than GPS errs; "
            "give known positions or distances with --control"
        )
    if residual > _largest_residual(int(fit.inliers.sum())) * agree:
        raise InputError(
            f"the photos' GPS positions spread {agree:.0f} m and miss the model by {residual:.0f} m in the "
            "median, so they are not those of the photos; give known positions or distances with --control"
        )


def _largest_residual(num: int) -> float:
    """Share of the spread of `num` positions by which they may miss the model."""
    return max(LEAST_RESIDUAL, MAX_RESIDUAL * (1 - 4 / num))


def _spread(places: NDArray[np.float64]) -> float:
    """Root of the mean square distance from the middle."""
    return float(np.sqrt(np.mean(np.sum((places - places.mean(0)) ** 2, axis=1))))


def _record(
    names: Sequence[str],
    fit: Fit,
    origin: Position | None,
    source: str,
    level: bool,
    target: NDArray[np.float64],
) -> Georeference:
    return Georeference(
        source=source,
        origin=None if origin is None else (origin.latitude, origin.longitude, origin.altitude or 0.0),
        scale=float(fit.transform.scale),
        residuals={name: round(float(r), 4) for name, r in zip(names, fit.residuals, strict=True)},
        outliers=tuple(name for name, good in zip(names, fit.inliers, strict=True) if not good),
        median_residual=round(float(np.median(fit.residuals)), 4),
        up_from_photos=bool(level),
        spread=round(_spread(target), 3),
    )


def _pairs(
    model: pycolmap.Reconstruction, targets: Targets
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], Position | None]:
    """Names, places (N, 3) in the model and in metres, and the origin of these."""
    centres = {i.name: np.asarray(i.projection_center()) for i in model.images.values() if i.has_pose}
    control = targets.control
    if control is None:
        known = {name: targets.positions[name] for name in sorted(centres) if name in targets.positions}
        return _in_metres(list(known), [centres[name] for name in known], list(known.values()))
    places = {name: centres[name] for name in control.cameras if name in centres}
    marked = marked_points(model, control)
    places |= {name: marked[name] for name in control.points if name in marked}
    said = {**control.cameras, **control.points}
    names, source = list(places), [places[name] for name in places]
    if control.local:
        return names, np.reshape(source, (-1, 3)), np.reshape([said[n] for n in names], (-1, 3)), None
    return _in_metres(names, source, [Position(*said[name]) for name in names])


def _in_metres(
    names: list[str], source: list[NDArray[np.float64]], positions: list[Position]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], Position | None]:
    if not names:
        return [], np.empty((0, 3)), np.empty((0, 3)), None
    positions = same_heights(positions)
    table = np.array([(p.latitude, p.longitude, p.altitude) for p in positions], np.float64)
    origin = Position(*(float(v) for v in np.median(table, axis=0)))
    return names, np.reshape(source, (-1, 3)), east_north_up(positions, origin), origin


def _by_distances(model: pycolmap.Reconstruction, control: Control) -> Georeference:
    """Only the scale: the median of the distances' ratios."""
    places = {i.name: np.asarray(i.projection_center()) for i in model.images.values() if i.has_pose}
    places |= marked_points(model, control)
    known = [(a, b, metres) for a, b, metres in control.distances if a in places and b in places]
    if not known:
        raise InputError("no distance is between two photos of the model, or points that two photos show")
    lengths = [float(np.linalg.norm(places[a] - places[b])) for a, b, _ in known]
    if min(lengths) <= 0:
        raise InputError("a distance is between two things that are at one place in the model")
    scale = float(np.median([metres / length for (_, _, metres), length in zip(known, lengths, strict=True)]))
    model.transform(pycolmap.Sim3d(scale, pycolmap.Rotation3d(np.eye(3)), np.zeros(3)))
    errors = {f"{a} - {b}": abs(scale * d - m) for (a, b, m), d in zip(known, lengths, strict=True)}
    return Georeference(
        source="distances",
        scale=scale,
        residuals={name: round(error, 4) for name, error in errors.items()},
        median_residual=round(float(np.median(list(errors.values()))), 4),
    )
