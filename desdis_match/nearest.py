"""Nearest and second nearest neighbours in both directions from one float32 product, decided exactly.

The product of two images' descriptors is formed a block at a time, small enough for the cache. Of each block
only maxima are kept: of every query over a tile of targets, and of every target over a tile of queries. They
bound all similarities and settle most questions: which queries cannot pass a ratio test, in which tile the
nearest neighbour is, how near the second can be. What is left is looked up in one tile a query, and where
float32 rounding leaves a doubt, in float64, which is exact for the vectors that `match.prepare` makes.

Similarity here is s = 1 - d**2 / 2, the dot product of unit vectors; d is the L2 distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .types import Float32

if TYPE_CHECKING:
    import torch

MEMORY_BUDGET = 64 * 2**20
"""Bytes that the block of similarities and each table of maxima may take (a table LANES numbers a vector)."""
BLOCK_BYTES = 4 * 2**20
"""A block of similarities on the CPU: written and read again while it is in the cache."""
TILE0 = 128
TILE1 = 64
"""Vectors of image 0 and 1 over which one maximum is kept; more where a table would not fit MEMORY_BUDGET."""
LANES = 32
"""Numbers that torch's vectorised maximum takes at a step (AVX-512 takes two of 16)."""


@dataclass(frozen=True)
class Prepared:
    """Descriptors of one image, ready to be matched against many others."""

    vectors: torch.Tensor  # (N, D) float32 unit vectors on the matching device, multiples of 2**-24
    exact: Float32  # the same on the CPU
    rows: NDArray[np.int64]  # (N,) their rows among the image's descriptors

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """D."""
        return self.exact.shape[1]


@dataclass(frozen=True)
class Maxima:
    """What one product tells of Q queries: their greatest similarities, each off by `error` at most."""

    best: NDArray[np.float64]  # (Q,) over all targets
    tile: NDArray[np.int64]  # (Q,) the tile of targets that holds it
    others: NDArray[np.float64]  # (Q,) over the targets of all other tiles; -inf where there are none
    tiles: list[slice]  # the targets of each tile
    error: float


@dataclass(frozen=True)
class Nearest:
    """Of K queries: the nearest target (lowest index among equals), how far, and whether it stands out."""

    index: NDArray[np.int64]  # (K,)
    squared: NDArray[np.float64]  # (K,) squared distance, exact
    distinct: NDArray[np.bool_]  # (K,) distance < ratio * distance to the nearest of all others, exact


def rounding_error(dim: int) -> float:
    """Bound on |computed product - s| for two vectors of `Prepared`.

    A float32 sum of D products errs by D * 2**-24 * |a| |b| at most, in whatever order it is taken (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1); lengths are off 1 by sqrt(D) * 2**-24 at most. Where
    torch may round the factors to TF32 or bfloat16 (set_float32_matmul_precision), 2**-7 more.
    """
    import torch

    coarse = 0.0 if torch.get_float32_matmul_precision() == "highest" else 2.0**-7
    return (2 * dim + 16) * 2.0**-24 + coarse


