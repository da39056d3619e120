"""Matches that stay at the same pixels over many photos: captions, dirt, the background behind a turntable.

They fit together as if the camera never moved, and outvote what did move. A match is still when its keypoints
lie at the same pixels of two photos of equal size; a keypoint when it has still matches with many of the
photos that it could have them with. Photos that show everything at the same place, as those of one exposure
series, make still matches too, but only among themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer]  # (M, 2) keypoints of the two photos of a pair
Pixels = NDArray[np.floating]  # (N, 2) or wider, x and y first
PhotoNumbers = tuple[int, int]

STILL_WITHIN = 1.5
"""Pixels that a keypoint that stays may seem to move: detectors place it to a third of a pixel or so."""

MIN_PHOTOS = 3
"""Further photos in which a keypoint must be at the same pixels..."""

MIN_SHARE = 0.3
"""...and share of the photos of its size that its photo was matched with."""

MIN_MATCHES = 10
"""Still matches in a pair, on average over the pairs that have some, below which all stay: chance."""

MAJORITY = 0.5
"""Share of still matches in a pair above which the camera stands still: what hardly moves is background too,
and so is what a still keypoint matches elsewhere."""

BARELY_WITHIN = 3.0
"""Pixels that such a match moves at most. Left in, they turn cameras of a turntable by up to 1.6 degrees."""


@dataclass(frozen=True)
class StillKeypoints:
    """What is to be left out, and how much it is."""

    of_photo: Mapping[int, NDArray[np.bool_]] = field(
        default_factory=dict
    )  # (N,) by photo; none: no keypoint
    num_matches: int = 0  # over all pairs
    num_photos: int = 0
    share: float = 0.0  # of the matches of the pairs that have some

    def moving(self, pair: PhotoNumbers, keypoints0: Pixels, keypoints1: Pixels, rows: Rows) -> Rows:
        """The matches of a pair without the still ones."""
        if not self.of_photo:
            return rows
        fixed = self.of_photo[pair[0]][rows[:, 0]] | self.of_photo[pair[1]][rows[:, 1]]
        still = fixed & _stays(keypoints0, keypoints1, rows)
        if np.count_nonzero(still) > MAJORITY * len(still):
            still = fixed | _stays(keypoints0, keypoints1, rows, BARELY_WITHIN)
        return rows[~still]

    def sentence(self) -> str:
        """For the report; empty where nothing is left out."""
        if not self.num_matches:
            return ""
        return (
            f"{self.num_matches:,} matches of {self.num_photos} photos ({100 * self.share:.0f} % of those of "
            "their pairs) stay at the same pixels, as captions, dirt on the lens or the still background of "
            "a turntable do, and were left out; --masks keep such areas out altogether"
        )


def find_still_keypoints(
    pairs: Sequence[PhotoNumbers],
    sizes: Mapping[int, tuple[int, int]],
    keypoints_of: Callable[[int], Pixels],
    matches_of: Callable[[int, int], Rows],
) -> StillKeypoints:
    """Look through the matched pairs of photos. sizes: width, height by photo."""
    seen_in = {photo: np.zeros(len(keypoints_of(photo)), np.int32) for photo in sizes}
    partners = dict.fromkeys(sizes, 0)
    with_still = []
    for pair in pairs:
        if sizes[pair[0]] != sizes[pair[1]]:
            continue
        rows = matches_of(*pair)
        for photo in pair:
            partners[photo] += 1
        stays = _stays(keypoints_of(pair[0]), keypoints_of(pair[1]), rows)
        if stays.any():
            with_still.append(pair)
            for column, photo in enumerate(pair):
                seen_in[photo][np.unique(rows[stays, column])] += 1
    fixed = {photo: count >= max(MIN_PHOTOS, MIN_SHARE * partners[photo]) for photo, count in seen_in.items()}
    found = StillKeypoints(fixed)
    numbers = {}
    for pair in with_still if any(photo.any() for photo in fixed.values()) else ():
        rows = matches_of(*pair)
        num = len(rows) - len(found.moving(pair, keypoints_of(pair[0]), keypoints_of(pair[1]), rows))
        if num:
            numbers[pair] = num, len(rows)
    num_matches = sum(num for num, _ in numbers.values())
    if not numbers or num_matches < MIN_MATCHES * len(numbers):
        return StillKeypoints()
    return StillKeypoints(
        fixed,
        num_matches,
        len({photo for pair in numbers for photo in pair}),
        num_matches / sum(of for _, of in numbers.values()),
    )


def _stays(
    keypoints0: Pixels, keypoints1: Pixels, rows: Rows, within: float = STILL_WITHIN
) -> NDArray[np.bool_]:
    """(M,) whether a match is at the same pixels of both photos."""
    apart = keypoints0[rows[:, 0], :2] - keypoints1[rows[:, 1], :2]
    return np.asarray((np.abs(apart) <= within).all(1))
