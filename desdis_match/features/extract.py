"""One photo in, its Features out: read, detect, cut patches, describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..conventions import FRAME_SCALE
from ..descriptors import DEFAULT_DESCRIPTOR, load_descriptor
from ..errors import InputError
from ..photos.damage import DETECT_BYTES, too_large
from ..photos.formats import UnreadableImage
from ..photos.images import GrayImage, read_gray, read_header, to_original, to_resized
from ..photos.masks import read_mask
from ..storage.keypoint_files import GivenKeypoints, read_given
from ..support.checks import check_options
from ..support.devices import pick_device
from ..support.parts import check_part
from ..types import Features
from .detectors import DETECTOR_RANGES, DetectorConfig, detect, oriented
from .frames import PatchPyramid, extract_patches, keypoints_to_lafs, laf_angles, laf_scales, resized_lafs
from .orientation_policy import OrientationPolicy
from .whole import LOCAL_FEATURES, colour_on_grid, local_features

DESCRIBE_CHUNK = 8192
"""Patches cut and described at a time; bounds the memory of the patches to 32 MB."""

Descriptor = Callable[[Tensor], Tensor]  # patches (N, 1, 32, 32) in [0, 1] -> (N, D) unit vectors


@dataclass(frozen=True)
class ExtractConfig(DetectorConfig):
    """Photos to keypoints and descriptors: all that changes the result, so neither device nor threads."""

    max_size: int = 1600
    """Photos are shrunk to this long side, in pixels, before keypoints are sought; 0 keeps their size."""

    descriptor: str = DEFAULT_DESCRIPTOR
    """Name of a descriptor, the path of its weights, or module:Class of your own."""

    local_feature: str | None = None
    """Instead of detector and descriptor, a whole local feature: sift, aliked, another package's, or
    module:Class of your own."""

    @property
    def compares_photos(self) -> bool:
        return self.local_feature is None and super().compares_photos

    keep_damaged: bool = False
    """Use photos of which the decoder could make out a part only, instead of leaving them out."""

    def __post_init__(self) -> None:
        check_options(self, **DETECTOR_RANGES, max_size=(0, 1 << 20))
        super().__post_init__()
        if self.local_feature is not None:
            check_part("features", LOCAL_FEATURES, self.local_feature)
        if self.max_size < 0:
            raise InputError(
                f"max_size is {self.max_size}; give a number of pixels, or 0 to keep the photos' size"
            )


def read_photo(path: Path, config: ExtractConfig) -> GrayImage:
    """A photo as it is extracted. Raises UnreadableImage, also where it would fill the memory."""
    header = read_header(path)
    if header is not None:
        shrink = min(1.0, (config.max_size or 1 << 30) / max(header.size))
        size = (round(header.size[0] * shrink), round(header.size[1] * shrink))
        if why := too_large(size, DETECT_BYTES):
            raise UnreadableImage(path, f"{why}; give a --max-size")
    return read_gray(path, config.max_size or None, config.keep_damaged)


def extract_image(
    image: Path | GrayImage,
    config: ExtractConfig,
    descriptor: Descriptor,
    mask: np.ndarray | None = None,
    device: str | torch.device = "cpu",
    colour: NDArray[np.float32] | None = None,
) -> Features:
    """Detect and describe. mask: (h, w) on the resized grid, False = ignore (see masks.py).

    colour: (3, h, w) in [0, 1] on the resized grid, for whole local features; else the path is read for it.
    With orientation auto, which compares photos, a photo alone gets multi; `extract_together` is for several.
    Raises UnreadableImage where `image` is a path to none. An image without keypoints gives empty Features.
    """
    gray = image if isinstance(image, GrayImage) else read_photo(image, config)
    if config.local_feature is not None:
        if colour is None:
            grid = gray.pixels if isinstance(image, GrayImage) else colour_on_grid(image, gray)
            colour = np.broadcast_to(grid, (3, *gray.pixels.shape))
        return local_features(gray, torch.tensor(colour, device=device), config, mask)
    found = detect(gray.pixels, OrientationPolicy(config).of_one, mask, device)
    return describe_frames(found.lafs, found.scores, found.pyramid, gray, descriptor)


def describe_keypoints(
    image: Path | GrayImage,
    given: GivenKeypoints,
    config: ExtractConfig,
    descriptor: Descriptor,
    device: str | torch.device = "cpu",
) -> Features:
    """Describe exactly the given keypoints in their order; scores are 1.

    Where they come without angles, `config` orients them: a rule that gives several frames gives its first.
    """
    gray = image if isinstance(image, GrayImage) else read_photo(image, config)
    with torch.inference_mode():
        pyramid = PatchPyramid(torch.as_tensor(gray.pixels, device=device))
        shrink = float(np.sqrt(gray.scale_xy[0] * gray.scale_xy[1]))
        places = to_resized(given.xy, gray)
        angles = 0.0 if given.angles is None else given.angles
        lafs = keypoints_to_lafs(places, given.sigmas * np.float32(shrink), angles).to(device)
        if given.angles is None:
            frames, rows = oriented(lafs, pyramid, OrientationPolicy(config).of_set)
            first = torch.ones_like(rows, dtype=torch.bool)
            first[1:] = rows[1:] != rows[:-1]
            lafs = frames[first]
        features = describe_frames(lafs, torch.ones(len(lafs)), pyramid, gray, descriptor)
    # The very coordinates that were given, not those that went to the resized photo and back.
    return Features(
        given.xy, features.descriptors, features.scores, features.scales, features.angles, features.image_size
    )


class Extractor:
    """`extractor(images, name)` -> Features, with everything that many photos share loaded once.

    descriptor: that of the configuration, where it is loaded already.
    """

    def __init__(
        self, config: ExtractConfig, device: str = "auto", descriptor: Descriptor | None = None
    ) -> None:
        self.config = config
        self.device = pick_device(device)
        self.descriptor = descriptor or load_descriptor(config.descriptor, device=str(self.device))

    def __call__(
        self, images: Path, name: str, masks: Path | None = None, keypoints: Path | None = None
    ) -> Features:
        """Features of photo `name` below the folder `images`.

        masks: a folder in COLMAP's convention (see masks.py). keypoints: a file or folder of those to
        describe as they are (see given.read_given); masks do not touch them. Raises UnreadableImage.
        """
        gray = read_photo(Path(images) / name, self.config)
        if keypoints is not None:
            given = read_given(keypoints, name)
            return describe_keypoints(gray, given, self.config, self.descriptor, self.device)
        mask = None if masks is None else read_mask(masks, name, gray, Path(images) / name)
        colour = None if self.config.local_feature is None else colour_on_grid(Path(images) / name, gray)
        return extract_image(gray, self.config, self.descriptor, mask, self.device, colour)


def describe_frames(
    lafs: Tensor, scores: Tensor, pyramid: PatchPyramid, gray: GrayImage, descriptor: Descriptor
) -> Features:
    """Features of sigma-sized frames (N, 2, 3) with scores (N,), both of the resized photo behind `gray`."""
    with torch.inference_mode():
        # An empty tensor splits into one empty chunk, which gives the (0, D) of no keypoints.
        parts = [descriptor(extract_patches(pyramid, chunk)) for chunk in lafs.split(DESCRIBE_CHUNK)]
        grow = (1.0 / gray.scale_xy[0], 1.0 / gray.scale_xy[1])
        radii = laf_scales(resized_lafs(lafs, grow)) * FRAME_SCALE
        return Features(
            keypoints=to_original(lafs[:, :, 2].cpu().numpy(), gray),
            descriptors=torch.cat(parts).float().cpu().numpy(),
            scores=scores.cpu().numpy(),
            scales=radii.cpu().numpy(),
            angles=laf_angles(lafs).cpu().numpy(),
            image_size=gray.size,
        )
