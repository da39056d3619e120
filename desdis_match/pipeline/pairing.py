"""Stage pairs: images of a features.h5 -> pairs.txt."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..matching.pairs import Pair, exhaustive_pairs, pairs_from_file, sequential_pairs, write_pairs
from ..storage.features_file import FeatureFile

log = logging.getLogger(__name__)

MAX_EXHAUSTIVE = 300
"""Images up to which every pair is matched: 44,850 pairs of 37 ms (8000 keypoints, two cores)."""


@dataclass(frozen=True)
class PairsConfig:
    """Which images are matched with which."""

    pairs: Literal["auto", "exhaustive", "sequential"] = "auto"
    """auto: exhaustive up to 300 images, sequential beyond."""
    overlap: int = 10
    """Sequential pairs: each image with this many that follow it by name (frame_2 before frame_10), and with
    those 16, 32, ... on."""
    loop: bool = False
    """Sequential pairs: the last images are followed by the first."""
    pairs_file: Path | None = None
    """Pairs from a file instead, `a b` a line."""


def pairs(features: Path, output: Path, config: PairsConfig | None = None) -> Path:
    """Images of a features.h5 -> pairs.txt at `output`."""
    config = config or PairsConfig()
    with FeatureFile(features) as file:
        names = file.names()
        left_out = file.left_out() if config.pairs_file else {}
    chosen = choose_pairs(names, config, left_out)
    return write_pairs(output, chosen)


def choose_pairs(names: Sequence[str], config: PairsConfig, left_out: Iterable[str] = ()) -> list[Pair]:
    """Pairs of `names` by the configuration. Raises InputError for fewer than two images.

    left_out: images that could not be used; pairs of a file that name one are left out too, with a warning.
    """
    if config.pairs_file is not None:
        useless = set(left_out).difference(names)
        listed = pairs_from_file(config.pairs_file, [*names, *useless])
        chosen = [pair for pair in listed if useless.isdisjoint(pair)]
        if len(chosen) < len(listed):
            named = sorted(useless.intersection(name for pair in listed for name in pair))
            log.warning(
                "%d of the %d pairs of %s are left out: they name images that cannot be used (%s)",
                len(listed) - len(chosen),
                len(listed),
                config.pairs_file,
                ", ".join(named[:3]) + (", ..." if len(named) > 3 else ""),
            )
        return chosen
    if len(names) < 2:
        raise InputError(
            f"a reconstruction needs two usable images or more; there is {len(names)}: {', '.join(names)}"
        )
    if config.pairs == "exhaustive" or (config.pairs == "auto" and len(names) <= MAX_EXHAUSTIVE):
        return exhaustive_pairs(names)
    if config.pairs == "auto":
        log.warning(
            "%d images: matching each with the %d that follow it by name; where the names are no sequence, "
            "use --pairs exhaustive or --pairs-file",
            len(names),
            config.overlap,
        )
    return sequential_pairs(names, config.overlap, quadratic=True, loop=config.loop)
