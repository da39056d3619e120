"""Stage match: features.h5 and pairs.txt -> matches.h5, pair by pair."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from ..matching.match import MATCHERS, MatchConfig, match_image_pairs
from ..matching.pairs import Pair, pairs_from_file, reuse_order
from ..storage.features_file import FeatureFile
from ..storage.matches_file import write_matches
from ..support.checkpoint import Arrays, matches_from_arrays, matches_to_arrays
from ..support.devices import pick_device
from ..support.files import check_not_read
from ..support.parts import outside_code
from ..support.progress import track
from .resume import RunConfig, digest, fingerprint, is_current, still_to_do, unfinished
from .spread import Shard, spread

log = logging.getLogger(__name__)

PAIRS_A_PIECE = 128
"""Pairs that a worker of a cluster takes at a time: 5 s at 37 ms a pair."""


def match(
    features: Path,
    pairs: Path,
    output: Path,
    config: MatchConfig | None = None,
    *,
    run: RunConfig | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    shard: Shard | None = None,
    merge: bool = False,
) -> Path:
    """Match the pairs of pairs.txt by the descriptors of features.h5 -> matches.h5 at `output`.

    `executor`, `shard` and `merge` as in `extract`.
    """
    config, run = config or MatchConfig(), run or RunConfig()
    check_not_read(output, features, pairs)
    pick_device(run.device)
    with FeatureFile(features) as file:
        counts = file.counts()
        listed = pairs_from_file(pairs, counts)
        made_by = {"match": asdict(config), "features": fingerprint(features), "pairs": digest(listed)}
        made_by |= outside_code([("matchers", MATCHERS, config.matcher)])
        if is_current(output, made_by, overwrite, "matches"):
            return output
        with (
            unfinished(output, {k: v for k, v in made_by.items() if k != "pairs"}, shard) as shards,
            run.opened(executor) as executor,
        ):
            todo, num_done = still_to_do(
                reuse_order(listed),
                pair_key,
                shards,
                shard,
                stage="match",
                unit="pairs",
                merge_into=output if merge else None,
            )
            if executor is None:
                found = _matched(file, todo, config, run)
                for key, arrays in track(found, "match", len(todo), "pairs", num_done):
                    shards.save(key, arrays)
            else:
                task = _MatchTask(features.absolute(), fingerprint(features), config, run.device)
                spread(
                    task,
                    reuse_order(todo),
                    shards,
                    "match",
                    "pairs",
                    piece_size=PAIRS_A_PIECE,
                    executor=executor,
                    done=num_done,
                )
            shards.done()
            if shard is None:
                items = ((a, b, matches_from_arrays(shards.load(pair_key((a, b))))) for a, b in listed)
                write_matches(output, items, made_by, counts)
    return output


def _matched(
    file: FeatureFile, pairs: Sequence[Pair], config: MatchConfig, run: RunConfig
) -> Iterator[tuple[str, Arrays]]:
    """By threads of this process, which serve better than processes here (see match_pairs)."""
    found = match_image_pairs(file.get, reuse_order(pairs), config, run.device, run.workers or None)
    for pair, matches in found:
        yield pair_key(pair), matches_to_arrays(matches)


@lru_cache(maxsize=1)
def _feature_file(path: Path, fingerprint: str) -> FeatureFile:
    """Kept from piece to piece; `fingerprint` because the file may be another one by the next run."""
    return FeatureFile(path)


@dataclass(frozen=True)
class _MatchTask:
    """Pairs -> their matches, by one thread."""

    features: Path
    fingerprint: str
    config: MatchConfig
    device: str

    def __call__(self, items: Sequence[Pair]) -> Iterator[tuple[str, Arrays]]:
        file = _feature_file(self.features, self.fingerprint)
        yield from _matched(file, items, self.config, RunConfig(self.device, workers=1))


def pair_key(pair: Pair) -> str:
    """A pair's key among the parts of a stage."""
    return "\n".join(pair)
