"""Mapper `auto`: the incremental one and, only where it leaves out photos that verified pairs join, others.

It is tried with the long tracks first (thinning.py), which place the photos of most sets in half of the time.

COLMAP's incremental mapper can begin with a pair that gives no depth and end there, and its global one lets
photos in that nothing holds. So several tries are compared (ranking.py), component by component of the view
graph, and a later model takes the place of an earlier one only where it stands higher. The number of tries
falls with the number of photos; each is noted with what it brought and what it took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..storage.placing_file import Attempt, PlacingRecord
from ..support.native import pycolmap
from .mappers import Job, calibrated, grow, map_global, map_incremental
from .merging import join_models
from .ranking import Rated, Standing, rated
from .thinning import map_by_long_tracks
from .untangling import untangled
from .view_graph import joined_photos

log = logging.getLogger(__name__)

MAX_TRIES = 5
"""Further tries on a set of photos of up to PHOTOS_OF_ALL_TRIES."""

PHOTOS_OF_ALL_TRIES = 120
"""A larger set gets fewer tries in proportion, but always one."""

WELL_BEGUN = 2 / 3
"""Share of a component's photos that a model must hold before others are added to it and other mappers left
aside: of two photos that gave no depth grows a model that looks whole and is wrong."""

FEW = 0.02
"""Share of a component's photos up to which those left out, tried again on the model at hand, are no reason
to map the whole component in other ways. Such ways brought photos only where the model before them held 80 %
or less (eval/results/placing.json), and they take longer than it did: of 167 photos, for the last two."""

GOOD_POINTS = 30
"""...if the model has so many points that hold up for each photo that it holds; weak ones, which other ways
replaced, had 11 to 16, good ones 60 and more."""

SMALLEST_COMPONENT = 3
"""Photos that verified pairs join and that may form a model: two photos are left as they are."""


MIN_POSE_INLIERS = 12
"""Points of a model that a photo left out must see, instead of COLMAP's 30: half as many again as must hold
it in the end (ranking.py). A photo with one good neighbour sees hardly more of them."""


@dataclass(frozen=True)
class Placing:
    """Models and how they were found."""

    models: list[pycolmap.Reconstruction]  # best first
    record: PlacingRecord = field(default_factory=PlacingRecord)


@dataclass
class _Search:
    """The best so far."""

    components: list[frozenset[str]]
    models: dict[int, list[Rated]] = field(default_factory=dict)  # by component, best first
    attempts: list[Attempt] = field(default_factory=list)

    def consider(self, what: str, new: Sequence[Rated], seconds: float) -> bool:
        """Keep what is better than before of new models, best first; returns whether anything is."""
        kept = False
        for number, found in self._by_component(new).items():
            before = self.models.get(number, [])
            if not before or found[0].standing > before[0].standing:
                self.models[number] = [*found, *_others(found, before)]
                kept = True
            else:
                self.models[number] = [*before, *_others(before, found)]
        photos = set().union(*(found.held for found in new))
        best = new[0].standing if new else Standing()
        self.attempts.append(Attempt(what, len(photos), best.num_solid_points, round(seconds, 1), kept))
        log.info("%s: %d photos, %d points", what, len(photos), best.num_solid_points)
        return kept

    def _by_component(self, models: Sequence[Rated]) -> dict[int, list[Rated]]:
        found: dict[int, list[Rated]] = {}
        for one in models:
            name = one.model.image(min(one.model.reg_image_ids())).name
            number = next((i for i, names in enumerate(self.components) if name in names), -1)
            found.setdefault(number, []).append(one)
        return found

    def left_out(self) -> frozenset[str]:
        """Photos of components large enough that the best model of their component does not hold."""
        missing: set[str] = set()
        for number, names in enumerate(self.components):
            if len(names) >= SMALLEST_COMPONENT:
                models = self.models.get(number, [])
                missing |= names - (models[0].held if models else frozenset())
        return frozenset(missing)

    def incomplete(self) -> list[int]:
        """Components with photos left out."""
        missing = self.left_out()
        return [i for i, names in enumerate(self.components) if names & missing]

    def wanting(self) -> list[int]:
        """Incomplete components that are worth mapping in whole other ways."""
        return [i for i in self.incomplete() if not self._nearly_complete(i)]

    def _nearly_complete(self, number: int) -> bool:
        photos, models = self.components[number], self.models.get(number, [])
        if not models:
            return False
        good = models[0].standing.num_solid_points >= GOOD_POINTS * len(models[0].held)
        return good and len(photos - models[0].held) <= FEW * len(photos)

    def result(self) -> list[Rated]:
        """Best first."""
        return _best_first(one for found in self.models.values() for one in found)


def place(job: Job) -> Placing:
    """Map a verified database in as many ways as it takes; see the head of this file.

    Photos that the models lay over each other without their seeing the same are taken apart (untangling.py).
    Everything follows from the database and the seed: time is noted, but decides nothing.
    """
    attempts: list[Attempt] = []

    def search(job: Job) -> list[Rated]:
        models, made = _searched(job)
        again = "without look-alike pairs, " if attempts else ""
        attempts.extend(replace(attempt, what=again + attempt.what) for attempt in made)
        return models

    models, notes = untangled(job, search(job), search)
    return Placing([one.model for one in models], PlacingRecord(tuple(attempts), notes))


def _best_first(models: Iterable[Rated]) -> list[Rated]:
    return sorted(models, key=lambda one: one.standing, reverse=True)


def _searched(job: Job) -> tuple[list[Rated], list[Attempt]]:
    """The best models of a number of tries, best first."""
    components = joined_photos(job.database, job.config.verify.min_num_inliers)
    search = _Search(components)
    started = time.monotonic()
    what = "incremental, by long tracks"
    if first := _result(what, partial(map_by_long_tracks, job)):  # none where all tracks are the way
        search.consider(what, first, time.monotonic() - started)
        if not search.left_out():
            return first, search.attempts
    started = time.monotonic()
    first = _best_first(map(rated, map_incremental(job)))
    search.consider("incremental", first, time.monotonic() - started)
    if not search.left_out():
        return first, search.attempts
    extended = _extend(search, job, WELL_BEGUN)  # the cheapest first
    for what, attempt in _further(job.config.seed)[: _num_tries(sum(map(len, components)))]:
        wanting = search.wanting()
        if not wanting:
            break
        names = sorted(set().union(*(components[i] for i in wanting)))
        if _try(search, what, partial(attempt, job, names)):
            extended |= _extend(search, job, WELL_BEGUN)
    if search.left_out() and not extended:
        _extend(search, job)
    return search.result(), search.attempts


def _num_tries(num_photos: int) -> int:
    return max(1, min(MAX_TRIES, MAX_TRIES * PHOTOS_OF_ALL_TRIES // max(num_photos, 1)))


Try = Callable[[Job, list[str]], list[pycolmap.Reconstruction]]


def _further(seed: int) -> list[tuple[str, Try]]:
    """What comes after the incremental mapper, in this order."""

    def with_seed(job: Job, other: int) -> Job:
        return replace(job, config=replace(job.config, seed=other))

    def all_at_once(other: int) -> Try:
        return lambda job, names: map_global(with_seed(job, other), image_names=names)

    def one_by_one(other: int) -> Try:
        return lambda job, names: map_incremental(
            with_seed(job, other), image_names=names, min_model_size=MIN_SIZE_OF_OTHER_STARTS
        )

    def recalibrated(job: Job, names: list[str]) -> list[pycolmap.Reconstruction]:
        with calibrated(job) as ready:
            return map_incremental(ready, image_names=names)

    return [
        ("global, focal lengths from the view graph", all_at_once(seed)),
        ("incremental, focal lengths from the view graph", recalibrated),
        (f"global, seed {seed + 1}", all_at_once(seed + 1)),
        (f"incremental, seed {seed + 1}", one_by_one(seed + 1)),
        (f"global, seed {seed + 2}", all_at_once(seed + 2)),
    ][:MAX_TRIES]


MIN_SIZE_OF_OTHER_STARTS = 10
"""COLMAP's own min_model_size: a second start with fewer photos is given up and its photos are free again."""


