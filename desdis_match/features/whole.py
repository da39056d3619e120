"""Whole local features, which detect and describe on their own: SIFT, ALIKED, another package's.

A `LocalFeature` is given a photo in colour, at the size at which it is worked on, and gives Features in
pixels of that size; here they are put into pixels of the original, cut to the mask and to the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..conventions import from_degrees, scale_from_sigma
from ..errors import InputError
from ..photos.images import GrayImage, read_rgb, to_original
from ..support.parts import find_part
from ..types import Features

if TYPE_CHECKING:
    from .extract import ExtractConfig

LocalFeature = Callable[[Tensor, "ExtractConfig"], Features]
"""(3, h, w) red, green, blue in [0, 1] on the device to work on -> Features in its pixels, any order."""

ALIKED_MODEL = "aliked-n16"
ALIKED_RADIUS = 16.0
"""ALIKED says no scale: the same for all, pixels of the photo worked on."""


def local_features(
    image: GrayImage,
    colour: Tensor,
    config: ExtractConfig,
    mask: NDArray[np.bool_] | None = None,
) -> Features:
    """Features by the whole local feature that `config` names, best `max_keypoints` first.

    colour: (3, h, w) in [0, 1] on the grid of `image.pixels`. mask: (h, w), False where no keypoint may lie.
    """
    assert config.local_feature is not None
    found = find_part("features", LOCAL_FEATURES, config.local_feature)(colour, config)
    _check(found, config.local_feature)
    order = np.argsort(-found.scores, kind="stable")
    if mask is not None:
        column, row = np.rint(found.keypoints[order]).astype(int).T
        order = order[mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]]
    order = order[: config.max_keypoints]
    grow = np.float32(1 / np.sqrt(image.scale_xy[0] * image.scale_xy[1]))
    return Features(
        to_original(found.keypoints[order], image),
        np.ascontiguousarray(found.descriptors[order], np.float32),
        found.scores[order].astype(np.float32),
        found.scales[order].astype(np.float32) * grow,
        found.angles[order].astype(np.float32),
        image.size,
    )


def colour_on_grid(path: Path, image: GrayImage) -> NDArray[np.float32]:
    """(3, h, w) red, green, blue in [0, 1] of the photo at `path`, on the grid of `image.pixels`."""
    stored = read_rgb(path)
    height, width = image.pixels.shape
    if stored.shape[:2] != (height, width):
        stored = cv2.resize(stored, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    result: NDArray[np.float32] = np.ascontiguousarray(stored.transpose(2, 0, 1), np.float32) / np.float32(
        255
    )
    return result


def _check(found: Features, name: str) -> None:
    num = len(found.keypoints)
    columns = (found.descriptors, found.scores, found.scales, found.angles)
    if found.keypoints.shape != (num, 2) or found.descriptors.ndim != 2 or {*map(len, columns)} != {num}:
        raise InputError(f"local feature '{name}' must give a row of every array of Features a keypoint")


def sift(pixels: Tensor, config: ExtractConfig) -> Features:
    """OpenCV's SIFT, several orientations a keypoint, descriptors as RootSIFT."""
    rgb = (pixels.cpu().numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    detector = cv2.SIFT_create(nfeatures=config.max_keypoints)  # type: ignore[attr-defined]
    keypoints, values = detector.detectAndCompute(gray, None)
    size = (gray.shape[1], gray.shape[0])
    if not keypoints:
        none = np.empty(0, np.float32)
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.float32), none, none, none, size)
    values = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
    return Features(
        np.array([k.pt for k in keypoints], np.float32),
        np.sqrt(values).astype(np.float32),
        np.array([k.response for k in keypoints], np.float32),
        scale_from_sigma(np.array([k.size / 2 for k in keypoints], np.float32)),
        from_degrees(np.array([k.angle for k in keypoints], np.float32)),
        size,
    )


def aliked(pixels: Tensor, config: ExtractConfig) -> Features:
    """ALIKED (Zhao et al., 2023) by Kornia, with the authors' weights, downloaded at first use."""
    network = _aliked(str(pixels.device))
    network.dkd.top_k = network.dkd.n_limit = config.max_keypoints
    with torch.inference_mode():
        found = network(pixels[None])[0]
    keypoints = found.keypoints.float().cpu().numpy()
    scales = np.full(len(keypoints), float(ALIKED_RADIUS), np.float32)
    return Features(
        keypoints,
        found.descriptors.float().cpu().numpy(),
        found.keypoint_scores.float().cpu().numpy(),
        scales,
        np.zeros(len(keypoints), np.float32),
        (pixels.shape[2], pixels.shape[1]),
    )


@lru_cache(maxsize=1)
def _aliked(device: str) -> Any:
    from kornia.feature import ALIKED

    try:
        network = ALIKED.from_pretrained(ALIKED_MODEL, detection_threshold=0.0)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the weights of {ALIKED_MODEL} could not be downloaded: {str(error).splitlines()[0]}"
        ) from error
    return network.eval().to(device)


LOCAL_FEATURES: dict[str, LocalFeature] = {"sift": sift, "aliked": aliked}
