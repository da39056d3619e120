"""What the matching AP of a descriptor lacks: how much of it the frames cost, and what the wrong matches are.

A view of a photo is made by a known homography, so every keypoint that the detector found in both has a true
frame in the view: where the homography takes the photo's one. A frame is a place, a scale, a turn and a
shape (the symmetric stretch that is left, none in a detector's own); each can be made true for itself. What
AP that gives is what better frames would give the same network; what is missing with frames that are true
throughout no detector can give, only a network, or nobody where patches look alike.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..conventions import FRAME_SCALE
from ..features.frames import PatchPyramid, extract_patches
from ..matching.nearest import mutual_rows
from .planar import CORRECT, matching_ap, moved_places
from .validate import Describe

Float = NDArray[np.float64]

PARTS = ("place", "scale", "turn", "shape")
"""Of a frame; what `repaired` can make true."""
REPAIRS: dict[str, tuple[str, ...]] = {
    "own": (),
    "place": ("place",),
    "scale": ("scale",),
    "turn": ("turn",),
    "shape": ("shape",),
    "similar": ("place", "scale", "turn"),
    "affine": PARTS,
}
"""Name -> parts of the view's frames that are made true."""
OVERLAP = 0.5
"""A wrong match nearer to the right place than this share of the patch's half side shows much the same."""
ALIKE = 0.8
"""Two patches of the same photo whose correlation is at least this look alike."""
STEEP = 1.5
"""A partner whose scale is off by more than this factor was found in another blob, or in another octave."""


@dataclass(frozen=True)
class SeenTwice:
    """Keypoints of a photo and of a view of it."""

    frames0: Float  # (N0, 2, 3) in the photo, sigma-sized
    frames1: Float  # (N1, 2, 3) in the view
    view_from_photo: Float  # (3, 3)
    error: Float  # (N0, N1) pixels of the view between where the homography has a keypoint and another
    partners: NDArray[np.int64]  # (M, 2) rows of keypoints that are each other's nearest, within CORRECT


def seen_twice(frames0: Float, frames1: Float, view_from_photo: Float) -> SeenTwice:
    """Which keypoints of a photo, (N0, 2, 3), and of a view, (N1, 2, 3), show one point."""
    moved = moved_places(frames0[:, :, 2], view_from_photo)
    error = np.linalg.norm(moved[:, None] - frames1[None, :, :, 2], axis=2)
    forward, backward = error.argmin(axis=1), error.argmin(axis=0)
    rows = mutual_rows(forward, backward)
    rows = rows[error[rows, forward[rows]] <= CORRECT]
    return SeenTwice(
        frames0, frames1, view_from_photo, error, np.column_stack([rows, forward[rows]]).astype(np.int64)
    )


def carried(frames: Float, matrix: Float) -> Float:
    """Where a homography takes frames (N, 2, 3): the centre exactly, the axes by its derivative there."""
    centre = frames[:, :, 2]
    moved = moved_places(centre, matrix)
    depth = centre @ matrix[2, :2] + matrix[2, 2]
    jacobian = (matrix[None, :2, :2] - moved[:, :, None] * matrix[None, 2:, :2]) / depth[:, None, None]
    return np.concatenate([jacobian @ frames[:, :, :2], moved[:, :, None]], axis=2)


@dataclass(frozen=True)
class FrameParts:
    """Frames [scale x turn @ shape | place], taken apart."""

    place: Float  # (N, 2)
    scale: Float  # (N,) root of the area
    turn: Float  # (N, 2, 2) rotation
    shape: Float  # (N, 2, 2) symmetric, of determinant 1


def parts_of(frames: Float) -> FrameParts:
    """The polar decomposition of frames (N, 2, 3), none of them mirrored."""
    axes = frames[:, :, :2]
    scale = np.sqrt(np.linalg.det(axes))
    angle = np.arctan2(axes[:, 1, 0] - axes[:, 0, 1], axes[:, 0, 0] + axes[:, 1, 1])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return FrameParts(frames[:, :, 2], scale, turn, turn.transpose(0, 2, 1) @ axes / scale[:, None, None])


def repaired(own: Float, true: Float, parts: Collection[str]) -> Float:
    """Frames (N, 2, 3) whose `parts` are those of `true`, the others those of `own`."""
    chosen = {name: getattr(parts_of(true if name in parts else own), name) for name in PARTS}
    axes = chosen["scale"][:, None, None] * (chosen["turn"] @ chosen["shape"])
    return np.concatenate([axes, chosen["place"][:, :, None]], axis=2)


