"""Augmentation of a whole batch at once, on the device where the patches are.

Geometry is one resampling from the stored patches; clipping, light, blur, noise and JPEG act on the resampled
ones, each on a random share of the batch. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conventions import FRAME_SCALE
from ..descriptors.desdis import PATCH_SIZE
from ..features.orientation import (
    BINS,
    CHUNK,
    HISTOGRAM_RADIUS,
    HISTOGRAM_SIDE,
    histogram_peaks,
    patch_histograms,
)
from ..support.checks import check_options


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to a batch. Standard deviations and limits are those of one patch, drawn for each anew."""

    rotation: float = 0.12
    """Standard deviation of the angle, radians."""
    zoom: float = 0.12
    """Standard deviation of the log2 scale."""
    shift: float = 0.03
    """Standard deviation of the displacement, in half sides of the patch."""
    shear: float = 0.08
    """Standard deviation of the shear along each axis."""
    tilt: float = 0.0
    """Standard deviation of the log2 stretch along the patch's axes, and of that along its diagonals: a
    surface seen aslant from any side. Shear alone never stretches along the axes."""
    flips: bool = True
    """Mirror and quarter turns, the same for both patches of a pair; --augment.no-flips leaves them out."""
    turns: Literal["pair", "batch"] = "pair"
    """Whether each pair is turned by quarters of its own or all of a batch by the same, and mirrored left to
    right alone: patches of photos that are all one way up are harder to tell apart."""
    dominant: float = 0.0
    """Share of the batches in which a pair is turned so that its point's dominant gradient lies along x, as
    by `--orientation dominant`, instead of by quarters: patches so turned are harder to tell apart."""
    gamma: float = 0.25
    """Standard deviation of the log exponent of the grey values."""
    light: float = 0.3
    """Largest change of brightness from the middle of the patch to its border."""
    light_share: float = 0.5
    """Share of the patches with gamma and light changed."""
    clip: float = 0.4
    """Largest share of a patch's range of grey values that is cut off at its bright or its dark end, as by
    over- and underexposure."""
    clip_share: float = 0.0
    """Share of the patches so clipped."""
    blur: float = 1.0
    """Largest standard deviation of the blur, network pixels."""
    blur_share: float = 0.25
    """Share of the patches blurred."""
    noise: float = 0.012
    """Largest standard deviation of noise; grey values run from 0 to 1."""
    noise_share: float = 0.25
    """Share of the patches with noise."""
    jpeg_quality: tuple[float, float] = (30.0, 90.0)
    """Worst and best JPEG quality."""
    jpeg_share: float = 0.1
    """Share of the patches compressed."""

    def __post_init__(self) -> None:
        check_options(
            self,
            rotation=(0, None),
            zoom=(0, 1),
            shift=(0, 1),
            shear=(0, 1),
            tilt=(0, None),
            dominant=(0, None),
            gamma=(0, 10),
            light=(0, 10),
            light_share=(0, 1),
            clip=(0, 1),
            clip_share=(0, 1),
            blur=(0, 16),
            blur_share=(0, 1),
            noise=(0, 1),
            noise_share=(0, 1),
            jpeg_quality=(1, 100),
            jpeg_share=(0, 1),
        )


NO_AUGMENTATION = AugmentConfig(
    rotation=0,
    zoom=0,
    shift=0,
    shear=0,
    flips=False,
    light_share=0,
    blur_share=0,
    noise_share=0,
    jpeg_share=0,
)


def augment_pairs(
    stored: Tensor,
    context: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    angles: Tensor | None = None,
) -> Tensor:
    """Network patches of a batch of pairs, augmented.

    stored: (2B, S, S) uint8, the B anchors and then their B positives. context: (2B,) stored side / network
    side. angles: (2B,) radians, the same for both patches of a pair: directions in the stored patches that
    come to lie along x, instead of turns by quarters. Returns (2B, 1, 32, 32) float32 in [0, 1].
    """
    common = None
    if angles is not None or config.flips:
        count = len(stored) // 2
        common = _symmetries(count, config, generator, None if angles is None else angles[:count])
        common = common.repeat(2, 1, 1)
    return augment_patches(stored, context, config, generator, common)


