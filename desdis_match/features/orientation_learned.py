"""The network behind `--orientation learned`: which way up a patch is, so that descriptors agree.

It reads the described patch itself, upright, and says (cos, sin) of the angle to turn the frame by. Training
is in distill/orientation.py; the weights are in the package. As a DesDis of width 8 with two outputs it costs
a third of desdis-16, and with its patches as much as `dominant`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..descriptors.engine import Descriptor
from ..descriptors.weights import read_weights, weights_fingerprint
from .frames import PatchPyramid, extract_patches

WEIGHTS = Path(__file__).parents[1] / "weights" / "orientation.safetensors"

CHUNK = 2048
"""Patches cut and judged at a time."""


def predict_angles(pyramid: PatchPyramid, lafs: Tensor) -> Tensor:
    """Angles (N,) radians by which to turn upright sigma-sized frames (N, 2, 3)."""
    network = orientation_network(str(lafs.device), torch.get_num_threads())
    vectors = [network(extract_patches(pyramid, chunk)) for chunk in lafs.split(CHUNK)]
    return torch.cat([torch.atan2(part[:, 1], part[:, 0]) for part in vectors]).to(lafs)


@lru_cache(maxsize=4)
def orientation_network(device: str, threads: int) -> Descriptor:
    """The packaged network: patches (N, 1, 32, 32) in [0, 1] on `device` -> (N, 2) unit (cos, sin)."""
    network, _ = read_weights(WEIGHTS)
    return Descriptor(
        network, "orientation", 2, weights_fingerprint(network), torch.device(device), "auto", threads
    )
