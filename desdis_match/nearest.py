"""Nearest and second nearest neighbours of descriptors on the exact grid of match.py, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

MEMORY_BUDGET = 64 * 2**20
"""Bytes of similarities held at a time."""


@dataclass(frozen=True)
class NearestTwo:
    """Of each query: its nearest target (the lowest index among equals) and two squared L2 distances."""

    index: NDArray[np.int64]  # (Q,)
    squared: NDArray[np.float64]  # (Q,) to the nearest
    second_squared: NDArray[np.float64]  # (Q,) to the nearest of all others; infinity where there is none


def nearest_two(queries: torch.Tensor, targets: torch.Tensor) -> NearestTwo:
    """The two nearest of targets (T, D) for each of queries (Q, D), T > 0, by float64 products.

    Every value is exact for vectors on the grid, so any device and block size gives the same bits.
    """
    import torch

    targets = targets.double()
    target_norms = (targets * targets).sum(1)
    num_rows = max(1, MEMORY_BUDGET // (8 * len(targets)))
    parts = []
    for block in queries.split(num_rows):
        block = block.double()
        squared = (block * block).sum(1, keepdim=True) + target_norms - 2 * (block @ targets.T)
        nearest, index = squared.min(1)
        second = squared.scatter_(1, index[:, None], torch.inf).amin(1)
        parts.append((index.cpu(), nearest.cpu(), second.cpu()))
    if not parts:
        return NearestTwo(np.empty(0, np.int64), np.empty(0), np.empty(0))
    index, nearest, second = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return NearestTwo(index, nearest, second)
