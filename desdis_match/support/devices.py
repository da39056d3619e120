"""Where tensors live: the torch device behind `--device auto|cpu|cuda|mps`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA, then MPS, then the CPU. InputError for a device that is not here."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"unknown device '{device}'; take auto, cpu, cuda or mps") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device for torch here; take --device cpu or auto")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"there is no {chosen}; this machine has {torch.cuda.device_count()} CUDA devices")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("there is no MPS device for torch here; take --device cpu or auto")
    return chosen


def on_cpu(tensor: Tensor) -> bool:
    """Whether OpenCV can work on its memory."""
    return tensor.device.type == "cpu"
