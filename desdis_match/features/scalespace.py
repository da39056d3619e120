"""Extrema of scale-space responses: difference of Gaussians (Lowe, IJCV 2004) and determinant of the Hessian
(Lindeberg, IJCV 1998; Mikolajczyk & Schmid, IJCV 2004).

The Gaussian images are those of octaves.py. On a CPU the dense passes run in OpenCV; on a GPU in torch. The
sparse ones are the same torch code for both.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..support.devices import on_cpu
from .octaves import LEVELS, SIGMA0, convolve, inside_border, octaves

Response = Literal["dog", "hessian"]

MAX_STEPS = 5
"""Times that a fit may move on to a neighbouring sample before the candidate is given up."""

MAX_SHIFT = 0.6
"""A fit this near to its sample (rows, columns) has settled; above 0.5, lest it go to and fro (as VLFeat)."""

MAX_SCALE_SHIFT = 1.0
"""A fit further than this many levels from its sample is no extremum."""

PRE_THRESHOLD = 0.8
"""Samples below this part of the contrast threshold are not refined at all (as VLFeat)."""

AROUND = 43
"""Samples of the response that are kept of an extremum's surroundings."""

BAND = 64
"""Rows of an octave's level that are searched at a time."""

SQUARE = np.ones((3, 3), np.uint8)
"""A sample and its eight neighbours."""

HESSIAN_TO_DOG = 2.0 * (2.0 ** (1.0 / LEVELS) - 1.0)
"""|DoG| over sigma^2 sqrt(det H) of a round blob, from DoG = (k - 1) sigma^2 (Lxx + Lyy)."""


class Extrema(NamedTuple):
    """Refined extrema of one image, in no particular order."""

    xy: Tensor  # (N, 2) float32 pixels, (0, 0) is the centre of the top-left one
    sigma: Tensor  # (N,) float32 pixels
    contrast: (
        Tensor  # (N,) float32, |DoG| of an image in [0, 1] or what a round blob of that Hessian would have
    )
    around: Tensor | None = None  # (N, 43) float32 response around the sample over its peak, see `_around`


