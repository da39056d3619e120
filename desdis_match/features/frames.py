"""Local affine frames and the patches that they cut out.

A frame is [A | c] (2, 3): patch point (u, v) in [-1, 1]^2 lies at image pixel `A @ (u, v) + c`. Detectors
give frames whose scale `sqrt|det A|` is the keypoint's sigma; FRAME_SCALE makes the described patch of it,
here only. An upright frame's A is sigma times the identity; angle `a` turns it to sigma [[cos a, sin a],
[-sin a, cos a]], so that the patch's x axis points to (cos a, -sin a) in the image (Kornia's convention,
atan2(A01, A00)).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..conventions import FRAME_SCALE, to_resized
from ..support.devices import on_cpu

PATCH_SIZE = 32
"""Side of the patch that the descriptors take, pixels."""

REMAP_SIDE = 32767
"""OpenCV's `remap` takes images whose sides are below this."""

CHUNK = 256
"""Frames sampled at a time, with maps that stay in a core's cache."""

STRIP = 16
"""Height in pixels of the strips of an image, left to right, in which frames are sampled: neighbours in the
photo then share what is in the cache."""

PYRAMID_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16
"""Burt & Adelson's blur before each halving."""


class PatchPyramid:
    """An image and its halvings, from which patches are sampled without aliasing.

    pixels: (h, w) float32. Levels halve by a binomial blur and a mean of 2x2, as Kornia's `pyrdown`, while
    the shorter side stays at least `min_side`. CPU arrays are sampled by OpenCV, others by torch on their
    device.
    """

    def __init__(self, pixels: NDArray[np.float32] | Tensor, min_side: int = PATCH_SIZE) -> None:
        tensor = torch.as_tensor(pixels)
        self.device = tensor.device
        self.levels: list[Tensor] = [tensor.float().contiguous()]
        while min(self.levels[-1].shape) // 2 >= min_side:
            self.levels.append(_halved(self.levels[-1]))

    def sample(self, frames: Tensor, size: int) -> Tensor:
        """Patches (N, 1, size, size) of frames (N, 2, 3) in pixels; beyond the border the outer pixels
        repeat.

        Cell k's centre is at (2 k + 1) / size - 1. The level is the finest whose pixel is at most one cell
        and more than half of one, as in Kornia's `extract_patches_from_pyramid`. Non-finite frames give
        zeros.
        """
        frames = frames.to(self.device, torch.float32)
        out = torch.empty(len(frames), 1, size, size, device=self.device)
        cell = 2.0 * laf_scales(frames) / size
        level_of = cell.clamp_min(1.0).log2().floor().clamp_max(len(self.levels) - 1)
        endless = (~frames.isfinite()).flatten(1).any(1).nonzero()[:, 0]
        level_of[endless] = -1
        out[endless] = 0.0
        order, chunk = self._by_place(frames), max(1, min(CHUNK, (REMAP_SIDE - 1) // size))
        for number, level in enumerate(self.levels):
            for rows in order[level_of[order] == number].split(chunk):
                if len(rows):  # no frames at all split into one empty part
                    out[rows, 0] = _sample_level(level, _to_level(frames[rows], self.levels[0], level), size)
        return out

    def _by_place(self, frames: Tensor) -> Tensor:
        """Rows of frames (N, 2, 3) strip by strip."""
        x, y = frames[:, :, 2].unbind(1)
        return ((y / STRIP).floor() * self.levels[0].shape[1] + x).argsort()


def extract_patches(
    pixels: NDArray[np.float32] | Tensor | PatchPyramid,
    lafs: Tensor,
    size: int = PATCH_SIZE,
    frame_scale: float = FRAME_SCALE,
) -> Tensor:
    """Patches (N, 1, size, size) float32 of sigma-sized frames (N, 2, 3) enlarged by `frame_scale`."""
    pyramid = pixels if isinstance(pixels, PatchPyramid) else PatchPyramid(pixels)
    return pyramid.sample(scaled_lafs(lafs, frame_scale), size)


def scaled_lafs(lafs: Tensor, factor: float) -> Tensor:
    """The same frames (N, 2, 3), `factor` times as large about their centres."""
    return torch.cat([lafs[..., :2] * factor, lafs[..., 2:]], -1)


def laf_scales(lafs: Tensor) -> Tensor:
    """sqrt|det A| (N,) of frames (N, 2, 3)."""
    shapes = lafs[..., :2].cpu() if lafs.device.type == "mps" else lafs[..., :2]  # MPS has no float64
    result: Tensor = torch.linalg.det(shapes.double()).abs().sqrt().to(lafs)
    return result


def laf_angles(lafs: Tensor) -> Tensor:
    """atan2(A01, A00) (N,) radians of frames (N, 2, 3)."""
    return torch.atan2(lafs[..., 0, 1], lafs[..., 0, 0])


def keypoints_to_lafs(xy: Any, scales: Any = 1.0, angles: Any = 0.0) -> Tensor:
    """Frames (N, 2, 3) float32 of scales (N,) and angles (N,) radians at pixels `xy` (N, 2)."""
    xy = torch.as_tensor(xy, dtype=torch.float32).reshape(-1, 2)
    scales = torch.as_tensor(scales, dtype=torch.float32, device=xy.device).expand(len(xy))
    angles = torch.as_tensor(angles, dtype=torch.float32, device=xy.device).expand(len(xy))
    c, s = scales * angles.cos(), scales * angles.sin()
    return torch.stack([c, s, xy[:, 0], -s, c, xy[:, 1]], 1).view(-1, 2, 3)


def rotated_lafs(lafs: Tensor, angles: Tensor) -> Tensor:
    """Frames (N, 2, 3) turned in their own plane by `angles` (N,), which an upright one then has."""
    turn = keypoints_to_lafs(lafs.new_zeros(len(lafs), 2), 1.0, angles)[..., :2].to(lafs)
    return torch.cat([lafs[..., :2] @ turn, lafs[..., 2:]], -1)


def resized_lafs(lafs: Tensor, scale_xy: tuple[float, float]) -> Tensor:
    """Frames of an image on the grid of its copy resized by `scale_xy`; pixel centres correspond."""
    scale = lafs.new_tensor(scale_xy).view(2, 1)
    return torch.cat([lafs[..., :2] * scale, to_resized(lafs[..., 2:], scale)], -1)


def _to_level(frames: Tensor, image: Tensor, level: Tensor) -> Tensor:
    height, width = image.shape
    return resized_lafs(frames, (level.shape[1] / width, level.shape[0] / height))


def _sample_level(level: Tensor, frames: Tensor, size: int) -> Tensor:
    """Bilinear patches (N, size, size) of frames (N, 2, 3) in pixels of `level` (h, w)."""
    cells = (2.0 * torch.arange(size, device=frames.device) + 1.0) / size - 1.0
    across = frames[:, :, :1] * cells  # (N, 2, size)
    down = frames[:, :, 1:2] * cells + frames[:, :, 2:]
    x = across[:, 0, None, :] + down[:, 0, :, None]  # (N, size, size)
    y = across[:, 1, None, :] + down[:, 1, :, None]
    height, width = level.shape
    if on_cpu(level) and max(height, width) < REMAP_SIDE:
        # A patch a row, unless it is too long: long rows take two thirds of the time.
        row = size * size if size * size < REMAP_SIDE else size
        map_x, map_y = (axis.reshape(-1, row).numpy() for axis in (x, y))
        border = cv2.BORDER_REPLICATE
        sampled = cv2.remap(level.numpy(), map_x, map_y, cv2.INTER_LINEAR, borderMode=border)
        return torch.from_numpy(sampled).view(-1, size, size)
    grid = torch.stack([(2.0 * x + 1.0) / width - 1.0, (2.0 * y + 1.0) / height - 1.0], -1)
    grid = grid.reshape(1, -1, size, 2)
    padding = "border"
    if level.device.type == "mps":  # where torch may have no such padding
        grid, padding = _within(grid, width, height), "zeros"
    patches = torch.nn.functional.grid_sample(
        level[None, None], grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    return patches.view(-1, size, size)


def _within(grid: Tensor, width: int, height: int) -> Tensor:
    """Points (..., 2: x, y) in [-1, 1] moved to the outer pixels' centres where they are beyond them."""
    limit = 1.0 - 1.0 / grid.new_tensor([width, height])
    return torch.minimum(torch.maximum(grid, -limit), limit)


def _halved(level: Tensor) -> Tensor:
    """(h, w) -> (h // 2, w // 2); pixel centres correspond through the sides' ratio."""
    height, width = (side // 2 for side in level.shape)
    if on_cpu(level):
        blurred = cv2.sepFilter2D(level.numpy(), cv2.CV_32F, PYRAMID_KERNEL, PYRAMID_KERNEL)
        return torch.from_numpy(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))
    from kornia.geometry.transform import pyrdown

    return pyrdown(level[None, None])[0, 0]