def _try(search: _Search, what: str, run: Callable[[], list[pycolmap.Reconstruction]]) -> bool:
    started = time.monotonic()
    return search.consider(what, _result(what, run), time.monotonic() - started)


def _result(what: str, run: Callable[[], list[pycolmap.Reconstruction]]) -> list[Rated]:
    """Best first; COLMAP's giving up is a result like others."""
    try:
        models = run()
    except (RuntimeError, ValueError, IndexError) as error:
        log.warning("%s: COLMAP stopped: %s", what, error)
        models = []
    return _best_first(map(rated, models))


def _extend(search: _Search, job: Job, share: float = 0.0) -> bool:
    """Join the best model of each incomplete component with its others, and try its left-out photos again.

    share: of a component's photos that its best model must hold. Returns whether any did.
    """
    extended = False
    for number in search.incomplete():
        models = search.models.get(number, [])
        if not models or len(models[0].held) < share * len(search.components[number]):
            continue
        extended = True
        best = models[0]
        if len(models) > 1:
            started = time.monotonic()
            joined = join_models(job, best.model, [other.model for other in models[1:]])
            if joined is not None:
                search.consider("models joined", [rated(joined)], time.monotonic() - started)
                best = search.models[number][0]
        if not search.components[number] <= best.held:
            _try(search, "left-out photos again", partial(_grown, job, best.model))
    return extended


def _grown(job: Job, model: pycolmap.Reconstruction) -> list[pycolmap.Reconstruction]:
    """With few inliers of a pose: what this brings in is rated like everything else."""
    return [grow(job, model, abs_pose_min_num_inliers=MIN_POSE_INLIERS)]


def _others(kept: Sequence[Rated], further: Sequence[Rated]) -> list[Rated]:
    """Those of `further` that hold photos which no model before them holds."""
    seen = set().union(*(one.held for one in kept))
    new = []
    for one in further:
        if len(one.held - seen) >= SMALLEST_COMPONENT:
            new.append(one)
            seen |= one.held
    return new
