"""Which way up a frame is: one rule per name in ORIENTATIONS.

A rule takes the image's PatchPyramid and upright sigma-sized frames (N, 2, 3) and gives oriented ones (M,
2, 3) with the row of the frame each came from (M,). Gradient angles are atan2(gy, gx), y down; a frame's
own angle is the negative of the gradient's, so that its x axis follows the gradient (see patches.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from .frames import PatchPyramid, rotated_lafs, scaled_lafs

Orientation = Callable[[PatchPyramid, Tensor], tuple[Tensor, Tensor]]

BINS = 36
"""Histogram bins over the full turn (Lowe 2004, sec. 5)."""

PEAK_RATIO = 0.8
"""A further peak gives a frame if it reaches this part of the highest (Lowe 2004, sec. 5)."""

MAX_PEAKS = 4
"""Frames per keypoint at most (as VLFeat)."""

WINDOW_SIGMA = 1.5
"""The Gaussian window over the gradients, in keypoint sigmas (Lowe 2004, sec. 5)."""

GRID = 19
"""Gradients are taken on GRID x GRID points..."""

STEP = 0.5
"""...this many keypoint sigmas apart: they reach three sigmas of the window."""

BLUR_STEPS = 1.8
"""Blur before differentiation, in steps: with that of the photo and its pyramid about one keypoint sigma."""

MARGIN = 4
"""Points beyond the grid that the blur sees; 2.2 of its sigmas."""

HISTOGRAM_SIDE = GRID + 2 * MARGIN
"""Side of the patch that a histogram is taken from, points..."""

HISTOGRAM_RADIUS = 0.5 * STEP * HISTOGRAM_SIDE
"""...and half of it in keypoint sigmas."""

CHUNK = 2000
"""Frames at a time, which bounds the memory to some 50 MB."""


def upright(pyramid: PatchPyramid, lafs: Tensor) -> tuple[Tensor, Tensor]:
    """Frames as they are."""
    return lafs, torch.arange(len(lafs), device=lafs.device)


def dominant(pyramid: PatchPyramid, lafs: Tensor) -> tuple[Tensor, Tensor]:
    """One frame each, along the highest peak of the gradient histogram."""
    return _by_peaks(pyramid, lafs, 1)


def multi(pyramid: PatchPyramid, lafs: Tensor) -> tuple[Tensor, Tensor]:
    """A frame for every histogram peak above PEAK_RATIO of the highest, as SIFT; they adjoin."""
    return _by_peaks(pyramid, lafs, MAX_PEAKS)


def learned(pyramid: PatchPyramid, lafs: Tensor) -> tuple[Tensor, Tensor]:
    """One frame each, as the network of orientation_learned.py says."""
    from .orientation_learned import predict_angles

    return rotated_lafs(lafs, predict_angles(pyramid, lafs)), torch.arange(len(lafs), device=lafs.device)


ORIENTATIONS: dict[str, Orientation] = {
    "upright": upright,
    "dominant": dominant,
    "multi": multi,
    "learned": learned,
}
"""Besides there is `auto`, which is a policy of a set (orientation_policy.py)."""


def gradient_histograms(pyramid: PatchPyramid, lafs: Tensor) -> Tensor:
    """Smoothed gradient histograms (N, BINS) of frames (N, 2, 3); bin b is centred on 2 pi b / BINS."""
    parts = [
        patch_histograms(pyramid.sample(scaled_lafs(rows, HISTOGRAM_RADIUS), HISTOGRAM_SIDE)[:, 0])
        for rows in lafs.split(CHUNK)
    ]
    return torch.cat(parts) if parts else lafs.new_zeros(0, BINS)


def patch_histograms(patches: Tensor) -> Tensor:
    """Smoothed gradient histograms (N, BINS) of patches (N, HISTOGRAM_SIDE, HISTOGRAM_SIDE) of
    HISTOGRAM_RADIUS."""
    blur, slope, window = (table.to(patches) for table in _tables())
    # Two small matrices do the blur, the derivative and the crop at once: gx = blur P slope^T, gy = slope P
    # blur^T.
    gx = blur @ (patches @ slope.T)
    gy = slope @ (patches @ blur.T)
    magnitude = (torch.hypot(gx, gy) * window).flatten(1)
    place = torch.atan2(gy, gx).flatten(1) * (BINS / (2.0 * math.pi))
    lower = place.floor()
    share = place - lower
    lower = lower.long() % BINS
    histogram = patches.new_zeros(len(patches), BINS)
    histogram.scatter_add_(1, lower, magnitude * (1.0 - share))
    histogram.scatter_add_(1, (lower + 1) % BINS, magnitude * share)
    near, far = histogram.roll(1, 1) + histogram.roll(-1, 1), histogram.roll(2, 1) + histogram.roll(-2, 1)
    return (6.0 * histogram + 4.0 * near + far) / 16.0


def histogram_peaks(histograms: Tensor, max_peaks: int) -> tuple[Tensor, Tensor]:
    """Angles (M,) radians of the peaks of (N, BINS) histograms, highest first, and the rows (M,) they
    belong to.

    A row with no gradient at all gives angle zero.
    """
    before, after = histograms.roll(1, 1), histograms.roll(-1, 1)
    is_peak = (histograms > before) & (histograms >= after)
    height = torch.where(is_peak, histograms, -1.0)
    top, bins = height.topk(max_peaks, 1)
    keep = top >= PEAK_RATIO * histograms.amax(1, keepdim=True)
    keep &= top > 0
    keep[:, 0] = True
    left, right = before.gather(1, bins), after.gather(1, bins)
    centre = histograms.gather(1, bins)
    curvature = (left + right - 2.0 * centre).clamp_max(-torch.finfo(histograms.dtype).tiny)
    angles = (bins + (0.5 * (left - right) / curvature).clamp(-0.5, 0.5)) * (2.0 * math.pi / BINS)
    angles = torch.where(top > 0, angles, 0.0)
    rows = torch.arange(len(histograms), device=histograms.device)[:, None].expand_as(bins)
    return angles[keep], rows[keep]


def _by_peaks(pyramid: PatchPyramid, lafs: Tensor, max_peaks: int) -> tuple[Tensor, Tensor]:
    angles, rows = histogram_peaks(gradient_histograms(pyramid, lafs), max_peaks)
    return rotated_lafs(lafs[rows], -angles), rows


@lru_cache(1)
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian blur and its derivative (GRID, HISTOGRAM_SIDE), and the window (GRID, GRID)."""
    offset = torch.arange(HISTOGRAM_SIDE, dtype=torch.float64) - MARGIN - torch.arange(GRID)[:, None]
    kernel = torch.exp(-0.5 * (offset / BLUR_STEPS) ** 2) * (offset.abs() <= MARGIN)
    blur = kernel / kernel.sum(1, keepdim=True)
    slope = blur * offset / BLUR_STEPS**2
    radius = (torch.arange(GRID, dtype=torch.float64) - GRID // 2) * STEP
    weight = torch.exp(-0.5 * (radius / WINDOW_SIGMA) ** 2)
    return blur.float(), slope.float(), torch.outer(weight, weight).float()
