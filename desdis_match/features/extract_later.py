"""Which way up a photo stands that comes later, alone, to a set described with orientation `auto`.

The set has no probes any more (orientation_of_set.py), so OrientationPolicy.of_newcomer says how such a photo
is described, and here it is turned by quarters where it does not match upright.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..conventions import sigma_from_scale
from ..matching.match import match_descriptors
from ..storage.keypoint_files import GivenKeypoints
from ..types import Features, Float32
from .extract import Extractor, describe_keypoints
from .orientation_of_set import PROBE_KEYPOINTS
from .orientation_policy import QUARTER_TURNS

MIN_GAIN = 15
"""Matches of the best keypoints with one photo of the set that a photo must have more when turned; photos of
different things have a handful by chance."""

CLEAR = 60
"""Upright, a photo with this many matches, MIN_GAIN included, is not turned at all."""


def described_turned(photo: Path, features: Features, turn: float, extractor: Extractor) -> Features:
    """The same keypoints described in frames turned by `turn` radians."""
    given = GivenKeypoints(features.keypoints, sigma_from_scale(features.scales), features.angles + turn)
    turned = describe_keypoints(photo, given, extractor.config, extractor.descriptor, extractor.device)
    return replace(turned, scores=features.scores)


class WayUp:
    """`way_up(photo, upright)` -> the features as they are, or turned where that matches clearly better."""

    def __init__(self, others: Iterable[Features], extractor: Extractor) -> None:
        """others: features of the photos of the set."""
        self.others = [_best_descriptors(features) for features in others]
        self.extractor = extractor

    def __call__(self, photo: Path, upright: Features) -> Features:
        """Raises UnreadableImage when the photo is to be described again and cannot be read."""
        best, most = upright, self._most_matches(upright) + MIN_GAIN
        for turn in QUARTER_TURNS if most < CLEAR else ():
            turned = described_turned(photo, upright, turn, self.extractor)
            if (count := self._most_matches(turned)) > most:
                best, most = turned, count
        return best

    def _most_matches(self, features: Features) -> int:
        descriptors, device = _best_descriptors(features), str(self.extractor.device)
        return max(len(match_descriptors(descriptors, other, device=device)) for other in self.others)


def _best_descriptors(features: Features) -> Float32:
    return features.descriptors[np.argsort(-features.scores, kind="stable")[:PROBE_KEYPOINTS]]
