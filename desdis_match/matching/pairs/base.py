"""What a way of choosing pairs is given, and what it gives: each unordered pair once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...support.checks import ABOVE_ZERO, check_options
from ...types import Features, Float32

log = logging.getLogger(__name__)

Pair = tuple[str, str]

REUSE = 16
"""Images at a side of a block of pairs that are matched together (`reuse_order`)."""


@dataclass(frozen=True)
class PairsConfig:
    """Which images are matched with which."""

    pairs: str = "auto"
    """exhaustive, sequential, retrieval, spatial, frusta, file, or several joined: spatial+retrieval. auto:
    with --poses frusta, from 13 images on; up to 150 images exhaustive; beyond, spatial+retrieval where most
    have GPS, sequential+retrieval where they are the numbered frames of one camera, else retrieval. Another
    package's, or module:Class of your own."""
    partners: int = 20
    """Retrieval, frusta: pairs an image, at most; what images with few partners leave over goes to those with
    many. Spatial: an image's nearest that it may be matched with."""
    depths: tuple[float, float] | None = None
    """Frusta: how far away the nearest and the farthest is that the photos show, in the poses' unit. Without
    it the points of --poses MODEL say so, or how the cameras stand to each other."""
    radius: float | None = None
    """Spatial: farthest distance of a pair, metres; none by default."""
    overlap: int = 10
    """Sequential: each image with this many that follow it by name (frame_2 before frame_10), and with those
    16, 32, ... on; each folder is a sequence of its own."""
    loop: bool = False
    """Sequential: the last images are followed by the first."""
    pairs_file: Path | None = None
    """File: `a b` a line. Without --pairs these are all."""
    pairs_seed: int = 0
    """Retrieval: the same seed gives the same pairs."""

    def __post_init__(self) -> None:
        check_options(
            self,
            partners=(1, 1_000_000),
            radius=ABOVE_ZERO,
            depths=(1e-9, 1e12),
            overlap=(1, 1_000_000),
            pairs_seed=(0, None),
        )
        if self.depths is not None and self.depths[0] > self.depths[1]:
            raise InputError(f"depths are {self.depths[0]} and {self.depths[1]}; give the nearest first")

    @property
    def ways(self) -> tuple[str, ...]:
        """Names of the ways that are joined."""
        if self.pairs == "auto" and self.pairs_file is not None:
            return ("file",)
        return tuple(dict.fromkeys(self.pairs.split("+")))


@dataclass(frozen=True)
class View:
    """Where a photo was taken, and what it can see."""

    cam_from_world: NDArray[np.float64]  # (3, 4), x right, y down, z forward
    field: NDArray[np.float64]  # (4,) left, right, top, bottom on the plane z = 1; infinite: all around
    focal: float  # pixels of a length of 1 on that plane, of an angle of 1 where it sees all around
    depths: tuple[float, float] | None = None  # nearest and farthest of what it sees, where known


@dataclass(frozen=True)
class PhotoSet:
    """The images to be paired and what is known of them."""

    names: Sequence[str]  # sorted
    best_descriptors: Callable[[str, int], Float32] | None = None  # (name, n) -> (<= n, D) unit, best first
    positions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # (3,) metres, where known
    left_out: Iterable[str] = ()  # images that could not be used
    scratch: Path | None = None  # folder for temporary files; the system's by default
    features: Callable[[str], Features] | None = None  # (name) -> all that is known of its keypoints
    views: Mapping[str, View] = field(default_factory=dict)  # of photos with a known pose


Way = Callable[[PhotoSet, PairsConfig], list[Pair]]


def known_names(
    photos: PhotoSet, known: Collection[str], config: PairsConfig, way: str, what: str, remedy: str = ""
) -> list[str]:
    """Names of the photos that `way` can pair, those with `what`; says how many it leaves to retrieval.

    remedy: what an error says between `what` and the advice to choose other pairs. Raises InputError when
    there are fewer than two.
    """
    names = [name for name in photos.names if name in known]
    if len(names) < 2:
        raise InputError(
            f"{len(names)} of {len(photos.names)} images have a {what}{remedy} choose other pairs, such as "
            "--pairs retrieval"
        )
    missing = len(photos.names) - len(names)
    if missing and "retrieval" not in config.ways:
        log.warning("%d images have no %s; --pairs %s+retrieval pairs them too", missing, what, way)
    return names


def ordered(names: Sequence[str], index_pairs: Iterable[tuple[int, int]]) -> list[Pair]:
    """Pairs of indices into `names` as pairs of names, each once, in the order of the names."""
    return [(names[i], names[j]) for i, j in sorted({(min(p), max(p)) for p in index_pairs if p[0] != p[1]})]


def reuse_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The same pairs in an order in which one has to hold 2 * REUSE images, yet seldom loads one again.

    Exhaustive pairs row by row load an image a pair; in blocks of REUSE x REUSE images, one for 8 pairs.
    """
    place = {name: i for i, name in enumerate(dict.fromkeys(name for pair in pairs for name in pair))}

    def block(pair: Pair) -> tuple[int, int, int, int]:
        i, j = place[pair[0]], place[pair[1]]
        return i // REUSE, j // REUSE, i, j

    return sorted(pairs, key=block)
