"""Frames of one or several cameras: each with those that follow it, and the same moment across folders.

A folder is a sequence. Folders are taken for cameras that recorded together where most of their frames carry
the same numbers; then frames of one number are paired, and each with the next moment of the other camera.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePosixPath

from ...errors import InputError
from .base import Pair, PairsConfig, PhotoSet

SAME_MOMENTS = 0.5
"""Share of the smaller folder's numbers that another must have for both to be cameras of one recording."""


def sequential_pairs(
    names: Sequence[str], overlap: int = 10, quadratic: bool = False, loop: bool = False
) -> list[Pair]:
    """Each image with the next `overlap` ones of the sorted names, as a video's frames.

    Numbers in names are sorted by their value: frame_2 comes before frame_10.
    `quadratic` adds those at distances 2**k beyond (k up to `overlap`, as COLMAP does), `loop` joins the end
    to the start.
    """
    if overlap < 1:
        raise InputError(f"overlap is {overlap}; it must be at least 1")
    names = sorted(names, key=natural)
    steps = set(range(1, overlap + 1))
    if quadratic:
        steps |= {2**k for k in range(overlap + 1) if 2**k < len(names)}
    found: dict[Pair, None] = {}
    for i, name in enumerate(names):
        for step in sorted(steps):
            j = i + step
            if loop:
                j %= len(names)
            if j < len(names) and j != i:
                found.setdefault((name, names[j]) if i < j else (names[j], name))
    return list(found)


def sequential(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `sequential`: each folder's own sequence, then the same moments across folders."""
    found: dict[Pair, None] = {}
    folders = by_folder(photos.names)
    for names in folders.values():
        found |= dict.fromkeys(sequential_pairs(names, config.overlap, quadratic=True, loop=config.loop))
    moments = [
        {number: name for name in names if (number := frame_number(name)) is not None}
        for names in folders.values()
    ]
    for first, second in combinations(moments, 2):
        shared = sorted(first.keys() & second.keys())
        if len(shared) < SAME_MOMENTS * min(len(first), len(second)):
            continue
        for now, then in zip(shared, [*shared[1:], None], strict=True):
            found.setdefault((first[now], second[now]))
            if then is not None:
                found.setdefault((first[now], second[then]))
                found.setdefault((first[then], second[now]))
    return list(found)


def by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by the folder they lie in."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[str(PurePosixPath(name).parent)].append(name)
    return dict(folders)


def frame_number(name: str) -> int | None:
    """The last number in a file's name without its folder and ending; None where there is none."""
    numbers = re.findall(r"[0-9]+", PurePosixPath(name).stem)
    return int(numbers[-1]) if numbers else None


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers in names by value; the name itself decides between 1 and 01."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
