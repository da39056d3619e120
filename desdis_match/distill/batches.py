"""The batches of a training: which pairs a step sees, and their augmented patches.

Everything random comes from (seed, step, rank), never from a generator's history: a step can be drawn again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..patchsets.patchset import Pairs, PatchSet, draw_pairs
from .augment import augment_pairs, dominant_angles
from .config import TrainConfig


class Batches:
    """Batches of network patches for every step, drawn ahead in a thread; patches live on the device."""

    def __init__(self, data: PatchSet, config: TrainConfig, device: torch.device, rank: int) -> None:
        self.data, self.config, self.device, self.rank = data, config, device, rank
        self.stored = torch.from_numpy(data.patches).to(device)
        self.context = torch.from_numpy(data.context).to(device)
        self.angles: Tensor | None = None
        if config.augment.dominant > 0:
            self.angles = dominant_angles(self.stored, self.context, torch.from_numpy(data.points).to(device))
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Any] | None = None

    def pairs(self, step: int) -> Pairs:
        """The pairs of a step, the same however often it is asked."""
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self._thread.submit(self._draw, step))
        drawn = self._ahead[1].result()
        self._ahead = (step + 1, self._thread.submit(self._draw, step + 1))
        result: Pairs = drawn
        return result

    def _draw(self, step: int) -> Pairs:
        rng = np.random.default_rng([self.config.seed, step, self.rank])
        return draw_pairs(self.data, self.config.batch, rng, self.config.data.stretch)

    def rows(self, pairs: Pairs) -> Tensor:
        """(2B,) rows of the set: anchors, then positives."""
        return torch.from_numpy(np.concatenate([pairs.anchors, pairs.positives])).to(self.device)

    def turned(self, step: int) -> bool:
        """Whether the pairs of a step are turned along their dominant gradients; the same on every rank."""
        share = self.config.augment.dominant
        return share > 0 and step_seed(self.config.seed, step, 3) < share * 2**63

    def patches(self, rows: Tensor, step: int) -> Tensor:
        """(2B, 1, 32, 32) augmented patches."""
        generator = torch.Generator(self.device).manual_seed(step_seed(self.config.seed, step, self.rank, 1))
        angles = self.angles[rows] if self.angles is not None and self.turned(step) else None
        return augment_pairs(self.stored[rows], self.context[rows], self.config.augment, generator, angles)


def step_seed(*numbers: int) -> int:
    """A 63-bit seed from several numbers: those of the run, the step, the rank, and of what it is for."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
