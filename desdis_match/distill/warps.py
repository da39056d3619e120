"""Patches from single pictures: every view is a random homography of the picture with other light and blur.

A view's patch is cut where the homography puts the frame of a point of the picture, with an error of position,
scale and angle as a detector makes it. The picture may be a photo or a texture generated here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..progress import track
from .patchset import PatchSet, make_patch_set

Float = NDArray[np.float64]
Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class WarpConfig:
    """How patches are cut from one picture under synthetic views."""

    points: int = 200
    """Points a picture, at most."""
    views: int = 3
    """Warped views a point, besides the picture itself."""
    side: int = 64
    """Side of the stored patch, pixels."""
    context: float = 1.5
    """Side of the stored patch / side of the network's patch."""
    radius: tuple[float, float] = (12.0, 48.0)
    """Smallest and largest half side of the network's patch in the picture, pixels (log-uniform)."""
    rotation: float = 0.6
    """Standard deviation of a view's rotation, radians."""
    zoom: float = 0.35
    """Standard deviation of a view's log2 zoom."""
    tilt: float = 0.5
    """Largest log2 stretch along a random direction."""
    perspective: float = 0.25
    """Largest change of zoom from the middle to the border of the picture."""
    error_shift: float = 0.05
    """Standard deviation of a frame's position, in half sides of the patch."""
    error_zoom: float = 0.12
    """Standard deviation of a frame's log2 scale."""
    error_rotation: float = 0.12
    """Standard deviation of a frame's angle, radians."""


def read_photos(folder: str | Path, config: WarpConfig | None = None, seed: int = 0) -> PatchSet:
    """Patches from every photo below `folder`; unreadable ones are left out, InputError when none remains."""
    from ..images import list_images, read_gray

    config = config or WarpConfig()
    parts: list[tuple[Gray, NDArray[np.int64]]] = []
    folder = Path(folder)
    for name in track(list_images(folder), f"warping {folder.name}"):
        try:
            pixels = read_gray(folder / name).pixels
        except InputError:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        parts.append(warped_patches((pixels * 255).round().astype(np.uint8), config, rng))
    return _collect(parts, f"photos:{folder.name}", "that of the photos")


def make_textures(pictures: int = 24, config: WarpConfig | None = None, seed: int = 0) -> PatchSet:
    """Patches from generated textures: needs no data at all."""
    config = config or WarpConfig()
    parts = []
    for number in range(pictures):
        rng = np.random.default_rng([seed, number])
        parts.append(warped_patches(texture(rng, 512), config, rng))
    return _collect(parts, f"textures:{pictures}", "generated")


def _collect(parts: list[tuple[Gray, NDArray[np.int64]]], source: str, licence: str) -> PatchSet:
    parts = [part for part in parts if len(part[0])]
    if not parts:
        raise InputError(f"{source}: no picture gave a patch; they may be too small or without texture")
    points, start = [], 0
    for _, ids in parts:
        points.append(ids + start)
        start = int(points[-1].max()) + 1
    patches = np.concatenate([pixels for pixels, _ in parts])
    context = WarpConfig().context
    return make_patch_set(patches, np.concatenate(points), source, licence, context=context)
