"""Kornia: a LocalFeature (image -> frames, responses, descriptors) and a patch descriptor.

from kornia.feature import DescriptorMatcher, LocalFeatureMatcher
matcher = LocalFeatureMatcher(DesDisFeature(2048), DescriptorMatcher("smnn", 0.9))
matches = matcher({"image0": image0, "image1": image1})
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.feature import SIFTDescriptor
from torch import Tensor, nn

from ..conventions import FRAME_SCALE
from ..descriptors import DEFAULT_DESCRIPTOR, load_network
from ..descriptors.desdis import PATCH_SIZE
from ..features.detectors import KORNIA_FRAME
from ..features.extract import ExtractConfig
from ..features.frames import keypoints_to_lafs
from .common import ORIENTATION, PictureExtractor, gray_plane

KORNIA_SCALING = FRAME_SCALE / KORNIA_FRAME
"""`scaling_coef` for kornia.feature.LocalFeature: frames of Kornia's detectors get our patches' size."""


WHITE = 1.5
"""No value of an image in [0, 1] is above it, whatever resizing or jitter left; one of 0..255 is."""


class DesDisDescriptor(nn.Module):
    """Patch descriptor for kornia.feature.LAFDescriptor: (B, 1, 32, 32) -> (B, D) unit vectors.

    Plain torch, so that it trains, casts, moves and compiles (`torch.compile(fullgraph=True)`); on a CPU
    DesDisFeature, which uses the fast engine, is quicker. `descriptor`: a name or a weight file.
    """

    patch_size = PATCH_SIZE

    def __init__(self, descriptor: str = DEFAULT_DESCRIPTOR) -> None:
        super().__init__()
        # Ours is made for speed and not for autograd; Kornia's gives the same numbers.
        self.network = SIFTDescriptor(PATCH_SIZE) if descriptor == "rootsift" else load_network(descriptor)

    def forward(self, patches: Tensor) -> Tensor:
        if patches.shape[1:] != (1, PATCH_SIZE, PATCH_SIZE):
            raise ValueError(
                f"patches must be (B, 1, {PATCH_SIZE}, {PATCH_SIZE}), not {tuple(patches.shape)}; give "
                f"LAFDescriptor patch_size={PATCH_SIZE}"
            )
        return F.normalize(self.network(patches).flatten(1), dim=1).to(patches.dtype)


class DesDisFeature(nn.Module):
    """Detector and descriptor with the contract of kornia.feature.LocalFeature.

    The result for a picture is that of `desdis-match extract --orientation multi` at the picture's own size.
    Runs where the image lies. Detection is no tensor graph: under torch.compile this module runs as it is.
    """

    def __init__(
        self,
        num_features: int = ExtractConfig.max_keypoints,
        descriptor: str = DEFAULT_DESCRIPTOR,
        detector: str = ExtractConfig.detector,
        upright: bool = False,
    ) -> None:
        super().__init__()
        orientation = "upright" if upright else ORIENTATION
        self.extract = PictureExtractor(num_features, detector, orientation, descriptor)
        # So that .to(device) fails where there is no such device, as it does with Kornia's modules.
        self.register_buffer("_place", torch.zeros(()), persistent=False)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def forward(self, img: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """img (B, 1 or 3, H, W) in [0, 1], mask (B, 1, H, W), 0 = no keypoint there ->

        frames of the patches (B, N, 2, 3), responses (B, N), descriptors (B, N, D). N is the largest number
        found in the batch; other images end in zeros, as kornia.feature.laf_is_filled (0.9) tells.
        """
        _check_picture(img)
        found = []
        for row, picture in enumerate(img):
            allowed = None if mask is None else (mask[row].reshape(img.shape[-2:]) > 0).cpu().numpy()
            found.append(self.extract(gray_plane(picture).float(), allowed))
        longest = max(map(len, found), default=0)
        dim = self.extract.descriptor(img.device).dim
        lafs = img.new_zeros(len(found), longest, 2, 3)
        responses = img.new_zeros(len(found), longest)
        descriptors = img.new_zeros(len(found), longest, dim)
        for row, features in enumerate(found):
            num = len(features)
            lafs[row, :num] = keypoints_to_lafs(features.keypoints, features.scales, features.angles).to(lafs)
            responses[row, :num] = torch.from_numpy(features.scores).to(responses)
            descriptors[row, :num] = torch.from_numpy(features.descriptors).to(descriptors)
        return lafs, responses, descriptors


def _check_picture(img: Tensor) -> None:
    """Kornia's own features take (B, C, H, W) floats of [0, 1] alone; others would go wrong in silence."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        raise RuntimeError("DesDisFeature is no tensor graph and cannot be traced; trace DesDisDescriptor")
    if img.ndim != 4 or img.shape[1] not in (1, 3):
        raise ValueError(f"an image must be (B, 1 or 3, H, W), not {tuple(img.shape)}")
    if not img.is_floating_point():
        raise TypeError(f"an image must be of floats in [0, 1], not {img.dtype}; divide by 255")
    if img.numel() and float(img.max()) > WHITE:
        raise ValueError(f"an image must be in [0, 1], this one goes up to {float(img.max()):.4g}")
