"""Pictures in memory or on disk, as somebody's program holds them, checked where they enter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .depth import to_unit_range
from .images import GrayImage, gray_image, read_gray, read_rgb

if TYPE_CHECKING:
    import torch

Picture = Union[str, Path, "NDArray[Any]", "torch.Tensor"]
"""A path; an array (H, W) or (H, W, 3), red first, uint8 or float in [0, 1]; a tensor with channels first."""

SLACK = 1e-4
"""Floats may leave [0, 1] by this, which resampling does."""


@dataclass(frozen=True)
class CheckedPicture:
    """A picture that is one."""

    gray: GrayImage
    load: Callable[[], NDArray[np.uint8]]  # (H, W) or (H, W, 3)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) red, green, blue at its own size."""
        return self.load()

    def colour(self) -> NDArray[np.float32]:
        """(3, h, w) in [0, 1] on the grid of `gray.pixels`."""
        pixels, (height, width) = self.pixels, self.gray.pixels.shape
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        result: NDArray[np.float32] = np.ascontiguousarray(
            pixels.transpose(2, 0, 1), np.float32
        ) / np.float32(255)
        return result


def as_picture(
    image: Picture, max_size: int, read: Callable[[Path], GrayImage] = read_gray
) -> CheckedPicture:
    """Check a picture and make it grey, its long side at most `max_size` (0: as it is).

    read: how the photo at a path is read. Raises InputError for another kind, shape or range, and
    UnreadableImage for a path to no picture.
    """
    if isinstance(image, str | Path):
        path = Path(image)
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a photo, a list of photos, or use `reconstruct`")
        return CheckedPicture(read(path), lambda: read_rgb(path))
    pixels = checked_pixels(image)
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    eight = pixels if pixels.dtype == np.uint8 else (pixels * 255 + 0.5).astype(np.uint8)
    # Floats are taken at their word; only files of more than 8 bits are stretched to what they use.
    unit = to_unit_range(stored) if stored.dtype == np.uint8 else np.asarray(stored, np.float32)
    return CheckedPicture(gray_image(unit, max_size or None, Path("picture")), lambda: eight)


def checked_pixels(image: Any) -> NDArray[Any]:
    """(H, W) or (H, W, 3), uint8 or float32 in [0, 1], of an array or a tensor. Raises InputError."""
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        values = image.detach().cpu().numpy()
        if values.ndim == 3 and values.shape[0] in (1, 3):
            values = values.transpose(1, 2, 0)
        elif values.ndim != 2:
            raise InputError(
                f"a tensor must be (H, W), (1, H, W) or (3, H, W), not {tuple(image.shape)}; "
                "give a batch as a list of its pictures"
            )
    elif isinstance(image, np.ndarray):
        values = image
    else:
        raise InputError(f"a picture must be a path, an array or a tensor, not {type(image).__name__}")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] == 3):
        raise InputError(f"an array must be (H, W) or (H, W, 3), red first, not {values.shape}")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"a picture must be uint8 or float in [0, 1], not {values.dtype}")
    values = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(values).all():
        raise InputError("a picture of floats must be finite; this one holds NaN or infinity")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < -SLACK or high > 1 + SLACK:
        raise InputError(f"a picture of floats must be in [0, 1]; this one is from {low:.4g} to {high:.4g}")
    return values.clip(0, 1)
