"""Pairs by GPS against all pairs: what they cost, and how many photos each registers.

    python eval/pairs_gps.py PHOTOS OUT [--max-keypoints 2000] [--mapper incremental]

PHOTOS: drone photos with GPS in their EXIF (the stored figures: OpenDroneMap's odm_data_seneca, 167 photos).
OUT keeps features, matches and models; run again, what is there is not made again. Writes
eval/results/pairs_gps.json.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from desdis_match.colmap.mapping import MapConfig, model_summary, read_models
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.features.extract import ExtractConfig
from desdis_match.matching.pairs import PairsConfig
from desdis_match.pipeline import extract, map_models, match, pairs
from desdis_match.pipeline.pairing import pairs_by_way
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.storage.two_view_file import TwoViewFile


@dataclass(frozen=True)
class Arguments:
    """Compare pairs by GPS with all pairs."""

    photos: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]
    max_keypoints: int = 2000
    mapper: str = "incremental"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/pairs_gps.py")
    images, out = arguments.photos, arguments.out
    max_keypoints, mapper = arguments.max_keypoints, arguments.mapper
    out.mkdir(parents=True, exist_ok=True)
    features = out / "features.h5"
    extract(images, features, ExtractConfig(max_keypoints=max_keypoints, orientation="upright"))

    results = {"photos": images.name, "max_keypoints": max_keypoints, "mapper": mapper, "ways": {}}
    for way in ("spatial", "spatial+retrieval", "exhaustive"):
        folder = out / way
        folder.mkdir(exist_ok=True)
        listed, matches = folder / "pairs.txt", folder / "matches.h5"
        clock = [time.process_time()]
        pairs(features, listed, PairsConfig(pairs=way), images=images)
        clock.append(time.process_time())
        match(features, listed, matches)
        clock.append(time.process_time())
        verify_pairs(images, features, matches, folder / "two_view.h5")
        clock.append(time.process_time())
        map_models(images, features, matches, folder, MapConfig(align=False, mapper=mapper))
        clock.append(time.process_time())
        steps = zip(("pairs", "match", "verify", "map"), clock, clock[1:], strict=False)
        with TwoViewFile(folder / "two_view.h5") as file:
            inliers = list(file.num_inliers())
        models = [model_summary(model) for model in read_models(folder / "sparse")]
        results["ways"][way] = {
            "pairs": sum(pairs_by_way(listed).values()),
            "verified": sum(num >= 15 for num in inliers),
            "registered": models[0].num_registered if models else 0,
            "points": models[0].num_points if models else 0,
            "models": len(models),
            "cpu_seconds": {name: round(stop - start, 1) for name, start, stop in steps},
        }
        print(way, results["ways"][way], flush=True)

    share = results["ways"]["spatial"]["pairs"] / results["ways"]["exhaustive"]["pairs"]
    results["spatial_share_of_pairs"] = round(share, 4)
    path = Path(__file__).parent / "results" / "pairs_gps.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"spatial takes {share:.1%} of all pairs; {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