def find_extrema(
    image: Tensor,
    response: Response,
    first_octave: int,
    contrast_threshold: float,
    edge_threshold: float,
) -> Extrema:
    """Bright and dark blobs of `image` (h, w) float32 in [0, 1], subpixel in place and scale.

    first_octave: -1 doubles the image first, 0 takes it as it is, 1 halves it, ...
    contrast_threshold: extrema with less contrast than this are left out.
    edge_threshold: largest ratio of the principal curvatures (Lowe's r, eq. 4.1); 0 switches the test off.
    """
    parts = [
        _octave_extrema(gaussians, response, pixel, contrast_threshold, edge_threshold)
        for pixel, gaussians in octaves(image, first_octave, LEVELS + (3 if response == "dog" else 2))
    ]
    if not parts:
        none = image.new_zeros(0)
        return Extrema(none.view(0, 2), none, none, none.view(0, AROUND))
    return Extrema(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _octave_extrema(
    gaussians: Tensor, response: Response, pixel: float, contrast_threshold: float, edge_threshold: float
) -> Extrema:
    if response == "dog":
        volume = _difference_in_place(gaussians)
    else:
        volume = torch.stack(
            [hessian_contrast(level, SIGMA0 * 2.0 ** (i / LEVELS)) for i, level in enumerate(gaussians)]
        )
    at, near = _local_extrema(volume, PRE_THRESHOLD * contrast_threshold, minima=response == "dog")
    at, near, shift, value = _refine(volume, at, near)
    contrast = value.abs()
    # Edges: the curvatures of the DoG itself, or of the image where the response is made of them.
    keep = contrast >= contrast_threshold
    if edge_threshold > 0:
        keep &= _is_no_edge(near if response == "dog" else _neighbourhood(gaussians, at), edge_threshold)
    at, near, shift, contrast = at[keep], near[keep], shift[keep], contrast[keep]
    place = at.to(shift.dtype) + shift  # (N, 3) level, row, column
    sigma = SIGMA0 * torch.exp2(place[:, 0] / LEVELS) * pixel
    return Extrema(place[:, [2, 1]] * pixel, sigma, contrast, _around(volume, at, near))


def _local_extrema(volume: Tensor, threshold: float, minima: bool) -> tuple[Tensor, Tensor]:
    """Samples (N, 3: level, row, column) int64 above all 26 neighbours, or below them too where `minima`,
    and the 27 values around each (N, 27).
    """
    height, width = volume.shape[1:]
    found, around = [], []
    for level in range(1, len(volume) - 1):
        index = spatial_extrema(volume[level], threshold, minima)
        row, column = index // width, index % width
        inside = inside_border(row, column, (height, width))
        at = torch.stack([torch.full_like(index, level), row, column], 1)[inside]
        at = at[_exceeds_next_levels(volume, at)]
        values = _neighbourhood(volume, at)
        sign, peak = values[:, 13:14].sign(), values[:, 13:14].abs()
        # Of two equal neighbours, as a blob between them gives, the first is the extremum.
        keep = (values[:, :13] * sign < peak).all(1) & (values[:, 14:] * sign <= peak).all(1)
        found.append(at[keep])
        around.append(values[keep])
    return torch.cat(found), torch.cat(around)


def _exceeds_next_levels(volume: Tensor, at: Tensor) -> Tensor:
    """Which samples (N, 3) exceed those before and after them in scale: two look-ups, where most fail."""
    _, height, width = volume.shape
    centre = (at[:, 0] * height + at[:, 1]) * width + at[:, 2]
    values, step = volume.view(-1), height * width
    peak = values[centre]
    sign = peak.sign()
    peak = peak.abs()
    return (values[centre - step] * sign < peak) & (values[centre + step] * sign <= peak)


def spatial_extrema(level: Tensor, threshold: float, minima: bool) -> Tensor:
    """Flat indices of samples of (h, w) that no 8-neighbour exceeds, of size above `threshold`."""
    if not on_cpu(level):
        signed = torch.stack([level, -level]) if minima else level[None]
        peak = (F.max_pool2d(signed, 3, 1, 1) == signed) & (signed > threshold)
        return peak.any(0).flatten().nonzero()[:, 0]
    values = level.numpy()
    found = []
    for start in range(0, len(values), BAND):
        # A band of rows, and one more on either side, stays in the cache through the passes over it.
        above = min(start, 1)
        rows = values[start - above : start + BAND + 1]
        inner = slice(above, above + min(BAND, len(values) - start))
        middle = rows[inner]
        peak = (middle == cv2.dilate(rows, SQUARE)[inner]) & (middle > threshold)
        if minima:
            peak |= (middle == cv2.erode(rows, SQUARE)[inner]) & (middle < -threshold)
        found.append(np.flatnonzero(peak) + start * values.shape[1])
    return torch.from_numpy(np.concatenate(found))


def _neighbourhood(volume: Tensor, at: Tensor) -> Tensor:
    """The 27 values around each sample: (N, 27), level-major; number 13 is the sample itself."""
    height, width = volume.shape[1:]
    near = torch.arange(-1, 2, device=at.device)
    offsets = (near.view(3, 1, 1) * height + near.view(3, 1)) * width + near
    centre = (at[:, 0] * height + at[:, 1]) * width + at[:, 2]
    return volume.view(-1)[centre[:, None] + offsets.view(-1)]


def _around(volume: Tensor, at: Tensor, near: Tensor) -> Tensor:
    """The response around samples (N, 3) over that of the sample: (N, 43). near: their neighbourhoods.

    First the 27 neighbours, level-major, then the 16 samples two and four octave pixels away along rows,
    columns and diagonals, which BORDER leaves inside.
    """
    _, height, width = volume.shape
    far = torch.tensor([[r, c] for step in (2, 4) for r in (-step, 0, step) for c in (-step, 0, step)])
    far = far[far.any(1)].to(at.device)
    centre = (at[:, 0] * height + at[:, 1]) * width + at[:, 2]
    beyond = volume.view(-1)[centre[:, None] + far[:, 0] * width + far[:, 1]]
    return torch.cat([near, beyond], 1) / near[:, 13:14]


def _refine(volume: Tensor, at: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit a quadratic to each sample's 3x3x3 neighbours and move to its extremum (Brown & Lowe, BMVC 2002).

    values: the neighbourhoods of the samples `at`.
    Returns the sample it ended at (N, 3) int64, its neighbourhood (N, 27), the shift from there (N, 3: level,
    row, column) and the fitted value (N,). As in VLFeat a candidate moves in the plane only: a blob whose
    scale lies between the last level of one octave and the first of the next is an extremum of just one of
    them, and walking on would lose it. Candidates that leave the image or do not settle are left out.
    """
    _, height, width = volume.shape
    limits = torch.tensor([MAX_SCALE_SHIFT, MAX_SHIFT, MAX_SHIFT], device=volume.device)
    done_at, done_near, done_shift, done_value = [], [], [], []
    for _ in range(MAX_STEPS):
        gradient, hessian = _derivatives(values)
        shift = _solve3(hessian, -gradient)
        settled = (shift.abs() < limits).all(1)
        done_at.append(at[settled])
        done_near.append(values[settled])
        done_value.append((values[:, 13] + 0.5 * (gradient * shift).sum(1))[settled])
        done_shift.append(_at_scale(values[settled], shift[settled]))
        step = shift[:, 1:].nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1).round().long()
        row, column = (at[:, 1:] + step).unbind(1)
        inside = inside_border(row, column, (height, width))
        moves = ~settled & inside & (step != 0).any(1)
        at = torch.stack([at[:, 0], row, column], 1)[moves]
        if len(at) == 0:
            break
        values = _neighbourhood(volume, at)
    at = torch.cat(done_at)
    order = _first_of_each(at, volume)
    near, shift, value = (torch.cat(column)[order] for column in (done_near, done_shift, done_value))
    return at[order], near, shift, value


def _at_scale(values: Tensor, shift: Tensor) -> Tensor:
    """The shift (N, 3: level, row, column) with its place fitted anew on the plane at the fitted scale.

    The quadratic in three variables knows no change of curvature with scale, so that a fit between two levels
    would be off by up to 0.05 octave pixels. Here the three levels are interpolated first, then one plane
    fitted.
    """
    s = shift[:, 0, None]
    before, centre, after = values.view(-1, 3, 9).unbind(1)
    plane = 0.5 * s * (s - 1.0) * before + (1.0 - s * s) * centre + 0.5 * s * (s + 1.0) * after
    fitted = torch.cat([s, plane_shift(plane)], 1)
    good = (fitted[:, 1:].abs() < 1.0).all(1, keepdim=True)  # false for a non-finite one
    return torch.where(good, fitted, shift)


def plane_shift(plane: Tensor) -> Tensor:
    """Where a quadratic fitted to 3x3 samples (N, 9), row-major, has its extremum: (N, 2: row, column) from
    the middle one, not finite where there is none.
    """
    up, left, middle, right, down = (plane[:, i] for i in (1, 3, 4, 5, 7))
    gr, gc = 0.5 * (down - up), 0.5 * (right - left)
    rr, cc = up + down - 2.0 * middle, left + right - 2.0 * middle
    rc = 0.25 * (plane[:, 8] - plane[:, 6] - plane[:, 2] + plane[:, 0])
    determinant = rr * cc - rc * rc
    return torch.stack([(rc * gc - cc * gr) / determinant, (rc * gr - rr * gc) / determinant], 1)


def _first_of_each(at: Tensor, volume: Tensor) -> Tensor:
    """Rows without candidates that moved on to an earlier one's sample; ordered by sample, on any device."""
    key = (at[:, 0] * volume.shape[1] + at[:, 1]) * volume.shape[2] + at[:, 2]
    order = key.argsort(stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return order[first]


def _derivatives(values: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (N, 3) and Hessian (N, 3, 3) of neighbourhoods (N, 27), axes level, row, column."""
    cube = values.view(-1, 3, 3, 3)
    centre = cube[:, 1, 1, 1]
    before = torch.stack([cube[:, 0, 1, 1], cube[:, 1, 0, 1], cube[:, 1, 1, 0]], 1)
    after = torch.stack([cube[:, 2, 1, 1], cube[:, 1, 2, 1], cube[:, 1, 1, 2]], 1)
    second = before + after - 2.0 * centre[:, None]
    sr = cube[:, 2, 2, 1] - cube[:, 2, 0, 1] - cube[:, 0, 2, 1] + cube[:, 0, 0, 1]
    sc = cube[:, 2, 1, 2] - cube[:, 2, 1, 0] - cube[:, 0, 1, 2] + cube[:, 0, 1, 0]
    rc = cube[:, 1, 2, 2] - cube[:, 1, 2, 0] - cube[:, 1, 0, 2] + cube[:, 1, 0, 0]
    hessian = torch.diag_embed(second)
    for (i, j), mixed in zip(((0, 1), (0, 2), (1, 2)), (sr, sc, rc), strict=True):
        hessian[:, i, j] = hessian[:, j, i] = 0.25 * mixed
    return 0.5 * (after - before), hessian


def _solve3(matrix: Tensor, vector: Tensor) -> Tensor:
    """Solve N symmetric 3x3 systems by cofactors; a singular one gives a non-finite answer."""
    scale = matrix.abs().amax((1, 2)).clamp_min(torch.finfo(matrix.dtype).tiny)[:, None]
    a, b, c = (matrix / scale[:, None]).unbind(1)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2)
    determinant = (a * cofactors[:, :, 0]).sum(1, keepdim=True)
    return (cofactors @ (vector / scale)[:, :, None])[:, :, 0] / determinant


def _is_no_edge(near: Tensor, ratio: float) -> Tensor:
    """Whether the curvatures in neighbourhoods (N, 27) have one sign and a ratio below `ratio` (Lowe)."""
    cube = near.view(-1, 3, 3, 3)[:, 1]
    centre = cube[:, 1, 1]
    dxx = cube[:, 1, 0] + cube[:, 1, 2] - 2.0 * centre
    dyy = cube[:, 0, 1] + cube[:, 2, 1] - 2.0 * centre
    dxy = 0.25 * (cube[:, 2, 2] - cube[:, 2, 0] - cube[:, 0, 2] + cube[:, 0, 0])
    determinant = dxx * dyy - dxy * dxy
    return (determinant > 0) & ((dxx + dyy) ** 2 * ratio < (ratio + 1.0) ** 2 * determinant)


def _difference_in_place(gaussians: Tensor) -> Tensor:
    """(L, h, w) -> its first L - 1 entries overwritten by level i + 1 minus level i."""
    for level in range(len(gaussians) - 1):
        torch.sub(gaussians[level + 1], gaussians[level], out=gaussians[level])
    return gaussians[:-1]


def hessian_contrast(gaussian: Tensor, sigma: float) -> Tensor:
    """sigma^2 sqrt(det H) of a level (h, w) of that sigma in units of DoG contrast, negative at saddles;
    central differences.

    The square root keeps the response linear in the image, and a quadratic fits its peak better than the
    square's.
    """
    second, first = (1.0, -2.0, 1.0), (-0.5, 0.0, 0.5)
    dxx = convolve(gaussian, second, (1.0,))
    dyy = convolve(gaussian, (1.0,), second)
    dxy = convolve(gaussian, first, first)
    determinant = dxx.mul_(dyy).sub_(dxy.square_())
    return determinant.abs().sqrt_().copysign_(determinant).mul_(HESSIAN_TO_DOG * sigma**2)
