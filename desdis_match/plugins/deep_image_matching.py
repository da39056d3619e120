"""deep-image-matching: an extractor for its pipelines.

from desdis_match.plugins import deep_image_matching as desdis; desdis.register()
config.extractor = {"name": "desdis", "max_keypoints": 8000}
config.matcher = {"name": "kornia_matcher", "match_mode": "smnn", "th": 0.9}
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..descriptors import DEFAULT_DESCRIPTOR
from ..extract import ExtractConfig
from .common import PictureExtractor, install_module


class DesDisExtractor:
    """The members that deep-image-matching's ExtractorBase asks of an extractor.

    `register` gives it that base, which loads and resizes photos, cuts tiles and writes the HDF5 file.
    """

    _default_conf: ClassVar[dict[str, Any]] = {
        "name": "desdis",
        "descriptor": DEFAULT_DESCRIPTOR,
        "detector": ExtractConfig.detector,
        "orientation": ExtractConfig.orientation,
        "max_keypoints": ExtractConfig.max_keypoints,
    }
    required_inputs: ClassVar[list[str]] = []
    grayscale = True
    as_float = True
    descriptor_size = 128
    features_as_half = False  # float16 would move keypoints by up to a pixel

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        options = self.config["extractor"]  # type: ignore[attr-defined]
        self._extract_picture = PictureExtractor(
            options["max_keypoints"], options["detector"], options["orientation"], options["descriptor"]
        )
        self.descriptor_size = self._extract_picture.descriptor(self._device).dim  # type: ignore[attr-defined]

    @torch.inference_mode()
    def _extract(self, image: NDArray) -> dict[str, NDArray]:
        """(H, W) grey in [0, 255] -> keypoints (N, 2), descriptors (D, N), scores (N,)."""
        features = self._extract_picture(self._preprocess_tensor(image, self._device))  # type: ignore[attr-defined]
        return {
            "keypoints": features.keypoints,
            "descriptors": np.ascontiguousarray(features.descriptors.T),
            "scores": features.scores,
        }

    def _preprocess_tensor(self, image: NDArray, device: str = "cpu") -> torch.Tensor:
        """(H, W) in [0, 255] -> (H, W) float32 in [0, 1] on `device`."""
        return torch.from_numpy(np.asarray(image, np.float32) / np.float32(255)).to(device)


def register() -> None:
    """Make deep-image-matching find the extractor as `desdis`. ImportError when it is not installed."""
    from deep_image_matching.extractors.extractor_base import ExtractorBase

    based = type("DesDisExtractor", (DesDisExtractor, ExtractorBase), {"__doc__": DesDisExtractor.__doc__})
    install_module("deep_image_matching.extractors.desdis", based)
