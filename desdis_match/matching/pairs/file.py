"""Pairs from and to a file of `a b` lines."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ...errors import InputError
from ...support.files import read_text, write_text
from .base import Pair, PairsConfig, PhotoSet

log = logging.getLogger(__name__)


def listed(photos: PhotoSet, config: PairsConfig) -> list[Pair]:
    """The way `file`: the pairs of `config.pairs_file`.

    Those that name an image that could not be used are left out, with a warning.
    """
    check_listed(config)
    assert config.pairs_file is not None
    useless = set(photos.left_out).difference(photos.names)
    found = pairs_from_file(config.pairs_file, [*photos.names, *useless])
    chosen = [pair for pair in found if useless.isdisjoint(pair)]
    if len(chosen) < len(found):
        named = sorted(useless.intersection(name for pair in found for name in pair))
        log.warning(
            "%d of the %d pairs of %s are left out: they name images that cannot be used (%s)",
            len(found) - len(chosen),
            len(found),
            config.pairs_file,
            ", ".join(named[:3]) + (", ..." if len(named) > 3 else ""),
        )
    return chosen


def check_listed(config: PairsConfig) -> None:
    """Raise InputError where the file is wanted and not given."""
    if "file" in config.ways and config.pairs_file is None:
        raise InputError("--pairs file needs the file; give it with --pairs-file")


def pairs_from_file(path: str | Path, names: Iterable[str] | None = None) -> list[Pair]:
    """Read `a b` lines; names may hold blanks when `names` (the known images) is given.

    A line is split where both sides are known names. Empty lines and comments ('#' first) are passed over and
    repeated pairs (in either order) kept once. Raises InputError with file and line number for an unknown
    name, a line that can be split in two ways, an image paired with itself, and a line that is no pair.
    """
    path = Path(path)
    text = read_text(path, "a list of pairs")
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
    return write_text(path, "".join(lines))


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
