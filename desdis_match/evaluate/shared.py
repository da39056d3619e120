"""One photo's detections and patches, made when first asked for and shared by all descriptors of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import FRAME_SCALE
from ..features.detectors import DetectorConfig, detect
from ..features.frames import PatchPyramid, extract_patches
from ..features.orientation_of_set import Turn, auto_angles, probe, turned
from ..features.orientation_policy import OrientationPolicy
from ..photos.images import GrayImage, read_gray, to_original
from ..support.devices import pick_device
from ..support.files import sha256_of
from .cache import Arrays, PredictionCache, describing_code
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
        # With `auto` a photo is upright until all photos of its set have been compared.
        self.policy = OrientationPolicy(detector)
        self.detector = self.policy.of_set
        self.cache = cache
        self.max_size = max_size
        self.frame_scale = frame_scale
        self.device = device

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self.path)

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
            lafs = detect(image.pixels, self.detector, device=pick_device(self.device)).lafs.cpu().numpy()
            seconds = time.perf_counter() - start
            xy = to_original(lafs[:, :, 2], image)
            return {"lafs": lafs, "xy": xy, "size": np.array(image.size), "seconds": np.array(seconds)}

        return self.cache.get(self.key, compute)

    @cached_property
    def pyramid(self) -> PatchPyramid:
        """From which patches are cut."""
        import torch

        return PatchPyramid(torch.as_tensor(self.image.pixels, device=pick_device(self.device)))

    def cut(self, lafs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Patches (N, 1, 32, 32) of frames (N, 2, 3)."""
        import torch

        frames = torch.from_numpy(lafs).to(self.pyramid.device)
        return np.asarray(extract_patches(self.pyramid, frames, frame_scale=self.frame_scale).cpu().numpy())

    @cached_property
    def patches(self) -> tuple[NDArray[np.float32], float]:
        """Patches (N, 1, 32, 32) of the detected frames, and the seconds that they took."""
        lafs, _ = self.detection["lafs"], self.image
        start = time.perf_counter()
        return self.cut(lafs), time.perf_counter() - start

    def described_by(self, contender: Contender) -> Described:
        """Its keypoints as one descriptor sees them."""
        patches, seconds = self.patches
        start = time.perf_counter()
        descriptors = contender.describe(patches)
        seconds += time.perf_counter() - start + float(self.detection["seconds"])
        return Described(self.detection["xy"], descriptors, self.image.size, seconds)

    def turned(self, contender: Contender, upright: Described, turn: Turn) -> Described:
        """The same in frames that orientation `auto` has turned."""
        import torch

        if turn.upright:
            return upright
        start = time.perf_counter()
        lafs = torch.from_numpy(self.detection["lafs"]).to(self.pyramid.device)
        frames = turned(self.pyramid, lafs, turn)[0][: self.detector.max_keypoints].cpu().numpy()
        descriptors = contender.describe(self.cut(frames))
        seconds = upright.seconds + time.perf_counter() - start
        return Described(to_original(frames[:, :, 2], self.image), descriptors, upright.size, seconds)


def describe_set(photos: Sequence[SharedPhoto], contender: Contender) -> list[Described]:
    """Photos that belong together, as one descriptor sees them; with `auto` they are compared first."""
    import torch

    found = [photo.described_by(contender) for photo in photos]
    if not photos or not photos[0].policy.compares:
        return found
    start = time.perf_counter()
    probes = []
    for photo in photos:
        lafs = torch.from_numpy(photo.detection["lafs"]).to(photo.pyramid.device)
        probes.append(probe(photo.pyramid, lafs, contender.descriptor))
    turns = auto_angles(probes)
    each = (time.perf_counter() - start) / len(photos)
    upright = [replace(d, seconds=d.seconds + each) for d in found]
    return [p.turned(contender, d, t) for p, d, t in zip(photos, upright, turns, strict=True)]
