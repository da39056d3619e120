"""Two images matched in two steps: their best keypoints, then all along the epipolar lines that these tell.

The full product of two images' descriptors is what matching costs. Where the best keypoints alone already
tell the epipolar geometry, the partner of any other keypoint must lie on its line, and only those near it are
compared (epipolar.py), some two per cent of all. Among so few rivals the ratio test also keeps matches that
it must drop among all, and where the photos were taken from places apart (`Epipolar.parallax`), a mutual
nearest neighbour that fails it is still believed if those that pass it around it support it (consensus.py).

Where the best do not tell the lines, twice as many may (`lines_of_more`), or those matches of twice as many
that their neighbours support (`lines_of_supported`). A pair is matched in full whose geometry none of these
tell, or that a homography explains as well (a plane, a panorama, where the epipolar lines mean nothing). But
where hardly any of the best match, and hardly any of twice as many (`apart`), the photos show nothing in
common and the pair ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import pixel_of
from ..types import Float32, Matches
from .nearest import Prepared, hold

BEST_KEYPOINTS = 1500
"""Keypoints an image, best scores first, that are matched in the first step: 3.5 % of the product at 8000."""
MORE_KEYPOINTS = 3000
"""Keypoints an image of a second look at pairs with fewer than FEW_OF_BEST or at least HARDLY_ENOUGH matches
of the best that do not tell the lines..."""
WORTH_MORE = 1.5
"""...where each image has so many times as many: a second look costs at most 4/9 of a search in full."""
FEW_OF_BEST = 4
FEW_OF_MORE = 3
"""Matches below which a pair is given up. Of 1070 pairs of real photos this ends 296 of the 441 that
verification throws away, and 1 of the 629 that it keeps, with 17 inliers."""
MIN_INLIERS = 40
"""Of the best keypoints' matches that must agree; below, bands would be drawn along doubtful lines."""
NEARLY_ENOUGH = 30
"""Matches of the best from which on twice as many keypoints are likely to have MIN_INLIERS that agree."""
HARDLY_ENOUGH = 15
"""Matches of the best from which on twice as many keypoints may have them among those that their neighbours
support."""
MIN_INLIER_SHARE = 0.5
"""Of the best keypoints' matches; chance agreements have no such majority."""
MAX_PLANE_SHARE = 0.8
"""COLMAP's `max_H_inlier_ratio`: with more of the inliers on one homography the lines are not trusted..."""
MIN_OFF_PLANE = 50
"""...unless so many lie off it, which tell where the lines meet, however many the plane has: of pairs of a
facade with 76 to 120 the lines find 92 to 95 % of the matches of a search in full, and 3 to 26 % more."""
FIT_PIXELS = 3.0
"""Distance from the epipolar line of a match that agrees, pixels of the photo at MEASURED_SIDE."""
PARALLAX_PIXELS = 15.0
"""Distance from the homography of most of them from which a match is shifted by depth..."""
MIN_SHIFTED = 20
"""...and how many of the best keypoints' matches must be, for doubtful ones along the lines to be believed.
Of twelve pairs of photos that turn about one place eleven have 8 or fewer; doubtful matches there cost two or
three of seven placed photos."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Epipolar:
    """What the best keypoints' matches tell of two images."""

    fundamental: Float  # (3, 3): x1^T F x0 = 0 for the pixels x0, x1 of a match
    parallax: bool  # matches are shifted against each other, as depth shifts them


@dataclass(frozen=True)
class Located:
    """An image ready to be matched in two steps."""

    prepared: Prepared
    best: Prepared  # its best keypoints alone, and more of them
    more: Prepared
    xy: Float32  # (N, 2) of all its keypoints, pixels
    side: float  # long side of the photo, pixels
    scales: Float32 | None = None  # (N,) and angles (N,) of all its keypoints, for consensus.py
    angles: Float32 | None = None


def locate(prepared: Prepared, xy: Float32, scores: Float32, image_size: tuple[int, int]) -> Located:
    """xy (N, 2) and scores (N,) are of all keypoints of the image, those without a descriptor too."""
    order = np.argsort(-scores[prepared.rows], kind="stable")
    best, more = (_part(prepared, order[:number]) for number in (BEST_KEYPOINTS, MORE_KEYPOINTS))
    side = max(image_size) or float(np.ptp(xy, axis=0).max(initial=0))
    return Located(prepared, best, more, xy, side)


