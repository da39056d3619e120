"""Patches from single pictures: every view is a random homography of the picture with other light and blur.

A view's patch is cut where the homography puts the frame of a point of the picture, with an error of
position, scale and angle as a detector makes it. The picture may be a photo or a texture generated here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..patchsets.patchset import PatchSet, make_patch_set
from ..support.progress import track

Float = NDArray[Any]
Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class WarpConfig:
    """How patches are cut from one picture under synthetic views."""

    points: int = 200
    """Points a picture, at most."""
    views: int = 3
    """Warped views a point, besides the picture itself."""
    side: int = 64
    """Side of the stored patch, pixels."""
    context: float = 1.5
    """Side of the stored patch / side of the network's patch."""
    radius: tuple[float, float] = (12.0, 48.0)
    """Smallest and largest half side of the network's patch in the picture, pixels (log-uniform)."""
    rotation: float = 0.6
    """Standard deviation of a view's rotation, radians."""
    zoom: float = 0.35
    """Standard deviation of a view's log2 zoom."""
    tilt: tuple[float, float] = (0.0, 0.5)
    """Smallest and largest log2 stretch along a random direction."""
    perspective: float = 0.25
    """Largest change of zoom from the middle to the border of the picture."""
    error_shift: float = 0.05
    """Standard deviation of a frame's position, in half sides of the patch."""
    error_zoom: float = 0.12
    """Standard deviation of a frame's log2 scale."""
    error_rotation: float = 0.12
    """Standard deviation of a frame's angle, radians."""
    gamma: float = 0.35
    """Standard deviation of a view's log gamma."""
    gain: float = 0.25
    """Standard deviation of a view's log contrast."""
    blur: float = 1.5
    """Largest blur of a view, standard deviation in stored pixels."""
    contrast: float = 8.0
    """A point whose patch has a smaller standard deviation (grey levels of 255) is left out."""


def read_photos(folder: str | Path, config: WarpConfig | None = None, seed: int = 0) -> PatchSet:
    """Patches around keypoints of every photo below `folder`, seen again under synthetic views.

    Unreadable photos are left out; InputError when none remains.
    """
    from ..photos.images import list_images, read_gray

    config = config or WarpConfig()
    parts: list[tuple[Gray, NDArray[np.int64]]] = []
    folder = Path(folder)
    for name in track(list_images(folder), f"warping {folder.name}"):
        try:
            pixels = read_gray(folder / name).pixels
        except InputError:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        frames = detected_frames(pixels, config, rng)
        parts.append(warped_patches((pixels * 255).round().astype(np.uint8), config, rng, frames))
    return _collect(parts, f"photos:{folder.name}", "that of the photos", config)


def make_textures(pictures: int = 24, config: WarpConfig | None = None, seed: int = 0) -> PatchSet:
    """Patches from generated textures: needs no data at all."""
    config = config or WarpConfig()
    parts = []
    for number in range(pictures):
        rng = np.random.default_rng([seed, number])
        parts.append(warped_patches(texture(rng, 512), config, rng))
    return _collect(parts, f"textures:{pictures}", "generated", config)


def _collect(
    parts: list[tuple[Gray, NDArray[np.int64]]], source: str, licence: str, config: WarpConfig
) -> PatchSet:
    parts = [part for part in parts if len(part[0])]
    if not parts:
        raise InputError(f"{source}: no picture gave a patch; they may be too small or without texture")
    points, start = [], 0
    for _, ids in parts:
        points.append(ids + start)
        start = int(points[-1].max()) + 1
    patches = np.concatenate([pixels for pixels, _ in parts])
    return make_patch_set(patches, np.concatenate(points), source, licence, context=config.context)


def warped_patches(
    picture: Gray, config: WarpConfig, rng: np.random.Generator, frames: Float | None = None
) -> tuple[Gray, NDArray[np.int64]]:
    """Patches of one picture and of its views: (N, side, side) uint8 and the point of each, (N,).

    picture: (h, w). frames: (P, 2, 3), the half side and axes of each network patch and its centre, pixels;
    random ones when missing. Points of which fewer than two patches lie inside the picture are left out.
    """
    if frames is None:
        frames = random_frames(picture.shape, config, rng)
    pyramid = _pyramid(picture)
    height, width = picture.shape
    patches, points = [], []
    for view in range(config.views + 1):
        matrix = np.eye(3) if view == 0 else random_homography(width, height, config, rng)
        seen = jitter(move_frames(frames, matrix), config, rng) if view else frames
        maps = _sample_positions(seen, np.linalg.inv(matrix), config)
        inside = ((maps >= 0) & (maps <= [width - 1, height - 1])).all(axis=(1, 2, 3))
        rows = np.flatnonzero(inside)
        cut = _sample(pyramid, maps[rows])
        patches.append(cut if view == 0 else _expose(cut, config, rng))
        points.append(rows)
    return _well_seen(np.concatenate(patches), np.concatenate(points), config)