def maxima(prepared0: Prepared, prepared1: Prepared) -> tuple[Maxima, Maxima]:
    """Maxima of image 0's vectors over those of image 1, and the other way; neither is empty."""
    import torch

    vectors0, vectors1 = prepared0.vectors, prepared1.vectors
    num0, num1, device = len(vectors0), len(vectors1), vectors0.device
    least = math.ceil(4 * num0 * num1 / MEMORY_BUDGET)
    tile0, tile1 = max(TILE0, least), max(TILE1, least)
    block_size = (BLOCK_BYTES if device.type == "cpu" else MEMORY_BUDGET) // 4
    # Tiles of image 1 interleave: each takes every step-th column of a chunk, so that its maximum is one of
    # whole rows of numbers; a multiple of LANES keeps torch's reduction on its vectorised path.
    num_chunks = max(1, min(math.ceil(tile0 * num1 / block_size), num1 // (LANES * tile1)))
    width = math.ceil(num1 / num_chunks)
    step = LANES * math.ceil(width / tile1 / LANES)
    chunks = [slice(start, min(start + width, num1)) for start in range(0, num1, width)]
    height = max(1, min(tile0, block_size // width))
    tiles0 = [slice(start, min(start + tile0, num0)) for start in range(0, num0, tile0)]

    table0 = torch.full((num0, len(chunks) * step), -torch.inf, device=device)
    table1 = torch.full((len(tiles0), num1), -torch.inf, device=device)
    block = torch.empty(height * width, device=device)
    for number, chunk in enumerate(chunks):
        num_columns = chunk.stop - chunk.start
        whole = num_columns // step * step
        targets = vectors1[chunk].T
        for tile, rows in enumerate(tiles0):
            for start in range(rows.start, rows.stop, height):
                stop = min(start + height, rows.stop)
                product = block[: (stop - start) * num_columns].view(-1, num_columns)
                torch.mm(vectors0[start:stop], targets, out=product)
                over0 = table1[tile, chunk]
                torch.maximum(over0, product.amax(0), out=over0)
                over1 = table0[start:stop, number * step : (number + 1) * step]
                if whole:
                    torch.amax(product[:, :whole].unflatten(1, (-1, step)), 1, out=over1)
                if whole < num_columns:
                    over1 = over1[:, : num_columns - whole]
                    torch.maximum(over1, product[:, whole:], out=over1)
    tiles1 = [slice(chunk.start + first, chunk.stop, step) for chunk in chunks for first in range(step)]
    error = rounding_error(prepared0.dim)
    return _two_best(table0, 1, tiles1, error), _two_best(table1, 0, tiles0, error)


def candidates(bounds: Maxima, ratio: float | None, max_distance: float | None) -> NDArray[np.int64]:
    """Queries that the maxima do not show to fail the ratio test or the largest distance."""
    squared = np.maximum(2 - 2 * (bounds.best + bounds.error), 0)  # the least it can be
    keep = np.ones(len(squared), bool)
    if ratio is not None:
        keep &= squared < ratio**2 * (2 - 2 * (bounds.others - bounds.error))
    if max_distance is not None:
        keep &= squared <= max_distance**2
    return np.flatnonzero(keep)


def find_nearest(
    rows: NDArray[np.int64], queries: Prepared, targets: Prepared, bounds: Maxima, ratio: float | None
) -> Nearest:
    """The nearest targets of some rows of the queries; without `ratio` every one counts as distinct."""
    found = Nearest(np.empty(len(rows), np.int64), np.empty(len(rows)), np.ones(len(rows), bool))
    by_tile = np.argsort(bounds.tile[rows], kind="stable")
    tile_size = max(len(range(*tile.indices(len(targets)))) for tile in bounds.tiles)
    group_size = max(1, MEMORY_BUDGET // (4 * tile_size + 16 * queries.dim))
    for start in range(0, len(rows), group_size):
        group = by_tile[start : start + group_size]
        some = _find_in_tiles(rows[group], queries, targets, bounds, ratio)
        found.index[group], found.squared[group], found.distinct[group] = (
            some.index,
            some.squared,
            some.distinct,
        )
    return found


def find_exact(queries: Float32, targets: Float32, ratio: float | None) -> Nearest:
    """The nearest of (T, D) targets to each of (K, D) queries by float64 products, which are exact here."""
    found = Nearest(np.empty(len(queries), np.int64), np.empty(len(queries)), np.ones(len(queries), bool))
    doubles = targets.astype(np.float64)
    norms = np.einsum("td,td->t", doubles, doubles)
    group_size = max(1, MEMORY_BUDGET // (8 * len(targets)))
    for start in range(0, len(queries), group_size):
        group = slice(start, start + group_size)
        some = queries[group].astype(np.float64)
        squared = some @ doubles.T
        squared *= -2
        squared += norms
        squared += np.einsum("kd,kd->k", some, some)[:, None]
        index = found.index[group] = squared.argmin(1)
        each = np.arange(len(index))
        found.squared[group] = squared[each, index]
        if ratio is not None:
            squared[each, index] = np.inf
            found.distinct[group] = found.squared[group] < ratio**2 * squared.min(1)
    return found


def _two_best(table: torch.Tensor, dim: int, tiles: list[slice], error: float) -> Maxima:
    """Greatest entry along `dim`, where it is, and the greatest of the others; spoils the table."""
    import torch

    best, tile = table.max(dim)
    others = table.scatter_(dim, tile.unsqueeze(dim), -torch.inf).amax(dim)
    return Maxima(_float64(best), tile.cpu().numpy(), _float64(others), tiles, error)


def _find_in_tiles(
    rows: NDArray[np.int64], queries: Prepared, targets: Prepared, bounds: Maxima, ratio: float | None
) -> Nearest:
    """find_nearest for rows that are sorted by their best tile."""
    import torch

    device = queries.vectors.device
    some = queries.vectors[torch.from_numpy(rows).to(device)]
    tile = bounds.tile[rows]
    ends = np.searchsorted(tile, np.arange(len(bounds.tiles) + 1))
    size = max(len(range(*bounds.tiles[t].indices(len(targets)))) for t in np.unique(tile))
    similar = torch.full((len(rows), size), -torch.inf, device=device)
    for t in np.unique(tile):
        members = targets.vectors[bounds.tiles[t]]
        torch.mm(some[ends[t] : ends[t + 1]], members.T, out=similar[ends[t] : ends[t + 1], : len(members)])
    best, member = similar.max(1)
    second = similar.scatter_(1, member[:, None], -torch.inf).amax(1)
    starts = np.array([tile.start for tile in bounds.tiles])
    steps = np.array([tile.step or 1 for tile in bounds.tiles])
    index = starts[tile] + steps[tile] * member.cpu().numpy()
    difference = queries.exact[rows].astype(np.float64) - targets.exact[index]
    squared = np.einsum("kd,kd->k", difference, difference)
    # The next nearest is in the same tile or in another; its similarity is off by `error` at most.
    others = np.maximum(_float64(second), bounds.others[rows])
    unsure = _float64(best) - others <= 2 * bounds.error
    distinct = np.ones(len(rows), bool)
    if ratio is not None:
        distinct = squared < ratio**2 * (2 - 2 * (others + bounds.error))
        unsure |= distinct != (squared < ratio**2 * (2 - 2 * (others - bounds.error)))
    if unsure.any():
        exact = find_exact(queries.exact[rows[unsure]], targets.exact, ratio)
        index[unsure], squared[unsure], distinct[unsure] = exact.index, exact.squared, exact.distinct
    return Nearest(index, squared, distinct)


def _float64(values: torch.Tensor) -> NDArray[np.float64]:
    return values.cpu().numpy().astype(np.float64)
