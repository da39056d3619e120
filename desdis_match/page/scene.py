"""The models on a page: points in a fair order, cameras with intrinsics, where the scene lies and is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import Blocks, spread
from .models import Model, PhotoPose

MAX_POINTS = 1_000_000
"""Of all models together."""
MAX_SEEN = 1_000_000
"""Points that are marked as seen by an image, of all images together."""
ERROR_STEP = 0.02
"""Pixels between two reprojection errors that the page tells apart; those above 5.1 are shown as 5.1."""
FAR = 3.0
"""Points further from the middle than this many times the radius of 80 % of them are the outliers."""
ONE_PLACE = 1e-3
"""Points that spread less than this share of the cameras' distance are one place."""
EXIF_DOWN = {
    1: (0, 1), 2: (0, 1), 3: (0, -1), 4: (0, -1), 5: (1, 0), 6: (1, 0), 7: (-1, 0), 8: (-1, 0)
}  # fmt: skip
"""Which way of the stored photo (x right, y down) is down once EXIF's orientation turns it."""


def add_models(
    blocks: Blocks,
    models: Sequence[Model],
    names: Sequence[str],
    orientations: Sequence[int],
    notes: list[str],
) -> list[dict[str, Any]]:
    """Points as arrays `points-0`, ...; returns what the page needs to know of each model."""
    total = sum(len(model.points) for model in models)
    shown = [spread(len(m.points), MAX_POINTS * len(m.points) // max(total, 1)) for m in models]
    if (num_shown := sum(map(len, shown))) < total:
        notes.append(f"{num_shown:,} of {total:,} points are shown.")
    rows = {name: i for i, name in enumerate(names)}
    turned = dict(zip(names, orientations, strict=True))
    return [
        _add_model(blocks, k, model, chosen, rows, turned)
        for k, (model, chosen) in enumerate(zip(models, shown, strict=True))
    ]


def _add_model(
    blocks: Blocks,
    k: int,
    model: Model,
    chosen: NDArray[np.int64],
    rows: Mapping[str, int],
    orientations: Mapping[str, int],
) -> dict[str, Any]:
    # In random order any first part of them is a fair picture, which is drawn while the view moves.
    chosen = np.random.default_rng(0).permutation(chosen)
    blocks.add(f"points-{k}", model.points[chosen])
    blocks.add(f"point-colors-{k}", model.colors[chosen])
    blocks.add(
        f"point-errors-{k}", np.clip(np.round(model.errors[chosen] / ERROR_STEP), 0, 255).astype(np.uint8)
    )
    blocks.add(f"point-lengths-{k}", np.minimum(model.lengths[chosen], 255).astype(np.uint8))
    names = [name for name in model.poses if name in rows]
    _add_seen(blocks, k, model, chosen, names)
    poses = [model.poses[name] for name in names]
    centers = np.array([pose.center for pose in poses]).reshape(-1, 3)
    downs = [_down(model.poses[name], orientations[name]) for name in names]
    body = model.points if len(model.points) else centers.astype(np.float32)
    middle = np.median(body, axis=0) if len(body) else np.zeros(3)
    away = np.linalg.norm(body - middle, axis=1) if len(body) else np.ones(1)
    radius = _radius(away, np.linalg.norm(centers - middle, axis=1))
    return {
        **{key: float(value) for key, value in model.summary.items()},
        "registered": len(model.poses),
        "images": [rows[name] for name in names],
        "centers": _short(centers),
        "rotations": _short(np.array([pose.rotation for pose in poses]).reshape(-1, 9)),
        "halves": _short(np.array([pose.half for pose in poses]).reshape(-1, 2)),
        "camera": [pose.camera for pose in poses],
        "cameras": [
            {
                "id": number,
                "model": camera.model,
                "width": camera.width,
                "height": camera.height,
                "focal": camera.focal,
                "field": camera.field,
                "params": dict(camera.params),
            }
            for number, camera in model.cameras.items()
        ],
        "error_step": ERROR_STEP,
        "middle": [float(v) for v in middle],
        "radius": radius,
        "far": FAR * radius,
        "num_far": int(np.count_nonzero(away > FAR * radius)) if len(model.points) else 0,
        "up": _upwards(centers, np.array(downs).reshape(-1, 3)),
    }


def _radius(points: NDArray[np.floating[Any]], cameras: NDArray[np.floating[Any]]) -> float:
    """What holds 80 % of the points, or half of the cameras where all points lie on one another.

    points, cameras: distances from the middle.
    """
    radius, reach = float(np.percentile(points, 80)), float(np.median(cameras)) if len(cameras) else 0.0
    return radius if radius > ONE_PLACE * reach else reach or 1.0


def _add_seen(blocks: Blocks, k: int, model: Model, chosen: NDArray[np.int64], names: Sequence[str]) -> None:
    """Which of the points shown each image sees."""
    row_of = np.full(len(model.points), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    seen, starts = [np.zeros(0, np.uint32)], [0]
    for name in names:
        found = row_of[model.observations[name][1]]
        found = found[found >= 0]
        found = found[spread(len(found), MAX_SEEN // max(len(names), 1))]
        seen.append(found.astype(np.uint32))
        starts.append(starts[-1] + len(found))
    blocks.add(f"seen-{k}", np.concatenate(seen))
    blocks.add(f"seen-starts-{k}", np.array(starts, np.uint32))


def _short(values: NDArray[np.float64]) -> list[list[float]]:
    """Numbers of eight digits: what a page needs, at half the bytes."""
    return [[float(f"{v:.8g}") for v in row] for row in values]


def _down(pose: PhotoPose, orientation: int) -> NDArray[np.float64]:
    """(3,) the photo's way down in the world, as EXIF turns it."""
    x, y = EXIF_DOWN.get(orientation, (0, 1))
    rotation = np.array(pose.rotation).reshape(3, 3)
    return np.asarray(x * rotation[0] + y * rotation[1])


def _upwards(centers: NDArray[np.float64], downs: NDArray[np.float64]) -> list[float]:
    """Where up is (3,): against the images' y axes, or across the cameras' plane where photos are turned."""
    mean = -downs.mean(axis=0) if len(downs) else np.array([0.0, 0.0, 1.0])
    if np.linalg.norm(mean) < 0.5 and len(centers) > 3:
        across = np.linalg.svd(centers - centers.mean(axis=0))[2][2]
        mean = across if across @ mean >= 0 else -across
    return [float(v) for v in mean / (np.linalg.norm(mean) or 1.0)]
