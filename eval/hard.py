"""Photos that are hard to match: sets of old, sparse or repetitive views, and surfaces seen aslant.

    python eval/hard.py [DATA] [--work DIR]        # ../shared/data from the project's root

Sets: verified pairs, registered photos and points of the default and of others, the control among them
(keypoints by contrast). Slant: single photos that no head was trained on, with a copy 3, 4 and 5 times
narrower in a random direction, as a level camera would see them, turned by some degrees, with noise and JPEG;
the share of pairs with 15 right matches (within 3 px) by what is done against it, and CPU seconds a pair.
What is measured is kept in DIR. Writes eval/results/hard.json and hard.md.
"""

import json
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.errors import NoModelError
from desdis_match.evaluate.planes.baselines import aliked_baseline
from desdis_match.evaluate.planes.scores import project_plane
from desdis_match.features.aslant import seen_aslant
from desdis_match.features.extract import ExtractConfig
from desdis_match.features.extract_set import extract_together
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.photos.images import GrayImage, list_images, read_gray
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.pipeline.resume import RunConfig
from desdis_match.storage.report_file import Report
from desdis_match.storage.run_folder import RunFolder
from desdis_match.types import Features

RESULTS = Path(__file__).parent / "results"
SETS = ("statue", "nadar", "cyprus")
CONSENSUS = MatchConfig(filter="consensus")
WAYS = {
    "contrast": (ExtractConfig(ranking="contrast"), MatchConfig()),
    "default": (ExtractConfig(), MatchConfig()),
    "default, consensus": (ExtractConfig(), CONSENSUS),
    "5 views": (ExtractConfig(views=5), MatchConfig()),
}
AGAINST_SLANT = {
    "default": (ExtractConfig(), MatchConfig()),
    "`--filter consensus`": (ExtractConfig(), CONSENSUS),
    "`--affine`": (ExtractConfig(affine=True), MatchConfig()),
    "`--views 5`": (ExtractConfig(views=5), MatchConfig()),
    "`--views 5 --filter consensus`": (ExtractConfig(views=5), CONSENSUS),
}
ALIKED_KEYPOINTS = 2048
TRAINED = 72
"""Photos, the first by name, that the heads of matchability were trained on or chosen by."""
NUM_PHOTOS = 7
TILTS = (3, 4, 5)
ENOUGH = 15
"""Right matches: COLMAP's least number of inliers."""
MAX_SIDE = 800
"""Of single photos, pixels."""


@dataclass(frozen=True)
class Arguments:
    """Measure hard sets and slanted pairs."""

    data: tyro.conf.Positional[Path] = Path("../shared/data")
    work: Path = Path("hard-work")
    sets: tuple[str, ...] = SETS


def reconstructed(images: Path, work: Path, way: str) -> dict[str, int]:
    """Counts of a set's best model by one of WAYS."""
    extract, match = WAYS[way]
    folder = RunFolder(work / images.name / way.replace(", ", "-"))
    same = RunFolder(work / images.name / "default").features
    if way == "default, consensus" and same.is_file() and not folder.features.exists():
        folder.path.mkdir(parents=True, exist_ok=True)
        shutil.copy(same, folder.features)
    config = ReconstructConfig(
        images=images,
        output=folder.path,
        extract=extract,
        match=match,
        run=RunConfig(workers=1),
        quiet=True,
    )
    with suppress(NoModelError):
        reconstruct(config)
    report = Report.load(folder.report)
    best = report.models[0] if report.models else None
    return {
        "photos": report.counts.images,
        "pairs": report.counts.pairs,
        "verified": report.counts.verified_pairs,
        "registered": best.num_registered if best else 0,
        "points": best.num_points if best else 0,
    }


