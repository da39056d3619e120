"""Models whose photos lie over each other without seeing the same are taken apart and mapped again.

What tells is in ambiguity.py; here it is acted upon: the pairs that tie the sides together are left out in a
copy of the database, and only a model without conflicts takes the place of the first. Where none comes of it
the model stays, and a sentence names the photos.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..support.native import pycolmap
from .ambiguity import CONTRADICTS, false_pairs
from .database import copy_database, open_database, remove_database
from .mappers import Job
from .ranking import Rated
from .view_graph import agreement, inlier_pairs

log = logging.getLogger(__name__)

ROUNDS = 3
"""Of leaving out pairs and mapping again: a room with four walls alike falls onto itself more than once."""

NOTABLE_SHARE = 0.05
"""Share of the verified matches between a model's photos that may speak against it without a word."""

PhotoNumbers = tuple[int, int]


def untangled(
    job: Job, models: list[Rated], map_again: Callable[[Job], list[Rated]]
) -> tuple[list[Rated], tuple[str, ...]]:
    """The models, or better ones where photos lie over each other, best first; and sentences on that."""
    if not models:
        return models, ()
    false, contradicted = _check(job, models)
    if not false:
        return models, _contradictions(contradicted)
    copy = job.folder() / "untangled.db"
    copy_database(job.database, copy)
    changed, found, left_out = replace(job, database=copy), models, set(false)
    try:
        for _ in range(ROUNDS):
            log.warning("%d pairs tie photos together that do not see the same; mapping without", len(false))
            with open_database(copy) as database:
                for pair in false:
                    database.delete_two_view_geometry(*pair)
            found = map_again(changed)
            false, _ = _check(changed, found)
            left_out |= set(false)
            if not false:
                break
    finally:
        remove_database(copy)
    named = _named(job, left_out)
    if false or not any(one.held for one in found):
        return models, (
            f"The model may lay photos over each other that look alike and see different places ({named}), "
            "as opposite walls of a room do: look at it before you use it; photos from further back, which "
            "show what differs, help",
        )
    return found, (
        f"{len(left_out)} pairs of photos look alike and see different places, as opposite walls of a room "
        f"do, and were left out ({named})",
    )


def _check(job: Job, models: Sequence[Rated]) -> tuple[list[PhotoNumbers], list[tuple[str, str, int, float]]]:
    """False pairs of all models; and pairs that contradict one: names, matches and their share of its own."""
    false: list[PhotoNumbers] = []
    contradicted = []
    with open_database(job.database) as database:
        pairs = inlier_pairs(database, job.config.verify.min_num_inliers)
        for model, cloud in ((one.model, one.cloud) for one in models):
            shares = agreement(model, pairs, database)
            false += false_pairs(model, pairs, shares, cloud)[0]
            total = sum(len(pair.matches) for pair in pairs if pair.ids in shares)
            contradicted += [
                (*_names(model, pair.ids), len(pair.matches), len(pair.matches) / total)
                for pair in pairs
                if shares.get(pair.ids, 1.0) < CONTRADICTS
            ]
    return false, contradicted


def _names(model: pycolmap.Reconstruction, pair: PhotoNumbers) -> tuple[str, str]:
    return model.image(pair[0]).name, model.image(pair[1]).name


def _contradictions(contradicted: Sequence[tuple[str, str, int, float]]) -> tuple[str, ...]:
    if sum(share for *_, share in contradicted) < NOTABLE_SHARE:
        return ()
    name0, name1, num, _ = max(contradicted, key=lambda pair: pair[2])
    return (
        f"{len(contradicted)} verified pairs with {sum(pair[2] for pair in contradicted)} matches contradict "
        f"the model, most of all {name0} and {name1} with {num}: their poses to each other may be wrong",
    )


def _named(job: Job, pairs: set[PhotoNumbers]) -> str:
    with open_database(job.database) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
    text = ", ".join(f"{names[a]} and {names[b]}" for a, b in sorted(pairs)[:3])
    return text + (", ..." if len(pairs) > 3 else "")
