"""Neighbours' consensus: a match is believed where matches around it move as its own two frames say.

A match knows more than two places: from the scales and angles of its keypoints follows a similarity that says
where what lies near it in image 0 lies in image 1. Each of its nearest matches that is found there, with a
like scale and angle, supports it. A wrong match falls anywhere in image 1 and has hardly any support, so that
a few supporters are enough (as in AdaLAM, Cavalli et al., ECCV 2020, and GMS, Bian et al., CVPR 2017, but
with no grid and no random samples: the same matches always give the same result).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import Float32, Matches
from .guided import Located

Float = NDArray[np.float64]

NEIGHBOURS = 24
"""Matches around a match, nearest in image 0 and nearest in image 1, that may support it."""

MIN_SUPPORT = 3
"""Supporters that a match needs among either of the two."""

TOLERANCE = 0.35
"""Largest miss of a supporter, as a share of its distance: what perspective and a detector's error of scale
and angle amount to."""

SLACK = 2.0
"""Pixels of the original photo that a supporter may miss at any distance."""

SCALE = np.log(1.6)
"""Largest difference of two matches' log change of scale."""

ANGLE = np.radians(35)
"""Largest difference of two matches' turns."""


def agreeing(image0: Located, image1: Located, matches: Matches) -> Matches:
    """The matches that their neighbours support, in the same order; all where no frames are known."""
    if image0.scales is None or image1.scales is None or image0.angles is None or image1.angles is None:
        return matches
    rows0, rows1 = matches.indices.T
    grow = np.log(image1.scales[rows1].astype(np.float64) / image0.scales[rows0])
    turn = image1.angles[rows1].astype(np.float64) - image0.angles[rows0]
    keep = support(image0.xy[rows0], image1.xy[rows1], grow, turn) >= MIN_SUPPORT
    return Matches(matches.indices[keep], matches.scores[keep])


def support(xy0: Float32, xy1: Float32, grow: Float, turn: Float) -> NDArray[np.int64]:
    """(M,) supporters of each match: the larger of those among its neighbours in either image.

    xy0, xy1 (M, 2) pixels; grow (M,) log of scale 1 over scale 0; turn (M,) angle 1 minus angle 0.
    """
    if len(xy0) < 2:
        return np.zeros(len(xy0), np.int64)
    places0, places1 = xy0.astype(np.float64), xy1.astype(np.float64)
    forward = _supporters(places0, places1, grow, turn)
    return np.maximum(forward, _supporters(places1, places0, -grow, -turn))


def _supporters(xy0: Float, xy1: Float, grow: Float, turn: Float) -> NDArray[np.int64]:
    """(M,) of the nearest matches in image 0 those that lie in image 1 where each match's similarity says."""
    from scipy.spatial import cKDTree

    count = min(NEIGHBOURS + 1, len(xy0))
    near = cKDTree(xy0).query(xy0, count)[1]
    near = np.where(near == np.arange(len(xy0))[:, None], near[:, :1], near)[:, 1:]  # itself is no supporter
    step0, step1 = xy0[near] - xy0[:, None], xy1[near] - xy1[:, None]  # (M, K, 2)
    # A frame's angle turns x towards -y (see frames.py), so that of the image's plane is its negative.
    across, along = np.exp(grow) * np.cos(turn), np.exp(grow) * np.sin(turn)
    expected = np.stack(
        [
            across[:, None] * step0[..., 0] + along[:, None] * step0[..., 1],
            across[:, None] * step0[..., 1] - along[:, None] * step0[..., 0],
        ],
        -1,
    )
    miss = np.linalg.norm(step1 - expected, axis=2)
    allowed = TOLERANCE * np.linalg.norm(expected, axis=2) + SLACK
    angle = np.abs((turn[near] - turn[:, None] + np.pi) % (2 * np.pi) - np.pi)
    alike = (np.abs(grow[near] - grow[:, None]) <= SCALE) & (angle <= ANGLE)
    # Two frames at one place (of several orientations or detectors) are one witness, not two.
    apart = (step0**2).sum(2) > 1.0
    return np.asarray(((miss <= allowed) & alike & apart).sum(1))
