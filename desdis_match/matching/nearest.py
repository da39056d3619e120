"""Nearest and second nearest neighbours in both directions from one product, decided exactly.

The product of two images' descriptors is formed a block at a time, small enough for the cache, in half
precision where the processor has matrix units for it (four times as fast), else in float32. Of each block
only maxima are kept: of every query over a tile of targets, and of every target over a tile of queries. With
bounds on the rounding they settle most questions: which queries cannot pass a ratio test, in which tile the
nearest neighbour is, how near the second can be. The rest is looked up in float32, in one tile a query or,
where that leaves a doubt, in all; the last doubts go to float64, which is exact for vectors that
`match.prepare` makes.

Similarity here is s = 1 - d**2 / 2, the dot product of unit vectors; d is the L2 distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..types import Float32

if TYPE_CHECKING:
    import torch

MEMORY_BUDGET = 64 * 2**20
"""Bytes that the block of similarities and each table of maxima may take (a table LANES numbers a vector)."""
BLOCK_BYTES = 4 * 2**20
"""A block of similarities on the CPU: written and read again while it is in the cache."""
TILE0 = 256
TILE1 = 64
"""Vectors of image 0 and 1 over which one maximum is kept; more where a table would not fit MEMORY_BUDGET."""
LANES = 32
"""Numbers that torch's vectorised maximum takes at a step (32 int16 or twice 16 float32 with AVX-512)."""


@dataclass(frozen=True)
class Prepared:
    """Descriptors of one image, ready to be matched against many others."""

    exact: Float32  # (N, D) unit vectors, multiples of 2**-24
    rows: NDArray[np.int64]  # (N,) their rows among the image's descriptors
    vectors: torch.Tensor  # (N, D) float32, `exact` on the matching device
    coarse: torch.Tensor  # (N, D) `vectors` in the product's type
    coarse_error: float  # greatest |vector - coarse vector|

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """D."""
        result: int = self.exact.shape[1]
        return result


@dataclass(frozen=True)
class Maxima:
    """What one product tells of Q queries: bounds on their greatest similarities."""

    tile: NDArray[np.int64]  # (Q,) the tile of targets where the greatest was seen
    best: Bounds  # (Q,) in that tile
    others: Bounds  # (Q,) in all other tiles
    tiles: list[slice]  # the targets of each tile


