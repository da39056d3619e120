"""Mutual nearest neighbours among keypoints near each other's epipolar lines.

All epipolar lines of image 1 meet in its epipole. Sorted by their angle about it, the lines that pass near a
keypoint of image 1 follow one another, so that a keypoint is a candidate for an interval of image 0's
keypoints. These are taken in bands, and each band is compared with the keypoints whose intervals reach into
it.

Products are made in float32, and what its rounding leaves in doubt in float64, where those of
`match.prepare`'s vectors are exact: block sizes do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import pixel_of
from ..types import Float32, Matches
from .guided import Located
from .nearest import rounding_error

BAND_PIXELS = 3.0
"""Largest distance of a candidate from the epipolar line. With 6, entry-P10's poses are half as exact."""
RATIO_ALONG_LINES = 0.94
"""Factor on the ratio test's limit: among fifty times fewer rivals the runner-up lies further off."""
NEARLY = 0.4
"""What is left of the margin 1 - limit of that test where a neighbour nearly passes it."""
ROWS = 64
"""Keypoints of one band; at most 255, so that places within it are bytes."""
AT_A_TIME = 3000
"""Slots of bands: enough that Python's calls do not count, few enough that they stay in a core's cache."""
FAR = 1e12
"""Distance of an epipole, pixels, beyond which lines are parallel: to a millionth of a pixel in any photo."""

Float = NDArray[np.float64]
Rows = NDArray[np.int64]


def match_along_lines(
    located0: Located, located1: Located, fundamental: Float, ratio: float | None, max_distance: float | None
) -> Matches:
    """Mutual nearest neighbours near each other's epipolar lines; with `ratio`, that stand out both ways.

    fundamental: x1^T F x0 = 0 for the pixels x0, x1 of a match. ratio: of a search among all keypoints.
    """
    limits = _Limits(None if ratio is None else RATIO_ALONG_LINES * ratio, max_distance)
    return _search(located0, located1, fundamental, limits)[0]


def neighbours_along_lines(
    located0: Located, located1: Located, fundamental: Float, ratio: float, max_distance: float | None
) -> tuple[Matches, NDArray[np.bool_], NDArray[np.bool_]]:
    """Mutual nearest neighbours near each other's epipolar lines; (M,) which of them stand out both ways, the
    matches of `match_along_lines`, and (M,) which do so at least NEARLY."""
    clear = RATIO_ALONG_LINES * ratio
    tests = [_Limits(limit, max_distance) for limit in (clear, 1 - NEARLY * (1 - clear))]
    nearest = _Limits(None, max_distance)
    matches, (distinct, nearly) = _search(located0, located1, fundamental, nearest, *tests)
    return matches, distinct, nearly


def _search(
    located0: Located, located1: Located, fundamental: Float, limits: _Limits, *tests: _Limits
) -> tuple[Matches, list[NDArray[np.bool_]]]:
    """Mutual nearest neighbours that pass the limits; (M,) which of them pass each of the stricter tests."""
    prepared0, prepared1 = located0.prepared, located1.prepared
    if not len(prepared0) or not len(prepared1):
        return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32)), [
            np.empty(0, np.bool_) for _ in tests
        ]
    lines = _Lines.of(located0, located1, fundamental)
    vectors0, vectors1 = prepared0.exact, prepared1.exact
    error = rounding_error(prepared0.dim)
    best0, best1 = _in_bands(lines, vectors0, vectors1, 2 * error)
    # What float32 leaves in doubt, few of them, is seen once more in float64.
    doubts0, doubts1 = (np.flatnonzero(best.doubts((limits, *tests), error)) for best in (best0, best1))
    for places in _parts(doubts0):
        columns, on = lines.near(places)
        best0.settle(places, columns, on, _doubles(vectors0[lines.rows[places]], vectors1[columns]))
    for columns in _parts(lines.sorted(doubts1)):
        places, on = lines.places(columns)
        best1.settle(columns, places, on, _doubles(vectors1[columns], vectors0[lines.rows[places]]))
    place0 = np.flatnonzero(best0.mutual & best0.pass_(limits))
    index1 = best0.index[place0]
    keep = (best1.index[index1] == place0) & best1.pass_(limits)[index1]
    place0 = place0[keep]
    place0 = place0[np.argsort(lines.rows[place0])]
    index0, index1 = lines.rows[place0], best0.index[place0]
    passed = [best0.pass_(test)[place0] & best1.pass_(test)[index1] for test in tests]
    exact = np.empty(len(index0))
    for some in _parts(np.arange(len(index0)), 512):  # which the cache holds
        pair = vectors0[index0[some]].astype(np.float64), vectors1[index1[some]].astype(np.float64)
        exact[some] = np.einsum("nd,nd->n", *pair)
    indices = np.stack([prepared0.rows[index0], prepared1.rows[index1]], axis=1)
    scores = 1 - _squared(exact) / 4
    return Matches(indices.astype(np.int32), scores.astype(np.float32)), passed


