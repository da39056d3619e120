"""Pictures of matches to look at, made when a task runs: wrong matches red, correct ones green."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...conventions import to_resized
from ...photos.images import read_gray
from ..results import Worst, write_atomically
from . import scores as planar
from .homography_report import PairScore, describe_worst, worst_pairs

LONG_SIDE = 640
MAX_LINES = 200


def side_by_side(
    path0: Path, path1: Path, xy0: NDArray[Any], xy1: NDArray[Any], correct: NDArray[np.bool_]
) -> bytes:
    """Two photos and the matches (M, 2), (M, 2) between them as a JPEG; keypoints in original pixels."""
    images, scales = [], []
    for path in (path0, path1):
        image = read_gray(path, LONG_SIDE)
        images.append(cv2.cvtColor((image.pixels * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR))
        scales.append(np.array(image.scale_xy))
    height = max(i.shape[0] for i in images)
    padded = [cv2.copyMakeBorder(i, 0, height - i.shape[0], 0, 0, cv2.BORDER_CONSTANT) for i in images]
    canvas = np.concatenate(padded, axis=1)
    shift = np.array([images[0].shape[1], 0])
    a, b = to_resized(xy0, scales[0]), to_resized(xy1, scales[1]) + shift
    chosen = np.random.default_rng(0).permutation(len(a))[:MAX_LINES]
    for i in sorted(chosen, key=lambda i: not correct[i]):  # wrong ones last, on top
        colour = (60, 200, 60) if correct[i] else (40, 40, 230)
        start, end = np.rint(a[i]).astype(int).tolist(), np.rint(b[i]).astype(int).tolist()
        cv2.line(canvas, start, end, colour, 1, cv2.LINE_AA)
    return bytes(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])


def draw_worst(
    scores: Mapping[str, Sequence[PairScore]],
    matched: Mapping[tuple[str, str, str, int], Any],
    folder: Path,
    pixels: float,
    number: int,
) -> tuple[Worst, ...]:
    """Draw the `number` pairs with the most wrong matches into `folder`; all worst cases come back."""
    cases = []
    for rank, (name, pair) in enumerate(worst_pairs(scores)):
        picture = ""
        if rank < number:
            sequence, pairs, arrays = matched[(name, pair.dataset, pair.sequence, pair.target)]
            xy0, xy1 = arrays["xy_1"], arrays[f"xy_{pair.target}"]
            from0 = planar.project_plane(sequence.homographies[pair.target], xy0)
            correct = np.linalg.norm(from0[pairs[:, 0]] - xy1[pairs[:, 1]], axis=1) <= pixels
            paths = sequence.reference, sequence.targets[pair.target]
            path = folder / f"{rank:02d}-{pair.sequence}-{pair.target}-{name.replace('/', '-')}.jpg"
            write_atomically(path, side_by_side(*paths, xy0[pairs[:, 0]], xy1[pairs[:, 1]], correct))
            picture = str(path)
        cases.append(describe_worst(name, pair, picture))
    return tuple(cases)
