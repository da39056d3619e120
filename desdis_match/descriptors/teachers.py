"""Larger patch networks, as teachers and to compare with: Kornia's, HardTFeat, any module by import path."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..support.parts import loaded

KORNIA_NETWORKS = {
    "hardnet": ("HardNet", "liberty_aug"),
    "sosnet": ("SOSNet", "lib"),
    "hynet": ("HyNet", "liberty"),
    "tfeat": ("TFeat", "liberty"),
}
"""Our name -> class in kornia.feature, and the key of its weights' address in the `urls` beside it."""


def kornia_network(name: str, pretrained: bool = True) -> nn.Module:
    """One of KORNIA_NETWORKS in eval mode; `pretrained` takes Kornia's own weights, downloaded on first use.

    InputError when they cannot be had: it names the file and where Kornia looks for it.
    """
    import kornia.feature

    class_name, key = KORNIA_NETWORKS[name]
    build = getattr(kornia.feature, class_name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Kornia warns at each try; one error will do
            result: nn.Module = build(pretrained=pretrained).eval()
            return result
    except (OSError, RuntimeError) as error:
        address = importlib.import_module(build.__module__).urls[key]
        address = address if isinstance(address, str) else address[0]
        place = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
        raise InputError(
            f"Kornia's weights for '{name}' could not be downloaded; fetch {address} elsewhere and put it at "
            f"{place}"
        ) from error


class HardTFeat(nn.Module):
    """TFeat's layers trained with HardNet's loss (HardTFeat.pth of github.com/ducha-aiki/affnet, MIT).

    Mishkin, Radenovic and Matas, "Repeatability Is Not Enough", ECCV 2018.
    """

    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=7),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=6),
            nn.Tanh(),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(64, 128, kernel_size=8), nn.Tanh())

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, 128) unit vectors."""
        mean = patches.mean(dim=(1, 2, 3), keepdim=True)
        deviation = patches.std(dim=(1, 2, 3), keepdim=True)
        features = self.classifier(self.features((patches - mean) / (deviation + 1e-7)))
        return F.normalize(features.flatten(1), dim=1)


def network_of_package(name: str) -> nn.Module:
    """The torch module that another package offers by `name`, or that `module:Class` is or builds.

    It must take (N, 1, 32, 32) patches in [0, 1] and give (N, D). InputError when it is not to be had.
    """
    found = loaded("descriptors", name)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except TypeError as error:
            raise InputError(f"'{name}' cannot be called without arguments: {error}") from error
    if not isinstance(found, nn.Module):
        raise InputError(f"'{name}' gives a {type(found).__name__}, not a torch.nn.Module")
    return found.eval()
