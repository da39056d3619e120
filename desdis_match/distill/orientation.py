"""Train the small network behind `--orientation learned`: an upright patch in, its angle (cos, sin) out.

Two patches of a point are cut at random angles that are known. Their predictions must differ by just the
difference of those angles, and turned by them the patches must look the same to a descriptor, which is what
counts (Yi, Verdie, Fua and Lepetit, CVPR 2016; Mishkin's OriNet, ECCV 2018). The network is a DesDis of two
outputs: small enough to cost a third of desdis-16, and every engine here runs it.
Angles are those of patches.py: a frame's A is [[cos a, sin a], [-sin a, cos a]].
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..descriptors.desdis import DesDis
from ..descriptors.weights import save_weights
from ..errors import InputError
from ..patchsets.patchset import PatchSet, draw_pairs, make_patch_set
from ..support.checks import ABOVE_ZERO, check_options
from ..support.progress import track
from .augment import resample
from .warps import WarpConfig, warped_patches

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OrientationConfig:
    """How the orientation network is trained."""

    steps: int = 8000
    """Batches."""
    batch: int = 256
    """Pairs of patches a batch."""
    width: int = 8
    """Width of the DesDis that predicts."""
    learning_rate: float = 3e-3
    """Of Adam at the start; it falls to zero along half a cosine."""
    descriptor_share: float = 0.25
    """Share of the steps, the last ones, in which the descriptor's distance is added to the loss."""
    sharpness: float = 8.0
    """Concentration of the likelihood of an angle's error (von Mises)."""
    outliers: float = 0.05
    """Its floor: pairs that cannot be brought to agree pull no more than that."""
    seed: int = 0
    """Of weights, batches and angles."""

    def __post_init__(self) -> None:
        check_options(
            self,
            steps=(1, None),
            batch=(2, 1 << 20),
            width=(1, 1024),
            learning_rate=ABOVE_ZERO,
            descriptor_share=(0, 1),
            sharpness=ABOVE_ZERO,
            outliers=(0, 1),
            seed=(0, None),
        )


ZOOM, STRETCH, SHIFT, NOISE = 0.12, 0.1, 0.04, 0.02
"""Standard deviations of what differs between a point's patches besides their angle: log2 scale, stretch
along a random axis, place in half sides, grey values (of 1)."""


CHECKPOINT_EVERY = 500
"""Steps between two checkpoints."""


@dataclass(frozen=True)
class Agreement:
    """How well predicted angles agree on held-back pairs."""

    within_10: float  # share of the pairs whose angles differ by less than 10 degrees from the truth
    within_20: float
    distance: float  # mean descriptor distance of the pairs, turned as predicted
    aligned_distance: float  # the same, turned as the truth says: the least that can be had
    random_distance: float  # the same, at random angles


def photo_patches(
    folder: str | Path, points: int = 150, config: WarpConfig | None = None, seed: int = 0
) -> PatchSet:
    """Pairs of patches around detected keypoints of the photos below `folder`, seen in random homographies.

    A point's patches are aligned: only shape, light and place differ. Unreadable photos are left out;
    InputError when none gives a patch.
    """
    from ..conventions import FRAME_SCALE
    from ..features.detectors import DetectorConfig, detect
    from ..features.frames import scaled_lafs
    from ..photos.images import list_images, read_gray

    config = config or WarpConfig(views=2, rotation=math.pi, zoom=0.25, error_rotation=0.0)
    folder = Path(folder)
    patches: list[NDArray[np.uint8]] = []
    ids: list[NDArray[np.int64]] = []
    start = 0
    for number, name in enumerate(track(list_images(folder), f"cutting {folder.name}")):
        rng = np.random.default_rng([seed, number])
        try:
            pixels = read_gray(folder / name, 1200).pixels
        except InputError:
            continue
        detector = DetectorConfig(
            detector=("dog", "hessian")[number % 2],
            ranking="contrast",
            orientation="upright",
            max_keypoints=3000,
        )
        frames = scaled_lafs(detect(pixels, detector).lafs, FRAME_SCALE).double().numpy()
        chosen = frames[rng.permutation(len(frames))[:points]]
        cut, rows = warped_patches((pixels * 255).round().astype(np.uint8), config, rng, chosen)
        patches.append(cut)
        ids.append(rows + start)
        start += len(chosen)
    if not start:
        raise InputError(f"{folder} gave no patches; give a folder of photos with texture")
    return make_patch_set(
        np.concatenate(patches),
        np.concatenate(ids),
        f"photos:{folder.name}",
        "that of the photos",
        context=config.context,
    )


