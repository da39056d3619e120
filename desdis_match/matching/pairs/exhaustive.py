"""Every image with every other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from .base import Pair, PairsConfig, PhotoSet


def exhaustive_pairs(names: Sequence[str]) -> list[Pair]:
    """Every image with every other, in the order of `names`."""
    return list(combinations(names, 2))


def exhaustive(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `exhaustive`."""
    return exhaustive_pairs(photos.names)
