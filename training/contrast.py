"""How much contrast counts beside the heads of matchability: tracks among the extrema that rankings keep.

    python training/contrast.py SCENE [SCENE ...]     # folders of photos

Of the first ten photos of each scene all extrema are described in upright frames, matched, and checked pair
by pair by a fundamental matrix. A ranking then keeps a part of each photo's extrema; counted are tracks of
three photos or more which the matches between kept ones form, beside those by contrast alone. Prints the
table of training/matchability.md.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from desdis_match.colmap.view_graph import connected
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.features.extract import ExtractConfig, describe_frames, read_photo
from desdis_match.features.frames import PatchPyramid, keypoints_to_lafs
from desdis_match.features.ranking import evidence, packaged_head
from desdis_match.features.scalespace import find_extrema
from desdis_match.matching.match import MatchConfig, match_images, prepare_image
from desdis_match.photos.images import list_images

NUM_PHOTOS = 10
PARTS = (0.55, 0.27)
"""Of a photo's extrema that are kept: those of 8000 and of 4000 keypoints of a photo with 14,500."""
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PIXELS = 3.0
"""Largest distance from an epipolar line."""
LEAST = 15
"""Matches of a pair that counts."""

Ranking = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Log odds and log contrast (N,) -> what to sort by."""


@dataclass(frozen=True)
class Arguments:
    """Count tracks by power of the contrast."""

    scenes: tyro.conf.Positional[tuple[Path, ...]]


@dataclass(frozen=True)
class Scene:
    """All extrema of a scene's photos."""

    odds: list[np.ndarray]  # a photo: (N,) logarithms, as the head says
    contrast: list[np.ndarray]  # a photo: (N,) logarithms
    ends: np.ndarray  # (M, 2) rows of matched extrema, those of all photos one after the other

    def tracks(self, ranking: Ranking, part: float) -> tuple[int, float]:
        """Tracks of three photos or more and their mean length."""
        kept = []
        for odds, contrast in zip(self.odds, self.contrast, strict=True):
            best = np.zeros(len(odds), bool)
            best[np.argsort(-ranking(odds, contrast), kind="stable")[: int(part * len(odds))]] = True
            kept.append(best)
        photo = np.repeat(np.arange(len(kept)), [len(best) for best in kept])
        ends = self.ends[np.concatenate(kept)[self.ends].all(1)]
        length = np.bincount(np.unique(connected(ends, len(photo)) * len(kept) + photo) // len(kept))
        long = length[length >= 3]
        return len(long), float(long.mean()) if len(long) else 0.0


def seen(folder: Path) -> Scene:
    """Match the photos of a folder."""
    config, network = ExtractConfig(), load_descriptor("desdis-16", device="cpu")
    odds, contrast, ready = [], [], []
    for name in list_images(folder)[:NUM_PHOTOS]:
        gray = read_photo(folder / name, config)
        with torch.inference_mode():
            pixels = torch.as_tensor(gray.pixels).contiguous()
            found = find_extrema(pixels, "dog", -1, config.contrast_threshold, config.edge_threshold)
            said = packaged_head("dog", "cpu")(evidence(found))
            frames = keypoints_to_lafs(found.xy, found.sigma)
            ready.append(
                prepare_image(describe_frames(frames, said, PatchPyramid(pixels), gray, network), "cpu")
            )
        odds.append(said.numpy())
        contrast.append(found.contrast.log().numpy())
    starts = np.concatenate([[0], np.cumsum([len(one) for one in odds])])
    ends = [np.empty((0, 2), np.int64)]
    for i, j in combinations(range(len(ready)), 2):
        rows = match_images(ready[i], ready[j], MatchConfig()).indices
        if len(rows) < LEAST:
            continue
        places = ready[i].xy[rows[:, 0]], ready[j].xy[rows[:, 1]]
        model, agree = cv2.findFundamentalMat(*places, cv2.USAC_MAGSAC, PIXELS, 0.9999, 2000)
        if model is not None and agree.sum() >= LEAST:
            ends.append(rows[agree[:, 0] > 0] + starts[[i, j]])
    return Scene(odds, contrast, np.concatenate(ends))


def compared(scene: Scene, part: float) -> Sequence[float]:
    """Per cent more tracks than by contrast alone, a power each."""
    alone, _ = scene.tracks(lambda odds, contrast: contrast, part)
    by_power = [
        scene.tracks(lambda odds, contrast, power=power: odds + power * contrast, part)[0] for power in POWERS
    ]
    return [100 * (num / alone - 1) for num in by_power]


def main(argv: list[str]) -> int:
    scenes = parse(Arguments, argv, "python training/contrast.py").scenes
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("| power of the contrast | " + " | ".join(f"{power:g}" for power in POWERS) + " |")
    print("|---|" + "---:|" * len(POWERS))
    rows = []
    for folder in scenes:
        scene = seen(folder)
        for part in PARTS:
            rows.append(compared(scene, part))
            cells = " | ".join(f"{gain:+.1f} %" for gain in rows[-1])
            print(f"| {folder.name}, {round(100 * part)} % kept | {cells} |", flush=True)
    print("| mean | " + " | ".join(f"{gain:+.1f} %" for gain in np.mean(rows, axis=0)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