def train_orientation(
    training: PatchSet, config: OrientationConfig, descriptor: nn.Module, checkpoint: Path | None = None
) -> DesDis:
    """The trained network, in eval mode.

    descriptor: a frozen network (N, 1, 32, 32) -> (N, D) whose distances are to agree. With `checkpoint` the
    state is saved there every few hundred steps, and an interrupted training of the same configuration goes
    on.
    """
    descriptor.eval().requires_grad_(False)
    torch.manual_seed(config.seed)
    network = DesDis(config.width, dim=2, dropout=0.0).train()
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    first = _restore(checkpoint, config, network, optimizer)
    begin = time.monotonic()
    for step in track(range(first, config.steps), "orientation", config.steps - first, "steps"):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        stored, context = _batch(training, config.batch, [config.seed, step])
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        angles, jitter = _random_views(len(stored), generator)
        patches = resample(stored, _turned(jitter, angles), context)
        predicted = network(patches + NOISE * torch.randn(patches.shape, generator=generator))
        error = _error_cosine(predicted, angles)
        likelihood = (config.sharpness * (error - 1)).exp()
        loss = -((likelihood + config.outliers).log()).mean()
        if step >= config.steps * (1 - config.descriptor_share):
            turned = _turned_by_vector(_turned(jitter, angles), predicted)
            described = descriptor(resample(stored, turned, context))
            near, far = described.chunk(2)
            loss = loss + 2 * (near - far).norm(dim=1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            within = float((error > math.cos(math.radians(20))).float().mean())
            logger.info(
                "step %d: loss %.3f, %.1f %% within 20 degrees, %.0f s",
                step + 1,
                float(loss.detach()),
                100 * within,
                time.monotonic() - begin,
            )
        if checkpoint is not None and step % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
            _save(checkpoint, config, network, optimizer, step + 1)
    return network.eval()


@torch.no_grad()
def angle_agreement(
    network: nn.Module, held: PatchSet, descriptor: nn.Module, pairs: int = 4000, seed: int = 1
) -> Agreement:
    """How well angles agree on random pairs of `held`, without augmentation but for random angles."""
    stored, context = _batch(held, pairs, [seed])
    generator = torch.Generator().manual_seed(seed)
    angles = _uniform_angles(len(stored), generator)
    identity = torch.eye(2, 3).expand(len(stored), 2, 3)
    affine = _turned(identity, angles)
    predicted = torch.cat(
        [
            network(resample(*part))
            for part in zip(stored.split(512), affine.split(512), context.split(512), strict=True)
        ]
    )
    error = _error_cosine(predicted, angles)

    def distance(frames: Tensor) -> float:
        parts = zip(stored.split(512), frames.split(512), context.split(512), strict=True)
        near, far = torch.cat([descriptor(resample(*part)) for part in parts]).chunk(2)
        return float((near - far).norm(dim=1).mean())

    return Agreement(
        float((error > math.cos(math.radians(10))).float().mean()),
        float((error > math.cos(math.radians(20))).float().mean()),
        distance(_turned_by_vector(affine, predicted)),
        distance(identity),
        distance(affine),
    )


def save_orientation(
    path: Path, network: DesDis, training: PatchSet, config: OrientationConfig, metadata: dict[str, Any]
) -> None:
    """Write the weights with what they were made from; InputError when that is impossible."""
    header = {
        "purpose": "orientation: upright patch -> (cos, sin) of its frame's angle",
        "data": list(training.sources),
        "data_licences": list(training.licences),
        "training": asdict(config),
        **metadata,
    }
    save_weights(path, network, header)


def _batch(data: PatchSet, count: int, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Stored patches (2B, S, S) uint8, anchors first, and their context (2B,)."""
    pairs = draw_pairs(data, count, np.random.default_rng(list(seed)))
    rows = np.concatenate([pairs.anchors, pairs.positives])
    return torch.from_numpy(data.patches[rows]), torch.from_numpy(data.context[rows])


def _random_views(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Angles (N,) and affine jitter (N, 2, 3) without rotation."""
    angles = _uniform_angles(count, generator)
    zoom = 2 ** (ZOOM * torch.randn(count, generator=generator))
    stretch = STRETCH * torch.randn(count, generator=generator)
    shift = SHIFT * torch.randn(count, 2, 1, generator=generator)
    # Symmetric, so that it turns nothing.
    shape = torch.stack([1 + stretch, stretch * 0, stretch * 0, 1 - stretch], 1).view(-1, 2, 2)
    direction = _turn(_uniform_angles(count, generator))
    shape = zoom[:, None, None] * (direction @ shape @ direction.transpose(1, 2))
    return angles, torch.cat([shape, shift], 2)


def _uniform_angles(count: int, generator: torch.Generator) -> Tensor:
    return 2 * math.pi * torch.rand(count, generator=generator)


def _turn(angles: Tensor) -> Tensor:
    return _turn_of_vector(torch.stack([angles.cos(), angles.sin()], 1))


def _turn_of_vector(vector: Tensor) -> Tensor:
    """(N, 2) of (cos, sin) -> (N, 2, 2), a frame of that angle."""
    cos, sin = vector.unbind(1)
    return torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2)


def _turned(affine: Tensor, angles: Tensor) -> Tensor:
    return torch.cat([affine[:, :, :2] @ _turn(angles), affine[:, :, 2:]], 2)


def _turned_by_vector(affine: Tensor, vector: Tensor) -> Tensor:
    return torch.cat([affine[:, :, :2] @ _turn_of_vector(vector), affine[:, :, 2:]], 2)


def _error_cosine(predicted: Tensor, angles: Tensor) -> Tensor:
    """Cosine (B,) of the two halves' disagreement: prediction plus angle of the cut is the point's own."""
    cos, sin = predicted.unbind(1)
    own = torch.stack([cos * angles.cos() - sin * angles.sin(), sin * angles.cos() + cos * angles.sin()], 1)
    first, second = own.chunk(2)
    return (first * second).sum(1)


def _save(
    path: Path, config: OrientationConfig, network: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    state = {
        "config": json.dumps(asdict(config)),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    torch.save(state, partial)
    os.replace(partial, path)


def _restore(
    path: Path | None, config: OrientationConfig, network: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Load a checkpoint of the same configuration; the step to go on with, 0 without one."""
    if path is None or not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state["config"] != json.dumps(asdict(config)):
        logger.info("%s is of another configuration: training starts anew", path)
        return 0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
