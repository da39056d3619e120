"""One function a stage, paths in, path out: extract, pairs, match, map. Each is also a command.

A stage can be killed at any moment and run again: it goes on where it was, image by image and pair by pair,
and ends with the same files. Its output carries the configuration that made it and what it was made from; the
same configuration again does nothing, another one redoes the stage (`overwrite`) or is refused with the
fields that differ (`pairs`, which takes no time, always writes its list anew). Workers and device are no part
of it: they change how long a result takes, not what it is.

Names are loaded when first asked for: a worker that extracts has no use for what maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.lazy import names_on_demand

if TYPE_CHECKING:
    from ..matching.pairs import PairsConfig
    from .extraction import MIN_PARALLEL_IMAGES, extract, unusable_images
    from .mapping import map_models
    from .matching import match
    from .pairing import choose_pairs, pairs
    from .resume import RunConfig, alone_in, check_no_run, fingerprint, make_folder, num_workers, run_in

__all__ = [
    "MIN_PARALLEL_IMAGES",
    "PairsConfig",
    "RunConfig",
    "alone_in",
    "check_no_run",
    "choose_pairs",
    "extract",
    "fingerprint",
    "make_folder",
    "map_models",
    "match",
    "num_workers",
    "pairs",
    "run_in",
    "unusable_images",
]

_WHERE = {
    "MIN_PARALLEL_IMAGES": "extraction",
    "PairsConfig": "pairing",
    "choose_pairs": "pairing",
    "extract": "extraction",
    "map_models": "mapping",
    "match": "matching",
    "pairs": "pairing",
    "unusable_images": "extraction",
}
"""Names that are not resume.py's -> the module that has them."""

__getattr__ = names_on_demand(__name__, __all__, _WHERE, "resume")
