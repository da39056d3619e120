"""Extrema of scale-space responses: difference of Gaussians (Lowe, IJCV 2004) and determinant of the Hessian
(Lindeberg, IJCV 1998; Mikolajczyk & Schmid, IJCV 2004).

The Gaussian images are those of octaves.py. On a CPU the dense passes run in OpenCV; on a GPU in torch. The
sparse ones are the same torch code for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..support.devices import on_cpu
from .octaves import BORDER, LEVELS, SIGMA0, convolve, inside_border, octaves

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
    threshold = PRE_THRESHOLD * contrast_threshold
    if response == "dog":
        volume = gaussians[:-1]
        at, near = _local_extrema(volume, threshold, True, partial(_difference_in_place, gaussians))
    else:
        volume = torch.stack(
            [hessian_contrast(level, SIGMA0 * 2.0 ** (i / LEVELS)) for i, level in enumerate(gaussians)]
        )
        at, near = _local_extrema(volume, threshold, False)
    at, near, shift, value = _refine(volume, at, near)
    contrast = value.abs()
    # Edges: the curvatures of the DoG itself, or of the image where the response is made of them.
    keep = contrast >= contrast_threshold
    if edge_threshold > 0:
        keep &= _is_no_edge(near if response == "dog" else _neighbourhood(gaussians, at), edge_threshold)
    kept = _nonzero(keep)
    at, near, shift, contrast = (_columns(of, kept) for of in (at, near, shift, contrast))
    level, row, column = torch.stack(_unravelled(at, volume)).to(shift.dtype) + shift
    sigma = SIGMA0 * torch.exp2(level / LEVELS) * pixel
    return Extrema(torch.stack([column, row], 1) * pixel, sigma, contrast, _around(volume, at, near))


def _local_extrema(
    volume: Tensor, threshold: float, minima: bool, prepare: Callable[[slice], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Samples (N,) of `volume` (L, h, w) above all 26 neighbours, or below them too where `minima`, and the
    27 values around each (27, N).

    A sample is its flat index. prepare: fills rows of the volume, each once, before they are looked at, when
    what it reads and writes is still in the cache for the search.
    """
    height, width = volume.shape[1:]
    found, around, ready = [], [], 0
    for rows in bands(volume[0]):
        if prepare is not None:
            prepare(slice(ready, rows.stop + 1))
            ready = rows.stop + 1
        inner = enumerate(volume[1:-1], 1)
        planes = [spatial_extrema(level, rows, threshold, minima) + i * height * width for i, level in inner]
        at = torch.cat(planes)
        at = _columns(at, _nonzero(_exceeds_next_levels(volume, at)))
        values = _neighbourhood(volume, at)
        raised = values * values[13].sign()
        # Of two equal neighbours, as a blob between them gives, the first is the extremum.
        keep = _nonzero((raised[:13].amax(0) < raised[13]) & (raised[14:].amax(0) <= raised[13]))
        found.append(_columns(at, keep))
        around.append(_columns(values, keep))
    if prepare is not None:
        prepare(slice(ready, height))
    return torch.cat(found), torch.cat(around, 1)


def _exceeds_next_levels(volume: Tensor, at: Tensor) -> Tensor:
    """Which samples (N,) exceed those before and after them in scale: two look-ups, where most fail."""
    values, step = volume.view(-1), volume[0].numel()
    before, peak, after = (_columns(values, at + offset) for offset in (-step, 0, step))
    sign = peak.sign()
    peak = peak.abs()
    return (before * sign < peak) & (after * sign <= peak)


def bands(level: Tensor) -> Iterator[slice]:
    """Rows of (h, w) no nearer to the border than BORDER, some at a time where the cache is a CPU's."""
    end = len(level) - BORDER
    step = BAND if on_cpu(level) else max(end, 1)
    return (slice(start, min(start + step, end)) for start in range(BORDER, end, step))


def spatial_extrema(level: Tensor, rows: slice, threshold: float, minima: bool) -> Tensor:
    """Flat indices of samples of (h, w) that no 8-neighbour exceeds, of size above `threshold`.

    In some of its rows, and no nearer to the left and right border than BORDER.
    """
    seen = level[rows.start - 1 : rows.stop + 1]
    if on_cpu(level):
        values = seen.numpy()
        peak = torch.from_numpy(_peaks(values, threshold, minima))
    else:
        signed = torch.stack([seen, -seen]) if minima else seen[None]
        peak = ((F.max_pool2d(signed, 3, 1, 1) == signed) & (signed > threshold)).any(0)
    peak[:, :BORDER] = peak[:, -BORDER:] = False
    return _nonzero(peak[1:-1]).add_(rows.start * level.shape[1])


