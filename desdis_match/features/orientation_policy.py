"""Orientation `auto` is a policy of a set of photos. What it means for one of them is decided here, once.

    policy = OrientationPolicy(config)
    policy.of_set      # the first pass over a set: upright, to be turned when all have been compared
    policy.of_one      # a photo alone, which has nothing to be compared with: `multi`
    policy.of_newcomer(angles)   # a photo that comes later to a set whose frames have these angles

With any other orientation all of them are the configuration as it is, and nothing is compared or turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from .detectors import DetectorConfig

Config = TypeVar("Config", bound=DetectorConfig)

QUARTER_TURNS = (math.pi / 2, -math.pi / 2, math.pi)
"""Radians, tried where the upright frames of a newcomer do not match."""

ALIKE = 0.999
"""Frames of a photo whose angles' mean vector is longer than this all have one angle."""


@dataclass(frozen=True)
class Newcomer(Generic[Config]):
    """How a photo is described that comes later, alone, to a set."""

    config: Config
    turns: tuple[float, ...]  # radians, by which its frames may have to be turned; empty: they stay


@dataclass(frozen=True)
class OrientationPolicy(Generic[Config]):
    """What a configuration's orientation means for photos of a set, a newcomer and a photo alone."""

    config: Config

    @property
    def compares(self) -> bool:
        """Whether the photos of a set are compared to find which way up each stands."""
        return self.config.compares_photos

    @property
    def of_set(self) -> Config:
        """For the first pass over a set, and for keypoints that come without angles."""
        return self._with("upright")

    @property
    def of_one(self) -> Config:
        """For a photo alone."""
        return self._with("multi")

    def of_newcomer(self, angles: Iterable[NDArray[np.float32]]) -> Newcomer[Config]:
        """angles: of the frames (N,) of each photo of the set.

        `multi` where most photos have a direction for each keypoint, else upright, to be turned by quarters
        where they do not match so.
        """
        if not self.compares:
            return Newcomer(self.config, ())
        alike = [len(of_photo) == 0 or abs(np.exp(1j * of_photo).mean()) > ALIKE for of_photo in angles]
        if 2 * sum(alike) >= len(alike):
            return Newcomer(self.of_set, QUARTER_TURNS)
        return Newcomer(self.of_one, ())

    def _with(self, orientation: Literal["upright", "multi"]) -> Config:
        return replace(self.config, orientation=orientation) if self.compares else self.config
