"""Multi-scale Hessian points (`--detector hessian-multiscale`): a keypoint at every level of scale at which a
place stands out among its neighbours in the plane.

The other detectors ask an extremum to stand out among the levels next to its own too, which chooses a scale
(Lindeberg, IJCV 1998), and lose it when blur, noise or another view moves it to another level. Without that
choice - the "multi-scale" points that Mikolajczyk & Schmid (IJCV 2004) start from - more keypoints come back
and match, at the price that some places give one at two levels or three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..conventions import FRAME_SCALE
from .octaves import SIGMA0, octaves
from .scalespace import Extrema, bands, hessian_contrast, plane_shift, spatial_extrema

LEVELS = 2
"""Levels per octave; of three more places are taken twice, of one fewer match between two levels."""


def find_maxima(image: Tensor, contrast_threshold: float) -> Extrema:
    """Maxima in the plane of sigma^2 sqrt(det H), at every level of `image` (h, w) float32 in [0, 1] whose
    described patches are no larger than the image (the first two are searched in any case).

    Subpixel in place; sigma is the level's. contrast_threshold: as in scalespace.find_extrema. There is no
    test for edges, on which the determinant is small anyway.
    """
    none = image.new_zeros(0)
    parts = [(none.view(0, 2), none, none)]
    largest = max(min(image.shape) / 2 / FRAME_SCALE, 1.5 * SIGMA0)
    for pixel, gaussians in octaves(image, 0, LEVELS + 1, LEVELS):  # the last is the next octave's first
        if pixel * SIGMA0 > largest:
            break
        for level, gaussian in enumerate(gaussians[:LEVELS]):
            sigma = SIGMA0 * 2.0 ** (level / LEVELS)
            if pixel * sigma <= largest:
                place, contrast = _maxima(hessian_contrast(gaussian, sigma), contrast_threshold)
                parts.append((place * pixel, torch.full_like(contrast, sigma * pixel), contrast))
    return Extrema(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _maxima(response: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Fitted places (N, 2: x, y) and values (N,) of the maxima of (h, w) above `threshold`."""
    width = response.shape[1]
    index = torch.cat([spatial_extrema(response, rows, threshold, minima=False) for rows in bands(response)])
    near = torch.arange(-1, 2, device=index.device)
    plane = response.view(-1)[index + (near.view(3, 1) * width + near).view(9, 1)]  # (9, N)
    # Of two equal neighbours, as a blob between them gives, the first is the maximum.
    keep = (plane[:4] < plane[4]).all(0) & (plane[5:] <= plane[4]).all(0)
    index, plane = index[keep], plane[:, keep]
    shift, middle = plane_shift(plane), plane[4]
    gradient = 0.5 * (plane[[7, 5]] - plane[[1, 3]])  # row, column
    value = middle + 0.5 * (gradient * shift).sum(0)
    good = (shift.abs() < 1.0).all(0) & (value >= middle)  # false for a saddle and for what is not finite
    shift = torch.where(good, shift, torch.zeros_like(shift))
    place = torch.stack([index % width, index // width], 1).to(shift.dtype) + shift[[1, 0]].T
    return place, torch.where(good, value, middle)
