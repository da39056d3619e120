"""Filters of matches beside each other: our consensus, AdaLAM, GMS, and the ratio test alone.

    python eval/filters.py [DATA]       # ../shared/data from the project's root

Pairs: photos that no head was trained on, warped (as training/matchability.py does) and squeezed to a third
as a surface seen aslant is; a third of the pairs of fountain-P11 and entry-P10. Each filter gets the same
2048 keypoints. Right: within 3 px of the true place, or 5e-4 (normalised) of the true epipolar line. Recall:
of the right ones among all mutual nearest neighbours; AdaLAM takes others too, so that it can exceed 1.
Milliseconds are CPU time with the search for neighbours.
GMS needs opencv-contrib-python in place of opencv-python. Writes eval/results/filters.json and filters.md.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.matchability import warped
from desdis_match.evaluate.planes.scores import project_plane
from desdis_match.evaluate.poses.geometry import epipolar_line_distance, essential, relative_pose
from desdis_match.evaluate.poses.two_view import (
    EPIPOLAR_THRESHOLD,
    Case,
    PairTaskConfig,
    cases_of_scenes,
    normalised,
    score_posed,
)
from desdis_match.features.aslant import seen_aslant
from desdis_match.features.extract import ExtractConfig
from desdis_match.features.extract_set import extract_together
from desdis_match.features.frames import keypoints_to_lafs
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.photos.images import GrayImage, list_images, read_gray
from desdis_match.support.metrics import area_under_recall
from desdis_match.types import Features

RESULTS = Path(__file__).parent / "results"
EXTRACT = ExtractConfig(max_keypoints=2048)
TRAINED = 72
"""Photos, the first by name, that the heads of matchability were trained on or chosen by."""
NUM_PHOTOS = 10
EVERY = 3
"""Of a scene's pairs, one in so many is taken."""
MAX_SIDE = 800
"""Of single photos, pixels."""

Right = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Places (M, 2) in either picture -> which of the matches are right (M,)."""


@dataclass(frozen=True)
class Arguments:
    """Compare filters."""

    data: tyro.conf.Positional[Path] = Path("../shared/data")


@dataclass(frozen=True)
class Pair:
    """Two pictures' features and what is known of them."""

    features: list[Features]
    right: Right
    case: Case | None = None  # of known poses


def nearest(pair: list[Features], **options: object) -> np.ndarray:
    """Rows (M, 2) of the package's matcher, in full."""
    config = replace(MatchConfig(search="full"), **options)
    return match_features(*pair, config, "cpu").indices


def adalam(pair: list[Features]) -> np.ndarray:
    """Kornia's, with its own search and defaults."""
    from kornia.feature import match_adalam

    lafs = [keypoints_to_lafs(f.keypoints, f.scales, f.angles)[None] for f in pair]
    sizes = [(f.image_size[1], f.image_size[0]) for f in pair]
    descriptors = [torch.from_numpy(f.descriptors) for f in pair]
    return match_adalam(*descriptors, *lafs, hw1=sizes[0], hw2=sizes[1])[1].numpy()


def gms(pair: list[Features]) -> np.ndarray:
    """OpenCV's, on mutual nearest neighbours, looking for turns and changes of size."""
    rows = nearest(pair, matcher="mnn")
    points = [[cv2.KeyPoint(float(x), float(y), 1) for x, y in f.keypoints] for f in pair]
    matches = [cv2.DMatch(int(a), int(b), 0.0) for a, b in rows]
    sizes = [f.image_size for f in pair]
    kept = cv2.xfeatures2d.matchGMS(sizes[0], sizes[1], *points, matches, True, True)
    return np.array([(m.queryIdx, m.trainIdx) for m in kept], np.int32).reshape(-1, 2)


FILTERS: dict[str, Callable[[list[Features]], np.ndarray]] = {
    "mutual nearest neighbours": lambda pair: nearest(pair, matcher="mnn"),
    "ratio 0.85 (`--filter none`)": lambda pair: nearest(pair),
    "ratio 0.95": lambda pair: nearest(pair, ratio=0.95),
    "ratio 0.95, `--filter consensus`": lambda pair: nearest(pair, filter="consensus"),
    "AdaLAM": adalam,
    **({"GMS": gms} if hasattr(cv2, "xfeatures2d") else {}),
}


