"""Names of photos that come out of files: checked once, where they enter, before any path is made of them.

And found where another program counts them from another folder: `images/a.jpg` for `a.jpg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..errors import InputError

Item = TypeVar("Item")

MAX_NAME = 4096
"""Characters that a path may have on Linux; longer names are damage."""


def check_name(name: str, source: Path | str) -> str:
    """`name` as it is, if it is a path that stays below the folder of photos.

    source: the file that holds it, for the error. Raises InputError for a name that is empty, absolute (also
    as Windows writes it), climbs out by `..`, or holds what no list of names can hold.
    """
    why = _fault(name)
    if why:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise InputError(f"{source} names a photo {shown!r}, which {why}; rename it there")
    return name


def check_names(names: Iterable[str], source: Path | str) -> list[str]:
    """All of `names` as they are; raises InputError for the first that check_name refuses."""
    return [check_name(name, source) for name in names]


def _fault(name: str) -> str | None:
    if not name:
        return "is no name"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if any(character in name for character in "\0\r\n"):
        return "holds a line break or a zero byte"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "is an absolute path, not one below the folder of photos"
    if ".." in parts:
        return "leads out of the folder of photos"
    return None


def by_ends(found: Mapping[str, Item], names: Iterable[str]) -> dict[str, Item]:
    """What `found` has for each of `names`: of that name, or of the only one with its end."""
    by_last: dict[str, list[str]] = {}
    for name in found:
        by_last.setdefault(PurePosixPath(name).name, []).append(name)
    given = {}
    for name in names:
        ends = [other for other in by_last.get(PurePosixPath(name).name, []) if _same_end(name, other)]
        if name in found:
            given[name] = found[name]
        elif len(ends) == 1:
            given[name] = found[ends[0]]
    return given


def _same_end(name: str, other: str) -> bool:
    short, long = sorted((PurePosixPath(name).parts, PurePosixPath(other).parts), key=len)
    return long[-len(short) :] == short
