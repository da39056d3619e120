"""hloc: an extractor and a matcher with the shape of its models, and their entries for its `confs`.

    from desdis_match.plugins import hloc as desdis; desdis.register()
    features = extract_features.main(desdis.EXTRACT, images, outputs, as_half=False)
    matches = match_features.main(desdis.MATCH, pairs, features, matches=outputs / "matches.h5")

`as_half=False` keeps keypoints in float32: hloc's float16 loses a pixel beyond x = 2048. Its matches are
int16, which wraps beyond 32767 keypoints.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..conventions import sigma_from_scale, to_degrees
from ..descriptors import DEFAULT_DESCRIPTOR
from ..features.extract import ExtractConfig
from ..matching.match import MatchConfig, match_descriptors
from .common import ORIENTATION, ConfiguredModel, PictureExtractor, gray_plane, install_module

EXTRACT: dict[str, Any] = {
    "output": "feats-desdis",
    "model": {"name": "desdis"},
    "preprocessing": {"grayscale": True, "resize_max": ExtractConfig.max_size},
}
"""For hloc.extract_features.main; the model takes the keys of DesDis.default_conf."""

MATCH: dict[str, Any] = {"output": "matches-desdis", "model": {"name": "desdis"}}
"""For hloc.match_features.main; the model takes the keys of DesDisMatcher.default_conf."""


class HlocModel(ConfiguredModel):
    """The contract of hloc's BaseModel, which also names the inputs that must be there."""

    required_inputs: ClassVar[list[str]] = []

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        missing = [key for key in self.required_inputs if key not in data]
        if missing:
            raise KeyError(f"the data holds no {', '.join(missing)}")
        return super().forward(data)


class DesDis(HlocModel):
    """{'image': (1, 1 or 3, H, W) in [0, 1]} -> keypoints (1, N, 2), scores, scales, oris (1, N), descriptors

    (1, D, N). Pixels have (0, 0) at the centre of the first; scales are sigmas, oris degrees clockwise.
    """

    default_conf: ClassVar[dict[str, Any]] = {
        "descriptor": DEFAULT_DESCRIPTOR,
        "detector": ExtractConfig.detector,
        "orientation": ORIENTATION,
        "max_keypoints": ExtractConfig.max_keypoints,
    }
    required_inputs: ClassVar[list[str]] = ["image"]
    detection_noise = 1.0

    def _init(self, conf: dict[str, Any]) -> None:
        self.extract = PictureExtractor(
            conf["max_keypoints"], conf["detector"], conf["orientation"], conf["descriptor"]
        )

    @torch.no_grad()
    def _forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        image = data["image"]
        if len(image) != 1:
            raise ValueError(f"one image at a time, as hloc gives them, not {len(image)}")
        features = self.extract(gray_plane(image[0]).float())
        columns = {
            "keypoints": features.keypoints,
            "scores": features.scores,
            "scales": sigma_from_scale(features.scales),
            "oris": to_degrees(features.angles),
            "descriptors": np.ascontiguousarray(features.descriptors.T),
        }
        return {key: torch.from_numpy(value)[None].to(image.device) for key, value in columns.items()}


class DesDisMatcher(HlocModel):
    """{'descriptors0': (1, D, N0), 'descriptors1': (1, D, N1)} -> matches0 (1, N0), -1 = none, and

    matching_scores0 (1, N0) in [0, 1].
    """

    default_conf: ClassVar[dict[str, Any]] = {
        "matcher": MatchConfig.matcher,
        "ratio": MatchConfig.ratio,
        "max_distance": MatchConfig.max_distance,
    }
    required_inputs: ClassVar[list[str]] = ["descriptors0", "descriptors1"]

    def _init(self, conf: dict[str, Any]) -> None:
        self.options = {key: conf[key] for key in self.default_conf}
        MatchConfig(**self.options)  # a wrong option is told now and not at the first pair

    @torch.no_grad()
    def _forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        rows0, rows1 = (data[key][0].T.contiguous() for key in self.required_inputs)
        found = match_descriptors(rows0, rows1, MatchConfig(**self.options), str(rows0.device))
        matches0 = torch.full((1, len(rows0)), -1, dtype=torch.long)
        scores0 = torch.zeros(1, len(rows0))
        rows = torch.from_numpy(found.indices).long()
        matches0[0, rows[:, 0]] = rows[:, 1]
        scores0[0, rows[:, 0]] = torch.from_numpy(found.scores)
        return {"matches0": matches0.to(rows0.device), "matching_scores0": scores0.to(rows0.device)}


def register() -> None:
    """Make hloc find both under the model name `desdis`. ImportError when hloc is not installed."""
    from hloc.utils.base_model import BaseModel

    for package, model in (("hloc.extractors", DesDis), ("hloc.matchers", DesDisMatcher)):
        install_module(f"{package}.desdis", _child_of(BaseModel, model))


def _child_of(base: type, model: type[HlocModel]) -> type:
    """`model` as a subclass of hloc's own base class: hloc takes no others."""
    names = ("default_conf", "required_inputs", "detection_noise", "_init", "_forward")
    members = {name: model.__dict__[name] for name in names if name in model.__dict__}
    return type(
        model.__name__, (base,), {**members, "__doc__": model.__doc__, "__module__": model.__module__}
    )
