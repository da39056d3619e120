"""Patch networks as plain sequences for inference: no dropout, BatchNorm folded into convolutions."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .desdis import LAYOUTS, PATCH_SIZE, DesDis
from .teachers import HardTFeat


class Standardize(nn.Module):
    """Each patch to mean 0 and deviation 1: InstanceNorm's way (eps beside the variance) or HardNet's.

    HardNet divides by the unbiased deviation plus eps.
    """

    def __init__(self, eps: float, eps_in_root: bool) -> None:
        super().__init__()
        self.eps, self.eps_in_root = eps, eps_in_root
        self.bessel = PATCH_SIZE**2 / (PATCH_SIZE**2 - 1)

    def forward(self, patches: Tensor) -> Tensor:
        variance, mean = torch.var_mean(patches, dim=(1, 2, 3), correction=0, keepdim=True)
        if self.eps_in_root:
            return (patches - mean) * torch.rsqrt(variance + self.eps)
        return (patches - mean) / (torch.sqrt(variance * self.bessel) + self.eps)


class UnitLength(nn.Module):
    """Rows to L2 norm 1; a row of zeros stays one."""

    eps = 1e-12

    def forward(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=1, eps=self.eps)


def inference_layers(network: nn.Module) -> nn.Sequential | None:
    """A copy of `network` as a plain sequence (N, 1, 32, 32) -> (N, D) unit vectors, or None for others.

    Known: DesDis, DesDisFast, HardTFeat and Kornia's HardNet, SOSNet and TFeat, these very classes: what a
    class derived from them or of the same name computes is not known. HyNet's normalisations fold into
    nothing.
    """
    kind = type(network).__name__ if type(network).__module__.startswith("kornia.feature.") else ""
    if isinstance(network, DesDis) and type(network) in LAYOUTS.values():
        sequence = list(network.layers())
    elif kind == "HardNet":
        sequence = [Standardize(1e-6, eps_in_root=False), *network.features, nn.Flatten()]  # type: ignore[misc]
    elif type(network) is HardTFeat:
        sequence = [Standardize(1e-7, False), *network.features, *network.classifier, nn.Flatten()]
    elif kind == "SOSNet":
        sequence = [*network.layers, nn.Flatten()]  # type: ignore[misc]
    elif kind == "TFeat":
        sequence = [*network.features, nn.Flatten(), *network.descr]  # type: ignore[misc]
    else:
        return None
    return nn.Sequential(*_fold(copy.deepcopy(sequence)), UnitLength()).eval().requires_grad_(False).cpu()


def _fold(sequence: list[nn.Module]) -> list[nn.Module]:
    folded: list[nn.Module] = []
    for layer in sequence:
        layer.eval()
        if isinstance(layer, nn.Dropout):
            continue
        if isinstance(layer, nn.InstanceNorm2d):
            folded.append(Standardize(layer.eps, eps_in_root=True))
        elif isinstance(layer, nn.BatchNorm2d) and folded and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return folded