@dataclass(frozen=True)
class Bounds:
    """low <= similarity <= high."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.int64]) -> Bounds:
        return Bounds(self.low[rows], self.high[rows])


@dataclass(frozen=True)
class Nearest:
    """Of K queries: the nearest target (lowest index among equals), how far, and whether it stands out."""

    index: NDArray[np.int64]  # (K,)
    squared: NDArray[np.float64]  # (K,) squared distance, exact
    distinct: NDArray[np.bool_]  # (K,) distance < ratio * distance to the nearest of all others, exact


def coarse_type(device: torch.device) -> torch.dtype:
    """The fastest type for a product: half precision where a CPU computes in it (AMX, AVX-512 BF16)."""
    import torch

    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if device.type == "cpu" and has.get("amx_fp16"):
        return torch.float16
    if device.type == "cpu" and (has.get("amx_bf16") or has.get("avx512_bf16")):
        return torch.bfloat16
    return torch.float32


def hold(exact: Float32, rows: NDArray[np.int64], device: torch.device) -> Prepared:
    """Put (N, D) vectors of the grid on a device, in the types that searching needs."""
    import torch

    vectors = torch.from_numpy(exact).to(device)
    coarse, error = vectors, 0.0
    dtype = coarse_type(device)
    if dtype != torch.float32 and len(exact):
        coarse = vectors.to(dtype)
        # Matrix units may take subnormal numbers for zero; so they are made zero, and count as an error.
        coarse = coarse.masked_fill(coarse.abs() < torch.finfo(dtype).smallest_normal, 0)
        error = float((vectors.double() - coarse.double()).norm(dim=1).max())
    return Prepared(exact, rows, vectors, coarse, error)


def rounding_error(dim: int) -> float:
    """Bound on |computed product - s| for float32 vectors of the grid.

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

    vectors0, vectors1 = prepared0.coarse, prepared1.coarse
    num0, num1, device, dtype = len(vectors0), len(vectors1), vectors0.device, vectors0.dtype
    least = math.ceil(dtype.itemsize * num0 * num1 / MEMORY_BUDGET)
    tile0, tile1 = max(TILE0, least), max(TILE1, least)
    block_size = (BLOCK_BYTES if device.type == "cpu" else MEMORY_BUDGET) // dtype.itemsize
    # Tiles of image 1 interleave: each takes every step-th column of a chunk, so that its maximum is one of
    # whole rows of numbers; a multiple of LANES keeps torch's reduction on its vectorised path.
    num_chunks = math.ceil(tile0 * num1 / block_size)
    step = LANES * math.ceil(num1 / num_chunks / (LANES * tile1))
    width = step * tile1
    chunks = [slice(start, min(start + width, num1)) for start in range(0, num1, width)]
    height = max(1, min(tile0, block_size // min(width, num1)))
    tiles0 = [slice(start, min(start + tile0, num0)) for start in range(0, num0, tile0)]

    # Half-precision numbers that are not negative are ordered as the int16 of the same bits, whose maximum is
    # far quicker. A negative one found in this way says only that there is no positive one.
    order, lowest = (dtype, -torch.inf) if dtype == torch.float32 else (torch.int16, -(2**15))
    table0 = torch.full((num0, len(chunks) * step), lowest, dtype=order, device=device)
    table1 = torch.full((len(tiles0), num1), lowest, dtype=order, device=device)
    block = torch.empty(height * min(width, num1), dtype=dtype, device=device)
    for number, chunk in enumerate(chunks):
        num_columns = chunk.stop - chunk.start
        whole = num_columns // step * step
        targets = vectors1[chunk].T
        for tile, rows in enumerate(tiles0):
            for start in range(rows.start, rows.stop, height):
                stop = min(start + height, rows.stop)
                product = block[: (stop - start) * num_columns].view(-1, num_columns)
                torch.mm(vectors0[start:stop], targets, out=product)
                product = product.view(order)
                over0 = table1[tile, chunk]
                torch.maximum(over0, product.amax(0), out=over0)
                over1 = table0[start:stop, number * step : (number + 1) * step]
                if whole:
                    torch.amax(product[:, :whole].unflatten(1, (-1, step)), 1, out=over1)
                if whole < num_columns:
                    over1 = over1[:, : num_columns - whole]
                    torch.maximum(over1, product[:, whole:], out=over1)
    tiles1 = [slice(chunk.start + first, chunk.stop, step) for chunk in chunks for first in range(step)]
    # |a b - a' b'| <= |a - a'| |b| + |a'| |b - b'|
    error0, error1 = prepared0.coarse_error, prepared1.coarse_error
    error = rounding_error(prepared0.dim) + error0 + (1 + error0) * error1
    return _two_best(table0, 1, dtype, tiles1, error), _two_best(table1, 0, dtype, tiles0, error)


def candidates(bounds: Maxima, ratio: float | None, max_distance: float | None) -> NDArray[np.int64]:
    """Queries that the maxima do not show to fail the ratio test or the largest distance."""
    least = np.maximum(2 - 2 * bounds.best.high, 0)  # squared distance
    keep = np.ones(len(least), bool)
    if ratio is not None:
        keep &= least < ratio**2 * (2 - 2 * bounds.others.low)
    if max_distance is not None:
        keep &= least <= max_distance**2
    return np.flatnonzero(keep)


def find_nearest(
    rows: NDArray[np.int64], queries: Prepared, targets: Prepared, bounds: Maxima, ratio: float | None
) -> Nearest:
    """The nearest targets of some rows of the queries; without `ratio` every one counts as distinct."""
    found = Nearest(np.empty(len(rows), np.int64), np.empty(len(rows)), np.ones(len(rows), bool))
    unsure = np.zeros(len(rows), bool)
    by_tile = np.argsort(bounds.tile[rows], kind="stable")
    tile_size = max(len(range(*tile.indices(len(targets)))) for tile in bounds.tiles)
    group_size = max(1, MEMORY_BUDGET // (4 * tile_size + 16 * queries.dim))
    for start in range(0, len(rows), group_size):
        group = by_tile[start : start + group_size]
        some, unsure[group] = _find_in_tiles(rows[group], queries, targets, bounds, ratio)
        _put(found, group, some)
    doubts = np.flatnonzero(unsure)
    if len(doubts) and len(bounds.tiles) > 1:
        _put(found, doubts, find_nearest(rows[doubts], queries, targets, _one_tile(queries, targets), ratio))
    elif len(doubts):
        _put(found, doubts, find_exact(queries.exact[rows[doubts]], targets.exact, ratio))
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


def _two_best(table: torch.Tensor, dim: int, dtype: torch.dtype, tiles: list[slice], error: float) -> Maxima:
    """Bounds from a table of maxima over tiles along `dim`; spoils the table."""
    lowest = -float("inf") if table.is_floating_point() else -(2**15)
    best, tile = table.max(dim)
    others = table.scatter_(dim, tile.unsqueeze(dim), lowest).amax(dim)
    return Maxima(
        tile.cpu().numpy(), _bounds(best.view(dtype), error), _bounds(others.view(dtype), error), tiles
    )


def _bounds(products: torch.Tensor, error: float) -> Bounds:
    """Bounds on similarities from their computed products, which err by `error` before they are rounded."""
    import torch

    values = _float64(products)
    if products.dtype == torch.float32:
        return Bounds(values - error, values + error)
    info = torch.finfo(products.dtype)
    half_unit = np.ldexp(info.eps, np.frexp(values)[1] - 2)  # of the last place; frexp's fraction is below 1
    errors = error + np.maximum(half_unit, info.smallest_normal)
    return Bounds(np.where(values > 0, values - errors, -np.inf), np.maximum(values, 0) + errors)


def _one_tile(queries: Prepared, targets: Prepared) -> Maxima:
    """What is known without any product: all targets are in one tile."""
    nothing = np.full(len(queries), -np.inf)
    tile = np.zeros(len(queries), np.int64)
    return Maxima(tile, Bounds(nothing, -nothing), Bounds(nothing, nothing), [slice(0, len(targets))])


def _find_in_tiles(
    rows: NDArray[np.int64], queries: Prepared, targets: Prepared, bounds: Maxima, ratio: float | None
) -> tuple[Nearest, NDArray[np.bool_]]:
    """The nearest targets in the best tile of rows that are sorted by it, and where that is in doubt."""
    import torch

    device = queries.vectors.device
    some = queries.vectors[torch.from_numpy(rows).to(device)]
    tile = bounds.tile[rows]
    ends = np.searchsorted(tile, np.arange(len(bounds.tiles) + 1))
    used = np.unique(tile)
    size = max(len(range(*bounds.tiles[t].indices(len(targets)))) for t in used)
    similar = torch.full((len(rows), size), -torch.inf, device=device)
    for t in used:
        members = targets.vectors[bounds.tiles[t]]
        torch.mm(some[ends[t] : ends[t + 1]], members.T, out=similar[ends[t] : ends[t + 1], : len(members)])
    first, member = similar.max(1)
    second = _float64(similar.scatter_(1, member[:, None], -torch.inf).amax(1))
    starts = np.array([tile.start for tile in bounds.tiles])
    steps = np.array([tile.step or 1 for tile in bounds.tiles])
    index = starts[tile] + steps[tile] * member.cpu().numpy()
    difference = queries.exact[rows].astype(np.float64) - targets.exact[index]
    squared = np.einsum("kd,kd->k", difference, difference)
    # The next nearest is in the same tile or in another.
    error = rounding_error(queries.dim)
    low = np.maximum(second - error, bounds.others.low[rows])
    high = np.maximum(second + error, bounds.others.high[rows])
    unsure = _float64(first) - error <= high
    distinct = np.ones(len(rows), bool)
    if ratio is not None:
        distinct = squared < ratio**2 * (2 - 2 * high)
        unsure |= distinct != (squared < ratio**2 * (2 - 2 * low))
    return Nearest(index, squared, distinct), unsure


def _put(found: Nearest, places: NDArray[np.int64], some: Nearest) -> None:
    found.index[places], found.squared[places], found.distinct[places] = (
        some.index,
        some.squared,
        some.distinct,
    )


def _float64(values: torch.Tensor) -> NDArray[np.float64]:
    return values.cpu().double().numpy()


def mutual_rows(forward: NDArray[np.int64], backward: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of image 0 whose nearest row of image 1, `forward` (N0,), has them nearest, `backward` (N1,)."""
    rows = np.arange(len(forward))
    mutual: NDArray[np.int64] = rows[backward[forward] == rows]
    return mutual
