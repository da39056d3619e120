"""Which images are matched with which: one file and one entry of `PAIRS` a way, and ways joined."""

from __future__ import annotations

from ...support.parts import check_part, find_part
from .auto import choose_way
from .base import REUSE, Pair, PairsConfig, PhotoSet, View, Way, reuse_order
from .exhaustive import exhaustive, exhaustive_pairs
from .file import check_listed, listed, pairs_from_file, write_pairs
from .frusta import frusta
from .retrieval import retrieval
from .sequential import sequential, sequential_pairs
from .spatial import spatial

__all__ = [
    "PAIRS",
    "REUSE",
    "Pair",
    "PairsConfig",
    "PhotoSet",
    "View",
    "Way",
    "check_ways",
    "choose_way",
    "exhaustive_pairs",
    "joined_pairs",
    "pairs_from_file",
    "reuse_order",
    "sequential_pairs",
    "write_pairs",
]

PAIRS: dict[str, Way] = {
    "exhaustive": exhaustive,
    "sequential": sequential,
    "retrieval": retrieval,
    "spatial": spatial,
    "frusta": frusta,
    "file": listed,
}


def joined_pairs(photos: PhotoSet, config: PairsConfig) -> dict[str, list[Pair]]:
    """Pairs by way, in the order of `config.ways`; a pair that several ways find is the first one's.

    Raises InputError for an unknown way.
    """
    check_ways(config)
    seen: set[frozenset[str]] = set()
    found = {}
    for way in config.ways:
        new = [pair for pair in find_part("pairs", PAIRS, way)(photos, config) if frozenset(pair) not in seen]
        seen.update(map(frozenset, new))
        found[way] = new
    return found


def check_ways(config: PairsConfig) -> None:
    """Raise InputError for a way that is none, and for `file` without one."""
    check_listed(config)
    for way in config.ways:
        check_part("pairs", PAIRS, way, also=("auto",) if config.ways == ("auto",) else ())
