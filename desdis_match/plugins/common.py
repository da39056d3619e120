"""What the adapters share: pictures as those tools hold them -> Features, and modules put where they look."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..descriptors import DEFAULT_DESCRIPTOR, Descriptor, load_descriptor
from ..features.extract import ExtractConfig, extract_image
from ..features.orientation_policy import OrientationPolicy
from ..photos.images import GrayImage
from ..types import Features

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (ITU-R BT.601), as OpenCV and Kornia take them."""


def gray_plane(image: Tensor) -> Tensor:
    """(1 or 3, H, W) in [0, 1], red first -> (H, W). ValueError for another shape."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image must be (1, H, W) or (3, H, W), not {tuple(image.shape)}")
    return image[0] if len(image) == 1 else torch.einsum("chw,c->hw", image, image.new_tensor(LUMA))


ORIENTATION = OrientationPolicy(ExtractConfig()).of_one.orientation
"""Of frames in a picture that comes alone."""


class PictureExtractor:
    """Picture in memory -> Features, in pixels of that picture; it is not resized."""

    def __init__(
        self,
        max_keypoints: int = ExtractConfig.max_keypoints,
        detector: str = ExtractConfig.detector,
        orientation: str = ORIENTATION,
        descriptor: str = DEFAULT_DESCRIPTOR,
        **thresholds: float,
    ) -> None:
        """thresholds: contrast_threshold, edge_threshold of the detector."""
        self.config = ExtractConfig(
            max_size=0,
            max_keypoints=max_keypoints,
            detector=detector,
            orientation=orientation,  # type: ignore[arg-type]
            descriptor=descriptor,
            **thresholds,  # type: ignore[arg-type]
        )
        self._descriptors: dict[str, Descriptor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles load the descriptor anew: its engine belongs to this process."""
        return {**self.__dict__, "_descriptors": {}}

    def descriptor(self, device: torch.device | str = "cpu") -> Descriptor:
        """The descriptor on `device`, loaded at its first use there."""
        key = str(device)
        if key not in self._descriptors:
            self._descriptors[key] = load_descriptor(self.config.descriptor, device=key)
        return self._descriptors[key]

    def __call__(
        self, plane: Tensor | NDArray[np.float32], mask: NDArray[np.bool_] | None = None
    ) -> Features:
        """plane: (H, W) float in [0, 1], worked on where it lies. mask: (H, W), False = no keypoint there."""
        device = plane.device if isinstance(plane, Tensor) else torch.device("cpu")
        pixels = np.ascontiguousarray(torch.as_tensor(plane).detach().cpu().numpy(), dtype=np.float32)
        picture = GrayImage(pixels, (pixels.shape[1], pixels.shape[0]), (1.0, 1.0))
        return extract_image(picture, self.config, self.descriptor(device), mask, device)


class ConfiguredModel(torch.nn.Module):
    """Base model of hloc's and glue-factory's kind: options over `default_conf`, dictionaries in and out."""

    default_conf: ClassVar[dict[str, Any]] = {}

    def __init__(self, conf: dict[str, Any]) -> None:
        super().__init__()
        self.conf = {**self.default_conf, **conf}
        self._init(self.conf)

    def _init(self, conf: dict[str, Any]) -> None:
        raise NotImplementedError

    def _forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._forward(data)


def install_module(name: str, member: type) -> None:
    """Make `name` an importable module that defines the class `member` and nothing else.

    For tools that import a model by its name below their own package and take the one class defined there.
    """
    module = ModuleType(name, f"{member.__name__} of {member.__module__}")
    copy = type(member.__name__, (member,), {"__module__": name, "__doc__": member.__doc__})
    setattr(module, member.__name__, copy)
    sys.modules[name] = module
