"""Which negatives a batch offers: the pairs that are surely different points, and the hardest among them."""

from __future__ import annotations

import torch
from torch import Tensor


def may_match(groups: Tensor, doubt: Tensor) -> Tensor:
    """Pairs of a batch that may show one point and so are never negatives.

    groups: (B,) int64, the point of each pair. doubt: (B,) int64; groups that differ by this much or less may
    be one point (0: only equal groups are). Returns (B, B) bool, True where a pair is no negative; the
    diagonal always is.
    """
    gap = (groups[:, None] - groups[None, :]).abs()
    return gap <= torch.maximum(doubt[:, None], doubt[None, :])


def hardest_negatives(cosines: Tensor, blocked: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar negative of each pair of a batch, as HardNet chooses it (arXiv 1705.10872).

    cosines: (B, B), row i is anchor i, column j is positive j. blocked: (B, B) bool, True where a pair is no
    negative. Pair i takes the more similar of its anchor's nearest strange positive (row i) and its
    positive's nearest strange anchor (column i). Returns rows and columns, (B,) int64 each, into `cosines`;
    a pair whose row and column are blocked throughout gets row = column = its own index.
    """
    open_cosines = cosines.detach().masked_fill(blocked, -torch.inf)
    by_row, columns = open_cosines.max(dim=1)
    by_column, rows = open_cosines.max(dim=0)
    own = torch.arange(len(cosines), device=cosines.device)
    take_row = by_row >= by_column
    rows, columns = torch.where(take_row, own, rows), torch.where(take_row, columns, own)
    nothing = torch.isinf(torch.maximum(by_row, by_column))
    return torch.where(nothing, own, rows), torch.where(nothing, own, columns)
