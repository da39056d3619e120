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


def paired_columns(conv: nn.Conv2d, pairs_in: bool, pairs_out: bool) -> CornerPaddedConv:
    """A 3x3 stride-2 convolution whose input or output map holds pairs of columns as channels [even, odd].

    Half as many columns of twice as many channels: 8 channels, half a block, become 16. (Pairs in the next
    map as well, 16 channels to 32, were slower.)
    """
    num_in, num_out = (2 if pairs else 1 for pairs in (pairs_in, pairs_out))
    out, channels = conv.out_channels, conv.in_channels
    taps = {}  # (column of the output pair, tap) -> (kernel column, column of the input pair)
    for column in range(num_out):
        for tap in range(3):
            place, part = divmod(2 * column + tap - 1, num_in)
            taps[column, tap] = place + 1, part
    weight = conv.weight.new_zeros(num_out * out, num_in * channels, 3, max(taps.values())[0] + 1)
    for (column, tap), (place, part) in taps.items():
        rows, columns = slice(column * out, (column + 1) * out), slice(part * channels, (part + 1) * channels)
        weight[rows, columns, :, place] = conv.weight[:, :, :, tap]
    return CornerPaddedConv(weight, _bias(conv).repeat(num_out), (2, 2 * num_out // num_in))


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
    `spread`. `outer` is the 4x4 convolution as one product. Since relu(x + b) = max(x, -b) + b, the bias b
    and the ReLU are one maximum, and the rest of b is in the bias of `outer`.
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
        bias = _bias(inner)
        self.floor = nn.Parameter(-bias)
        self.outer = nn.Parameter(outer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.outer_bias = nn.Parameter(_bias(outer) + bias.repeat(16) @ self.outer)

    def forward(self, x: Tensor) -> Tensor:
        spread = self.spread @ x.reshape(-1, 16).T
        products = spread.view(36, -1, self.channels_in) @ self.weight
        maps = (self.gather @ products.flatten(1)).view(16, -1, self.channels_out)
        rows = torch.maximum(maps, self.floor).transpose(0, 1).flatten(1)
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
        if _is_narrow_stem(sequence[i : i + 3]):
            first, second = sequence[i], sequence[i + 2]
            result += [paired_columns(first, False, True), nn.ReLU()]  # type: ignore[arg-type]
            result += [paired_columns(second, True, False)]  # type: ignore[arg-type]
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


def _is_narrow_stem(layers: list[nn.Module]) -> bool:
    """Two halvings of the patch, the first to half a block of channels."""
    return bool(
        len(layers) == 3
        and _is_conv3(layers[0], 2)
        and isinstance(layers[1], nn.ReLU)
        and _is_conv3(layers[2], 2)
        and 2 * layers[0].out_channels == CHANNEL_BLOCK  # type: ignore[operator]
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