def random_frames(shape: tuple[int, ...], config: WarpConfig, rng: np.random.Generator) -> Float:
    """(P, 2, 3) frames at random places, sizes and angles, no centre within half a radius of another."""
    height, width = shape
    radius = np.exp(rng.uniform(np.log(config.radius[0]), np.log(config.radius[1]), config.points))
    centre = rng.random((config.points, 2)) * [width, height]
    angle = rng.uniform(-np.pi, np.pi, config.points)
    return _thinned(_similarities(radius, angle, centre))


def detected_frames(pixels: NDArray[np.float32], config: WarpConfig, rng: np.random.Generator) -> Float:
    """(P, 2, 3) frames of the network's patch at random keypoints, thinned as `random_frames`.

    pixels: (h, w) in [0, 1]. The radius is the detector's, not `config.radius`.
    """
    from ..conventions import FRAME_SCALE
    from ..features.detectors import DetectorConfig, detect
    from ..features.frames import scaled_lafs

    detector = DetectorConfig(
        detector="dog+hessian",
        ranking="contrast",
        orientation="upright",
        max_keypoints=10 * config.points,
    )
    found = detect(pixels, detector)
    chosen = rng.permutation(len(found))[: 3 * config.points]
    frames = scaled_lafs(found.lafs, FRAME_SCALE).double().numpy()[chosen]
    return _thinned(frames)[: config.points]


def _thinned(frames: Float) -> Float:
    """Frames without those whose centre is within half a radius of an earlier one's."""
    radius, centre = np.hypot(frames[:, 0, 0], frames[:, 1, 0]), frames[:, :, 2]
    gap = np.linalg.norm(centre[:, None] - centre[None], axis=2)
    crowded = np.tril(gap < 0.5 * np.maximum(radius[:, None], radius[None]), -1).any(axis=1)
    result: Float = frames[~crowded]
    return result


def random_homography(width: int, height: int, config: WarpConfig, rng: np.random.Generator) -> Float:
    """view_from_picture, (3, 3), about the picture's centre."""
    angle, direction = rng.normal(0, config.rotation), rng.uniform(0, np.pi)
    zoom, tilt = 2 ** rng.normal(0, config.zoom), 2 ** rng.uniform(*config.tilt)
    stretch = _turn(direction) @ np.diag([tilt**-0.5, tilt**0.5]) @ _turn(-direction)
    inner = np.eye(3)
    inner[:2, :2] = zoom * _turn(angle) @ stretch
    inner[2, :2] = rng.uniform(-config.perspective, config.perspective, 2)
    half = max(width, height) / 2
    centred = np.array([[1 / half, 0, -width / 2 / half], [0, 1 / half, -height / 2 / half], [0, 0, 1]])
    result: Float = np.linalg.inv(centred) @ inner @ centred
    return result


def _turn(angle: float) -> Float:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def move_frames(frames: Float, matrix: Float) -> Float:
    """Where a homography takes frames (P, 2, 3): the centre exactly, the axes as the nearest similarity.

    A detector without affine shape sees scale and direction only: the scale is the root of the local change
    of area, the angle that of the moved first axis.
    """
    centre = frames[:, :, 2]
    moved = centre @ matrix[:2, :2].T + matrix[:2, 2]
    depth = centre @ matrix[2, :2] + matrix[2, 2]
    moved = moved / depth[:, None]
    jacobian = (matrix[None, :2, :2] - moved[:, :, None] * matrix[None, 2:, :2]) / depth[:, None, None]
    axes = jacobian @ frames[:, :, :2]
    radius = np.sqrt(np.abs(np.linalg.det(axes)))
    angle = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
    return _similarities(radius, angle, moved)


def jitter(frames: Float, config: WarpConfig, rng: np.random.Generator) -> Float:
    """Similarity frames (P, 2, 3) with a detector's errors of place, scale and angle."""
    count = len(frames)
    radius = np.hypot(frames[:, 0, 0], frames[:, 1, 0])
    angle = np.arctan2(frames[:, 1, 0], frames[:, 0, 0])
    centre = frames[:, :, 2] + radius[:, None] * rng.normal(0, config.error_shift, (count, 2))
    return _similarities(
        radius * 2 ** rng.normal(0, config.error_zoom, count),
        angle + rng.normal(0, config.error_rotation, count),
        centre,
    )