def slanted(picture: np.ndarray, tilt: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A copy seen aslant, and the homography (3, 3) to it."""
    rng = np.random.default_rng(seed)
    other, affine = seen_aslant(picture, tilt, rng.uniform(0, np.pi))
    height, width = other.shape
    roll = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 4), 1.0)
    other = cv2.warpAffine(other, roll, (width, height), borderValue=0.5)
    noisy = np.clip(other + rng.normal(0, 0.01, other.shape), 0, 1)
    stored = cv2.imencode(".jpg", (255 * noisy).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    seen = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)
    return seen, np.vstack([roll, [0, 0, 1]]) @ np.vstack([affine, [0, 0, 1]])


def aliked(data: Path) -> Callable[[Path, GrayImage], Features]:
    """Kornia's ALIKED on grey pictures."""
    extract = aliked_baseline(data / "weights/aliked/aliked-n16rot.pth", "cpu").extract

    def features(work: Path, gray: GrayImage) -> Features:
        path = work / "seen.png"
        cv2.imwrite(str(path), np.rint(255 * gray.pixels).astype(np.uint8))
        xy, descriptors = extract(path, gray, ALIKED_KEYPOINTS)
        none = np.zeros(len(xy), np.float32)
        return Features(xy, descriptors, none, none, none, gray.size)

    return features


def against_slant(data: Path, work: Path) -> dict[str, dict[str, dict[str, float]]]:
    """tilt -> way -> scores."""
    folder = data / "photos/single_photos"
    photos = [folder / name for name in list_images(folder)][TRAINED : TRAINED + NUM_PHOTOS]
    network, baseline = load_descriptor("desdis-16", device="cpu"), aliked(data)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for tilt in TILTS:
        right: dict[str, list[tuple[int, float]]] = {}
        for path in photos:
            picture = np.ascontiguousarray(read_gray(path, MAX_SIDE).pixels)
            other, plane = slanted(picture, tilt, zlib.crc32(f"{path.name} {tilt}".encode()))
            grays = [GrayImage(p, (p.shape[1], p.shape[0]), (1.0, 1.0)) for p in (picture, other)]
            for way in (*AGAINST_SLANT, "ALIKED, mutual"):
                started = time.process_time()
                if way in AGAINST_SLANT:
                    extract, match = AGAINST_SLANT[way]
                    pair = extract_together(grays, extract, network)
                else:
                    pair, match = [baseline(work, gray) for gray in grays], MatchConfig(matcher="mnn")
                rows0, rows1 = match_features(*pair, match, "cpu").indices.T
                seconds = time.process_time() - started
                miss = project_plane(plane, pair[0].keypoints[rows0]) - pair[1].keypoints[rows1]
                right.setdefault(way, []).append((int((np.linalg.norm(miss, axis=1) <= 3).sum()), seconds))
        table[str(tilt)] = {
            way: {
                "enough": float(np.mean([num >= ENOUGH for num, _ in rows])),
                "median": float(np.median([num for num, _ in rows])),
                "seconds": float(np.mean([seconds for _, seconds in rows])),
                "pairs": len(rows),
            }
            for way, rows in right.items()
        }
        print(tilt, json.dumps(table[str(tilt)], indent=1), flush=True)
    return table


def text(sets: dict[str, dict[str, dict[str, int]]], slant: dict[str, dict[str, dict[str, float]]]) -> str:
    """hard.md."""
    lines = ["# Hard photos"]
    if sets:
        lines += ["", "Verified pairs, registered photos, points of the best model:", ""]
        lines += ["| | pairs | " + " | ".join(WAYS) + " |", "|---|---:|" + "---|" * len(WAYS)]
    for name, row in sets.items():
        cells = [f"{way['verified']}, {way['registered']}, {way['points']:,}" for way in row.values()]
        first = next(iter(row.values()))
        lines.append(f"| {name}, {first['photos']} photos | {first['pairs']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Surfaces seen at a slant: the share of pairs with 15 right matches, and the median of right ones:",
        "",
        "| | " + " | ".join(f"{tilt} times narrower" for tilt in slant) + " | CPU s a pair |",
        "|---|" + "---|" * len(slant) + "---:|",
    ]
    for way in next(iter(slant.values())):
        cells = [f"{row[way]['enough']:.2f}, {row[way]['median']:.0f}" for row in slant.values()]
        seconds = np.mean([row[way]["seconds"] for row in slant.values()])
        lines.append(f"| {way} | " + " | ".join(cells) + f" | {seconds:.2f} |")
    return "\n".join(lines) + "\n\nMade by `python eval/hard.py`.\n"


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/hard.py")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    sets: dict[str, dict[str, dict[str, int]]] = {}
    known = arguments.work / "slant.json"
    if not known.is_file():
        known.write_text(json.dumps(against_slant(arguments.data, arguments.work)))
    slant = json.loads(known.read_text())
    for name in arguments.sets:
        sets[name] = {
            way: reconstructed(arguments.data / "photos" / name, arguments.work, way) for way in WAYS
        }
        print(name, sets[name], flush=True)
    (RESULTS / "hard.json").write_text(json.dumps({"sets": sets, "slant": slant}, indent=1) + "\n")
    (RESULTS / "hard.md").write_text(text(sets, slant))
    print(text(sets, slant))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
