"""deep-image-matching: an extractor for its pipelines.

from desdis_match.plugins import deep_image_matching as desdis; desdis.register()
config = Config({"dir": project, "pipeline": desdis.PIPELINE, "strategy": "bruteforce"})
ImageMatcher(config).run()
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..descriptors import DEFAULT_DESCRIPTOR
from ..features.extract import ExtractConfig
from ..matching.match import MatchConfig
from .common import ORIENTATION, PictureExtractor, install_module

PIPELINE = "desdis+kornia_matcher"
"""Name of the pipeline that `register` adds; deep_image_matching.config.confs[PIPELINE] holds its options."""


class DesDisExtractor:
    """The members that deep-image-matching's ExtractorBase asks of an extractor.

    `register` gives it that base, which loads and resizes photos, cuts tiles and writes the HDF5 file.
    """

    _default_conf: ClassVar[dict[str, Any]] = {
        "name": "desdis",
        "descriptor": DEFAULT_DESCRIPTOR,
        "detector": ExtractConfig.detector,
        "orientation": ORIENTATION,
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
    def _extract(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """(H, W) grey in [0, 255] -> keypoints (N, 2), descriptors (D, N), scores (N,)."""
        features = self._extract_picture(self._preprocess_tensor(image, self._device))  # type: ignore[attr-defined]
        return {
            "keypoints": features.keypoints,
            "descriptors": np.ascontiguousarray(features.descriptors.T),
            "scores": features.scores,
        }

    def _preprocess_tensor(self, image: NDArray[Any], device: str = "cpu") -> torch.Tensor:
        """(H, W) in [0, 255] -> (H, W) float32 in [0, 1] on `device`."""
        return torch.from_numpy(np.asarray(image, np.float32) / np.float32(255)).to(device)

    _frame2tensor = _preprocess_tensor  # its name up to release 1.2.4, the last on PyPI


def register() -> None:
    """Make deep-image-matching find the extractor as `desdis` and know PIPELINE.

    ImportError when it is not installed.
    """
    from deep_image_matching.config import confs, opt_zoo
    from deep_image_matching.extractors.extractor_base import ExtractorBase

    if "desdis" not in opt_zoo["extractors"]:
        opt_zoo["extractors"].append("desdis")
    confs[PIPELINE] = {
        "extractor": dict(DesDisExtractor._default_conf),
        "matcher": {"name": "kornia_matcher", "match_mode": "smnn", "th": MatchConfig.ratio},
    }
    based = type("DesDisExtractor", (DesDisExtractor, ExtractorBase), {"__doc__": DesDisExtractor.__doc__})
    install_module("deep_image_matching.extractors.desdis", based)