def _similarities(radius: Float, angle: Float, centre: Float) -> Float:
    cos, sin = radius * np.cos(angle), radius * np.sin(angle)
    return np.stack([cos, -sin, centre[:, 0], sin, cos, centre[:, 1]], axis=1).reshape(-1, 2, 3)


def _sample_positions(frames: Float, picture_from_view: Float, config: WarpConfig) -> Float:
    """(P, side, side, 2) picture positions of the stored pixels of frames given in a view."""
    steps = (np.arange(config.side) + 0.5) / config.side * 2 - 1
    unit = config.context * np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    places = unit @ frames[:, :, :2].transpose(0, 2, 1) + frames[:, None, :, 2]
    projected = places @ picture_from_view[:, :2].T + picture_from_view[:, 2]
    depth = np.where(projected[..., 2:] > 1e-6, projected[..., 2:], np.nan)
    result: Float = (projected[..., :2] / depth).reshape(len(frames), config.side, config.side, 2)
    return result


def _pyramid(picture: Gray) -> list[Gray]:
    import cv2

    levels = [picture]
    while min(levels[-1].shape) >= 32:
        height, width = levels[-1].shape
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return levels


def _sample(pyramid: list[Gray], maps: Float) -> Gray:
    """Patches at picture positions (P, S, S, 2), each from the level with pixels as wide as its steps."""
    import cv2

    side = maps.shape[1]
    out = np.empty(maps.shape[:3], np.uint8)
    steps = np.linalg.norm(maps[:, side // 2, -1] - maps[:, side // 2, 0], axis=1) / (side - 1)
    levels = np.clip(np.round(np.log2(np.maximum(steps, 1e-6))), 0, len(pyramid) - 1).astype(int)
    for level in np.unique(levels):
        rows = np.flatnonzero(levels == level)
        shrink = np.array(pyramid[level].shape[::-1]) / pyramid[0].shape[::-1]
        positions = ((maps[rows] + 0.5) * shrink - 0.5).astype(np.float32)
        for row, position in zip(rows, positions, strict=True):
            across, down = np.ascontiguousarray(position[..., 0]), np.ascontiguousarray(position[..., 1])
            out[row] = cv2.remap(
                pyramid[level], across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
    return out


def _expose(patches: Gray, config: WarpConfig, rng: np.random.Generator) -> Gray:
    """One view's light and blur on its patches (N, S, S)."""
    import cv2

    gamma, gain = np.exp(rng.normal(0, config.gamma)), np.exp(rng.normal(0, config.gain))
    table = np.clip(((np.arange(256) / 255) ** gamma - 0.5) * gain + 0.5, 0, 1)
    sigma = rng.uniform(0, config.blur)
    lit = (table * 255).round().astype(np.uint8)[patches]
    if sigma > 0.3:  # a narrower kernel is one pixel
        for row in range(len(lit)):
            lit[row] = cv2.GaussianBlur(lit[row], (0, 0), sigma)
    result: Gray = lit
    return result


def _well_seen(
    patches: Gray, points: NDArray[np.int64], config: WarpConfig
) -> tuple[Gray, NDArray[np.int64]]:
    margin = round(config.side * (1 - 1 / config.context) / 2)
    middle = patches[:, margin : config.side - margin, margin : config.side - margin]
    keep = middle.std(axis=(1, 2)) >= config.contrast
    patches, points = patches[keep], points[keep]
    _, inverse, counts = np.unique(points, return_inverse=True, return_counts=True)
    paired = counts[inverse] >= 2
    return patches[paired], points[paired]


def texture(rng: np.random.Generator, side: int) -> Gray:
    """A picture (side, side) of noise, shapes and lines: something to see at every place and scale."""
    import cv2

    canvas = np.zeros((side, side), np.float32)
    for level in range(2, 8):
        noise = rng.normal(size=(2**level, 2**level)).astype(np.float32)
        canvas += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) * 0.75**level
    canvas = np.interp(canvas, (canvas.min(), canvas.max()), (40, 215)).astype(np.uint8)
    for _ in range(side // 3):
        corners = rng.uniform(0, side, 2) + rng.normal(0, rng.uniform(3, side / 12), (rng.integers(3, 7), 2))
        colour = int(rng.integers(0, 256))
        outline = corners.round().astype(np.int32)
        if rng.random() < 0.6:
            cv2.fillConvexPoly(canvas, cv2.convexHull(outline), colour, cv2.LINE_AA)
        else:
            cv2.polylines(canvas, [outline], False, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.8), np.uint8)
