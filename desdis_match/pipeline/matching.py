"""Stage match: features.h5 and pairs.txt -> matches.h5, pair by pair."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from ..matching.match import MATCHERS, MatchConfig, match_image_pairs
from ..matching.pairs import Pair, pairs_from_file, reuse_order
from ..storage.features_file import FeatureFile
from ..storage.matches_file import write_matches
from ..support.checkpoint import matches_from_arrays, matches_to_arrays
from ..support.parts import outside_code
from ..support.progress import track
from .resume import RunConfig, digest, fingerprint, is_current, unfinished

log = logging.getLogger(__name__)


def match(
    features: Path,
    pairs: Path,
    output: Path,
    config: MatchConfig | None = None,
    *,
    run: RunConfig | None = None,
    overwrite: bool = False,
) -> Path:
    """Match the pairs of pairs.txt by the descriptors of features.h5 -> matches.h5 at `output`."""
    config, run = config or MatchConfig(), run or RunConfig()
    with FeatureFile(features) as file:
        counts = file.counts()
        listed = pairs_from_file(pairs, counts)
        made_by = {"match": asdict(config), "features": fingerprint(features), "pairs": digest(listed)}
        made_by |= outside_code([("matchers", MATCHERS, config.matcher)])
        if is_current(output, made_by, overwrite, "matches"):
            return output
        with unfinished(output, {k: v for k, v in made_by.items() if k != "pairs"}) as shards:
            finished = shards.done()
            todo = [pair for pair in listed if _pair_key(pair) not in finished]
            if len(todo) < len(listed):
                log.info("match goes on: %d of %d pairs are done", len(listed) - len(todo), len(listed))
            found = match_image_pairs(
                file.get,
                reuse_order(todo),
                config,
                run.device,
                run.workers or None,
            )
            for pair, matches in track(found, "match", len(todo), "pairs"):
                shards.save(_pair_key(pair), matches_to_arrays(matches))
            shards.done()
            items = ((a, b, matches_from_arrays(shards.load(_pair_key((a, b))))) for a, b in listed)
            write_matches(output, items, made_by, counts)
    return output


def _pair_key(pair: Pair) -> str:
    return "\n".join(pair)
