"""Gaussian images by octaves (Lowe, IJCV 2004): what detectors search for extrema.

An octave is a stack of Gaussian images whose sigma grows by 2^(1/3), or as asked for, in octave pixels from
SIGMA0 on. Octave pixel u lies at image pixel `u * pixel`, exactly: doubling and decimation both keep pixel
(0, 0) in place. On a CPU the passes run in OpenCV, on a GPU in torch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..support.devices import on_cpu
from ..support.resources import available_memory
from ..support.workers import available_cores

LEVELS = 3
"""Levels searched per octave (Lowe's s)."""

SIGMA0 = 1.6
"""Blur of an octave's first level, octave pixels (Lowe's choice)."""

CAMERA_SIGMA = 0.5
"""Blur that a photo is assumed to have, its own pixels (Lowe's choice)."""

BORDER = 5
"""No extremum is sought this near to the octave's border, octave pixels (as OpenCV's SIFT)."""

KEPT_BYTES = 256 * 2**20
"""Memory that a thread keeps for the next image; a photo of 1600 pixels takes 164 MB."""

FREE_SHARE = 0.1
"""Part of the free memory that may be kept for photos that are yet to come."""

_kept = threading.local()


def octaves(
    image: Tensor, first_octave: int, num_levels: int, levels: int = LEVELS
) -> Iterator[tuple[float, Tensor]]:
    """Yield (pixel, gaussians (num_levels, h, w)) from the finest octave on; a caller may overwrite the
    stack, and the next octave does.

    `pixel` is the octave pixel's size in image pixels. Level i has sigma SIGMA0 * 2^(i / levels) octave
    pixels. Ends before an octave's shorter side would have no room for an extremum.
    """
    pixel = 2.0**first_octave
    height, width = (math.ceil(side / pixel) for side in image.shape)
    factor = 2.0 ** (1.0 / levels)
    with _room(num_levels * height * width, image) as stack:  # one for all octaves
        gaussians = stack.view(num_levels, height, width)
        _fill_first_level(gaussians, image, first_octave)
        while min(gaussians.shape[1:]) > 2 * BORDER + 2:
            for level in range(1, num_levels):
                sigma = SIGMA0 * factor ** (level - 1) * math.sqrt(factor**2 - 1.0)
                blur(gaussians[level - 1], sigma, out=gaussians[level])
            base = gaussians[levels][::2, ::2].clone()
            yield pixel, gaussians
            pixel *= 2.0
            gaussians = stack[: num_levels * base.numel()].view(num_levels, *base.shape)
            gaussians[0] = base


def inside_border(row: Tensor, column: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N,) which samples of a level of `shape` (h, w) are no nearer to its border than BORDER."""
    height, width = shape
    return (row >= BORDER) & (row < height - BORDER) & (column >= BORDER) & (column < width - BORDER)


def _fill_first_level(gaussians: Tensor, image: Tensor, first_octave: int) -> None:
    """Level 0 of the finest octave; the others are room to work in."""
    if first_octave > 0:
        # Blur to what an undoubled octave 0 has before its decimation, then take every 2^k-th pixel.
        step = 2**first_octave
        gaussians[0] = blur(image, math.sqrt((SIGMA0 * step) ** 2 - CAMERA_SIGMA**2))[::step, ::step]
        return
    for times in range(-first_octave, 0, -1):
        image = double(image, gaussians[-2:] if times == 1 else None)
    blur(image, math.sqrt(SIGMA0**2 - (CAMERA_SIGMA * 2**-first_octave) ** 2), out=gaussians[0])


@contextmanager
def _room(size: int, like: Tensor) -> Iterator[Tensor]:
    """(size,) numbers of the type of `like`, on the CPU from one image to the next the same ones: the system
    takes as long to give memory that is touched for the first time as the blur to fill it."""
    if not on_cpu(like):
        yield like.new_empty(size)
        return
    room: Tensor | None = getattr(_kept, "room", None)
    _kept.room = None
    if room is None or len(room) < size or room.dtype != like.dtype:
        # A tensor of torch's inference mode could not be written to outside of it. NumPy would ask for huge
        # pages, which take twice as long the first time.
        with torch.inference_mode(False):
            room = like.new_empty(size)
    try:
        yield room[:size]
    finally:
        if room.nbytes <= KEPT_BYTES:
            _kept.room = room


def make_room(width: int, height: int) -> None:
    """Have this thread's memory ready for the octaves of a doubled photo of this size, but only where all
    cores' together are a small part of what is free."""
    size = (LEVELS + 3) * 4 * width * height
    free = available_memory()
    if free is not None and size * 4 * available_cores() < FREE_SHARE * free:
        with _room(size, torch.zeros(0)) as room:
            room.zero_()


def double(image: Tensor, room: Tensor | None = None) -> Tensor:
    """Twice the size by interpolation: (h, w) -> (2h, 2w), pixel u goes to 2u, the last is repeated.

    room: (2, 2h, 2w), in which the result then lies.
    """
    height, width = image.shape
    room = image.new_empty(2, 2 * height, 2 * width) if room is None else room
    between = room[1].view(-1)[: height * width].view(height, width)  # pixels (u + 1/2, v)
    rows = room[0].view(height, 2, 2 * width)
    even, odd = rows.unbind(1)
    _halfway(image[:, :-1], image[:, 1:], between[:, :-1])
    between[:, -1] = image[:, -1]
    pairs = even.view(height, width, 2)
    if on_cpu(image):
        cv2.merge([image.numpy(), between.numpy()], pairs.numpy())
    else:
        torch.stack([image, between], 2, out=pairs)
    _halfway(even[:-1], even[1:], odd[:-1])
    odd[-1] = even[-1]
    return room[0]


def _halfway(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = (a + b) / 2."""
    if on_cpu(a):
        cv2.addWeighted(a.numpy(), 0.5, b.numpy(), 0.5, 0.0, out.numpy())
    else:
        torch.add(a, b, out=out).mul_(0.5)


def blur(image: Tensor, sigma: float, out: Tensor | None = None) -> Tensor:
    """Gaussian blur of (h, w), borders reflected, kernel cut off at four sigmas."""
    kernel = cv2.getGaussianKernel(int(8.0 * sigma + 1.0) | 1, sigma, cv2.CV_32F)[:, 0]
    return convolve(image, kernel.tolist(), kernel.tolist(), out)


def convolve(image: Tensor, kernel_x: Any, kernel_y: Any, out: Tensor | None = None) -> Tensor:
    """Separable correlation of (h, w) with odd kernels, borders reflected about the outer pixel centres."""
    out = torch.empty_like(image) if out is None else out
    if on_cpu(image):
        kernels = np.float32(kernel_x), np.float32(kernel_y)
        cv2.sepFilter2D(
            image.numpy(), cv2.CV_32F, *kernels, dst=out.numpy(), borderType=cv2.BORDER_REFLECT_101
        )
        return out
    across = _reflected(image, len(kernel_x) // 2, 1)[None, None]
    cudnn = torch.backends.cudnn
    # The 10 bits of TF32 would move the extrema. The other flags stay: left out, `enabled` would be False.
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
        across = F.conv2d(across, image.new_tensor(kernel_x).view(1, 1, 1, -1))
        down = _reflected(across[0, 0], len(kernel_y) // 2, 0)[None, None]
        return out.copy_(F.conv2d(down, image.new_tensor(kernel_y).view(1, 1, -1, 1))[0, 0])


def _reflected(image: Tensor, radius: int, dim: int) -> Tensor:
    """Pad one axis by reflection; unlike F.pad also where the radius exceeds the side."""
    size = image.shape[dim]
    index = torch.arange(-radius, size + radius, device=image.device) % max(1, 2 * (size - 1))
    return image.index_select(dim, torch.minimum(index, 2 * (size - 1) - index))