def planes(photos: list[Path], slanted: bool) -> Iterator[Pair]:
    """Photos with a copy that is warped, or seen aslant."""
    network = load_descriptor("desdis-16", device="cpu")
    for number, path in enumerate(photos):
        rng = np.random.default_rng(number)
        picture = np.ascontiguousarray(read_gray(path, MAX_SIDE).pixels)
        if slanted:
            other, affine = seen_aslant(picture, 3.0, rng.uniform(0, np.pi))
            plane = np.vstack([affine, [0, 0, 1]])
        else:
            other, plane = warped(picture, rng)
        grays = [GrayImage(p, (p.shape[1], p.shape[0]), (1.0, 1.0)) for p in (picture, other)]
        features = extract_together(grays, EXTRACT, network)
        yield Pair(
            features,
            lambda xy0, xy1, plane=plane: np.linalg.norm(project_plane(plane, xy0) - xy1, axis=1) <= 3,
        )


def posed(folder: Path) -> Iterator[Pair]:
    """Pairs of a scene with true cameras."""
    network = load_descriptor("desdis-16", device="cpu")
    cases = cases_of_scenes(PairTaskConfig(scenes=(folder,)))[0]
    photos = sorted({path for case in cases for path in case.paths})
    features = dict(zip(photos, extract_together(photos, EXTRACT, network), strict=True))
    for case in cases[::EVERY]:
        matrix = essential(*relative_pose(case.cameras[0].pose, case.cameras[1].pose))

        def right(
            xy0: np.ndarray, xy1: np.ndarray, case: Case = case, matrix: np.ndarray = matrix
        ) -> np.ndarray:
            rays = normalised(xy0, case.cameras[0]), normalised(xy1, case.cameras[1])
            return epipolar_line_distance(matrix, *rays) < EPIPOLAR_THRESHOLD

        yield Pair([features[path] for path in case.paths], right, case)


def measured(pairs: Iterator[Pair]) -> dict[str, dict[str, float]]:
    """Means over the pairs, by filter."""
    rows: dict[str, list[list[float]]] = {name: [] for name in FILTERS}
    for pair in pairs:
        most = None
        for name, work in FILTERS.items():
            started = time.process_time()
            found = work(pair.features)
            seconds = time.process_time() - started
            xy0, xy1 = (f.keypoints[k] for f, k in zip(pair.features, found.T, strict=True))
            right = int(pair.right(xy0, xy1).sum()) if len(found) else 0
            most = right if most is None else most  # the first are all mutual nearest neighbours
            error = np.nan if pair.case is None else score_posed(pair.case, xy0, xy1, 1.5).error
            precision = right / len(found) if len(found) else np.nan
            rows[name].append([len(found), precision, right / max(1, most), 1000 * seconds, error])
    table = {}
    for name, row in rows.items():
        values = np.array(row)
        with np.errstate(invalid="ignore"):
            means = np.nanmean(values[:, :4], axis=0).tolist()
        table[name] = dict(zip(("matches", "precision", "recall", "ms"), means, strict=True))
        table[name]["pairs"] = len(row)
        if not np.isnan(values[:, 4]).all():
            table[name]["AUC@5"] = area_under_recall(values[:, 4], (5.0,))[0]
    return table


def text(tables: dict[str, dict[str, dict[str, float]]]) -> str:
    """filters.md."""
    lines = ["# Filters", ""]
    for title, table in tables.items():
        number = next(iter(table.values()))["pairs"]
        lines += [f"**{title}**, {number} pairs", ""]
        lines += [
            "| | matches | precision | recall | CPU ms | AUC at 5 degrees |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, row in table.items():
            area = f"{row['AUC@5']:.3f}" if "AUC@5" in row else ""
            lines.append(
                f"| {name} | {row['matches']:.0f} | {row['precision']:.3f} | {row['recall']:.3f} | "
                f"{row['ms']:.0f} | {area} |"
            )
        lines.append("")
    return "\n".join(lines) + "\nMade by `python eval/filters.py`.\n"


def main(argv: list[str]) -> int:
    data = parse(Arguments, argv, "python eval/filters.py").data
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = data / "photos/single_photos"
    photos = [folder / name for name in list_images(folder)][TRAINED : TRAINED + NUM_PHOTOS]
    tables = {
        "Warped photos": measured(planes(photos, slanted=False)),
        "Photos seen aslant (a third as wide)": measured(planes(photos, slanted=True)),
        "fountain-P11": measured(posed(data / "strecha/fountain-P11")),
        "entry-P10": measured(posed(data / "strecha/entry-P10")),
    }
    (RESULTS / "filters.json").write_text(json.dumps(tables, indent=1) + "\n")
    (RESULTS / "filters.md").write_text(text(tables))
    print(text(tables))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
