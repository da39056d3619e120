"""What `--pairs auto` means for a set of photos; known before any feature is extracted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from .sequential import frame_number

MAX_EXHAUSTIVE = 150
"""Images up to which every pair is matched. Of 50, 100, 150 and 250 mixed photos retrieval found 93, 100, 97
and 97 % of the verified pairs with 276, 393, 3002 and 1408 pairs instead of 1225, 4950, 11,175 and 31,125
(eval/results/pairs_retrieval.json). At 0.07 s a pair whose geometry is told and 0.35 s one matched in full,
all pairs of 150 photos take 13 to 65 minutes of a core, of 250 photos 36 to 180."""
MOST = 0.8
"""Share of the images that must have a position, or be frames, for all to be treated so."""
HANDFUL = 12
"""Images with poses up to which every pair is matched all the same: at most 66 pairs."""
SEQUENCE = 20
"""Frames that make a sequence."""


def choose_way(
    names: Sequence[str], placed: Collection[str], one_camera: bool, posed: Collection[str] = ()
) -> tuple[str, str]:
    """(the ways for --pairs, why).

    placed: names of the images with a position. one_camera: whether all images are of one size. posed: names
    of the images with a known pose.
    """
    num = len(names)
    if num > HANDFUL and len(posed) == num:
        return "frusta", f"the poses of all {num} images are known"
    if num > HANDFUL and len(posed) >= MOST * num:
        return "frusta+retrieval", f"the poses of {len(posed)} of {num} images are known"
    if num <= MAX_EXHAUSTIVE:
        return "exhaustive", f"{num} images, up to {MAX_EXHAUSTIVE} are matched each with each"
    if len(placed) >= MOST * num:
        return "spatial+retrieval", f"{len(placed)} of {num} images have a GPS position"
    if one_camera and are_frames(names):
        return "sequential+retrieval", f"{num} images are numbered frames of one camera"
    return "retrieval", f"{num} images, too many to match each with each"


def are_frames(names: Sequence[str]) -> bool:
    """Whether most names are of a folder's frames: one text, then numbers that go up by one step."""
    runs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name in names:
        path, number = PurePosixPath(name), frame_number(name)
        if number is not None:
            runs[str(path.parent), path.stem.rstrip("0123456789")].append(number)
    frames = 0
    for numbers in runs.values():
        steps = [b - a for a, b in zip(sorted(numbers), sorted(numbers)[1:], strict=False)]
        if len(numbers) >= SEQUENCE and steps.count(sorted(steps)[len(steps) // 2]) >= MOST * len(steps):
            frames += len(numbers)
    return frames >= MOST * len(names)
