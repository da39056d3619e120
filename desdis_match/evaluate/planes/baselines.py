"""Whole local features to compare with: OpenCV's SIFT with RootSIFT, and ALIKED from a weight file.

Each detects and describes on its own: `extract(path, image, budget)` gives pixels of the resized image and
unit descriptors, best `budget` keypoints first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...photos.images import GrayImage, read_rgb
from ...support.devices import pick_device
from ...support.files import sha256_of
from ..cache import combined_hash

Float32 = NDArray[np.float32]


Extract = Callable[[Path, GrayImage, int], tuple[Float32, Float32]]
"""(path, image, budget) -> keypoints (N, 2) in pixels of the resized image, unit descriptors (N, D)."""


@dataclass(frozen=True)
class Baseline:
    """A local feature that brings its own detector."""

    label: str
    fingerprint: str
    extract: Extract


def opencv_sift() -> Baseline:
    """SIFT as OpenCV has it, several orientations a keypoint, descriptors as RootSIFT."""
    import cv2

    def extract(path: Path, image: GrayImage, budget: int) -> tuple[Float32, Float32]:
        gray = np.clip(np.rint(image.pixels * 255), 0, 255).astype(np.uint8)
        keypoints, found = cv2.SIFT_create(nfeatures=budget).detectAndCompute(gray, None)  # type: ignore[attr-defined]
        if not keypoints:
            return np.empty((0, 2), np.float32), np.empty((0, 128), np.float32)
        order = np.argsort([-k.response for k in keypoints], kind="stable")[:budget]
        xy = np.array([keypoints[i].pt for i in order], np.float32)
        values = np.asarray(found, np.float32)[order]
        values /= np.maximum(values.sum(axis=1, keepdims=True), np.float32(1e-12))
        return xy, np.sqrt(values)

    return Baseline("opencv-sift", combined_hash(["opencv sift, rootsift", cv2.__version__]), extract)


def aliked_baseline(weights: Path, device: str = "auto") -> Baseline:
    """ALIKED (Zhao et al., 2023) by Kornia's network, from the authors' file; its name is the model's."""
    import torch
    from kornia.feature import ALIKED

    if not weights.is_file():
        raise InputError(f"{weights} is missing; it should be the authors' aliked-n16rot.pth")
    try:
        network: Any = ALIKED(model_name=weights.stem, max_num_keypoints=2048, detection_threshold=0.0)
        state = torch.load(weights, map_location="cpu", weights_only=True)
        missing, _ = network.load_state_dict(state, strict=False)
    except (ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{weights} is no weight file of Kornia's ALIKED: {str(error).splitlines()[0]}"
        ) from error
    missing = [name for name in missing if not name.startswith("dkd.")]  # a table, not learned
    if missing:
        raise InputError(
            f"{weights} is no weight file of {weights.stem}: {len(missing)} tensors are missing in it"
        )
    place = pick_device(device)
    network = network.eval().to(place)

    def extract(path: Path, image: GrayImage, budget: int) -> tuple[Float32, Float32]:
        network.dkd.top_k = network.dkd.n_limit = budget
        pixels = torch.from_numpy(read_colour(path, image)).to(place)
        with torch.inference_mode():
            found = network(pixels[None])[0]
        order = found.keypoint_scores.argsort(descending=True, stable=True)[:budget]
        return (
            found.keypoints[order].float().cpu().numpy(),
            found.descriptors[order].float().cpu().numpy(),
        )

    return Baseline(weights.stem, sha256_of(weights), extract)


def read_colour(path: Path, image: GrayImage) -> Float32:
    """(3, h, w) RGB in [0, 1] on the grid of `image.pixels`."""
    import cv2

    stored: NDArray[Any] = read_rgb(path)
    height, width = image.pixels.shape
    if stored.shape[:2] != (height, width):
        stored = cv2.resize(stored, (width, height), interpolation=cv2.INTER_AREA)
    result: Float32 = np.ascontiguousarray(stored.transpose(2, 0, 1), np.float32) / np.float32(255)
    return result


def load_baselines(names: Sequence[str], device: str) -> list[Baseline]:
    """`opencv-sift`, `aliked:WEIGHTS`."""
    found = []
    for name in names:
        if name == "opencv-sift":
            found.append(opencv_sift())
        elif name.startswith("aliked:"):
            found.append(aliked_baseline(Path(name.partition(":")[2]), device))
        else:
            raise InputError(f"there is no local feature '{name}'; known are opencv-sift and aliked:WEIGHTS")
    return found
