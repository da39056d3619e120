"""Extraction with orientation `auto`: two passes over a set of photos, the second over those to be turned.

    first = probe_image(photo, config, descriptor)          # a photo on its own: upright features and a probe
    turns = decide({name: one.probe for each photo})         # all photos together (orientation_of_set.py)
    features = turn_features(photo, first, turns[name], config, descriptor)

Keypoints are sought once, in the first pass; its record keeps their frames for the second. Both passes give
the same for the same photo in any process, so that a stage can spread them and go on after a kill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..photos.images import GrayImage
from ..photos.masks import read_mask
from ..support.checkpoint import Arrays, features_from_arrays, features_to_arrays
from ..types import Features
from .detectors import detect
from .extract import (
    Descriptor,
    ExtractConfig,
    Extractor,
    describe_frames,
    extract_image,
    read_photo,
)
from .frames import PatchPyramid
from .orientation_of_set import Probe, Turn, auto_angles, probe, turned
from .orientation_policy import OrientationPolicy


@dataclass(frozen=True)
class FirstPass:
    """What the first pass knows of a photo."""

    features: Features  # in upright frames
    frames: NDArray[np.float32]  # (N, 2, 3) theirs, sigma-sized, pixels of the resized photo
    probe: Probe


def probe_image(
    image: Path | GrayImage,
    config: ExtractConfig,
    descriptor: Descriptor,
    mask: NDArray[np.bool_] | None = None,
    device: str | torch.device = "cpu",
) -> FirstPass:
    """Detect, describe upright and probe; arguments and errors are those of extract_image."""
    gray = image if isinstance(image, GrayImage) else read_photo(image, config)
    found = detect(gray.pixels, OrientationPolicy(config).of_set, mask, device)
    features = describe_frames(found.lafs, found.scores, found.pyramid, gray, descriptor)
    seen = probe(found.pyramid, found.lafs, descriptor)
    return FirstPass(features, found.lafs.cpu().numpy(), seen)


def first_pass(extractor: Extractor, images: Path, name: str, masks: Path | None = None) -> FirstPass:
    """The same for photo `name` below the folder `images`, with what an extractor holds ready."""
    gray = read_photo(images / name, extractor.config)
    mask = None if masks is None else read_mask(masks, name, gray, Path(images) / name)
    return probe_image(gray, extractor.config, extractor.descriptor, mask, extractor.device)


def turn_features(
    image: Path | GrayImage,
    first: FirstPass,
    turn: Turn,
    config: ExtractConfig,
    descriptor: Descriptor,
    device: str | torch.device = "cpu",
) -> Features:
    """The photo's features with its frames turned; the image is read only if they are not upright."""
    if turn.upright:
        return first.features
    gray = image if isinstance(image, GrayImage) else read_photo(image, config)
    with torch.inference_mode():
        pyramid = PatchPyramid(torch.as_tensor(gray.pixels, device=device))
        frames, rows = turned(pyramid, torch.from_numpy(first.frames).to(device), turn)
        frames, rows = frames[: config.max_keypoints], rows[: config.max_keypoints]
        scores = torch.from_numpy(first.features.scores).to(device)[rows]
        return describe_frames(frames, scores, pyramid, gray, descriptor)


def extract_together(
    images: Sequence[Path | GrayImage],
    config: ExtractConfig,
    descriptor: Descriptor,
    device: str | torch.device = "cpu",
) -> list[Features]:
    """Features of a few photos that belong together, a pair for example; with orientation auto, compared."""
    if not OrientationPolicy(config).compares:
        return [extract_image(image, config, descriptor, device=device) for image in images]
    grays = [one if isinstance(one, GrayImage) else read_photo(one, config) for one in images]
    passes = [probe_image(gray, config, descriptor, None, device) for gray in grays]
    turns = auto_angles([first.probe for first in passes])
    return [
        turn_features(gray, first, turn, config, descriptor, device)
        for gray, first, turn in zip(grays, passes, turns, strict=True)
    ]


def first_pass_to_arrays(first: FirstPass) -> dict[str, NDArray[Any]]:
    """As the arrays of a shard."""
    return {
        **features_to_arrays(first.features),
        "frames": first.frames,
        "probe_angles": first.probe.angles,
        "probe_descriptors": first.probe.descriptors,
    }


def first_pass_from_arrays(arrays: Arrays) -> FirstPass:
    """Inverse of first_pass_to_arrays."""
    return FirstPass(features_from_arrays(arrays), arrays["frames"], probe_from_arrays(arrays))


def probe_from_arrays(arrays: Arrays) -> Probe:
    """The probe alone."""
    return Probe(arrays["probe_angles"], arrays["probe_descriptors"])
