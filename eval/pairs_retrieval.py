"""Pairs by retrieval against all pairs, many scenes mixed: which verified pairs it finds, and at what cost.

    python eval/pairs_retrieval.py RUNS PHOTOS OUT [--across 200] [--mapper NAME]

PHOTOS/SCENE: photos of a scene. RUNS/SCENE: its features.h5 and, where photos belong together, matches.h5 of
all its pairs, as `desdis-match extract`, `pairs --pairs exhaustive`, `match` make them. The truth: pairs of
one scene that verify with 30 inliers or more, and ACROSS (200) pairs across scenes, matched and verified.
With --mapper each scene is mapped twice, by all its pairs and by those that retrieval chose.
Writes eval/results/pairs_retrieval.json, in which

- `recall`: of all true pairs, with what photos leave over given to others: at most 20 pairs a photo in all;
- `each_pays_its_own`: the same where each photo pays for 20 pairs at most and nothing is given on. No choice
  could find more than `bound` of the true pairs then, since one scene's photos have 70 partners each;
- `by_size`: the same in smaller sets, for the size from which on `auto` takes retrieval.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from desdis_match.colmap.verification import PairVerifier, VerifyConfig
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.evaluate.poses.pair_choice import map_by
from desdis_match.matching.match import match_features
from desdis_match.matching.pairs import PairsConfig, PhotoSet, joined_pairs
from desdis_match.matching.pairs.retrieval import CHANCE, paid, scored
from desdis_match.photos.cameras import CameraConfig, assign_cameras, read_photo_info
from desdis_match.pipeline.resume import digest
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile
from desdis_match.storage.two_view_file import TwoViewFile
from desdis_match.support.resources import measured

INLIERS = 30
SIZES = (50, 100, 150, 250)  # photos of smaller sets


@dataclass(frozen=True)
class Arguments:
    """Compare pairs by retrieval with all pairs."""

    runs: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]
    across: int = 200
    mapper: str | None = None


def most_paid(true: set[frozenset[str]], partners: int) -> int:
    """The greatest number of `true` pairs of which each is paid by one of its photos and none pays for more
    than `partners`: a flow from a source through pairs and photos to a sink."""
    photos = {name: i for i, name in enumerate(sorted({name for pair in true for name in pair}))}
    source, sink = len(true) + len(photos), len(true) + len(photos) + 1
    edges = [(source, number, 1) for number in range(len(true))]
    edges += [
        (number, len(true) + photos[name], 1)
        for number, pair in enumerate(sorted(map(sorted, true)))
        for name in pair
    ]
    edges += [(len(true) + photo, sink, partners) for photo in photos.values()]
    rows, columns, room = np.array(edges, np.int32).T
    graph = csr_array((room, (rows, columns)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink).flow_value)


def by_size(photos: PhotoSet, true: set[frozenset[str]]) -> dict[int, dict[str, float]]:
    """What retrieval leaves of all pairs, and of the true ones, in sets of whole scenes drawn by chance: from
    how many photos on does it pay?"""
    scenes = sorted({name.split("/")[0] for name in photos.names})
    found = {}
    for size in SIZES:
        order = np.random.default_rng(size).permutation(len(scenes))
        drawn = [name for i in order for name in photos.names if name.split("/")[0] == scenes[i]][:size]
        start = time.process_time()
        chosen = joined_pairs(
            PhotoSet(sorted(drawn), photos.best_descriptors), PairsConfig(pairs="retrieval")
        )
        seconds = time.process_time() - start
        there = {pair for pair in true if pair <= set(drawn)}
        found[size] = {
            "all_pairs": size * (size - 1) // 2,
            "pairs": len(chosen["retrieval"]),
            "verified": len(there),
            "recall": round(len(there & set(map(frozenset, chosen["retrieval"]))) / max(len(there), 1), 4),
            "cpu_seconds": round(seconds, 1),
        }
    return found


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
    inliers, truth = {}, {}
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
            truth[scene] = [(a, b) for a, b, _ in json.loads(known.read_text(encoding="utf-8"))]
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
    most = PairsConfig().partners
    with scored(photo_set, PairsConfig(pairs="retrieval")) as (scores, _):
        ranked = sorted(scores, key=lambda pair: (*(-value for value in scores[pair]), pair))
    good = [pair for pair in ranked if scores[pair][0] > CHANCE]
    own = {frozenset(names[i] for i in pair) for pair in paid(len(names), good, most)}
    bound = most_paid(true, most)
    partners = Counter(name for pair in pairs for name in pair)
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
    sparse = [scene for scene in scenes if table[scene]["partners"] <= most]
    results = {
        "photos": len(names),
        "pairs": len(pairs),
        "pairs_a_photo": round(len(pairs) / len(names), 2),
        "partners": {"mean": round(2 * len(pairs) / len(names), 2), "most": max(partners.values())},
        "verified": len(true),
        "recall": round(len(true & pairs) / len(true), 4),
        "recall_of_scenes_with_few_enough_partners": round(
            sum(table[s]["found"] for s in sparse) / sum(table[s]["verified"] for s in sparse), 4
        ),
        "each_pays_its_own": {
            "pairs": len(own),
            "recall": round(len(true & own) / len(true), 4),
            "bound": round(bound / len(true), 4),
            "of_bound": round(len(true & own) / bound, 4),
        },
        "cpu_seconds": round(cpu_seconds, 1),
        "cpu_seconds_a_photo": round(cpu_seconds / len(names), 4),
        "peak_mib": round((usage.peak_bytes or 0) / 2**20),
        "by_size": by_size(photo_set, true),
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

    # Mapping by all pairs of a scene and by those chosen; OUT/SCENE/WAY/counts.json keeps what came of it.
    if mapper is not None:
        results["mapper"] = mapper
        for scene in sorted((s for s in scenes if s in truth), key=lambda s: table[s]["photos"]):
            run_folder = runs / scene
            every = [pair for pair in truth[scene]]
            for kind in ("exhaustive", "retrieval"):
                kept = [
                    p for p in every if kind == "exhaustive" or frozenset(f"{scene}/{n}" for n in p) in pairs
                ]
                folder = out / scene / kind
                known = folder / f"{mapper}-{digest(kept)[:16]}.json"
                if not known.exists():
                    sources = photos / scene, run_folder / "features.h5", run_folder / "matches.h5"
                    counts = map_by(*sources, out / scene / "two_view.h5", kept, folder, mapper)
                    known.write_text(json.dumps(counts), encoding="utf-8")
                table[scene][kind] = json.loads(known.read_text(encoding="utf-8"))
            print(scene, table[scene], flush=True)

    path = Path(__file__).parent / "results" / "pairs_retrieval.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
