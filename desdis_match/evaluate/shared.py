"""One photo's detections and patches, made when first asked for and shared by all descriptors of a run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors import DetectorConfig, detect
from ..extract import resolved_device
from ..images import GrayImage, read_gray, to_original
from ..patches import FRAME_SCALE, PatchPyramid, extract_patches
from .cache import Arrays, PredictionCache, describing_code, file_hash
from .contenders import Contender


@dataclass(frozen=True)
class Described:
    """Keypoints of a photo with their descriptors, and the seconds to detect, cut out and describe them."""

    xy: NDArray[np.float32]  # (N, 2) original pixels
    descriptors: NDArray[np.float32]  # (N, D)
    size: tuple[int, int]  # width, height of the original
    seconds: float


class SharedPhoto:
    """A photo of a run. Detections go through the cache; patches stay in memory while this object lives."""

    def __init__(
        self,
        path: Path,
        detector: DetectorConfig,
        cache: PredictionCache,
        max_size: int = 1600,
        frame_scale: float = FRAME_SCALE,
        device: str = "auto",
    ) -> None:
        self.path = path
        self.detector = detector
        self.cache = cache
        self.max_size = max_size
        self.frame_scale = frame_scale
        self.device = device

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return file_hash(self.path)

    @cached_property
    def image(self) -> GrayImage:
        """The photo at the size at which it is worked on; raises `UnreadableImage`."""
        return read_gray(self.path, self.max_size or None)

    @property
    def key(self) -> dict[str, Any]:
        """All that the frames depend on."""
        return {
            "task": "detections",
            "image": self.hash,
            "detector": asdict(self.detector),
            "max_size": self.max_size,
            "device": self.device,
            "code": describing_code(),
        }

    @cached_property
    def detection(self) -> Arrays:
        """`lafs` (N, 2, 3) of the resized image, `xy` (N, 2) in original pixels, `size` and `seconds`."""

        def compute() -> Arrays:
            image = self.image
            start = time.perf_counter()
            lafs = detect(image.pixels, self.detector, device=resolved_device(self.device)).lafs.cpu().numpy()
            seconds = time.perf_counter() - start
            xy = to_original(lafs[:, :, 2], image)
            return {"lafs": lafs, "xy": xy, "size": np.array(image.size), "seconds": np.array(seconds)}

        return self.cache.get(self.key, compute)

    @cached_property
    def patches(self) -> tuple[NDArray[np.float32], float]:
        """Patches (N, 1, 32, 32), and the seconds that they took."""
        import torch

        image, lafs = self.image, torch.from_numpy(self.detection["lafs"])
        start = time.perf_counter()
        device = resolved_device(self.device)
        pyramid = PatchPyramid(torch.as_tensor(image.pixels, device=device))
        patches = extract_patches(pyramid, lafs.to(device), frame_scale=self.frame_scale).cpu().numpy()
        return patches, time.perf_counter() - start

    def described_by(self, contender: Contender) -> Described:
        """Its keypoints as one descriptor sees them."""
        patches, seconds = self.patches
        start = time.perf_counter()
        descriptors = contender.describe(patches)
        seconds += time.perf_counter() - start + float(self.detection["seconds"])
        return Described(self.detection["xy"], descriptors, self.image.size, seconds)
