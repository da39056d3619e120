"""The network that a run trains, and where it starts."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..descriptors.architectures import architecture_of, build_network
from ..descriptors.desdis import LAYOUTS
from ..errors import InputError
from .config import StudentConfig

START_FROM_TEACHER = "teacher"
START_FROM_SCRATCH = "scratch"


def build_student(config: StudentConfig, teachers: tuple[str, ...], seed: int) -> nn.Module:
    """A network in training mode: fresh, the first teacher's copy, or a weight file's.

    InputError when there is no teacher to start from or it is of another descriptor size than asked for.
    """
    torch.manual_seed(seed)
    if config.start == START_FROM_SCRATCH:
        options = {"width": config.width, "dim": config.dim, "dropout": config.dropout}
        return build_network({"kind": config.kind, **(options if config.kind in LAYOUTS else {})}).train()
    if config.start == START_FROM_TEACHER and not teachers:
        raise InputError("the student is to start from a teacher, but no teacher is given")
    return _copy_of(teachers[0] if config.start == START_FROM_TEACHER else config.start, config.dim)


def _copy_of(name: str, dim: int) -> nn.Module:
    from ..descriptors import load_network

    network = copy.deepcopy(load_network(name))
    architecture_of(network)  # refuses what could not be saved
    with torch.no_grad():
        found = network(torch.rand(2, 1, 32, 32)).shape[1]
    if found != dim:
        raise InputError(
            f"'{name}' has descriptors of {found} numbers, the student is to have {dim}; "
            f"give the student dim {found}, or let it start from scratch"
        )
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.train()


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights and BatchNorm's statistics, into `average`.

    The decay grows from 0 as (1 + step) / (10 + step) up to `decay`, so that the start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    tensors = current.state_dict()
    for name, kept in average.state_dict().items():
        if kept.dtype.is_floating_point:
            kept.lerp_(tensors[name], 1 - decay)
        else:
            kept.copy_(tensors[name])