def augment_patches(
    stored: Tensor,
    context: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    symmetries: Tensor | None = None,
) -> Tensor:
    """Network patches of a batch, each augmented for itself; `symmetries` (N, 2, 2) are applied first.

    stored: (N, S, S) uint8. context: (N,). Returns (N, 1, 32, 32) float32 in [0, 1].
    """
    shape = random_shapes(len(stored), config, generator)
    if symmetries is not None:
        shape = shape @ symmetries
    shift = config.shift * _normal((len(stored), 2, 1), generator)
    patches = resample(stored, torch.cat([shape, shift], dim=2), context)
    changes = (
        (config.clip_share, _clip),
        (config.light_share, _relight),
        (config.blur_share, _blur),
        (config.noise_share, _noise),
        (config.jpeg_share, _jpeg),
    )
    for share, change in changes:
        patches = _on_share(patches, share, generator, partial(change, config=config, generator=generator))
    return patches


def plain_patches(stored: Tensor, context: Tensor, angles: Tensor | None = None) -> Tensor:
    """Network patches without augmentation, (N, S, S) uint8, (N,) -> (N, 1, 32, 32) float32 in [0, 1];
    where `angles` (N,) are given, turned so that these directions lie along x."""
    identity = torch.eye(2, 3, device=stored.device).expand(len(stored), 2, 3)
    if angles is not None:
        identity = _rotations(angles) @ identity
    return resample(stored, identity, context)


def dominant_angles(stored: Tensor, context: Tensor, points: Tensor) -> Tensor:
    """Direction (N,) in radians, in the stored patches, of the dominant gradient of each one's point.

    stored: (N, S, S) uint8. context: (N,). points: (N,) ids; a point's direction is the highest peak of the
    sum of its patches' histograms, so that pairs keep their angle to each other.
    """
    inner = torch.eye(2, 3, device=stored.device) * (HISTOGRAM_RADIUS / FRAME_SCALE)
    histograms = torch.cat(
        [
            patch_histograms(resample(some, inner.expand(len(some), 2, 3), wide, HISTOGRAM_SIDE)[:, 0])
            for some, wide in zip(stored.split(CHUNK), context.split(CHUNK), strict=True)
        ]
    )
    ids, of_point = points.unique(return_inverse=True)
    summed = histograms.new_zeros(len(ids), BINS)
    summed.index_add_(0, of_point, histograms / histograms.sum(1, keepdim=True).clamp_min(1e-12))
    return histogram_peaks(summed, 1)[0][of_point]


def resample(stored: Tensor, affine: Tensor, context: Tensor, side: int = PATCH_SIZE) -> Tensor:
    """Cut (N, 1, side, side) patches out of stored ones by one bilinear sampling.

    affine: (N, 2, 3), network patch coordinates in [-1, 1] -> the same of the unaugmented network patch.
    Beyond the stored patch its border is repeated. With 64 stored pixels, no context and no change, a network
    pixel is the mean of 2 x 2 stored ones.
    """
    theta = (affine / context.to(affine)[:, None, None])[:, None, None]  # (N, 1, 1, 2, 3)
    steps = (torch.arange(side, device=affine.device) + 0.5) * (2 / side) - 1
    along, down = steps[:, None], steps[:, None, None]
    # By broadcasting, three times as fast as F.affine_grid.
    grid = along * theta[..., 0] + (down * theta[..., 1] + theta[..., 2])
    pixels = stored[:, None].float()
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.div_(255)


