"""Two images matched in two steps: their best keypoints, then all along the epipolar lines that these tell.

The full product of two images' descriptors is what matching costs. Where the best keypoints alone already
tell the epipolar geometry, the partner of any other keypoint must lie on its line: keypoints sorted by the
angle of their line about the epipole form bands of neighbours, and only products within a band are made, some
two per cent of all. Among so few rivals the ratio test also keeps matches that it must drop among all, and
where the photos were taken from places apart (`Epipolar.parallax`), a mutual nearest neighbour that fails it
is still believed if those that pass it around it support it (consensus.py). A pair is matched in full whose
geometry the best keypoints do not tell, nor twice as many where the best nearly do, or that a homography
explains as well (a plane, a panorama, where the epipolar lines mean nothing). But where hardly any of the
best match, and hardly any of twice as many (`apart`), the photos show nothing in common and the pair ends
there.

Products are made in float32, and what its rounding leaves in doubt in float64, where those of
`match.prepare`'s vectors are exact: block sizes do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import Float32, Matches
from .nearest import Prepared, hold, rounding_error

BEST_KEYPOINTS = 1500
"""Keypoints an image, best scores first, that are matched in the first step: 3.5 % of the product at 8000."""
MORE_KEYPOINTS = 3000
"""Keypoints an image of a second look at pairs with fewer than FEW_OF_BEST or at least NEARLY_ENOUGH matches
of the best that do not tell the lines."""
FEW_OF_BEST = 4
FEW_OF_MORE = 3
"""Matches below which a pair is given up. Of 1070 pairs of real photos this ends 296 of the 441 that
verification throws away, and 1 of the 629 that it keeps, with 17 inliers."""
MIN_INLIERS = 40
"""Of the best keypoints' matches that must agree; below, bands would be drawn along doubtful lines."""
NEARLY_ENOUGH = 30
"""Matches of the best from which on twice as many keypoints are likely to have MIN_INLIERS that agree."""
MIN_INLIER_SHARE = 0.5
"""Of the best keypoints' matches; chance agreements have no such majority."""
MAX_PLANE_SHARE = 0.8
"""COLMAP's `max_H_inlier_ratio`: with more of the inliers on one homography the lines are not trusted..."""
MIN_OFF_PLANE = 50
"""...unless so many lie off it, which tell where the lines meet, however many the plane has: of pairs of a
facade with 76 to 120 the lines find 92 to 95 % of the matches of a search in full, and 3 to 26 % more."""
FIT_PIXELS = 3.0
"""Distance from the epipolar line of a match that agrees, pixels of the photo at MEASURED_SIDE."""
BAND_PIXELS = 3.0
"""Largest distance of a candidate from the epipolar line. With 6, entry-P10's poses are half as exact."""
RATIO_ALONG_LINES = 0.94
"""Factor on the ratio test's limit: among fifty times fewer rivals the runner-up lies further off."""
PARALLAX_PIXELS = 15.0
"""Distance from the homography of most of them from which a match is shifted by depth..."""
MIN_SHIFTED = 20
"""...and how many of the best keypoints' matches must be, for doubtful ones along the lines to be believed.
Of twelve pairs of photos that turn about one place eleven have 8 or fewer; doubtful matches there cost two or
three of seven placed photos."""
MEASURED_SIDE = 1600
"""Long side of a photo for which these distances are meant; they grow with larger ones."""
ROWS = 128
"""Keypoints of one band."""
ANGLE_ERROR = 1e-10
"""Of an angle about the epipole, radians; where the epipole is so far that this is wide, bands are too."""

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


def _smaller(located0: Located, located1: Located) -> int:
    return min(len(located0.prepared), len(located1.prepared))


def apart(
    located0: Located, located1: Located, best: Matches, search: Callable[[Prepared, Prepared], Matches]
) -> Matches | None:
    """What a second look found at photos that show nothing in common; None where they may.

    best: the matches of the best keypoints. search: matches images in full.
    """
    if len(best) >= FEW_OF_BEST or _smaller(located0, located1) <= 2 * MORE_KEYPOINTS:
        return None
    found = search(located0.more, located1.more)
    return found if len(found) < FEW_OF_MORE else None


def lines_of_more(
    located0: Located, located1: Located, best: Matches, search: Callable[[Prepared, Prepared], Matches]
) -> Epipolar | None:
    """As `epipolar_lines` of a second look, where the best keypoints' matches are nearly enough.

    best: their matches, which do not tell the lines. search: matches images in full.
    """
    if len(best) < NEARLY_ENOUGH or _smaller(located0, located1) <= 2 * MORE_KEYPOINTS:
        return None
    return epipolar_lines(located0, located1, search(located0.more, located1.more))


