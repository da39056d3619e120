"""Pairs by GPS against all pairs: what they cost, and how many photos each registers.

    python eval/pairs_gps.py PHOTOS OUT [--max-keypoints 2000] [--max-size 1200] [--mapper incremental]

PHOTOS: drone photos with GPS in their EXIF (the stored figures: OpenDroneMap's odm_data_seneca, 167 photos).
All pairs are matched and verified once; each way is then mapped by those of them that it chooses.
OUT keeps all of it; run again, what is there is not made again. Writes eval/results/pairs_gps.json.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.poses.pair_choice import map_by
from desdis_match.features.extract import ExtractConfig
from desdis_match.matching.pairs import PairsConfig, pairs_from_file
from desdis_match.pipeline import RunConfig, extract, match, pairs
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.storage.two_view_file import TwoViewFile

WAYS = ("exhaustive", "spatial", "spatial+retrieval")
VERIFIED = 15  # inliers


@dataclass(frozen=True)
class Arguments:
    """Compare pairs by GPS with all pairs."""

    photos: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]
    max_keypoints: int = 2000
    max_size: int = 1200
    mapper: str = "incremental"
    workers: int = 0


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/pairs_gps.py")
    images, out, mapper = arguments.photos, arguments.out, arguments.mapper
    out.mkdir(parents=True, exist_ok=True)
    on = RunConfig(workers=arguments.workers)
    features, matches, two_view = out / "features.h5", out / "matches.h5", out / "two_view.h5"
    config = ExtractConfig(max_keypoints=arguments.max_keypoints, max_size=arguments.max_size)
    extract(images, features, config, run=on)

    chosen, seconds = {}, {}
    for way in WAYS:
        started = time.process_time()
        listed = pairs(features, out / f"{way}.txt", PairsConfig(pairs=way), images=images)
        chosen[way], seconds[way] = pairs_from_file(listed), time.process_time() - started
    match(features, out / "exhaustive.txt", matches, run=on)
    verify_pairs(images, features, matches, two_view, run=on)
    with TwoViewFile(two_view) as file:
        verified = {
            frozenset(pair) for pair in chosen["exhaustive"] if len(file.get(*pair).inliers) >= VERIFIED
        }

    results: dict[str, object] = {
        "photos": images.name,
        "max_keypoints": arguments.max_keypoints,
        "mapper": mapper,
    }
    ways = {}
    for way in sorted(WAYS, key=lambda way: len(chosen[way])):
        ways[way] = {
            "share_of_pairs": round(len(chosen[way]) / len(chosen["exhaustive"]), 4),
            "verified": sum(frozenset(pair) in verified for pair in chosen[way]),
            "seconds_of_choice": round(seconds[way], 1),
            **map_by(images, features, matches, two_view, chosen[way], out / way, mapper),
        }
        print(way, ways[way], flush=True)
    results["ways"] = ways
    path = Path(__file__).parent / "results" / "pairs_gps.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
