"""Features of two images -> Matches: mutual nearest neighbours, ratio test, or both.

Distances are L2 between unit vectors, and they are exact: `prepare` rounds every component to a multiple of
2**-24 (float32's own resolution just below 1), so that a squared distance is an integer times 2**-48 that
float64 holds without rounding (|a - b|**2 <= 4 takes 50 bits). The order of summation then does not matter:
CPU, GPU and any block size give the same matches, and among equally near neighbours the lowest index wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import InputError
from ..support.checks import ABOVE_ZERO, check_options
from ..support.devices import pick_device
from ..support.parts import check_part, find_part
from ..support.workers import each_on_one_thread, run_shards
from ..types import Features, Float32, Matches
from .consensus import agreeing, backed
from .epipolar import match_along_lines, neighbours_along_lines
from .guided import Located, apart, epipolar_lines, lines_of_more, lines_of_supported, locate, worthwhile
from .nearest import Prepared, candidates, find_nearest, hold, maxima
from .pairs import REUSE, Pair

if TYPE_CHECKING:
    import torch

GRID = 2.0**24
"""Steps per unit of a prepared descriptor's components."""
LOOSER = 1 / 3
"""What a ratio test that consensus follows leaves of the margin 1 - ratio."""
NORM_TOLERANCE = 0.05
"""How far from 1 a descriptor's length may be (float16 storage moves it by 0.001)."""


@dataclass(frozen=True)
class MatchConfig:
    """How descriptors of two images are matched."""

    matcher: str = "mnn+ratio"
    """mnn: each is the other's nearest neighbour. ratio: the nearest neighbour in image 1 of a keypoint of
    image 0, if clearly nearer than the second nearest. mnn+ratio: mutual, and the ratio holds both ways.
    Or another package's, or module:Class of your own."""
    ratio: float = 0.85
    """A match needs d1 < ratio * d2, the distances to the nearest and the second nearest descriptor."""
    max_distance: float | None = None
    """Largest L2 distance of a match (unit vectors: 0 to 2); none by default."""
    search: Literal["guided", "full"] = "guided"
    """guided: pairs whose best keypoints tell their epipolar geometry are matched along its lines alone,
    which is much quicker and finds more, and where the photos show depth, mutual neighbours that fail the
    ratio test stay if matches that pass it around them move alike; pairs of which hardly any of the best
    match end there; all others are matched in full. full: every keypoint with every other."""
    filter: Literal["none", "consensus"] = "none"
    """consensus: in pairs matched in full the ratio test is looser (0.95 where ratio is 0.85), and a match
    stays where others around it move alike: more matches of hard pairs, but more wrong ones in tracks too.
    none: the ratio test alone."""

    def __post_init__(self) -> None:
        check_options(self, max_distance=ABOVE_ZERO)
        check_part("matchers", MATCHERS, self.matcher)
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio is {self.ratio}; it must be above 0 and at most 1")
        if self.max_distance is not None and not self.max_distance > 0:
            raise InputError(f"max_distance is {self.max_distance}; it must be above 0")
        if self.search not in ("guided", "full"):
            raise InputError(f"search is '{self.search}'; it must be guided or full")


@dataclass(frozen=True)
class Neighbours:
    """A matcher by nearest neighbours: which tests a match has to pass."""

    mutual: bool
    ratio: bool

    def __call__(self, features0: Features, features1: Features, config: MatchConfig) -> Matches:
        """Match two images' descriptors."""
        return match_prepared(prepare(features0.descriptors), prepare(features1.descriptors), config)


Matcher = Callable[[Features, Features, MatchConfig], Matches]
"""A matcher is given all that is known of two images' keypoints; rows are ordered by image-0 index."""

MATCHERS: dict[str, Matcher] = {
    "mnn": Neighbours(mutual=True, ratio=False),
    "ratio": Neighbours(mutual=False, ratio=True),
    "mnn+ratio": Neighbours(mutual=True, ratio=True),
}


def find_matcher(config: MatchConfig) -> Matcher:
    """The matcher that a configuration names."""
    return find_part("matchers", MATCHERS, config.matcher)


