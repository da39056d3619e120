"""Photos that look alike: candidates by VLAD, ranked by matching their best keypoints, in rounds.

1. Each photo's CANDIDATES nearest by VLAD (vlad.py).
2. Each candidate pair's RERANK best keypoints are matched; the number of mutual matches that pass a ratio
   test is the pair's score, which tells overlap far better than VLAD does.
3. Neighbours of a photo's strong neighbours that were no candidates of it are scored too, in ROUNDS rounds.
4. Pairs are taken by their scores, best first. Each photo pays for up to `partners`, and each pair is paid by
   one of its two photos; what some photos leave over then pays for pairs of others, so that there are at
   most `partners` pairs a photo. Scores that chance gives are passed over, but every photo has LEAST
   partners, and bridges join what fell apart.

Each photo costs the same in all steps but the products of vectors, 0.2e-6 s a pair of photos. Memory
holds a block of vectors and, of each photo, its scored candidates (8 KB); descriptors lie in a scratch file.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...types import Float32
from ..nearest import mutual_rows
from .base import Pair, PairsConfig, PhotoSet, ordered
from .neighbours import bridges, component_labels
from .vlad import SCALE, Sketches, Vectors, learn_words, nearest_photos

CANDIDATES = 40
"""Photos by VLAD a photo: they held all of 920 verified pairs of 16 scenes mixed, 30 held 99.6 %."""
RERANK = 256
"""Keypoints a photo that are matched for a score; 512 found 0.5 % more pairs and took 3.5 times as long."""
RATIO = 0.85
"""Of the ratio test, as matching's default."""
CHANCE = 2
"""Matches that photos of different scenes have by chance. Of 373 mixed photos 3528, 3083, 2491, 2121 and 1980
pairs had more than 0, 1, 2, 3 and 4; in them were 97.9, 97.6, 97.2, 95.1 and 92.6 % of those that verify
(outside the one scene whose photos have more than 20 partners)."""
STRONG = 12
"""Matches that make a neighbour one whose own neighbours are looked at."""
FURTHER = 10
"""Neighbours of neighbours that are scored, a photo."""
ROUNDS = 4
"""Of scoring neighbours of neighbours, each from what the one before found. Of 2599 verified pairs of a scene
whose 74 photos nearly all overlap, 0, 1, 2, 3 and 4 rounds found 1783, 2237, 2494, 2539 and 2540."""
LEAST = 3
"""Partners of every photo, however few matches it has with them."""

PairScores = dict[tuple[int, int], tuple[int, int]]  # (i, j), i < j -> matches, product of their vectors