def true_frames(pair: SeenTwice) -> Float:
    """(M, 2, 3) of the partners, in the view, where the homography takes the photo's."""
    return carried(pair.frames0[pair.partners[:, 0]], pair.view_from_photo)


def view_patches(pair: SeenTwice, view: PatchPyramid, parts: Collection[str]) -> Tensor:
    """(N1, 1, 32, 32) of the view's keypoints, those of partners with `parts` of their frames true."""
    frames = pair.frames1.copy()
    rows = pair.partners[:, 1]
    frames[rows] = repaired(frames[rows], true_frames(pair), parts)
    return cut(view, frames)


def cut(photo: PatchPyramid, frames: Float) -> Tensor:
    """(N, 1, 32, 32) patches of sigma-sized frames (N, 2, 3), in steps of a 255th as stored ones."""
    patches = extract_patches(photo, torch.from_numpy(frames.astype(np.float32)))
    return (patches.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class Matched:
    """The mutual nearest neighbours of a pair's descriptors."""

    ap: float
    ap_apart: float  # those left out that overlap what is right: neither right nor wrong
    found: NDArray[np.bool_]  # (M,) partners whose keypoint of the photo is matched right
    wrong: NDArray[np.int64]  # (W, 2) rows of matches that are not right
    overlap: NDArray[np.bool_]  # (W,) which of them are within OVERLAP of the right place


def matched(pair: SeenTwice, described0: Tensor, described1: Tensor) -> Matched:
    """Match the descriptors (N0, D) and (N1, D) of a pair."""
    cosines = described0 @ described1.T
    nearest = cosines.argmax(dim=1).numpy()
    mutual = mutual_rows(nearest, cosines.argmax(dim=0).numpy())
    right = mutual[pair.error[mutual, nearest[mutual]] <= CORRECT]
    wrong = np.setdiff1d(mutual, right)
    overlap = overlapping(pair, np.column_stack([wrong, nearest[wrong]]))
    error = torch.from_numpy(pair.error)
    return Matched(
        matching_ap(cosines, error),
        matching_ap(cosines, error, np.setdiff1d(mutual, wrong[overlap])),
        np.isin(pair.partners[:, 0], right),
        np.column_stack([wrong, nearest[wrong]]).astype(np.int64),
        overlap,
    )


def ceiling(pair: SeenTwice) -> float:
    """AP of a matching without fault: all partners, nothing else. Below 1, as keypoints share partners."""
    return len(pair.partners) / max(int((pair.error.min(axis=1) <= CORRECT).sum()), 1)


def other_scale(pair: SeenTwice) -> NDArray[np.bool_]:
    """(M,) which partners' scales are off by more than STEEP."""
    true, own = parts_of(true_frames(pair)).scale, parts_of(pair.frames1[pair.partners[:, 1]]).scale
    result: NDArray[np.bool_] = np.abs(np.log2(own / true)) > np.log2(STEEP)
    return result


def overlapping(pair: SeenTwice, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(W,) which wrong matches (W, 2) lie within OVERLAP of the right place, in half sides of the patch."""
    true = carried(pair.frames0[rows[:, 0]], pair.view_from_photo)
    half_side = FRAME_SCALE * parts_of(true).scale
    result: NDArray[np.bool_] = pair.error[rows[:, 0], rows[:, 1]] <= OVERLAP * half_side
    return result


def correlations(pair: SeenTwice, photo: PatchPyramid, rows: NDArray[np.int64]) -> Float:
    """(W,) of matches (W, 2): correlation of the keypoint's patch with that of its match, both in the photo.

    The match's frame is carried back and turned as the keypoint's, so that nothing differs but what is seen.
    """
    own = pair.frames0[rows[:, 0]]
    photo_from_view = np.linalg.inv(pair.view_from_photo).astype(np.float64)
    back = carried(pair.frames1[rows[:, 1]], photo_from_view)
    seen = (cut(photo, own), cut(photo, repaired(own, back, ("place", "scale"))))
    one, two = (patches.flatten(1) - patches.flatten(1).mean(dim=1, keepdim=True) for patches in seen)
    product = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1)).clamp_min(1e-6)
    result: Float = product.double().numpy()
    return result


@torch.no_grad()
def described(describe: Describe, patches: Tensor, block: int = 4096) -> Tensor:
    """(N, D) of patches (N, 1, 32, 32)."""
    return torch.cat([describe(some) for some in patches.split(block)])