def _peaks(values: NDArray[np.float32], threshold: float, minima: bool) -> NDArray[np.bool_]:
    extreme = cv2.dilate(values, SQUARE)
    peak = (values == extreme) & (values > threshold)
    if minima:
        cv2.erode(values, SQUARE, extreme)
        peak |= (values == extreme) & (values < -threshold)
    return np.asarray(peak)


def _nonzero(flags: Tensor) -> Tensor:
    """Flat indices of those that are set."""
    if on_cpu(flags):  # a fifth of torch's time
        return torch.from_numpy(np.flatnonzero(flags.numpy()))
    return flags.flatten().nonzero()[:, 0]


def _columns(values: Tensor, at: Tensor) -> Tensor:
    """values[..., at]; index_select takes a third of the time that indexing takes."""
    return values.index_select(-1, at.flatten()).view(*values.shape[:-1], *at.shape)


def _unravelled(at: Tensor, volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Level, row and column (N,) of samples."""
    _, height, width = volume.shape
    return at // (height * width), at // width % height, at % width


def _neighbourhood(volume: Tensor, at: Tensor) -> Tensor:
    """The 27 values around each sample: (27, N), level-major; number 13 is the sample itself."""
    height, width = volume.shape[1:]
    near = torch.arange(-1, 2, device=at.device)
    offsets = (near.view(3, 1, 1) * height + near.view(3, 1)) * width + near
    return _columns(volume.view(-1), at + offsets.view(27, 1))


def _around(volume: Tensor, at: Tensor, near: Tensor) -> Tensor:
    """The response around samples (N,) over that of the sample: (N, 43). near: their neighbourhoods.

    First the 27 neighbours, level-major, then the 16 samples two and four octave pixels away along rows,
    columns and diagonals, which BORDER leaves inside.
    """
    far = torch.tensor([[r, c] for step in (2, 4) for r in (-step, 0, step) for c in (-step, 0, step)])
    far = far[far.any(1)].to(at.device)
    beyond = _columns(volume.view(-1), at + (far[:, :1] * volume.shape[2] + far[:, 1:]))
    return (torch.cat([near, beyond]) / near[13]).T


def _refine(volume: Tensor, at: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit a quadratic to each sample's 3x3x3 neighbours and move to its extremum (Brown & Lowe, BMVC 2002).

    values: the neighbourhoods of the samples `at`.
    Returns the sample it ended at (N,), its neighbourhood (27, N), the shift from there (3: level, row,
    column; N) and the fitted value (N,). As in VLFeat a candidate moves in the plane only: a blob whose
    scale lies between the last level of one octave and the first of the next is an extremum of just one of
    them, and walking on would lose it. Candidates that leave the image or do not settle are left out.
    """
    _, height, width = volume.shape
    limits = torch.tensor([[MAX_SCALE_SHIFT], [MAX_SHIFT], [MAX_SHIFT]], device=volume.device)
    done_at, done_near, done_shift, done_value = [], [], [], []
    for _ in range(MAX_STEPS):
        gradient, hessian = _derivatives(values)
        shift = _solve3(hessian, -gradient)
        settled = (shift.abs() < limits).all(0)
        rows = _nonzero(settled)
        near = _columns(values, rows)
        done_at.append(_columns(at, rows))
        done_near.append(near)
        done_value.append(_columns(values[13] + 0.5 * (gradient * shift).sum(0), rows))
        done_shift.append(_at_scale(near, _columns(shift, rows)))
        step = shift[1:].nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1).round().long()
        _, row, column = _unravelled(at, volume)
        inside = inside_border(row + step[0], column + step[1], (height, width))
        moves = ~settled & inside & (step != 0).any(0)
        at = _columns(at + step[0] * width + step[1], _nonzero(moves))
        if len(at) == 0:
            break
        values = _neighbourhood(volume, at)
    at = torch.cat(done_at)
    order = _first_of_each(at)
    found = (at, *(torch.cat(column, -1) for column in (done_near, done_shift, done_value)))
    at, near, shift, value = (_columns(of, order) for of in found)
    return at, near, shift, value