def epipolar_lines(located0: Located, located1: Located, matches: Matches) -> Epipolar | None:
    """The epipolar geometry that the best keypoints' matches agree on; None when they do not."""
    if len(matches) < MIN_INLIERS:
        return None
    xy0 = located0.xy[matches.indices[:, 0]].astype(np.float64)
    xy1 = located1.xy[matches.indices[:, 1]].astype(np.float64)
    distance = FIT_PIXELS * max(1.0, max(located0.side, located1.side) / MEASURED_SIDE)
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


def match_along_lines(
    located0: Located, located1: Located, fundamental: Float, ratio: float | None, max_distance: float | None
) -> Matches:
    """Mutual nearest neighbours near each other's epipolar lines; with `ratio`, that stand out both ways.

    fundamental: x1^T F x0 = 0 for the pixels x0, x1 of a match. ratio: of a search among all keypoints.
    """
    limits = _Limits(None if ratio is None else RATIO_ALONG_LINES * ratio, max_distance)
    return _search(located0, located1, fundamental, limits, limits)[0]


def neighbours_along_lines(
    located0: Located, located1: Located, fundamental: Float, ratio: float, max_distance: float | None
) -> tuple[Matches, NDArray[np.bool_]]:
    """Mutual nearest neighbours near each other's epipolar lines, and (M,) which of them stand out both ways,
    the matches of `match_along_lines`."""
    limits = _Limits(RATIO_ALONG_LINES * ratio, max_distance)
    return _search(located0, located1, fundamental, _Limits(None, max_distance), limits)


def _search(
    located0: Located, located1: Located, fundamental: Float, wide: _Limits, limits: _Limits
) -> tuple[Matches, NDArray[np.bool_]]:
    """Mutual nearest neighbours that pass the `wide` limits, and (M,) which of them pass the others too."""
    prepared0, prepared1 = located0.prepared, located1.prepared
    bands = _Bands(located0, located1, fundamental)
    best0, best1 = _Best.of(len(prepared0)), _Best.of(len(prepared1))
    vectors0, vectors1 = prepared0.exact, prepared1.exact
    areas = list(bands)
    for rows, columns in areas:
        similar = vectors0[rows] @ vectors1[columns].T
        np.copyto(similar, -np.inf, where=bands.off_line(rows, columns))
        best1.see(columns, rows, similar.T)
        best0.see(rows, columns, similar)
    # What float32 leaves in doubt, few rows, is seen once more in float64.
    error = rounding_error(prepared0.dim)
    doubts0, doubts1 = (best.forget_doubts((wide, limits), error) for best in (best0, best1))
    for rows, columns in areas:
        some0, some1 = rows[doubts0[rows]], columns[doubts1[columns]]
        if len(some0):
            similar = vectors0[some0].astype(np.float64) @ vectors1[columns].astype(np.float64).T
            np.copyto(similar, -np.inf, where=bands.off_line(some0, columns))
            best0.see(some0, columns, similar)
        if len(some1):
            similar = vectors0[rows].astype(np.float64) @ vectors1[some1].astype(np.float64).T
            np.copyto(similar, -np.inf, where=bands.off_line(rows, some1))
            best1.see(some1, rows, similar.T)
    index0 = np.flatnonzero((best0.index >= 0) & best0.pass_(wide))
    index1 = best0.index[index0]
    keep = (best1.index[index1] == index0) & best1.pass_(wide)[index1]
    index0, index1 = index0[keep], index1[keep]
    passed = best0.pass_(limits)[index0] & best1.pass_(limits)[index1]
    exact = np.einsum("nd,nd->n", vectors0[index0].astype(np.float64), vectors1[index1].astype(np.float64))
    indices = np.stack([prepared0.rows[index0], prepared1.rows[index1]], axis=1)
    scores = 1 - _squared(exact) / 4
    return Matches(indices.astype(np.int32), scores.astype(np.float32)), passed


def _squared(similarity: Float) -> Float:
    """Squared distances of unit vectors; of those that have no rival (-inf), infinitely far."""
    return np.maximum(2 - 2 * similarity, 0)


@dataclass(frozen=True)
class _Limits:
    """The tests of a nearest neighbour: `ratio` to the next one's distance, and its own distance."""

    ratio: float | None
    max_distance: float | None

    def hold(self, first: Float, second: Float) -> NDArray[np.bool_]:
        """For the greatest and second greatest similarities (N,)."""
        squared = _squared(first)
        keep = np.ones(len(squared), np.bool_)
        if self.ratio is not None:
            keep &= squared < self.ratio**2 * _squared(second)
        if self.max_distance is not None:
            keep &= squared <= self.max_distance**2
        return keep


