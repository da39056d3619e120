"""Which keypoints are worth having: the probability that one is found again and matched right.

After Hartmann, Havlena and Schindler (Predicting Matchability, CVPR 2014), but from what detection knows
already rather than from descriptors: the response around the extremum, its contrast, its size, how crowded
its surroundings are. A network of two small hidden layers a detector's response makes a score of it in
(0, 1), which means the same for each of them, so that keypoints of several can be pooled. Training is in
distill/matchability.py; the weights are in the package.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .scalespace import AROUND, Extrema, Response

WEIGHTS = Path(__file__).parents[1] / "weights" / "matchability.safetensors"

LIMIT = 3.0
"""Samples around an extremum are believed up to this many times its own size."""

CELL = 16.0
"""Side of the cells, in pixels, in which an extremum's neighbours are counted (nine of them)."""

CHUNK = 8192
"""Extrema judged at a time."""

Ranking = Callable[[Extrema, Response], Tensor]
"""Extrema (all of a photo, of one response) -> scores (N,), larger is better."""


def _orbits() -> tuple[list[int], list[list[int]]]:
    """Columns of Extrema.around that a turn by 90 degrees leaves, and those it takes into each other."""
    near = [(level, abs(r) + abs(c)) for level in range(3) for r in (-1, 0, 1) for c in (-1, 0, 1)]
    far = [(3 + step, abs(r) + abs(c)) for step in (0, 1) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
    keys = near + far
    columns = [[i for i, other in enumerate(keys) if other == key] for key in dict.fromkeys(keys)]
    alone = [rows[0] for rows in columns if len(rows) == 1 and rows[0] != 13]  # 13 is always 1
    return alone, [rows for rows in columns if len(rows) == 4]


ALONE, FOURS = _orbits()

EVIDENCE = len(ALONE) + 4 * len(FOURS) + 5
"""Numbers that the networks see of an extremum."""


def evidence(found: Extrema) -> Tensor:
    """(N, EVIDENCE) float32 of all extrema of a photo.

    Samples around that a turn by 90 degrees or a mirror takes into each other come sorted; then, in
    logarithms, contrast, contrast over the median's, sigma, crowding and a third of the number of extrema.
    """
    if found.around is None:
        raise InputError("these keypoints come without their surroundings; rank them by contrast")
    around = found.around.nan_to_num(0.0, 0.0, 0.0).clamp(-LIMIT, LIMIT)
    fours = around[:, torch.tensor(FOURS, device=around.device)].sort(2).values.flatten(1)
    if len(around) == 0:
        return around.new_zeros(0, EVIDENCE)
    contrast = found.contrast.log()
    whole = torch.stack(
        [
            contrast,
            contrast - contrast.median(),
            found.sigma.log2(),
            _crowding(found.xy).log(),
            contrast.new_tensor(len(contrast)).log().expand_as(contrast) / 3.0,
        ],
        1,
    )
    return torch.cat([around[:, ALONE], fours, whole], 1)


def _crowding(xy: Tensor) -> Tensor:
    """(N,) extrema in the cell of each and in the eight around it, itself included."""
    column, row = (xy / CELL).floor().long().unbind(1)
    width, height = int(column.max()) + 3, int(row.max()) + 3
    place = (row + 1) * width + column + 1
    counts = torch.bincount(place, minlength=width * height)
    around = [(place + dr * width + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)]
    return sum((counts[near] for near in around), torch.zeros_like(place)).to(xy.dtype)


class Head(torch.nn.Module):
    """Evidence (N, EVIDENCE) -> logits (N,). `mean` and `spread` of the training set are part of it."""

    mean: Tensor  # (EVIDENCE,)
    spread: Tensor  # (EVIDENCE,)

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(EVIDENCE))
        self.register_buffer("spread", torch.ones(EVIDENCE))
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(EVIDENCE, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, 1),
        )

    def forward(self, seen: Tensor) -> Tensor:
        return torch.as_tensor(self.layers((seen - self.mean) / self.spread)[:, 0])


def matchability(found: Extrema, response: Response) -> Tensor:
    """(N,) probability that each is found again and matched right, as in the training set."""
    if len(found.xy) == 0:
        return found.contrast
    head = packaged_head(response, str(found.xy.device))
    return torch.cat([head(part).sigmoid() for part in evidence(found).split(CHUNK)])


@lru_cache(maxsize=8)
def packaged_head(response: Response, device: str) -> Head:
    """The head for a response, from the package, on `device`."""
    return read_heads(WEIGHTS)[response].to(device)


def read_heads(path: Path) -> dict[str, Head]:
    """Heads by response of a file that save_heads wrote. InputError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} holds no heads of matchability: {error}") from error
    heads = {}
    for response in dict.fromkeys(name.split(".")[0] for name in state):
        part = {n.removeprefix(response + "."): t for n, t in state.items() if n.startswith(response + ".")}
        head = Head(len(part["layers.0.bias"]))
        head.load_state_dict(part)
        heads[response] = head.eval().requires_grad_(False)
    return heads


def save_heads(path: Path, heads: dict[str, Head], metadata: dict[str, object]) -> None:
    """Write heads by response, with what is known about them, to one safetensors file."""
    from safetensors.torch import save

    from ..support.files import atomic_path

    tensors = {f"{r}.{n}": t.contiguous() for r, head in heads.items() for n, t in head.state_dict().items()}
    with atomic_path(path) as partial:
        partial.write_bytes(save(tensors, {"desdis_match": json.dumps(metadata, sort_keys=True)}))


def contrast(found: Extrema, response: Response) -> Tensor:
    """(N,) contrast, as SIFT ranks its keypoints."""
    return found.contrast


RANKINGS: dict[str, Ranking] = {"matchability": matchability, "contrast": contrast}


def ranked(found: Extrema, response: Response, ranking: str) -> Extrema:
    """The same extrema with the scores of `ranking` in place of their contrast."""
    return found._replace(contrast=RANKINGS[ranking](found, response))


assert len(ALONE) + 4 * len(FOURS) + 1 == AROUND
