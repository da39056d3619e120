"""Neighbours' consensus: a match is believed where matches around it move as its own two frames say.

A match knows more than two places: from the scales and angles of its keypoints follows a similarity that says
where what lies near it in image 0 lies in image 1. Each of its nearest matches that is found there, with a
like scale and angle, supports it. A wrong match falls anywhere in image 1 and has hardly any support, so that
a few supporters are enough (as in AdaLAM, Cavalli et al., ECCV 2020, and GMS, Bian et al., CVPR 2017, but
with no grid and no random samples: the same matches always give the same result).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..conventions import pixel_of
from ..support.neighbours import nearest_rows
from ..types import Matches
from .guided import Located

Float = NDArray[np.float64]
Rows = NDArray[np.int64]

NEIGHBOURS = 24
"""Matches around a match, nearest in image 0 and nearest in image 1, that may support it."""

MIN_SUPPORT = 3
"""Supporters that a match needs among either of the two."""

SURE_NEIGHBOURS = 9
"""Sure matches around a doubtful one along epipolar lines, of which..."""

MIN_SURE_OF_NEAR = 1
"""...so many must support one that nearly passes the ratio test, and..."""

MIN_SURE = 6
"""...so many one that does not, ..."""

SURE_TOLERANCE = 0.2
SURE_SLACK = 1.5
"""...the latter with so much less room than TOLERANCE and SLACK give: along a line a wrong match is still
near the right place. On four rendered scenes this keeps 73 of 100 right doubtful matches and 13 of 100 wrong
ones (within 2 pixels); 3 supporters of either kind with this room kept 63 and 15. SLACK grows with photos
above MEASURED_SIDE."""

TOLERANCE = 0.35
"""Largest miss of a supporter, as a share of its distance: what perspective and a detector's error of scale
and angle amount to."""

SLACK = 2.0
"""Pixels of the original photo that a supporter may miss at any distance."""

SCALE = np.log(1.6)
"""Largest difference of two matches' log change of scale."""

ANGLE = np.radians(35)
"""Largest difference of two matches' turns."""


@dataclass(frozen=True)
class Reach:
    """How far from where a match says its supporters may lie."""

    tolerance: float = TOLERANCE
    slack: float = SLACK


def agreeing(image0: Located, image1: Located, matches: Matches) -> Matches:
    """The matches that their neighbours support, in the same order; all where no frames are known."""
    moves = _moves(image0, image1, matches)
    return matches if moves is None else _kept(matches, support(*moves) >= MIN_SUPPORT)


def backed(
    image0: Located,
    image1: Located,
    matches: Matches,
    sure: NDArray[np.bool_],
    nearly: NDArray[np.bool_],
) -> Matches:
    """The matches that are sure (M,) and the doubtful ones that sure ones around them support, in the same
    order; the sure ones alone where no frames are known. nearly: (M,) those that are nearly sure, of which
    less is asked."""
    moves = _moves(image0, image1, matches)
    keep = sure.copy()
    if moves is not None:
        witnesses, pixel = np.flatnonzero(sure), pixel_of(max(image0.side, image1.side))
        near = Reach(TOLERANCE, SLACK * pixel), MIN_SURE_OF_NEAR
        other = Reach(SURE_TOLERANCE, SURE_SLACK * pixel), MIN_SURE
        for those, (reach, least) in ((nearly & ~sure, near), (~nearly & ~sure, other)):
            doubtful = np.flatnonzero(those)
            keep[doubtful] = support(*moves, SURE_NEIGHBOURS, doubtful, witnesses, reach) >= least
    return _kept(matches, keep)


def _kept(matches: Matches, keep: NDArray[np.bool_]) -> Matches:
    return Matches(matches.indices[keep], matches.scores[keep])


def _moves(image0: Located, image1: Located, matches: Matches) -> tuple[Float, Float, Float, Float] | None:
    """xy0, xy1, grow and turn of `support`; None where no frames are known."""
    if image0.scales is None or image1.scales is None or image0.angles is None or image1.angles is None:
        return None
    rows0, rows1 = matches.indices.T
    grow = np.log(image1.scales[rows1].astype(np.float64) / image0.scales[rows0])
    turn = image1.angles[rows1].astype(np.float64) - image0.angles[rows0]
    return image0.xy[rows0].astype(np.float64), image1.xy[rows1].astype(np.float64), grow, turn


def support(
    xy0: Float,
    xy1: Float,
    grow: Float,
    turn: Float,
    neighbours: int = NEIGHBOURS + 1,
    rows: Rows | None = None,
    witnesses: Rows | None = None,
    reach: Reach | None = None,
) -> Rows:
    """(R,) supporters of each match of `rows`: the larger of those among its neighbours in either image.

    xy0, xy1 (M, 2) pixels; grow (M,) log of scale 1 over scale 0; turn (M,) angle 1 minus angle 0.
    neighbours: how many are asked, a match itself among them where it may support. rows (R,) and witnesses
    (W,), the matches that may support them: of the M, all by default. reach: how far off they may be.
    """
    reach = reach or Reach()
    every = np.arange(len(xy0))
    rows, witnesses = every if rows is None else rows, every if witnesses is None else witnesses
    if not len(witnesses):
        return np.zeros(len(rows), np.int64)
    count = min(neighbours, len(witnesses))
    forward = _supporters(xy0, xy1, grow, turn, count, rows, witnesses, reach)
    return np.maximum(forward, _supporters(xy1, xy0, -grow, -turn, count, rows, witnesses, reach))


def _supporters(
    xy0: Float, xy1: Float, grow: Float, turn: Float, count: int, rows: Rows, witnesses: Rows, reach: Reach
) -> Rows:
    """(R,) of the `count` nearest witnesses in image 0 those that lie in image 1 where each row's similarity
    says."""
    near = witnesses[nearest_rows(xy0[witnesses], xy0[rows], count)]
    # The plane as complex numbers. A frame's angle turns x towards -y (see frames.py), so that of the image's
    # plane is its negative.
    places0, places1, change = (a + 1j * b for a, b in (xy0.T, xy1.T, (grow, turn)))
    step0, step1, differ = (
        of.take(near) - of[rows, None] for of in (places0, places1, change)
    )  # each (R, K)
    expected = np.exp(change[rows].conj())[:, None] * step0
    length = np.abs(step0)
    allowed = (reach.tolerance * np.exp(grow[rows]))[:, None] * length + reach.slack
    angle = np.abs((differ.imag + np.pi) % (2 * np.pi) - np.pi)
    alike = (np.abs(differ.real) <= SCALE) & (angle <= ANGLE)
    # Two frames at one place (of several orientations or detectors) are one witness, not two.
    return np.asarray(((np.abs(step1 - expected) <= allowed) & alike & (length > 1.0)).sum(1))
