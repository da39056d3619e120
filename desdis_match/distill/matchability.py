"""Training of the heads behind `--ranking matchability` (features/ranking.py).

Each photo is warped once: another zoom, tilt, light, blur, noise and compression. All extrema of both
pictures are described and matched. An extremum is positive where it and its nearest descriptor are each
other's nearest and lie within PIXELS of each other under the warp, negative where not; those that the other
picture does not show count for nothing.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..descriptors import load_descriptor
from ..features.detectors import DETECTORS, DetectorConfig, strongest
from ..features.extract import Descriptor
from ..features.frames import PatchPyramid, extract_patches, keypoints_to_lafs
from ..features.ranking import Head, evidence
from ..features.scalespace import Extrema, Response
from ..photos.images import read_gray
from ..support.metrics import precision_recall
from ..support.progress import track

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

PIXELS = 3.0
"""Largest miss of a keypoint that counts as found again (as evaluate counts)."""

BORDER = 4.0
"""Extrema that fall this near to the other picture's border are left out."""


@dataclass(frozen=True)
class MatchabilityConfig:
    """How examples are made and heads trained."""

    max_size: int = 720
    """Long side of the photos, pixels."""
    max_extrema: int = 8000
    """Extrema of a picture, those of highest contrast."""
    width: int = 32
    """Units of both hidden layers."""
    epochs: int = 4
    """Times that each example is seen."""
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Extrema of one picture."""

    seen: Tensor  # (N, EVIDENCE) float32
    matched: Tensor  # (N,) bool
    contrast: Tensor  # (N,) float32


def examples_of(
    path: Path, response: Response, config: MatchabilityConfig, descriptor: Descriptor
) -> list[Examples]:
    """Those of a photo and of its warped copy; none where they have too few extrema."""
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    first = np.ascontiguousarray(read_gray(path, config.max_size).pixels)
    second, homography = warped(first, rng)
    with torch.inference_mode():
        found = [_described(picture, response, config, descriptor) for picture in (first, second)]
        if min(len(one.xy) for one, _ in found) < 50:
            return []
        similar = found[0][1] @ found[1][1].T
        nearest = similar.argmax(1).numpy(), similar.argmax(0).numpy()
        examples = []
        for here, there in ((0, 1), (1, 0)):
            extrema, other = found[here][0], found[there][0]
            matrix: Any = homography if here == 0 else np.linalg.inv(homography)
            places = _through(matrix, extrema.xy.double().numpy())
            size = np.array(first.shape[::-1])
            inside = ((places >= BORDER) & (places < size - 1 - BORDER)).all(1)
            chosen = nearest[here]
            close = np.linalg.norm(places - other.xy.double().numpy()[chosen], axis=1) <= PIXELS
            matched = close & (nearest[there][chosen] == np.arange(len(chosen)))
            rows = torch.from_numpy(inside)
            examples.append(
                Examples(evidence(extrema)[rows], torch.from_numpy(matched)[rows], extrema.contrast[rows])
            )
    return examples


def make_examples(
    photos: Sequence[Path], response: Response, config: MatchabilityConfig, descriptor: str = "desdis-16"
) -> list[list[Examples]]:
    """Examples photo by photo."""
    network = load_descriptor(descriptor, device="cpu")
    return [examples_of(photo, response, config, network) for photo in track(photos, response, unit="photos")]


def train_head(examples: Iterable[Examples], config: MatchabilityConfig) -> Head:
    """A head that tells the matched from the others."""
    parts = list(examples)
    seen = torch.cat([part.seen for part in parts])
    wanted = torch.cat([part.matched for part in parts]).float()
    torch.manual_seed(config.seed)
    head = Head(config.width)
    head.mean.copy_(seen.mean(0))
    head.spread.copy_(seen.std(0) + 1e-6)
    steps = max(1, len(seen) // config.batch) * config.epochs
    optimizer = torch.optim.AdamW(head.layers.parameters(), config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps + 1)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(seen)).split(config.batch)[: max(1, len(seen) // config.batch)]:
            loss = F.binary_cross_entropy_with_logits(head(seen[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval().requires_grad_(False)


def compare_rankings(head: Head, examples: Sequence[Examples]) -> dict[str, float]:
    """Means over pictures: AP, and the share of matched ones in the best quarter, by head and by contrast."""
    rows = []
    for part in examples:
        scores, matched = [head(part.seen), part.contrast], part.matched.numpy()
        if not matched.any():
            continue
        best = [s.argsort(descending=True)[: max(1, len(s) // 4)] for s in scores]
        areas = [precision_recall(-s.numpy(), matched, int(matched.sum())).area for s in scores]
        calibration = float(scores[0].sigmoid().mean() - matched.mean())
        rows.append([*areas, *(matched[b.numpy()].mean() for b in best), matched.mean(), calibration])
    names = ("AP", "AP_contrast", "quarter", "quarter_contrast", "all", "bias")
    return dict(zip(names, np.mean(rows, 0).round(4).tolist(), strict=True))


def warped(picture: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], Float]:
    """Another view of `picture` (h, w) in [0, 1], of the same size, and the homography that leads to it."""
    height, width = picture.shape
    middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    turn, zoom, tilt = rng.normal(0, 0.2), 2 ** rng.normal(0, 0.35), 2 ** rng.uniform(0, 0.7)
    towards = rng.uniform(0, np.pi)
    view, perspective = np.eye(3), np.eye(3)
    view[:2, :2] = _turn(turn) @ _turn(towards) @ np.diag([zoom, zoom / tilt]) @ _turn(-towards)
    perspective[2, :2] = rng.uniform(-0.25, 0.25, 2) / max(height, width)
    homography = np.linalg.inv(middle) @ view @ perspective @ middle
    shrink = min(1.0, float(np.sqrt(abs(np.linalg.det(view[:2, :2])))))
    source: Any = picture
    if shrink < 1:  # against aliasing
        source = cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(max(1e-3, 1 / shrink**2 - 1)))
    out: Any = cv2.warpPerspective(
        source, homography, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    out = np.clip(out, 0, 1) ** np.exp(rng.normal(0, 0.35))
    out = (out - 0.5) * np.exp(rng.normal(0, 0.25)) + 0.5 + rng.normal(0, 0.08)
    blur = rng.uniform(0, 1.5)
    if blur > 0.4:
        out = cv2.GaussianBlur(out, (0, 0), blur)
    noisy = np.clip(out + rng.normal(0, rng.uniform(0, 0.02), out.shape), 0, 1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(50, 95))]
    stored = cv2.imencode(".jpg", (noisy * 255).astype(np.uint8), quality)[1]
    seen: Any = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
    return np.float32(1 / 255) * seen.astype(np.float32), np.asarray(homography, np.float64)


def _described(
    picture: NDArray[np.float32], response: Response, config: MatchabilityConfig, descriptor: Descriptor
) -> tuple[Extrema, Tensor]:
    everything = DetectorConfig(ranking="contrast")
    found = DETECTORS[response](torch.from_numpy(picture), everything)
    found = strongest(found, config.max_extrema, spread=False)
    lafs, pyramid = keypoints_to_lafs(found.xy, found.sigma), PatchPyramid(picture)
    return found, torch.cat([descriptor(extract_patches(pyramid, chunk)) for chunk in lafs.split(2048)])


def _through(homography: Float, xy: Float) -> Float:
    points = np.column_stack([xy, np.ones(len(xy))]) @ homography.T
    return np.asarray(points[:, :2] / points[:, 2:])


def _turn(angle: float) -> Float:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
