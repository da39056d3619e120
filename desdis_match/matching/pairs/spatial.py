"""Photos that were taken near each other, by their positions."""

from __future__ import annotations

import logging

import numpy as np

from ...errors import InputError
from .base import Pair, PairsConfig, PhotoSet, ordered
from .neighbours import near_either

log = logging.getLogger(__name__)


def spatial(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `spatial`: nearest positions. Photos without one are in no pair; retrieval can bring them in.

    Raises InputError when fewer than two photos have a position.
    """
    from scipy.spatial import KDTree

    placed = [name for name in photos.names if name in photos.positions]
    if len(placed) < 2:
        raise InputError(
            f"{len(placed)} of {len(photos.names)} images have a GPS position (read from the photos' EXIF); "
            "choose other pairs, such as --pairs retrieval"
        )
    missing = len(photos.names) - len(placed)
    if missing and "retrieval" not in config.ways:
        log.warning("%d images have no GPS position; --pairs spatial+retrieval pairs them too", missing)
    places = np.stack([photos.positions[name] for name in placed])
    num = min(config.partners + 1, len(placed))
    distances, found = KDTree(places).query(places, k=num, distance_upper_bound=config.radius or np.inf)
    partners = [
        [int(j) for j, d in zip(row, away, strict=True) if np.isfinite(d) and j != i]
        for i, (row, away) in enumerate(zip(found, distances, strict=True))
    ]
    return ordered(placed, near_either(partners))