def prepare(descriptors: Float32 | torch.Tensor, device: str = "auto") -> Prepared:
    """Check (N, D) unit descriptors (float16, 32, 64), round them to the grid, move them to `device`.

    All-zero descriptors (of patches without texture) match nothing. Raises InputError for NaN, infinity,
    another number of axes, integers, and lengths off 1 by more than NORM_TOLERANCE.
    """
    import torch

    if isinstance(descriptors, torch.Tensor):
        descriptors = descriptors.detach().cpu().float().numpy()
    values = np.asarray(descriptors)
    if values.ndim != 2:
        raise InputError(f"descriptors have shape {values.shape}; they must be (N, D), one row a keypoint")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"descriptors are {values.dtype}; they must be floats of unit length")
    values = values.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", values, values))
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise InputError(f"descriptor {row} of {len(values)} holds NaN or infinity; extract its image again")
    rows = np.flatnonzero(norms > 0)
    wrong = np.flatnonzero(np.abs(norms[rows] - 1) > NORM_TOLERANCE)
    if len(wrong):
        row = int(rows[wrong[0]])
        raise InputError(
            f"descriptor {row} of {len(values)} has length {norms[row]:.3g}; divide each by its length"
        )
    exact = (np.rint(values[rows] / norms[rows, None] * GRID) / GRID).astype(np.float32)
    return hold(exact, rows, pick_device(device))


def match_descriptors(
    descriptors0: Float32 | torch.Tensor,
    descriptors1: Float32 | torch.Tensor,
    config: MatchConfig | None = None,
    device: str = "auto",
) -> Matches:
    """Match (N0, D) with (N1, D) unit descriptors. Raises InputError as `prepare`, and when D differs.

    device: auto, cpu, cuda, cuda:1, mps, ...; auto takes CUDA where there is one. The matches are the same.
    """
    return match_prepared(
        prepare(descriptors0, device), prepare(descriptors1, device), config or MatchConfig()
    )


def match_features(
    features0: Features, features1: Features, config: MatchConfig | None = None, device: str = "auto"
) -> Matches:
    """Match two images by the matcher of `config`."""
    config = config or MatchConfig()
    matcher = find_matcher(config)
    if isinstance(matcher, Neighbours):
        image0, image1 = (prepare_image(features, device) for features in (features0, features1))
        return match_images(image0, image1, config)
    return checked(matcher(features0, features1, config), features0, features1, config)


def prepare_image(features: Features, device: str = "auto") -> Located:
    """An image as `match_images` wants it."""
    prepared = prepare(features.descriptors, device)
    located = locate(prepared, features.keypoints, features.scores, features.image_size)
    return replace(located, scales=features.scales, angles=features.angles)


def match_images(image0: Located, image1: Located, config: MatchConfig) -> Matches:
    """Match two images: along epipolar lines where `config` wants it and they can be had, else in full.

    `config.filter` follows a search in full; along epipolar lines the doubtful matches alone need consensus.
    """
    rule = MATCHERS[config.matcher]
    mutual = isinstance(rule, Neighbours) and rule.mutual  # bands know no other search
    by_ratio = isinstance(rule, Neighbours) and rule.ratio
    if config.search == "guided" and mutual and worthwhile(image0, image1):
        best = match_prepared(image0.best, image1.best, config)
        search = partial(match_prepared, config=config)
        told = epipolar_lines(image0, image1, best) or lines_of_more(image0, image1, best, search)
        if told is None and by_ratio:
            supported = partial(_supported, image0, image1, config, more=True)
            told = lines_of_supported(image0, image1, best, supported)
        if told is not None:
            lines = image0, image1, told.fundamental
            if not by_ratio:
                return match_along_lines(*lines, None, config.max_distance)
            if not told.parallax:
                return match_along_lines(*lines, config.ratio, config.max_distance)
            return backed(image0, image1, *neighbours_along_lines(*lines, config.ratio, config.max_distance))
        given_up = apart(image0, image1, best, search)
        if given_up is not None:
            return given_up
    if config.filter == "none":
        return match_prepared(image0.prepared, image1.prepared, config)
    return _supported(image0, image1, config)


def _supported(image0: Located, image1: Located, config: MatchConfig, more: bool = False) -> Matches:
    """Matches in full (of `more` of the best keypoints alone) by a looser ratio test and consensus."""
    looser = replace(config, ratio=1 - LOOSER * (1 - config.ratio))
    sides = (image0.more, image1.more) if more else (image0.prepared, image1.prepared)
    return agreeing(image0, image1, match_prepared(*sides, looser))


