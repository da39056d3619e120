"""Matching AP on planar sequences, to compare weights quickly: keypoints and patches are made once and kept.

A sequence is a folder with images and homographies from the first image to each other one, in Oxford's
(img1.png, H1to2p) or HPatches' naming (1.ppm, H_1_2). `desdis_match.evaluate` has the full benchmark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..features.detectors import DetectorConfig, detect
from ..features.frames import extract_patches
from ..matching.nearest import mutual_rows
from ..photos.images import read_gray
from ..photos.planar import read_sequence
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
    config = planar_detector(detector, keypoints, orientation)
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


def planar_detector(detector: str, keypoints: int, orientation: str = "upright") -> DetectorConfig:
    """Of what the AP is measured on, whatever the detectors' defaults are."""
    return DetectorConfig(
        detector=detector,
        max_keypoints=keypoints,
        ranking="contrast",
        contrast_threshold=0.0067,
        edge_threshold=10.0,
        orientation=orientation,  # type: ignore[arg-type]
    )


def _sequence(folder: Path) -> tuple[list[Path], list[NDArray[np.float64]]]:
    """Images in order, and second-from-first homographies of the second one on."""
    found, notes = read_sequence(folder)
    if found is None or notes:
        reason = "; ".join(notes) or "it needs img1.png, img2.png, H1to2p ..."
        raise InputError(f"{folder} is no whole planar sequence: {reason}")
    return list(found.images().values()), list(found.homographies.values())


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
        moved = moved_places(data.places[rows0], matrix)
        error = torch.cdist(torch.from_numpy(moved), torch.from_numpy(data.places[rows1]).double())
        precisions.append(matching_ap(described[rows0] @ described[rows1].T, error))
    return float(np.mean(precisions))


def moved_places(places: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a homography (3, 3) takes places (N, 2)."""
    moved = places @ matrix[:2, :2].T + matrix[:2, 2]
    result: NDArray[np.float64] = moved / (places @ matrix[2, :2] + matrix[2, 2])[:, None]
    return result


def matching_ap(cosines: Tensor, error: Tensor, listed: NDArray[np.int64] | None = None) -> float:
    """AP of the mutual nearest neighbours among (N0, N1) cosines, or of the rows `listed` of them.

    error: (N0, N1) how far each pair of keypoints lies apart, pixels of the second image.
    """
    nearest = cosines.argmax(dim=1)
    rows = mutual_rows(nearest.numpy(), cosines.argmax(dim=0).numpy()) if listed is None else listed
    mutual = torch.from_numpy(rows)
    right = error[mutual, nearest[mutual]] <= CORRECT
    partners = int((error.min(dim=1).values <= CORRECT).sum())
    partners = max(partners, int(right.sum()), 1)
    return precision_recall(-cosines[mutual, nearest[mutual]].numpy(), right.numpy(), partners).area