@dataclass(frozen=True)
class _Best:
    """The greatest and second greatest similarity seen so far of each of N vectors."""

    first: Float  # (N,)
    second: Float  # (N,)
    index: NDArray[np.int64]  # (N,) where the greatest was; -1: nowhere

    @classmethod
    def of(cls, num: int) -> _Best:
        return cls(np.full(num, -np.inf), np.full(num, -np.inf), np.full(num, -1, np.int64))

    def see(self, rows: NDArray[np.int64], others: NDArray[np.int64], similar: NDArray[np.floating]) -> None:
        """similar (R, C) of `rows` with `others` stays as it is; of equal ones the lowest index wins."""
        place = similar.argmax(1)
        each = np.arange(len(rows))
        top = similar[each, place]
        similar[each, place] = -np.inf
        runner_up = similar.max(1, initial=-np.inf)
        similar[each, place] = top
        before, index = self.first[rows], others[place]
        wins = (top > before) | ((top == before) & (index < self.index[rows]) & np.isfinite(top))
        self.second[rows] = np.maximum(self.second[rows], np.where(wins, np.maximum(before, runner_up), top))
        self.index[rows] = np.where(wins, index, self.index[rows])
        self.first[rows] = np.where(wins, top, before)

    def pass_(self, limits: _Limits) -> NDArray[np.bool_]:
        """(N,) whose nearest passes the tests."""
        return limits.hold(self.first, self.second)

    def forget_doubts(self, tests: Sequence[_Limits], error: float) -> NDArray[np.bool_]:
        """(N,) which of them may pass one of the tests, though similarities that err by `error` do not tell
        which is the greatest, or whether it passes; these are as if nothing had been seen."""
        with np.errstate(invalid="ignore"):  # nothing seen: minus infinity twice
            tie = self.first - self.second <= 2 * error
        doubts = np.zeros(len(self.first), np.bool_)
        for limits in tests:
            may = limits.hold(self.first + error, self.second - error)
            doubts |= may & (tie | ~limits.hold(self.first - error, self.second + error))
        self.first[doubts] = self.second[doubts] = -np.inf
        self.index[doubts] = -1
        return doubts


class _Bands:
    """Rows of image 0 whose epipolar lines lie together, with the rows of image 1 that are near them."""

    def __init__(self, located0: Located, located1: Located, fundamental: Float) -> None:
        self.xy1 = located1.xy[located1.prepared.rows].astype(np.float64)
        xy0 = located0.xy[located0.prepared.rows].astype(np.float64)
        self.lines = np.column_stack([xy0, np.ones(len(xy0))]) @ fundamental.T
        self.lines /= np.maximum(np.hypot(self.lines[:, 0], self.lines[:, 1]), 1e-300)[:, None]
        self.width = BAND_PIXELS * max(1.0, located1.side / MEASURED_SIDE)

        # All lines meet in the epipole; their angle about it orders them, and so it does the keypoints.
        epipole = np.linalg.svd(fundamental.T)[2][2]
        from_epipole = self.xy1 * epipole[2] - epipole[:2]
        radius = np.hypot(*from_epipole.T) / max(abs(epipole[2]), 1e-300)
        self.line_angle = np.mod(np.arctan2(-self.lines[:, 0], self.lines[:, 1]), np.pi)
        self.angle = np.mod(np.arctan2(from_epipole[:, 1], from_epipole[:, 0]), np.pi)
        self.reach = np.arcsin(np.minimum(1.0, self.width / np.maximum(radius, 1e-300))) + ANGLE_ERROR

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        order = np.argsort(self.line_angle, kind="stable")
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            low, high = self.line_angle[rows[0]], self.line_angle[rows[-1]]
            # Angles are of lines without a direction: they go round at pi.
            apart = np.abs(self.angle - (low + high) / 2)
            np.minimum(apart, np.pi - apart, out=apart)
            columns = np.flatnonzero(apart <= (high - low) / 2 + self.reach)
            if len(columns):
                yield rows, columns

    def off_line(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(R, C) which keypoints of image 1 are too far from the lines of image 0's."""
        lines = self.lines[rows]
        result: NDArray[np.bool_] = np.abs(lines[:, :2] @ self.xy1[columns].T + lines[:, 2:]) > self.width
        return result