def checked(matches: Matches, features0: Features, features1: Features, config: MatchConfig) -> Matches:
    """What a matcher from elsewhere gave; InputError where its rows are not rows of these features."""
    rows = matches.indices
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) != len(matches.scores):
        raise InputError(f"matcher '{config.matcher}' must give indices (M, 2) and scores (M,)")
    if len(rows) and (rows.min() < 0 or (rows.max(0) >= (len(features0), len(features1))).any()):
        raise InputError(f"matcher '{config.matcher}' gave rows of keypoints that are not there")
    order = np.argsort(rows[:, 0], kind="stable")
    return Matches(rows[order].astype(np.int32), matches.scores[order].astype(np.float32))


def match_prepared(prepared0: Prepared, prepared1: Prepared, config: MatchConfig) -> Matches:
    """Match two prepared images; scores are (1 + cosine) / 2. A lone descriptor passes the ratio test.

    Raises InputError for a matcher from elsewhere, which wants whole features: match_features serves it.
    """
    rule = MATCHERS.get(config.matcher)
    if not isinstance(rule, Neighbours):
        raise InputError(f"matcher '{config.matcher}' takes whole features, not descriptors alone")
    if prepared0.dim != prepared1.dim and prepared0.dim and prepared1.dim:
        raise InputError(
            f"descriptors of {prepared0.dim} and {prepared1.dim} numbers cannot be matched; "
            "extract both images with the same descriptor"
        )
    if not len(prepared0) or not len(prepared1):
        return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
    ratio = config.ratio if rule.ratio else None
    bounds0, bounds1 = maxima(prepared0, prepared1)
    index0 = candidates(bounds0, ratio, config.max_distance)
    forward = find_nearest(index0, prepared0, prepared1, bounds0, ratio)
    index1, squared = forward.index, forward.squared
    keep = forward.distinct
    if config.max_distance is not None:
        keep &= squared <= config.max_distance**2
    if rule.mutual:
        keep &= 1 - squared / 2 >= bounds1.best.low[index1]
        keep &= np.isin(index1, candidates(bounds1, ratio, config.max_distance))
        wanted, place = np.unique(index1[keep], return_inverse=True)
        backward = find_nearest(wanted, prepared1, prepared0, bounds1, ratio)
        keep[keep] = (backward.index[place] == index0[keep]) & backward.distinct[place]
    indices = np.stack([prepared0.rows[index0[keep]], prepared1.rows[index1[keep]]], axis=1)
    return Matches(indices.astype(np.int32), (1 - squared[keep] / 4).astype(np.float32))


def match_pairs(
    load: Callable[[str], Float32 | torch.Tensor],
    pairs: Iterable[Pair],
    config: MatchConfig | None = None,
    device: str = "auto",
    num_threads: int | None = None,
) -> Iterator[tuple[Pair, Matches]]:
    """Match many pairs of images in full, in their order; `load(name)` gives an image's (N, D) descriptors.

    An image stays prepared for the pairs that follow closely: `pairs.reuse_order` brings them together.
    num_threads (default: one a core) pairs are matched at a time, each by one thread; threads serve better
    than processes here, as almost all the time goes to products outside Python. `load` must allow for that.
    Raises ShardError, which names the pair, where match_descriptors raises InputError.
    """
    config = config or MatchConfig()
    cached = lru_cache(maxsize=2 * REUSE)(lambda name: prepare(load(name), device))
    yield from _each_pair(
        lambda pair: match_prepared(cached(pair[0]), cached(pair[1]), config), pairs, num_threads
    )


def match_image_pairs(
    load: Callable[[str], Features],
    pairs: Iterable[Pair],
    config: MatchConfig | None = None,
    device: str = "auto",
    num_threads: int | None = None,
) -> Iterator[tuple[Pair, Matches]]:
    """`match_pairs` by whatever matcher `config` names; `load(name)` gives an image's features."""
    config = config or MatchConfig()
    if isinstance(find_matcher(config), Neighbours):
        ready = lru_cache(maxsize=2 * REUSE)(lambda name: prepare_image(load(name), device))
        yield from _each_pair(
            lambda pair: match_images(ready(pair[0]), ready(pair[1]), config), pairs, num_threads
        )
        return
    cached = lru_cache(maxsize=2 * REUSE)(load)
    yield from _each_pair(
        lambda pair: match_features(cached(pair[0]), cached(pair[1]), config, device), pairs, num_threads
    )


def _each_pair(
    work: Callable[[Pair], Matches], pairs: Iterable[Pair], num_threads: int | None
) -> Iterator[tuple[Pair, Matches]]:
    with each_on_one_thread(num_threads) as pool:
        yield from run_shards(work, pairs, pool, name=" with ".join)