def _part(prepared: Prepared, rows: NDArray[np.int64]) -> Prepared:
    rows = np.sort(rows)
    return hold(prepared.exact[rows], prepared.rows[rows], prepared.vectors.device)


def worthwhile(located0: Located, located1: Located) -> bool:
    """Whether the bands can be cheaper than the full product."""
    return _smaller(located0, located1) > 2 * BEST_KEYPOINTS


def _worth_more(located0: Located, located1: Located) -> bool:
    return _smaller(located0, located1) > WORTH_MORE * MORE_KEYPOINTS


def _smaller(located0: Located, located1: Located) -> int:
    return min(len(located0.prepared), len(located1.prepared))


def apart(
    located0: Located, located1: Located, best: Matches, search: Callable[[Prepared, Prepared], Matches]
) -> Matches | None:
    """What a second look found at photos that show nothing in common; None where they may.

    best: the matches of the best keypoints. search: matches images in full.
    """
    if len(best) >= FEW_OF_BEST or not _worth_more(located0, located1):
        return None
    found = search(located0.more, located1.more)
    return found if len(found) < FEW_OF_MORE else None


def lines_of_more(
    located0: Located, located1: Located, best: Matches, search: Callable[[Prepared, Prepared], Matches]
) -> Epipolar | None:
    """As `epipolar_lines` of a second look, where the best keypoints' matches are nearly enough.

    best: their matches, which do not tell the lines. search: matches images in full.
    """
    if len(best) < NEARLY_ENOUGH or not _worth_more(located0, located1):
        return None
    return epipolar_lines(located0, located1, search(located0.more, located1.more))


def lines_of_supported(
    located0: Located, located1: Located, best: Matches, search: Callable[[], Matches]
) -> Epipolar | None:
    """As `epipolar_lines` of a third look, where the best keypoints' matches are hardly enough.

    Such lines find more than a search in full, and fewer wrong ones (by the ground truth of fountain-P11 146
    matches with 122 right for 106 with 66), but not so surely that doubtful matches along them are believed.
    best: their matches, which do not tell the lines. search: matches more keypoints by consensus.
    """
    if len(best) < HARDLY_ENOUGH or not _worth_more(located0, located1):
        return None
    if located0.scales is None or located1.scales is None:  # consensus knows nothing
        return None
    told = epipolar_lines(located0, located1, search())
    return told and replace(told, parallax=False)


def epipolar_lines(located0: Located, located1: Located, matches: Matches) -> Epipolar | None:
    """The epipolar geometry that the best keypoints' matches agree on; None when they do not."""
    if len(matches) < MIN_INLIERS:
        return None
    xy0 = located0.xy[matches.indices[:, 0]].astype(np.float64)
    xy1 = located1.xy[matches.indices[:, 1]].astype(np.float64)
    distance = FIT_PIXELS * pixel_of(max(located0.side, located1.side))
    try:
        # OpenCV's USAC starts from the same random numbers in every call.
        fundamental, agree = cv2.findFundamentalMat(xy0, xy1, cv2.USAC_MAGSAC, distance, 0.9999, 2000)
        if fundamental is None or fundamental.shape != (3, 3):
            return None
        num = int(np.count_nonzero(agree))
        if num < max(MIN_INLIERS, MIN_INLIER_SHARE * len(matches)):
            return None
        inliers = np.flatnonzero(agree)
        homography, flat = cv2.findHomography(
            xy0[inliers], xy1[inliers], cv2.USAC_MAGSAC, distance, None, 2000, 0.9999
        )
    except cv2.error:  # raised now and then where the matches lie in one plane
        return None
    on_plane = 0 if flat is None else int(np.count_nonzero(flat))
    if on_plane > MAX_PLANE_SHARE * num and num - on_plane < MIN_OFF_PLANE:
        return None
    shifted = 0 if flat is None else _num_shifted(homography, xy0[inliers], xy1[inliers], distance)
    return Epipolar(np.asarray(fundamental, np.float64), shifted >= MIN_SHIFTED)


def _num_shifted(homography: NDArray[Any], xy0: Float, xy1: Float, fit: float) -> int:
    """Of places (M, 2), those far from where a homography takes them; `fit`: FIT_PIXELS of these photos."""
    to = np.column_stack([xy0, np.ones(len(xy0))]) @ homography.T
    off = np.linalg.norm(to[:, :2] - to[:, 2:] * xy1, axis=1)
    return int(np.count_nonzero(off > PARALLAX_PIXELS / FIT_PIXELS * fit * np.abs(to[:, 2])))