def _in_bands(lines: _Lines, vectors0: Float32, vectors1: Float32, slack: float) -> tuple[_Best, _Best]:
    """The best of image 0's vectors, which are in the order of their lines, and of image 1's.

    Right for those alone that may be mutual neighbours, where computed products differ by `slack` from
    products without rounding.
    """
    num_bands = math.ceil(len(vectors0) / ROWS)
    # Bands have one shape; what fills them up is off every line.
    num_rows = num_bands * ROWS
    rows0 = np.append(lines.rows, np.zeros(num_rows - len(lines.rows), np.int64)).reshape(num_bands, ROWS)
    bands = _Bands.of(lines, num_bands)
    best0, slots = _Best.of(num_rows), _Best.of(len(bands.column))
    widest = int(np.diff(bands.begin).max(initial=1))
    step = max(1, AT_A_TIME // widest)
    held1 = np.empty((step * widest, vectors1.shape[1]), np.float32)
    held = np.empty(step * widest * ROWS, np.float32)
    for low in range(0, num_bands, step):
        high = min(low + step, num_bands)
        slot = bands.slots(low, high)
        num, width = slot.shape
        if not width:
            continue
        columns = bands.column[slot]
        some1 = np.take(vectors1, columns.ravel(), 0, held1[: num * width], "clip").reshape(num, width, -1)
        similar = held[: num * ROWS * width].reshape(num, ROWS, width)
        np.matmul(vectors0[rows0[low:high]], some1.swapaxes(1, 2), out=similar)
        np.copyto(similar, -np.inf, where=bands.off(slot, low))
        greatest = similar.max(1).ravel()  # of the columns
        of_rows = similar.reshape(-1, width)
        top, place, second = _two_greatest(of_rows)
        place += np.repeat(np.arange(num), ROWS) * width
        mutual = (top >= greatest[place] - slack) & np.isfinite(top)
        partner = np.zeros((num, width), np.bool_)
        partner.ravel()[place[mutual]] = True
        # Where a row's two greatest are nearly equal, either may be the one.
        tied = np.flatnonzero((second >= top - slack) & np.isfinite(top))
        ties = of_rows[tied] >= (top[tied] - slack)[:, None]
        ties &= of_rows[tied] >= greatest.reshape(num, width)[tied // ROWS] - slack
        mutual[tied] |= ties.any(1)
        np.logical_or.at(partner, tied // ROWS, ties)
        band, column = np.nonzero(partner)
        own, row, runner_up = _two_greatest(np.ascontiguousarray(similar[band, :, column]))
        best0.put(slice(low * ROWS, high * ROWS), top, second, columns.ravel()[place], mutual)
        slots.first[slot.ravel()] = greatest
        slots.put(slot[partner], own, runner_up, (low + band) * ROWS + row, True)
    return best0, slots.joined(bands.column, len(vectors1))


def _doubles(vectors0: Float32, vectors1: Float32) -> Float:
    """(N0, N1) products in float64."""
    products: Float = vectors0.astype(np.float64) @ vectors1.astype(np.float64).T
    return products


def _parts(rows: Rows, num: int = 32) -> list[Rows]:
    """Rows, `num` at a time."""
    return [rows[start : start + num] for start in range(0, len(rows), num)]


def _two_greatest(similar: NDArray[Any]) -> tuple[NDArray[Any], Rows, NDArray[Any]]:
    """(R,) of (R, C): the greatest of each row, where it is, and the second greatest."""
    place, each = similar.argmax(1), np.arange(len(similar))
    top = similar[each, place]
    similar[each, place] = -np.inf
    second = similar.max(1)
    similar[each, place] = top
    return top, place, second


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
    """The greatest and second greatest similarity of each of N vectors."""

    first: Float  # (N,)
    second: Float  # (N,)
    index: Rows  # (N,) where the greatest is
    mutual: NDArray[np.bool_]  # (N,) whether it may be a mutual neighbour; the others' index may be wrong

    @classmethod
    def of(cls, num: int) -> _Best:
        """Nothing seen."""
        nothing = np.full(num, -np.inf)
        return cls(nothing, nothing.copy(), np.full(num, -1, np.int64), np.zeros(num, np.bool_))

    def put(
        self,
        rows: slice | Rows,
        first: NDArray[Any],
        second: NDArray[Any],
        index: NDArray[np.integer],
        mutual: NDArray[np.bool_] | bool,
    ) -> None:
        """What was seen of some (R,)."""
        self.first[rows], self.second[rows] = first, second
        self.index[rows], self.mutual[rows] = index, mutual

    def joined(self, whole: NDArray[np.int32], num: int) -> _Best:
        """What was seen of parts, of the `num` wholes; whole (N,): whose part each is."""
        best = _Best.of(num)
        np.maximum.at(best.first, whole, self.first)
        greatest = np.full(num, -1)
        parts = np.flatnonzero(self.first == best.first[whole])
        greatest[whole[parts]] = parts
        others = np.flatnonzero(greatest[whole] != np.arange(len(whole)))
        np.maximum.at(best.second, whole[others], self.first[others])
        some = np.flatnonzero(greatest >= 0)
        best.second[some] = np.maximum(best.second[some], self.second[greatest[some]])
        best.index[some] = self.index[greatest[some]]
        best.mutual[whole[self.mutual]] = True
        return best

    def pass_(self, limits: _Limits) -> NDArray[np.bool_]:
        """(N,) whose nearest passes the tests."""
        return limits.hold(self.first, self.second)

    def doubts(self, tests: Sequence[_Limits], error: float) -> NDArray[np.bool_]:
        """(N,) which of them may pass one of the tests, though similarities that err by `error` do not tell
        which is the greatest, or whether it passes."""
        with np.errstate(invalid="ignore"):  # nothing seen: minus infinity twice
            tie = self.first - self.second <= 2 * error
        doubts = np.zeros(len(self.first), np.bool_)
        for limits in tests:
            may = limits.hold(self.first + error, self.second - error)
            doubts |= may & (tie | ~limits.hold(self.first - error, self.second + error))
        return doubts & self.mutual

    def settle(self, rows: Rows, others: Rows, on: NDArray[np.bool_], similar: Float) -> None:
        """What was seen of some (R,) once more, exactly: their similarities (R, K) with others, where these
        are `on` their lines; of equal ones the first wins."""
        first, place, second = _two_greatest(np.where(on, similar, -np.inf))
        self.first[rows], self.second[rows], self.index[rows] = first, second, others[place]


@dataclass(frozen=True)
class _Lines:
    """Image 0's keypoints in the order of their epipolar lines, and which of them a keypoint of image 1 has
    near it: one interval of that order, or two where it goes round."""

    rows: Rows  # (N0,) of image 0
    columns: Rows  # (E,) of image 1, for each interval...
    start: Rows  # (E,) ...its first place in `rows`...
    stop: Rows  # (E,) ...and the one behind its last

    @classmethod
    def of(cls, located0: Located, located1: Located, fundamental: Float) -> _Lines:
        """From the fundamental matrix of two images."""
        xy0 = located0.xy[located0.prepared.rows].astype(np.float64)
        xy1 = located1.xy[located1.prepared.rows].astype(np.float64)
        lines = np.column_stack([xy0, np.ones(len(xy0))]) @ fundamental.T
        lines /= np.maximum(np.hypot(lines[:, 0], lines[:, 1]), 1e-300)[:, None]
        # Angles about the epipole, measured from the axis between it and a place `distance` pixels off, so
        # that they keep their digits however far it is.
        epipole = np.linalg.svd(fundamental.T)[2][2]
        place = xy1.mean(0)
        towards = (epipole[:2] - epipole[2] * place) * (1 if epipole[2] >= 0 else -1)
        length = float(np.hypot(*towards))
        along = towards / length if length else np.array([1.0, 0])
        distance = min(length / max(abs(epipole[2]), 1e-300), FAR)
        if distance < located1.side:
            distance = float(located1.side)
            place = epipole[:2] / epipole[2] - distance * along
        across = np.array([-along[1], along[0]])
        ahead, aside = distance - (xy1 - place) @ along, (xy1 - place) @ across
        angle = _half_turn(np.arctan2(aside, ahead))
        angle_of_line = np.arctan2(-(lines[:, :2] @ place + lines[:, 2]) / distance, lines[:, :2] @ across)
        angle_of_line = _half_turn(angle_of_line)
        width = BAND_PIXELS * pixel_of(located1.side)
        reach = np.arcsin(np.minimum(1.0, width / np.maximum(np.hypot(ahead, aside), 1e-300)))
        return cls._from_angles(angle_of_line, angle - reach, angle + reach)

    @classmethod
    def _from_angles(cls, angles: Float, low: Float, high: Float) -> _Lines:
        """angles (N0,) of the lines; low, high (N1,) those that are near image 1's keypoints."""
        rows = np.argsort(angles, kind="stable")
        num = len(rows)
        twice = np.concatenate([angles[rows], angles[rows] + np.pi])
        round_ = np.where(low <= -np.pi / 2, np.pi, 0)
        start = np.searchsorted(twice, low + round_, "left")
        stop = np.minimum(np.searchsorted(twice, high + round_, "right"), start + num)
        columns = np.tile(np.arange(len(low)), 2)
        start, stop = (
            np.append(start, np.maximum(start - num, 0)),
            np.append(np.minimum(stop, num), stop - num),
        )
        some = start < stop
        return cls(rows, columns[some], start[some], stop[some])

    def near(self, places: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """The keypoints of image 1 near the lines of some places (P,), ascending, (K,), and which are near
        which, (P, K)."""
        some = np.flatnonzero((self.start <= places.max()) & (places.min() < self.stop))
        columns, which = np.unique(self.columns[some], return_inverse=True)
        near = np.zeros((len(columns), len(places)), np.bool_)
        np.logical_or.at(near, which, self._inside(some, places))
        return columns, near.T

    def places(self, columns: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """The places near some keypoints of image 1 (C,), by their rows in image 0, ascending, (K,), and
        which are near which, (C, K)."""
        which = np.full(self.columns.max() + 1, -1)
        which[columns] = np.arange(len(columns))
        some = np.flatnonzero(which[self.columns] >= 0)
        places = np.unique(np.concatenate([np.arange(self.start[i], self.stop[i]) for i in some]))
        places = places[np.argsort(self.rows[places])]
        near = np.zeros((len(columns), len(places)), np.bool_)
        np.logical_or.at(near, which[self.columns[some]], self._inside(some, places))
        return places, near

    def _inside(self, intervals: Rows, places: Rows) -> NDArray[np.bool_]:
        """(I, P) which places are in which intervals."""
        return (self.start[intervals, None] <= places) & (places < self.stop[intervals, None])

    def sorted(self, columns: Rows) -> Rows:
        """Some keypoints of image 1 (C,), neighbours along the lines together."""
        first = np.zeros(self.columns.max(initial=-1) + 1, np.int64)
        first[self.columns[::-1]] = self.start[::-1]
        return columns[np.argsort(first[columns], kind="stable")]


@dataclass(frozen=True)
class _Bands:
    """Lines in bands of ROWS, and the intervals that reach into each: a slot for each such interval.

    The last slot is of none, and empty.
    """

    column: NDArray[np.int32]  # (S + 1,) keypoint of image 1, by bands
    start: NDArray[np.int32]  # (S + 1,) its interval of places
    stop: NDArray[np.int32]  # (S + 1,)
    begin: Rows  # (B + 1,) the first slot of each band

    @classmethod
    def of(cls, lines: _Lines, num: int) -> _Bands:
        """All `num` bands."""
        first, last = lines.start // ROWS, (lines.stop - 1) // ROWS
        times = last - first + 1
        interval = np.repeat(np.arange(len(times)), times)
        band = np.arange(len(interval)) - np.repeat(np.cumsum(times) - times - first, times)
        order = np.argsort(band, kind="stable")
        interval = interval[order]
        begin = np.searchsorted(band[order], np.arange(num + 1))
        column, start, stop = (
            np.append(values.astype(np.int32)[interval], np.int32(0))
            for values in (lines.columns, lines.start, lines.stop)
        )
        return cls(column, start, stop, begin)

    def slots(self, low: int, high: int) -> Rows:
        """(high - low, K) the slots of some bands, filled up with the last one."""
        count = np.diff(self.begin[low : high + 1])
        place = np.arange(count.max(initial=0))
        return np.where(place < count[:, None], self.begin[low:high, None] + place, len(self.column) - 1)

    def off(self, slot: Rows, low: int) -> NDArray[np.bool_]:
        """(B, ROWS, K) which lines of the bands from `low` on are not in their slots' (B, K) intervals."""
        begin = (low + np.arange(len(slot)))[:, None] * ROWS
        first, last = (
            np.minimum(np.maximum(ends[slot] - begin, 0), ROWS).astype(np.uint8)[:, None]
            for ends in (self.start, self.stop)
        )
        # Before `first` the difference goes round, beyond any length.
        result: NDArray[np.bool_] = np.arange(ROWS, dtype=np.uint8)[:, None] - first >= last - first
        return result


def _half_turn(angles: Float) -> Float:
    """Angles of lines without a direction, in (-pi / 2, pi / 2]."""
    return angles - np.pi * np.ceil(angles / np.pi - 0.5)
