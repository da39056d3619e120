"""Matching AP on planar sequences, to compare weights quickly: keypoints and patches are made once and kept.

A sequence is a folder with images and homographies from the first image to each other one, in Oxford's
(img1.png, H1to2p) or HPatches' naming (1.ppm, H_1_2). `desdis_match.evaluate` has the full benchmark.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..features.detectors import DetectorConfig, detect
from ..features.frames import extract_patches
from ..photos.images import read_gray
from ..support.files import atomic_path
from ..support.metrics import precision_recall
from ..support.progress import track
from .validate import Describe

CORRECT = 3.0
"""A match is right, and a keypoint has a partner, within this many pixels of where the homography puts it."""


@dataclass(frozen=True)
class PlanarPairs:
    """Keypoints and patches of several sequences; pairs are each one's first image and the others."""

    patches: NDArray[np.uint8]  # (N, 32, 32) of all images
    places: NDArray[np.float32]  # (N, 2) pixels
    starts: NDArray[np.int64]  # (images + 1,) rows of each image
    pairs: NDArray[np.int64]  # (P, 2) numbers of the images
    homographies: NDArray[np.float64]  # (P, 3, 3) second from first


def read_planar(
    folders: Sequence[Path],
    cache: Path,
    detector: str = "dog",
    keypoints: int = 1024,
    orientation: str = "upright",
) -> PlanarPairs:
    """Keypoints and patches of sequences, from `cache` if they are there. InputError for a wrong folder."""
    # Thresholds are spelled out so that scores stay comparable when the detectors' defaults change.
    config = DetectorConfig(
        detector=detector,
        max_keypoints=keypoints,
        ranking="contrast",
        contrast_threshold=0.0067,
        edge_threshold=10.0,
        orientation=orientation,  # type: ignore[arg-type]
    )
    named = "|".join(str(folder.resolve()) for folder in folders) + str(config)
    path = cache / f"planar-{hashlib.sha256(named.encode()).hexdigest()[:16]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return PlanarPairs(**{name: kept[name] for name in kept.files})
    patches, places, starts, pairs, homographies = [], [], [0], [], []
    for folder in track(folders, "planar"):
        images, matrices = _sequence(folder)
        first = len(starts) - 1
        for image in images:
            found = detect(read_gray(image, None).pixels, config)
            cut = extract_patches(found.pyramid, found.lafs)[:, 0]
            patches.append((cut.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
            places.append(found.lafs[:, :, 2].numpy())
            starts.append(starts[-1] + len(found))
        pairs += [(first, first + number) for number in range(1, len(images))]
        homographies += matrices
    made = PlanarPairs(
        np.concatenate(patches),
        np.concatenate(places),
        np.array(starts),
        np.array(pairs),
        np.array(homographies),
    )
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(file, **vars(made))
    return made


def _sequence(folder: Path) -> tuple[list[Path], list[NDArray[np.float64]]]:
    """Images in order, and second-from-first homographies of the second one on."""
    images = sorted(
        path for path in folder.glob("*") if re.fullmatch(r"(img)?\d+\.(png|ppm|pgm|jpg)", path.name)
    )
    matrices = []
    for number in range(2, len(images) + 1):
        candidates = [folder / f"H1to{number}p", folder / f"H_1_{number}"]
        found = [path for path in candidates if path.is_file()]
        if not found:
            raise InputError(f"{folder} has {len(images)} images but no {candidates[0].name}")
        matrices.append(np.loadtxt(found[0]))
    if not matrices:
        raise InputError(f"{folder} is no planar sequence: it needs img1.png, img2.png, H1to2p ...")
    return images, matrices


@torch.no_grad()
def planar_ap(describe: Describe, data: PlanarPairs, block: int = 4096) -> float:
    """Mean over the image pairs of the AP of mutual nearest neighbours, ranked by distance.

    Recall counts against the keypoints of the first image that have a keypoint of the second within CORRECT.
    """
    rows = range(0, len(data.patches), block)
    described = torch.cat(
        [describe(torch.from_numpy(data.patches[row : row + block])[:, None].float() / 255) for row in rows]
    )
    precisions = []
    for (one, two), matrix in zip(data.pairs, data.homographies, strict=True):
        rows0, rows1 = (slice(data.starts[image], data.starts[image + 1]) for image in (one, two))
        moved = data.places[rows0] @ matrix[:2, :2].T + matrix[:2, 2]
        moved = moved / (data.places[rows0] @ matrix[2, :2] + matrix[2, 2])[:, None]
        error = torch.cdist(torch.from_numpy(moved), torch.from_numpy(data.places[rows1]).double())
        cosines = described[rows0] @ described[rows1].T
        nearest, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
        own = torch.arange(len(nearest))
        mutual = own[back[nearest] == own]
        right = error[mutual, nearest[mutual]] <= CORRECT
        partners = int((error.min(dim=1).values <= CORRECT).sum())
        partners = max(partners, int(right.sum()), 1)
        precisions.append(
            precision_recall(-cosines[mutual, nearest[mutual]].numpy(), right.numpy(), partners).area
        )
    return float(np.mean(precisions))
