"""The light-weight student networks of DesDis: a 32x32 patch in, a unit vector out.

Liu and Dong, "Descriptor Distillation: a Teacher-Student-Regularized Framework for Learning Local
Descriptors", IJCV 2024 (arXiv 2209.11795). The layers carry the names of the authors' checkpoints, so that
those load strictly and unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH_SIZE = 32
"""Side of the square patch that every descriptor here takes, pixels."""


def _block(
    channels_in: int, channels_out: int, stride: int, size: int = 3, padding: int = 1
) -> list[nn.Module]:
    """Convolution without bias, BatchNorm without affine (it gives the bias), ReLU."""
    return [
        nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(channels_out, affine=False),
        nn.ReLU(),
    ]


class DesDis(nn.Module):
    """Student of `width` d: d, 2d, 4d, 4d channels at 16, 8, 4, 4 pixels, then a 4x4 convolution to `dim`.

    d = 8, 16, 24, 32 and dim = 128 are the published networks; any positive width and dim will do.
    """

    kind = "desdis"
    """Its name among the architectures."""

    def __init__(self, width: int = 32, dim: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.width, self.dim, self.dropout = width, dim, dropout
        self.layer1 = nn.Sequential(nn.InstanceNorm2d(1, affine=False), *_block(1, width, stride=2))
        self.layer2 = nn.Sequential(*_block(width, 2 * width, stride=2))
        self.layer3 = nn.Sequential(
            *_block(2 * width, 4 * width, stride=2), *_block(4 * width, 4 * width, stride=1)
        )
        self.desc = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(4 * width, dim, kernel_size=4),
            nn.BatchNorm2d(dim, affine=False),
        )

    def layers(self) -> nn.Sequential:
        """The network up to the last normalisation, as a plain sequence of layers (shared, not copied)."""
        return nn.Sequential(*self.layer1, *self.layer2, *self.layer3, *self.desc, nn.Flatten())

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 1, 32, 32) patches -> (N, dim) unit vectors; gain and offset of a patch do not matter."""
        features = self.desc(self.layer3(self.layer2(self.layer1(patches))))
        return F.normalize(features.flatten(1), dim=1)


class DesDisFast(DesDis):
    """Our own layout for speed: `width` filters of 8x8 pixels, then 4 width, 4 width channels at 4x4 pixels.

    The large filters take the patch to 8x8 pixels at once; what that saves goes into twice as many channels
    as a DesDis of the same speed could have behind them. Training script and figures: training/RESULTS.md.
    """

    kind = "desdis-fast"

    def __init__(self, width: int = 16, dim: int = 128, dropout: float = 0.1) -> None:
        super().__init__(width, dim, dropout)  # whose layers, too, the seed of the released weights drew
        self.layer1 = nn.Sequential(
            nn.InstanceNorm2d(1, affine=False), *_block(1, width, stride=4, size=8, padding=2)
        )
        self.layer2 = nn.Sequential(*_block(width, 4 * width, stride=2))
        self.layer3 = nn.Sequential(*_block(4 * width, 4 * width, stride=1))


LAYOUTS: dict[str, type[DesDis]] = {layout.kind: layout for layout in (DesDis, DesDisFast)}
"""kind -> network with the options width, dim and dropout."""


def desdis_from_state_dict(state: Mapping[str, Tensor]) -> DesDis:
    """The network whose weights `state` holds, strictly loaded, in eval mode; width and dim follow them."""
    network = DesDis(width=state["layer1.1.weight"].shape[0], dim=state["desc.1.weight"].shape[0])
    network.load_state_dict(dict(state), strict=True)
    return network.eval()


def load_authors_checkpoint(path: str | Path) -> DesDis:
    """Read one of the authors' DesDis-*.pth (github.com/liuyuzhenn/DesDis, weights/)."""
    return desdis_from_state_dict(torch.load(path, map_location="cpu", weights_only=True))
