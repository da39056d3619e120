"""RootSIFT of a 32x32 patch, equal to Kornia's SIFTDescriptor within 1e-5 and several times as fast.

Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004, section 6; Arandjelovic and
Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012, section 3. In Kornia's
layout: component (angle, row, column) at 16 angle + 4 row + column, angles counted from +x towards +y.

Kornia pools each angle by a convolution of the whole patch. Here the Gaussian window and the pooling of both
axes are one matrix, a product per angle, and patches go in blocks that stay in the cache. A gradient exactly
on the centre of an angle leaves 1e-7 of itself in the next one there, which the square root makes visible.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .desdis import PATCH_SIZE

NUM_ANGLES = 8
NUM_CELLS = 4  # a side
CLIP = 0.2  # Lowe's bound on one component of the unit vector
EPS = 1e-10  # Kornia's, under both square roots
BLOCK = 256  # patches at a time: eight 32x32 float32 maps of each are 8 MB


def pooling() -> Tensor:
    """(1024, 16): weight of each pixel, row by row, in each cell: Gaussian window times triangular cell.

    The window's sigma is 32 / sqrt(2); the triangles are 12 pixels wide, their centres 8 pixels apart.
    """
    stride = PATCH_SIZE // NUM_CELLS
    half_width = PATCH_SIZE // (NUM_CELLS + 1)
    offset = torch.arange(PATCH_SIZE, dtype=torch.float64) - (PATCH_SIZE - 1) / 2
    centres = (torch.arange(NUM_CELLS, dtype=torch.float64) - (NUM_CELLS - 1) / 2) * stride
    triangle = (1 - (offset - centres[:, None]).abs() / half_width).clamp(min=0)
    window = torch.exp(-(offset**2) / PATCH_SIZE**2)  # 2 sigma^2 = 32^2
    profile = triangle * (window / window.sum())
    weights = torch.einsum("ry,cx->yxrc", profile, profile)
    return weights.reshape(PATCH_SIZE**2, NUM_CELLS**2).float().contiguous()


def _difference(patches: Tensor) -> Tensor:
    """Central differences along the last axis, borders repeated: (N, H, W) -> the same shape."""
    result = torch.empty_like(patches)
    torch.sub(patches[..., 2:], patches[..., :-2], out=result[..., 1:-1])
    torch.sub(patches[..., 1], patches[..., 0], out=result[..., 0])
    torch.sub(patches[..., -1], patches[..., -2], out=result[..., -1])
    return result.mul_(0.5)


class RootSIFT(nn.Module):
    """(N, 1, 32, 32) patches -> (N, 128); a flat patch gives 1e-5 throughout, every other a unit vector."""

    dim = NUM_ANGLES * NUM_CELLS**2

    def __init__(self) -> None:
        super().__init__()
        self.pooling: Tensor
        self.register_buffer("pooling", pooling(), persistent=False)

    @torch.no_grad()
    def forward(self, patches: Tensor) -> Tensor:
        if len(patches) == 0:
            return torch.empty(0, self.dim, device=patches.device)
        block = BLOCK if patches.device.type == "cpu" else len(patches)
        return torch.cat([self._describe(part) for part in patches.float().split(block)])

    def _describe(self, patches: Tensor) -> Tensor:
        num_patches = len(patches)
        image = patches[:, 0]
        gx, gy = _difference(image), _difference(image.transpose(1, 2)).transpose(1, 2)
        squared = torch.addcmul(gx * gx, gy, gy)
        magnitude = squared.add_(squared.sign(), alpha=EPS).sqrt_()  # Kornia's: 0 stays 0
        turn = torch.atan2(gy, gx + EPS).mul_(NUM_ANGLES / (2 * math.pi))  # in [-4, 4], eighths of a turn
        # Bin k gets the share max(0, 1 - |turn - k|); bins -4 and 4 are one, reached from both ends.
        votes = image.new_empty(NUM_ANGLES, num_patches, PATCH_SIZE, PATCH_SIZE)
        for k in range(NUM_ANGLES):
            distance = votes[k]
            if k == NUM_ANGLES // 2:
                torch.sub(NUM_ANGLES // 2, turn.abs(), out=distance)
            else:
                signed = k if k < NUM_ANGLES // 2 else k - NUM_ANGLES
                torch.sub(turn, signed, out=distance).abs_()
            distance.neg_().add_(1).clamp_(min=0).mul_(magnitude)
        cells = votes.view(-1, PATCH_SIZE**2) @ self.pooling
        histogram = cells.view(NUM_ANGLES, num_patches, -1).transpose(0, 1).reshape(num_patches, self.dim)
        clipped = F.normalize(histogram, dim=1).clamp_(max=CLIP)
        return F.normalize(F.normalize(clipped, dim=1), p=1, dim=1).add_(EPS).sqrt_()
