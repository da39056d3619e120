"""Seconds to match and verify all pairs of a folder of photos: this package and pycolmap, same features.

    python eval/benchmark_match.py    # from the project's root, with the development data in ../shared/data

pycolmap's SIFT gives the keypoints; of each photo exactly --keypoints of them are kept, drawn at random, and
all sides match these, in one run and in turns, with as many threads. Ours matches them as it does by default
(guided; the largest keypoints, as SIFT has no scores here, stand for the best) and in full. pycolmap's
default on a CPU is an
approximate index; --brute-force adds its exact matcher, which takes minutes. Verification is pycolmap's on
both sides. Printed as a table and written to eval/results/benchmark_match.json.
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.conventions import from_colmap
from desdis_match.evaluate.output import processor
from desdis_match.matching.match import MatchConfig, match_image_pairs
from desdis_match.matching.nearest import coarse_type
from desdis_match.matching.pairs import exhaustive_pairs
from desdis_match.support.native import pycolmap
from desdis_match.support.workers import available_cores
from desdis_match.types import Features


@dataclass(frozen=True)
class Arguments:
    """Time matching against pycolmap."""

    images: Path = Path("../shared/data/strecha/fountain-P11/images")
    """Folder of photos."""
    keypoints: tuple[int, ...] = (8000, 12000)
    """Keypoints a photo."""
    max_size: int = 1600
    """Long side at which SIFT runs."""
    repeats: int = 2
    """Each side is timed as often, in turns; the fastest counts."""
    brute_force: bool = False
    """Time pycolmap's exact matcher too."""
    match: MatchConfig = field(default_factory=lambda: MatchConfig(ratio=0.8))
    """The ratio is COLMAP's, so that both sides find about the same."""
    output: Path = Path(__file__).parent / "results" / "benchmark_match.json"


@dataclass(frozen=True)
class Row:
    """One side's time for all pairs."""

    keypoints: int
    side: str
    match_seconds: float
    verify_seconds: float
    matches: int
    verified: int


def keep_some(full: Path, database_path: Path, num_keypoints: int) -> dict[str, Features]:
    """A copy of the database with num_keypoints features of each photo; returns them by name."""
    shutil.copyfile(full, database_path)
    rng = np.random.default_rng(0)
    features = {}
    with pycolmap.Database.open(database_path) as database:
        images = database.read_all_images()
        sizes = {camera.camera_id: (camera.width, camera.height) for camera in database.read_all_cameras()}
        points = {image.image_id: database.read_keypoints(image.image_id) for image in images}
        sifts = {image.image_id: database.read_descriptors(image.image_id) for image in images}
        database.clear_keypoints()
        database.clear_descriptors()
        for image in images:
            sift = sifts[image.image_id]
            if len(sift.data) < num_keypoints:
                raise SystemExit(f"{image.name} has {len(sift.data)} keypoints, fewer than {num_keypoints}")
            kept = np.sort(rng.permutation(len(sift.data))[:num_keypoints])
            sift.data = np.ascontiguousarray(sift.data[kept])
            database.write_keypoints(image.image_id, points[image.image_id][kept])
            database.write_descriptors(image.image_id, sift)
            values = sift.data.astype(np.float32)
            some = points[image.image_id][kept]
            scale = np.sqrt(np.abs(np.linalg.det(some[:, 2:6].reshape(-1, 2, 2)))).astype(np.float32)
            features[image.name] = Features(
                keypoints=from_colmap(some[:, :2]).astype(np.float32),
                descriptors=values / np.linalg.norm(values, axis=1, keepdims=True),
                scores=scale,
                scales=scale,
                angles=np.zeros(num_keypoints, np.float32),
                image_size=sizes[image.camera_id],
            )
    return features


def verify(path: Path) -> None:
    """pycolmap's geometric verification of the matches in a database."""
    two_view = pycolmap.TwoViewGeometryOptions()
    two_view.ransac.random_seed = 0
    verifier = pycolmap.GeometricVerifierOptions(num_threads=available_cores())
    pycolmap.geometric_verification(path, verifier, two_view_geometry_options=two_view)


def run_pycolmap(path: Path, brute_force: bool) -> tuple[float, float]:
    """Seconds to match all pairs with pycolmap, and to verify them."""
    matching = pycolmap.FeatureMatchingOptions(
        num_threads=available_cores(), skip_geometric_verification=True
    )
    matching.sift.cpu_brute_force_matcher = brute_force
    start = time.perf_counter()
    pycolmap.match_exhaustive(path, matching, device=pycolmap.Device.cpu)
    matched = time.perf_counter()
    verify(path)
    return matched - start, time.perf_counter() - matched


def run_ours(path: Path, features: dict[str, Features], config: MatchConfig) -> tuple[float, float]:
    """Seconds to match all pairs with this package (preparation and writing included), and to verify them."""
    start = time.perf_counter()
    with pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        pairs = exhaustive_pairs(list(features))
        for (name0, name1), matches in match_image_pairs(features.__getitem__, pairs, config, "cpu"):
            database.write_matches(ids[name0], ids[name1], matches.indices.astype(np.uint32))
    matched = time.perf_counter()
    verify(path)
    return matched - start, time.perf_counter() - matched


def counts(path: Path) -> tuple[int, int]:
    """Matches and verified matches in a database."""
    with pycolmap.Database.open(path) as database:
        return database.num_matches(), database.num_inlier_matches()


def main(argv: list[str]) -> int:
    options = parse(Arguments, argv, "python eval/benchmark_match.py")
    pycolmap.logging.minloglevel = 2  # errors
    results = []
    ours = {f"desdis_match, {search}": replace(options.match, search=search) for search in ("guided", "full")}
    sides = ["pycolmap", *["pycolmap brute force"] * options.brute_force, *ours]
    with tempfile.TemporaryDirectory() as folder:
        full, path = Path(folder) / "full.db", Path(folder) / "some.db"
        extraction = pycolmap.FeatureExtractionOptions(max_image_size=options.max_size)
        extraction.sift.max_num_features = 2 * max(options.keypoints)
        mode = pycolmap.CameraMode.SINGLE
        pycolmap.extract_features(full, options.images, camera_mode=mode, extraction_options=extraction)
        for num_keypoints in options.keypoints:
            times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
            for repeat in range(options.repeats):
                for side in sides:
                    features = keep_some(full, path, num_keypoints)
                    if side in ours:
                        times[side].append(run_ours(path, features, ours[side]))
                    else:
                        times[side].append(run_pycolmap(path, brute_force="brute" in side))
                    if repeat == options.repeats - 1:
                        results.append(Row(num_keypoints, side, *min(times[side], key=sum), *counts(path)))
    print("keypoints  side                   match s  verify s  total s   matches  verified")
    for row in results:
        print(
            f"{row.keypoints:9}  {row.side:21} {row.match_seconds:8.2f} {row.verify_seconds:9.2f} "
            f"{row.match_seconds + row.verify_seconds:8.2f} {row.matches:9} {row.verified:9}"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "images": options.images.parent.name,
        "processor": processor(),
        "cores": available_cores(),
        "first_product": str(coarse_type(torch.device("cpu"))).removeprefix("torch."),
        "match": asdict(options.match),
        "pycolmap": pycolmap.__version__,
        "torch": torch.__version__,
        "rows": [asdict(row) for row in results],
    }
    options.output.write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
