"""Layers that compute what a network's own layers compute, in fewer or better shaped multiplications.

For ONNX Runtime on a CPU, whose convolutions work on blocks of 16 channels. Each class here is an ordinary
torch module with the same result as the layers it replaces, so that a test can compare them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .desdis import PATCH_SIZE

CHANNEL_BLOCK = 16
"""Channels that ONNX Runtime's convolutions take together (AVX-512)."""


class CornerPaddedConv(nn.Module):
    """A convolution with one row of zeros on top and one column on the left, none below or on the right."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 0, 1, 0)), self.weight, self.bias, self.stride)


def paired_columns(first: nn.Conv2d, second: nn.Conv2d) -> tuple[CornerPaddedConv, CornerPaddedConv]:
    """Two 3x3 stride-2 convolutions with a ReLU between, as two whose middle map has half the columns.

    The new middle map holds two neighbouring columns of the old one as channels [even, odd]: 8 channels, half
    a block, become 16. The second kernel spans two pairs; the even column of the first has weight 0.
    """
    out, _, _, _ = first.weight.shape
    wide = first.weight.new_zeros(2 * out, 1, 3, 5)
    wide[:out, :, :, 0:3] = first.weight
    wide[out:, :, :, 2:5] = first.weight
    bias = _bias(first)
    narrow = second.weight.new_zeros(second.weight.shape[0], 2 * out, 3, 2)
    narrow[:, out:, :, 0] = second.weight[:, :, :, 0]  # column 2x - 1: the odd one of pair x - 1
    narrow[:, :out, :, 1] = second.weight[:, :, :, 1]
    narrow[:, out:, :, 1] = second.weight[:, :, :, 2]
    return (
        CornerPaddedConv(wide, torch.cat([bias, bias]), (2, 4)),
        CornerPaddedConv(narrow, _bias(second), (2, 1)),
    )


def winograd_transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of Winograd's F(4, 3): (output (4, 6), kernel (6, 3), input (6, 6)), float64.

    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4: four outputs of
    a 3-tap correlation from six products, by the values of polynomials at 0, 1, -1, 2, -1/2 and infinity.
    """
    points = [0.0, 1.0, -1.0, 2.0, -0.5]

    def values(num_coefficients: int) -> np.ndarray:
        infinity = np.eye(num_coefficients)[-1]
        return np.stack([*(np.power(point, np.arange(num_coefficients)) for point in points), infinity])

    return values(4).T, values(3), np.linalg.inv(values(6)).T


class WinogradTail(nn.Module):
    """3x3 convolution of a 4x4 map, ReLU, and 4x4 convolution to a vector: (N, C, 4, 4) -> (N, D).

    The 3x3 convolution takes 36 products of (N, C) by (C, C) instead of 144; its zero border is in the matrix
    `spread`. `outer` is the 4x4 convolution as one product.
    """

    def __init__(self, inner: nn.Conv2d, outer: nn.Conv2d) -> None:
        super().__init__()
        gather, kernel, spread = winograd_transforms()
        weight = inner.weight.detach().double().numpy()
        self.channels_in, self.channels_out = inner.in_channels, inner.out_channels
        self.spread = _constant(np.einsum("ay,bx->abyx", spread[:, 1:5], spread[:, 1:5]).reshape(36, 16))
        self.gather = _constant(np.einsum("ya,xb->yxab", gather, gather).reshape(16, 36))
        self.weight = _constant(
            np.einsum("ak,bl,oikl->abio", kernel, kernel, weight).reshape(
                36, self.channels_in, self.channels_out
            )
        )
        self.bias = nn.Parameter(_bias(inner))
        self.outer = nn.Parameter(outer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.outer_bias = nn.Parameter(_bias(outer))

    def forward(self, x: Tensor) -> Tensor:
        spread = self.spread @ x.reshape(-1, 16).T
        products = spread.view(36, -1, self.channels_in) @ self.weight
        maps = (self.gather @ products.flatten(1)).view(16, -1, self.channels_out)
        rows = torch.relu(maps + self.bias).transpose(0, 1).flatten(1)
        return rows @ self.outer + self.outer_bias


@torch.no_grad()
def rewrite(layers: nn.Sequential) -> nn.Sequential:
    """The same function in the layers of this file, where they fit; other layers stay what they are."""
    sequence = list(layers)
    shapes = _input_shapes(sequence)
    result: list[nn.Module] = []
    i = 0
    while i < len(sequence):
        layer, shape = sequence[i], shapes[i]
        after = sequence[i + 1 : i + 4]
        if _is_stem(layer, after) and layer.out_channels * 2 == CHANNEL_BLOCK:  # type: ignore[operator]
            first, second = paired_columns(layer, after[1])  # type: ignore[arg-type]
            result += [first, nn.ReLU(), second]
            i += 3
        elif _is_tail(layer, after, shape):
            result.append(WinogradTail(layer, after[1]))  # type: ignore[arg-type]
            i += 4
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == shape[2:] and layer.padding == (0, 0):
            linear = nn.Linear(shape[1] * shape[2] * shape[3], layer.out_channels)
            linear.weight.copy_(layer.weight.flatten(1))
            linear.bias.copy_(_bias(layer))
            result += [nn.Flatten(), linear]
            i += 1
        else:
            result.append(layer)
            i += 1
    return nn.Sequential(*result).eval().requires_grad_(False)


def _is_conv3(layer: nn.Module, stride: int) -> bool:
    return bool(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (3, 3)
        and layer.stride == (stride, stride)
        and layer.padding == (1, 1)
        and layer.groups == 1
    )


def _is_stem(layer: nn.Module, after: list[nn.Module]) -> bool:
    return bool(
        len(after) == 3
        and _is_conv3(layer, 2)
        and layer.in_channels == 1
        and isinstance(after[0], nn.ReLU)
        and _is_conv3(after[1], 2)
    )


def _is_tail(layer: nn.Module, after: list[nn.Module], shape: torch.Size) -> bool:
    return (
        len(after) == 3
        and _is_conv3(layer, 1)
        and shape[2:] == (4, 4)
        and isinstance(after[0], nn.ReLU)
        and isinstance(after[1], nn.Conv2d)
        and after[1].kernel_size == (4, 4)
        and after[1].padding == (0, 0)
        and isinstance(after[2], nn.Flatten)
    )


def _input_shapes(sequence: list[nn.Module]) -> list[torch.Size]:
    x = torch.zeros(1, 1, PATCH_SIZE, PATCH_SIZE)
    shapes = []
    for layer in sequence:
        shapes.append(x.shape)
        x = layer(x)
    return shapes


def _bias(conv: nn.Conv2d) -> Tensor:
    return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().clone()


def _constant(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values).float().contiguous(), requires_grad=False)
