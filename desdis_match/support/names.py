"""Names of photos that come out of files: checked once, where they enter, before any path is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError

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
