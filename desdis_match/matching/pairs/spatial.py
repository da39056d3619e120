"""Photos that were taken near each other, by their positions."""

from __future__ import annotations

import numpy as np

from .base import Pair, PairsConfig, PhotoSet, known_names, ordered
from .neighbours import near_either


def spatial(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `spatial`: nearest positions. Photos without one are in no pair; retrieval can bring them in.

    Raises InputError when fewer than two photos have a position.
    """
    from scipy.spatial import KDTree

    remedy = " (read from the photos' EXIF);"
    placed = known_names(photos, photos.positions, config, "spatial", "GPS position", remedy)
    places = np.stack([photos.positions[name] for name in placed])
    num = min(config.partners + 1, len(placed))
    distances, found = KDTree(places).query(places, k=num, distance_upper_bound=config.radius or np.inf)
    partners = [
        [int(j) for j, d in zip(row, away, strict=True) if np.isfinite(d) and j != i]
        for i, (row, away) in enumerate(zip(found, distances, strict=True))
    ]
    return ordered(placed, near_either(partners))
