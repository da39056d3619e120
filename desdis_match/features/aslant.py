"""Photos as they would look from aslant: view synthesis (Morel and Yu, ASIFT, SIAM J. Imaging Sciences 2009).

A surface seen at a slant is squeezed in one direction, which descriptors bear up to a factor of two or so.
Keypoints that are sought in a squeezed photo are found again where the other camera has squeezed it, and
their frames, brought back into the photo, are stretched as the surface was. Cameras are taken to be level:
what is upright stays so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TILT = 2.5
"""How much narrower a photo is in a synthetic view: a surface at 66 degrees. Beside the photo as it is, what
remains of a squeeze by 5 is 2."""

AGAINST_ALIASING = 0.8
"""Blur before squeezing by t, in pixels, is this times sqrt(t^2 - 1) (ASIFT's choice)."""

OUTSIDE = 0.5
"""Grey of a view where it shows nothing of the photo."""

Float = NDArray[np.float64]


def seen_aslant(
    picture: NDArray[np.float32], tilt: float, towards: float
) -> tuple[NDArray[np.float32], Float]:
    """`picture` (h, w) squeezed by `tilt` along `towards` (radians, x towards y), and the affine map (2, 3)
    from its pixels to those of the result."""
    size = picture.shape[1], picture.shape[0]
    turn, turned_size = _moved_inside(_turn(-towards), size)
    turned: Any = cv2.warpAffine(
        picture, turn, turned_size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if tilt > 1:
        turned = cv2.GaussianBlur(turned, (0, 0), AGAINST_ALIASING * np.sqrt(tilt**2 - 1), sigmaY=1e-3)
    whole, whole_size = _moved_inside(_squeeze(tilt, towards), size)
    rest = _square(whole) @ np.linalg.inv(_square(turn))
    result: Any = cv2.warpAffine(turned, rest[:2], whole_size, flags=cv2.INTER_LINEAR)
    shown: Any = cv2.warpAffine(np.ones_like(picture), whole, whole_size, flags=cv2.INTER_NEAREST)
    return np.where(shown > 0, result, np.float32(OUTSIDE)), whole


def views(picture: NDArray[np.float32], count: int) -> Iterator[tuple[NDArray[np.float32], Float]]:
    """`count` pictures and the maps (2, 3) to them: the photo as it is, the others from all around it."""
    yield picture, np.eye(2, 3)
    for number in range(count - 1):
        yield seen_aslant(picture, TILT, np.pi * number / (count - 1))


def _squeeze(tilt: float, towards: float) -> Float:
    """(2, 2), with the turn that leaves upright lines upright."""
    squeeze = _turn(towards) @ np.diag([1 / tilt, 1.0]) @ _turn(-towards)
    x, y = squeeze[:, 1] / np.hypot(*squeeze[:, 1])
    return np.array([[y, -x], [x, y]]) @ squeeze


def _moved_inside(linear: Float, size: tuple[int, int]) -> tuple[Float, tuple[int, int]]:
    """(2, 3) with the shift that brings a picture of `size` to pixel (0, 0), and the size that it needs."""
    right, bottom = size[0] - 1, size[1] - 1
    corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]]) @ linear.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    width, height = np.ceil(high - low).astype(int) + 1
    return np.column_stack([linear, -low]), (int(width), int(height))


def _square(affine: Float) -> Float:
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _turn(angle: float) -> Float:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
