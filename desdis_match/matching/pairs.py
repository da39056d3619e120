"""Which images are matched with which: pairs of names, each unordered pair once, never an image with itself.

`PAIRS` names the ways that need only the list of names; ways that need more (an image retrieval index, GPS
positions) take their place in it as functions that are given what they need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

from ..errors import InputError
from ..support.files import atomic_path

Pair = tuple[str, str]

REUSE = 16
"""Images at a side of a block of pairs that are matched together (`reuse_order`)."""


def exhaustive_pairs(names: Sequence[str]) -> list[Pair]:
    """Every image with every other, in the order of `names`."""
    return list(combinations(names, 2))


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
    names = sorted(names, key=_natural)
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


def _natural(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers in names by value; the name itself decides between 1 and 01."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def reuse_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The same pairs in an order in which one has to hold 2 * REUSE images, yet seldom loads one again.

    Exhaustive pairs row by row load an image a pair; in blocks of REUSE x REUSE images, one for 8 pairs.
    """
    place = {name: i for i, name in enumerate(dict.fromkeys(name for pair in pairs for name in pair))}

    def block(pair: Pair) -> tuple[int, int, int, int]:
        i, j = place[pair[0]], place[pair[1]]
        return i // REUSE, j // REUSE, i, j

    return sorted(pairs, key=block)


def pairs_from_file(path: str | Path, names: Iterable[str] | None = None) -> list[Pair]:
    """Read `a b` lines; names may hold blanks when `names` (the known images) is given.

    A line is split where both sides are known names. Empty lines and comments ('#' first) are passed over and
    repeated pairs (in either order) kept once. Raises InputError with file and line number for an unknown
    name, a line that can be split in two ways, an image paired with itself, and a line that is no pair.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"pairs file {path} cannot be read: {error}") from error
    known = None if names is None else set(names)
    found: dict[frozenset[str], Pair] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip() or (line[0] == "#" and not (known and _splits(line, known))):
            continue
        pair = _split(line, known, f"{path}, line {number}")
        found.setdefault(frozenset(pair), pair)
    return list(found.values())


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> Path:
    """Write `a b` lines to a temporary file and rename it.

    Raises InputError for a name with a line break and a path that cannot be written.
    """
    path = Path(path)
    lines = []
    for name0, name1 in pairs:
        if any(c in name for name in (name0, name1) for c in "\r\n"):
            raise InputError(f"the pair {name0!r}, {name1!r} has a line break in a name; rename the image")
        lines.append(f"{name0} {name1}\n")
    try:
        with atomic_path(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); give another with --output"
        ) from error
    return path


PAIRS: dict[str, Callable[..., list[Pair]]] = {
    "exhaustive": exhaustive_pairs,
    "sequential": sequential_pairs,
}


def _splits(line: str, known: set[str]) -> list[Pair]:
    """Ways to read a line as two known names."""
    return [
        (line[:i], line[i + 1 :])
        for i, c in enumerate(line)
        if c in " \t" and line[:i] in known and line[i + 1 :] in known
    ]


def _split(line: str, known: set[str] | None, where: str) -> Pair:
    """The pair of names that a line holds."""
    words = line.split()
    if known is None:
        if len(words) != 2:
            raise InputError(
                f"{where}: '{line}' is not two names; give the image names when names hold blanks"
            )
        splits = [(words[0], words[1])]
    else:
        splits = _splits(line, known) or _splits(
            " ".join(words), known
        )  # the second: blanks at ends, in rows
    if len(splits) > 1:
        options = " or ".join(f"'{a}' with '{b}'" for a, b in splits)
        raise InputError(f"{where}: '{line}' can be read as {options}; rename one of these images")
    if not splits and len(words) == 2:
        unknown = next(word for word in words if word not in (known or ()))
        raise InputError(f"{where}: there is no image '{unknown}'")
    if not splits:
        raise InputError(f"{where}: '{line}' is not two names of images")
    if splits[0][0] == splits[0][1]:
        raise InputError(f"{where}: '{splits[0][0]}' is paired with itself")
    return splits[0]