def _at_scale(values: Tensor, shift: Tensor) -> Tensor:
    """The shift (3: level, row, column; N) with its place fitted anew on the plane at the fitted scale.

    The quadratic in three variables knows no change of curvature with scale, so that a fit between two levels
    would be off by up to 0.05 octave pixels. Here the three levels are interpolated first, then one plane
    fitted.
    """
    s = shift[0]
    before, centre, after = values.view(3, 9, -1)
    plane = 0.5 * s * (s - 1.0) * before + (1.0 - s * s) * centre + 0.5 * s * (s + 1.0) * after
    fitted = torch.cat([shift[:1], plane_shift(plane)])
    good = (fitted[1:].abs() < 1.0).all(0)  # false for a non-finite one
    return torch.where(good, fitted, shift)


def plane_shift(plane: Tensor) -> Tensor:
    """Where a quadratic fitted to 3x3 samples (9, N), row-major, has its extremum: (2: row, column; N) from
    the middle one, not finite where there is none.
    """
    up, left, middle, right, down = (plane[i] for i in (1, 3, 4, 5, 7))
    gr, gc = 0.5 * (down - up), 0.5 * (right - left)
    rr, cc = up + down - 2.0 * middle, left + right - 2.0 * middle
    rc = 0.25 * (plane[8] - plane[6] - plane[2] + plane[0])
    determinant = rr * cc - rc * rc
    return torch.stack([(rc * gc - cc * gr) / determinant, (rc * gr - rr * gc) / determinant])


def _first_of_each(at: Tensor) -> Tensor:
    """Rows without candidates that moved on to an earlier one's sample; ordered by sample, on any device."""
    order = at.argsort(stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = at[order][1:] != at[order][:-1]
    return order[first]


def _derivatives(values: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (3, N) and Hessian (3, 3, N) of neighbourhoods (27, N), axes level, row, column."""
    cube = values.view(3, 3, 3, -1)
    centre = cube[1, 1, 1]
    before = torch.stack([cube[0, 1, 1], cube[1, 0, 1], cube[1, 1, 0]])
    after = torch.stack([cube[2, 1, 1], cube[1, 2, 1], cube[1, 1, 2]])
    ss, rr, cc = before + after - 2.0 * centre
    sr = 0.25 * (cube[2, 2, 1] - cube[2, 0, 1] - cube[0, 2, 1] + cube[0, 0, 1])
    sc = 0.25 * (cube[2, 1, 2] - cube[2, 1, 0] - cube[0, 1, 2] + cube[0, 1, 0])
    rc = 0.25 * (cube[1, 2, 2] - cube[1, 2, 0] - cube[1, 0, 2] + cube[1, 0, 0])
    hessian = torch.stack([ss, sr, sc, sr, rr, rc, sc, rc, cc]).view(3, 3, -1)
    return 0.5 * (after - before), hessian


def _solve3(matrix: Tensor, vector: Tensor) -> Tensor:
    """Solve N symmetric 3x3 systems (3, 3, N), (3, N) by cofactors; a singular one gives a non-finite
    answer."""
    scale = matrix.abs().amax((0, 1)).clamp_min(torch.finfo(matrix.dtype).tiny)
    a, b, c = matrix / scale
    cross = partial(torch.linalg.cross, dim=0)
    cofactors = torch.stack([cross(b, c), cross(c, a), cross(a, b)], 1)
    determinant = (a * cofactors[:, 0]).sum(0)
    return (cofactors * (vector / scale)).sum(1).div_(determinant)


def _is_no_edge(near: Tensor, ratio: float) -> Tensor:
    """Whether the curvatures in neighbourhoods (27, N) have one sign and a ratio below `ratio` (Lowe)."""
    cube = near.view(3, 3, 3, -1)[1]
    centre = cube[1, 1]
    dxx = cube[1, 0] + cube[1, 2] - 2.0 * centre
    dyy = cube[0, 1] + cube[2, 1] - 2.0 * centre
    dxy = 0.25 * (cube[2, 2] - cube[2, 0] - cube[0, 2] + cube[0, 0])
    determinant = dxx * dyy - dxy * dxy
    return (determinant > 0) & ((dxx + dyy) ** 2 * ratio < (ratio + 1.0) ** 2 * determinant)


def _difference_in_place(gaussians: Tensor, rows: slice) -> None:
    """Some rows of all but the last of (L, h, w) overwritten by those of level i + 1 minus level i."""
    for level, following in pairwise(gaussians[:, rows]):
        torch.sub(following, level, out=level)


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
