"""glue-factory: an extractor for its `two_view_pipeline`, by import path.

model:
  name: two_view_pipeline
  extractor: {name: desdis_match.plugins.gluefactory, max_num_keypoints: 2048}
  matcher: {name: matchers.nearest_neighbor_matcher}
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..conventions import sigma_from_scale, to_colmap
from ..descriptors import DEFAULT_DESCRIPTOR
from ..features.extract import ExtractConfig
from ..types import Features
from .common import ORIENTATION, ConfiguredModel, PictureExtractor, gray_plane

try:
    from gluefactory.models.base_model import BaseModel
except ImportError:  # without glue-factory the class stands alone, with a plain dictionary of options
    BaseModel = ConfiguredModel


class DesDis(BaseModel):  # type: ignore[misc]
    """data['image'] (B, 1 or 3, H, W) in [0, 1], with padding if data['image_size'] (B, 2) says so ->

    keypoints (B, N, 2), keypoint_scores, scales (sigma), oris (radians, clockwise) (B, N), descriptors
    (B, N, D). N is the largest number found, or max_num_keypoints with force_num_keypoints; rows beyond an
    image's own are zeros.
    """

    default_conf: ClassVar[dict[str, Any]] = {
        "descriptor": DEFAULT_DESCRIPTOR,
        "detector": ExtractConfig.detector,
        "orientation": ORIENTATION,
        "max_num_keypoints": 2048,
        "force_num_keypoints": False,
    }
    required_data_keys: ClassVar[list[str]] = ["image"]

    def _init(self, conf: Any) -> None:
        self.extract = PictureExtractor(
            conf["max_num_keypoints"], conf["detector"], conf["orientation"], conf["descriptor"]
        )

    @torch.no_grad()
    def _forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        images = data["image"]
        found = []
        for row, image in enumerate(images):
            if "image_size" in data:
                width, height = (int(side) for side in data["image_size"][row])
                image = image[:, :height, :width]
            found.append(self.extract(gray_plane(image).float()))
        num = max(map(len, found), default=0)
        if self.conf["force_num_keypoints"]:
            num = self.conf["max_num_keypoints"]
        columns = [_columns(features, num) for features in found]
        return {key: torch.stack([one[key] for one in columns]).to(images.device) for key in columns[0]}

    def loss(self, pred: dict[str, Tensor], data: dict[str, Tensor]) -> dict[str, Tensor]:
        """There is none here: descriptors are trained by `desdis-match train`."""
        raise NotImplementedError("DesDis is not trained in glue-factory; see `desdis-match train`")


def _columns(features: Features, num: int) -> dict[str, Tensor]:
    columns = {
        "keypoints": to_colmap(features.keypoints),
        "keypoint_scores": features.scores,
        "scales": sigma_from_scale(features.scales),
        "oris": -features.angles,
        "descriptors": features.descriptors,
    }
    result = {}
    for key, value in columns.items():
        padded = torch.zeros(num, *value.shape[1:])
        padded[: len(value)] = torch.from_numpy(value)
        result[key] = padded
    return result
