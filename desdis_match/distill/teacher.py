"""Teachers: any descriptors, several as one, and their descriptors of unaugmented patches kept on disk."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..patchsets.patchset import PatchSet
from ..support.progress import track
from .augment import plain_patches

logger = logging.getLogger(__name__)

BLOCK = 4096
"""Patches described at once."""


class Teacher(nn.Module):
    """K descriptors as one: their unit vectors side by side, divided by sqrt K.

    The inner product of two such vectors is the mean of the K cosines, so several teachers are averaged by
    describing with all of them.
    """

    def __init__(self, networks: list[nn.Module], names: tuple[str, ...], fingerprint: str) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.names, self.fingerprint = names, fingerprint
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def forward(self, patches: Tensor) -> Tensor:
        """(N, 1, 32, 32) in [0, 1] -> (N, D_1 + ... + D_K) unit vectors, without gradient.

        InputError when a network gives something else than a finite vector a patch.
        """
        parts = []
        for network, name in zip(self.networks, self.names, strict=True):
            described = network(patches)
            if described.ndim != 2 or len(described) != len(patches):
                raise InputError(
                    f"teacher '{name}' gave {tuple(described.shape)} for {tuple(patches.shape)} patches; "
                    "expected one vector a patch, (N, D)"
                )
            if not bool(torch.isfinite(described).all()):
                raise InputError(f"teacher '{name}' gave descriptors that are not finite")
            parts.append(nn.functional.normalize(described.float(), dim=1))
        return torch.cat(parts, dim=1) / math.sqrt(len(parts))

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays in eval mode."""
        return super().train(False)


def load_teacher(names: tuple[str, ...], device: str) -> Teacher:
    """Teachers by anything that `load_descriptor` takes. InputError when one cannot be had."""
    from ..descriptors import load_descriptor

    networks = [load_descriptor(name, device=device) for name in names]
    prints = "".join(network.fingerprint for network in networks)
    labels = tuple(network.name for network in networks)
    return Teacher(list(networks), labels, hashlib.sha256(prints.encode()).hexdigest())


def describe_plain(
    teacher: Teacher, data: PatchSet, folder: Path, device: str, angles: Tensor | None = None
) -> Tensor:
    """The teacher's descriptors of a set's unaugmented patches, (N, D) float32; kept in `folder`.

    angles: (N,) radians, directions that are turned to lie along x. The file is named by the teacher's
    weights, the patches' bytes and the angles, so that none is taken for another's.
    """
    key = hashlib.sha256(teacher.fingerprint.encode())
    key.update(np.ascontiguousarray(data.patches).data)
    key.update(data.context.tobytes())
    if angles is not None:
        key.update(angles.cpu().numpy().tobytes())
    path = folder / f"teacher-{key.hexdigest()[:24]}.npy"
    if path.is_file():
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        except (ValueError, OSError):
            logger.warning("%s is damaged and made again", path)
    parts = []
    for start in track(range(0, len(data), BLOCK), "teacher"):
        stored = torch.from_numpy(data.patches[start : start + BLOCK]).to(device)
        context = torch.from_numpy(data.context[start : start + BLOCK]).to(device)
        turned = None if angles is None else angles[start : start + BLOCK].to(device)
        parts.append(teacher(plain_patches(stored, context, turned)).cpu())
    described = torch.cat(parts)
    _write_array(path, described.numpy().astype(np.float16))
    return described.half().float()


def _write_array(path: Path, array: np.ndarray) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"cannot write the teacher's descriptors to {path}: {error.strerror or error}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