def retrieval(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `retrieval`. Raises InputError where the features hold no descriptors."""
    if photos.best_descriptors is None:
        raise InputError("pairs by retrieval need descriptors; extract features first")
    if len(photos.names) <= LEAST + 1:
        return ordered(photos.names, [(i, j) for j in range(len(photos.names)) for i in range(j)])
    with scored(photos, config) as (scores, vectors):
        pairs = choose(len(photos.names), scores, config.partners)
        pairs += _last_bridges(vectors, pairs)
    return ordered(photos.names, pairs)


@contextmanager
def scored(photos: PhotoSet, config: PairsConfig) -> Iterator[tuple[PairScores, Vectors]]:
    """The candidates' scores, steps 1 to 3 above, and the photos' vectors, which the block may use."""
    assert photos.best_descriptors is not None
    with tempfile.TemporaryDirectory(dir=photos.scratch, prefix=".retrieval-") as folder:
        sketches = Sketches(Path(folder) / "sketches", photos.names, photos.best_descriptors)
        try:
            words = learn_words(sketches, config.pairs_seed)
            vectors = Vectors(Path(folder) / "vectors", sketches, words)
            scores = _candidates(vectors, max(CANDIDATES, 2 * config.partners), sketches)
            _further_rounds(scores, sketches, config.partners * len(photos.names))
            yield scores, vectors
        finally:
            sketches.close()


def count_matches(descriptors0: Float32, descriptors1: Float32) -> int:
    """Mutual nearest neighbours that pass the ratio test; (N, D) whole numbers of about SCALE's length."""
    if not len(descriptors0) or len(descriptors1) < 2:
        return 0
    products = descriptors0 @ descriptors1.T
    forward, backward = products.argmax(axis=1), products.argmax(axis=0)
    mutual = mutual_rows(forward, backward)
    rows = products[mutual]
    best = rows[np.arange(len(rows)), forward[mutual]]
    rows[np.arange(len(rows)), forward[mutual]] = -np.inf
    near, next_near = (2 * SCALE**2 - 2 * value for value in (best, rows.max(axis=1)))
    return int((near < RATIO**2 * next_near).sum())


def choose(num: int, scores: PairScores, partners: int, chance: int = CHANCE) -> list[tuple[int, int]]:
    """Pairs of `num` photos by their scores: step 4 above. chance: up to which a score tells nothing."""
    ranked = sorted(scores, key=lambda pair: (*(-value for value in scores[pair]), pair))
    good = [pair for pair in ranked if scores[pair][0] > chance]
    pairs = dict.fromkeys(paid(num, good, partners))
    for pair in good:
        if len(pairs) >= partners * num:
            break
        pairs.setdefault(pair)
    degree = [0] * num
    for pair in pairs:
        for photo in pair:
            degree[photo] += 1
    for i, j in ranked:
        if (degree[i] < LEAST or degree[j] < LEAST) and (i, j) not in pairs:
            pairs[i, j] = None
            degree[i] += 1
            degree[j] += 1
    return [*pairs, *bridges(num, pairs, ranked)]


def paid(num: int, ranked: Iterable[tuple[int, int]], partners: int) -> list[tuple[int, int]]:
    """Of `ranked` pairs of `num` photos, best first, those that one of both photos pays for: the one that has
    more of its `partners` left."""
    left = [partners] * num
    pairs = []
    for i, j in ranked:
        payer = i if left[i] >= left[j] else j
        if left[payer]:
            left[payer] -= 1
            pairs.append((i, j))
    return pairs


def _candidates(vectors: Vectors, num: int, sketches: Sketches) -> PairScores:
    products = {}
    for photo, found, values in nearest_photos(vectors, num):
        for other, value in zip(found.tolist(), values.tolist(), strict=True):
            products[min(photo, other), max(photo, other)] = value
    return _score(products, sketches)


def _score(products: dict[tuple[int, int], int], sketches: Sketches) -> PairScores:
    hold = lru_cache(maxsize=128)(lambda photo: sketches.get(photo, RERANK))
    return {(i, j): (count_matches(hold(i), hold(j)), products[i, j]) for i, j in sorted(products)}


def _further_rounds(scores: PairScores, sketches: Sketches, most: int) -> None:
    """Score the neighbours of strong neighbours as well, while that brings strong ones and there are fewer
    than `most` of them."""
    strong: dict[int, list[tuple[int, int]]] = defaultdict(list)  # photo -> (matches, neighbour)
    new = scores
    for _ in range(ROUNDS):
        found = [(pair, matches) for pair, (matches, _) in new.items() if matches >= STRONG]
        for (i, j), matches in found:
            strong[i].append((matches, j))
            strong[j].append((matches, i))
        if not found or sum(map(len, strong.values())) >= 2 * most:
            return
        changed = {photo for pair, _ in found for photo in pair}
        new = _score(dict.fromkeys(_neighbours_of_neighbours(strong, changed, scores), 0), sketches)
        scores.update(new)


def _neighbours_of_neighbours(
    strong: dict[int, list[tuple[int, int]]], photos: Iterable[int], known: PairScores
) -> set[tuple[int, int]]:
    """For each of `photos` up to FURTHER pairs not in `known`, those with most matches on the way to them."""
    near = {photo: sorted(found, key=lambda s: (-s[0], s[1])) for photo, found in strong.items()}
    wanted = set()
    for photo in photos:
        votes: dict[int, int] = defaultdict(int)
        for matches, neighbour in near[photo][:FURTHER]:
            for further, other in near[neighbour]:
                if other != photo and (min(photo, other), max(photo, other)) not in known:
                    votes[other] += min(matches, further)
        best = sorted(votes, key=lambda other: (-votes[other], other))[:FURTHER]
        wanted |= {(min(photo, other), max(photo, other)) for other in best}
    return wanted


def _last_bridges(vectors: Vectors, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join components none of whose candidates lies outside: by the nearest vector of any other photo."""
    label = np.asarray(component_labels(vectors.num, pairs))
    found: list[tuple[int, int]] = []
    for component in np.unique(label)[1:]:
        members = np.flatnonzero(label == component)
        asked = members[np.linspace(0, len(members) - 1, min(8, len(members))).astype(int)]
        queries = np.concatenate([vectors.rows(int(photo), 1) for photo in asked])
        others, products = vectors.nearest(queries, 1, label, np.full(len(asked), component))
        best = int(products[:, 0].argmax())
        found.append((int(asked[best]), int(others[best, 0])))
    return found