def random_shapes(count: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(N, 2, 2): rotation @ shear @ tilt x zoom of each patch."""
    angle = config.rotation * _normal((count,), generator)
    zoom = 2 ** (config.zoom * _normal((count,), generator))
    across, down = config.shear * _normal((2, count), generator)
    turn = _rotations(angle)
    one = torch.ones_like(angle)
    shear = torch.stack([one, across, down, one + across * down], dim=1).view(-1, 2, 2)
    shape = zoom[:, None, None] * (turn @ shear)
    return shape @ _stretches(count, config.tilt, generator) if config.tilt > 0 else shape


def _stretches(count: int, tilt: float, generator: torch.Generator) -> Tensor:
    """(N, 2, 2): symmetric, of determinant 1, the exponential of ((axes, diagonals), (diagonals, -axes))."""
    axes, diagonals = math.log(2) * tilt * _normal((2, count), generator)
    size = torch.hypot(axes, diagonals)
    cosh, per_size = size.cosh(), size.sinh() / size.clamp_min(1e-9)
    rows = [cosh + per_size * axes, per_size * diagonals, per_size * diagonals, cosh - per_size * axes]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def _symmetries(
    count: int, config: AugmentConfig, generator: torch.Generator, angles: Tensor | None
) -> Tensor:
    """(N, 2, 2), a turn and perhaps a mirror: by quarters as `config.turns` says, or by `angles` (N,)."""
    device = generator.device
    if angles is not None:
        turns = _rotations(angles)
        # Mirrored across x, along which the direction comes to lie.
        return turns @ _mirrors(count, generator).flip(1, 2) if config.flips else turns
    batch = config.turns == "batch"
    quarters = torch.randint(0, 4, (1 if batch else count,), generator=generator, device=device)
    turns, mirrors = _rotations(quarters * (math.pi / 2)).round(), _mirrors(count, generator)
    return mirrors @ turns if batch else turns @ mirrors


def _mirrors(count: int, generator: torch.Generator) -> Tensor:
    """(N, 2, 2): the identity or the mirror left to right."""
    sign = torch.randint(0, 2, (count,), generator=generator, device=generator.device) * 2.0 - 1
    return torch.stack([sign, torch.ones_like(sign)], dim=1).diag_embed()


def _rotations(angles: Tensor) -> Tensor:
    """(N, 2, 2): rotations that take the x axis to the direction of each angle, y down."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _on_share(
    patches: Tensor, share: float, generator: torch.Generator, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Apply `change` to a random share of the patches, in place."""
    if share <= 0:
        return patches
    chosen = torch.rand(len(patches), generator=generator, device=generator.device) < share
    rows = chosen.nonzero()[:, 0]
    return patches.index_copy_(0, rows, change(patches[rows])) if len(rows) else patches


def _clip(patches: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    low, high = patches.amin(dim=(2, 3), keepdim=True), patches.amax(dim=(2, 3), keepdim=True)
    cut = (high - low) * _uniform((len(patches), 1, 1, 1), -config.clip, config.clip, generator)
    return patches.clamp(low - cut.clamp_max(0), high - cut.clamp_min(0))


def _relight(patches: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    count, size = len(patches), patches.shape[-1]
    exponent = (config.gamma * _normal((count, 1, 1, 1), generator)).exp()
    slope = _uniform((count, 2), -config.light, config.light, generator)
    place = torch.linspace(-1, 1, size, device=patches.device)
    ramp = slope[:, :1, None] * place[None, None, :] + slope[:, 1:, None] * place[None, :, None]
    return (patches.clamp_min(1e-4) ** exponent * (1 + ramp[:, None])).clamp(0, 1)


def _blur(patches: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    sigma = _uniform((len(patches), 1), 0.2, max(config.blur, 0.2), generator)
    reach = 3
    taps = torch.arange(-reach, reach + 1, device=patches.device)
    kernel = (-(taps**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, None, None, :]
    size = patches.shape[-1]
    for dim in (3, 2):
        padding = (reach, reach, 0, 0) if dim == 3 else (0, 0, reach, reach)
        padded = F.pad(patches, padding, mode="replicate")
        patches = kernel[..., :1] * padded.narrow(dim, 0, size)
        for tap in range(1, 2 * reach + 1):
            patches = torch.addcmul(patches, padded.narrow(dim, tap, size), kernel[..., tap : tap + 1])
    return patches


def _noise(patches: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    level = _uniform((len(patches), 1, 1, 1), 0, config.noise, generator)
    return (patches + level * _normal(tuple(patches.shape), generator)).clamp(0, 1)


JPEG_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantization of luminance at quality 50 (ITU-T T.81, table K.1)."""


def _jpeg(patches: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    quality = _uniform((len(patches),), *config.jpeg_quality, generator)
    return jpeg(patches, quality)


def jpeg(patches: Tensor, quality: Tensor) -> Tensor:
    """What JPEG leaves of grey patches: 8x8 cosine transform, quantized as libjpeg does at a quality.

    patches: (N, 1, H, W) in [0, 1], H and W multiples of 8; quality: (N,) in [1, 100].
    """
    count, _, height, width = patches.shape
    basis = _cosine_basis(patches.device)
    blocks = patches.view(count, height // 8, 8, width // 8, 8).transpose(2, 3) * 255 - 128
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    table = torch.tensor(JPEG_LUMINANCE, dtype=torch.float32, device=patches.device)
    step = ((table * percent[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None]
    coefficients = basis @ blocks @ basis.T
    restored = basis.T @ ((coefficients / step).round() * step) @ basis
    pixels = (restored + 128).round().clamp(0, 255) / 255
    return pixels.transpose(2, 3).reshape(count, 1, height, width)


def _cosine_basis(device: torch.device) -> Tensor:
    """(8, 8) orthonormal DCT-II: row k is the k-th cosine."""
    k = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * (k[None, :] + 0.5) * k[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    return basis.float().to(device)
