"""Pairs by retrieval against all pairs, many scenes mixed: which verified pairs it finds, and at what cost.

    python eval/pairs_retrieval.py RUNS PHOTOS OUT [--across 200] [--mapper NAME]

PHOTOS/SCENE: photos of a scene. RUNS/SCENE: its features.h5 and, where photos belong together, matches.h5 of
all its pairs, as `desdis-match extract`, `pairs --pairs exhaustive`, `match` make them. The truth: pairs of
one scene that verify with 30 inliers or more, and ACROSS (200) pairs across scenes, matched and verified.
With --mapper each scene is mapped twice, by all its pairs and by those that retrieval chose. Writes
eval/results/pairs_retrieval.json.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from desdis_match.colmap.mapping import MapConfig, read_models
from desdis_match.colmap.verification import PairVerifier, VerifyConfig
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.matching.match import match_features
from desdis_match.matching.pairs import PairsConfig, PhotoSet, joined_pairs
from desdis_match.photos.cameras import CameraConfig, assign_cameras, read_photo_info
from desdis_match.pipeline import map_images
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.storage.two_view_file import TwoViewFile
from desdis_match.support.resources import measured

INLIERS = 30


@dataclass(frozen=True)
class Arguments:
    """Compare pairs by retrieval with all pairs."""

    runs: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]
    across: int = 200
    mapper: str | None = None


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/pairs_retrieval.py")
    runs, photos, out = arguments.runs, arguments.photos, arguments.out
    across_scenes, mapper = arguments.across, arguments.mapper
    scenes = sorted(
        path.parent.name for path in runs.glob("*/features.h5") if (photos / path.parent.name).is_dir()
    )
    files = {scene: FeatureFile(runs / scene / "features.h5") for scene in scenes}
    names = [f"{scene}/{name}" for scene in scenes for name in files[scene].names()]

    # Which pairs are true; OUT/SCENE/inliers.json keeps it: [name, name, inliers] of every pair.
    inliers = {}
    for scene in scenes:
        if (runs / scene / "matches.h5").exists():
            known, path = out / scene / "inliers.json", out / scene / "two_view.h5"
            if not known.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                verify_pairs(photos / scene, runs / scene / "features.h5", runs / scene / "matches.h5", path)
                with TwoViewFile(path) as found, MatchFile(runs / scene / "matches.h5") as matches:
                    listed = [sorted(pair) for pair in matches.pairs(files[scene].names())]
                    counts = [[a, b, len(found.get(a, b).inliers)] for a, b in listed]
                known.write_text(json.dumps(counts), encoding="utf-8")
            for a, b, num in json.loads(known.read_text(encoding="utf-8")):
                inliers[f"{scene}/{a}", f"{scene}/{b}"] = num
    true = {frozenset(pair) for pair, num in inliers.items() if num >= INLIERS}

    # Retrieval.
    with measured() as usage:
        start = time.process_time()
        photo_set = PhotoSet(
            names, lambda name, num: files[name.split("/")[0]].best_descriptors(name.split("/", 1)[1], num)
        )
        chosen = joined_pairs(photo_set, PairsConfig(pairs="retrieval"))["retrieval"]
        cpu_seconds = time.process_time() - start
    pairs = {frozenset(pair) for pair in chosen}
    partners = Counter(name for pair in pairs for name in pair)
    of_true = Counter(name for pair in true for name in pair)
    of_found = Counter(name for pair in true & pairs for name in pair)
    table = {}
    for scene in scenes:
        there = {pair for pair in true if all(name.startswith(f"{scene}/") for name in pair)}
        members = [name for name in names if name.startswith(f"{scene}/")]
        table[scene] = {
            "photos": len(members),
            "verified": len(there),
            "partners": round(2 * len(there) / len(members), 1),
            "found": len(there & pairs),
        }
    most = PairsConfig().partners
    sparse = [scene for scene in scenes if table[scene]["partners"] <= most]
    results = {
        "photos": len(names),
        "pairs": len(pairs),
        "partners": {"mean": round(2 * len(pairs) / len(names), 2), "most": max(partners.values())},
        "recall": round(len(true & pairs) / len(true), 4),
        "recall_of_scenes_with_few_enough_partners": round(
            sum(table[s]["found"] for s in sparse) / sum(table[s]["verified"] for s in sparse), 4
        ),
        "recall_of_what_20_partners_can_hold": round(
            sum(min(num, most) for num in of_found.values())
            / sum(min(num, most) for num in of_true.values()),
            4,
        ),
        "cpu_seconds": round(cpu_seconds, 1),
        "cpu_seconds_a_photo": round(cpu_seconds / len(names), 4),
        "peak_mib": round((usage.peak_bytes or 0) / 2**20),
        "scenes": table,
    }
    print(json.dumps(results, indent=1), flush=True)

    # Pairs across scenes: a sample of all, and of those that retrieval chose.
    across = [pair for pair in chosen if pair[0].split("/")[0] != pair[1].split("/")[0]]
    random = np.random.default_rng(0)
    sample = {"chosen": [across[i] for i in random.permutation(len(across))[:across_scenes]], "any": []}
    while len(sample["any"]) < across_scenes:
        a, b = (names[i] for i in random.integers(len(names), size=2))
        if a.split("/")[0] != b.split("/")[0]:
            sample["any"].append((a, b))
    sizes = {name: files[name.split("/")[0]].image_size(name.split("/", 1)[1]) for name in names}
    cameras, camera_of = assign_cameras(read_photo_info(photos, sizes), CameraConfig())
    verifier = PairVerifier(VerifyConfig(), 0)
    results["across_scenes"] = {"pairs_chosen": len(across)}
    for kind, listed in sample.items() if across_scenes else ():
        verified = []
        for pair in listed:
            first, second = (files[name.split("/")[0]].get(name.split("/", 1)[1]) for name in pair)
            lenses = tuple(cameras[camera_of[name] - 1] for name in pair)
            matches = match_features(first, second, device="cpu")
            geometry = verifier(pair, lenses, (first.keypoints, second.keypoints), matches.indices)
            verified.append(len(geometry.inliers))
        results["across_scenes"][kind] = {
            "sample": len(listed),
            "verified_15": sum(num >= 15 for num in verified),
            "verified_30": sum(num >= INLIERS for num in verified),
        }
    print(results["across_scenes"], flush=True)

    # Mapping by all pairs of a scene and by those chosen.
    if mapper is not None:
        results["mapper"] = mapper
        for scene in [scene for scene in scenes if (out / scene / "inliers.json").exists()]:
            for kind in ("exhaustive", "retrieval"):
                source = runs / scene / "matches.h5"
                folder = out / scene / kind
                folder.mkdir(parents=True, exist_ok=True)
                if kind == "retrieval":
                    with MatchFile(source) as stored:
                        kept = [
                            pair
                            for pair in stored.pairs(files[scene].names())
                            if frozenset(f"{scene}/{name}" for name in pair) in pairs
                        ]
                        items = ((a, b, stored.get(a, b)) for a, b in kept)
                        source = write_matches(
                            folder / "matches.h5", items, {"of": scene}, files[scene].counts()
                        )
                config = MapConfig(align=False, mapper=mapper)
                map_images(
                    photos / scene, runs / scene / "features.h5", source, folder, config, overwrite=True
                )
                models = read_models(folder / "sparse")
                table[scene][f"registered_{kind}"] = models[0].num_reg_images() if models else 0
            print(scene, table[scene], flush=True)

    path = Path(__file__).parent / "results" / "pairs_retrieval.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
