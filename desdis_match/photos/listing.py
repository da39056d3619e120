"""The photos below a folder, and what lies among them that is not read.

Links to folders are followed, each real folder once, so that a loop ends. Hidden folders and files and those
of thumbnails are passed over.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..support.names import check_names
from .formats import EXTENSIONS, FILMS, why_not_read

PASSED_OVER = frozenset(["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found"])
"""Folders that systems make: thumbnails of Synology, forks of macOS, rubbish bins."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds; names are POSIX paths relative to it, sorted."""

    names: tuple[str, ...]  # photos that can be read
    films: tuple[str, ...]
    unread: Mapping[str, tuple[str, ...]]  # why in words, with the way to have them -> names

    def sentence(self) -> str:
        """The unread in words; empty where there are none."""
        return "; ".join(
            f"{len(names)} {why.format(names[0] + (', ...' if len(names) > 1 else ''))}"
            for why, names in self.unread.items()
        )


def look_through(folder: Path) -> Listing:
    """Raises InputError where there is no such folder, and for a photo's name that is not UTF-8."""
    folder = Path(folder)
    if not folder.is_dir():
        why = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {why}; give the folder that holds the photos")
    names, films = [], []
    unread: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(_files(folder)):
        suffix = os.path.splitext(name)[1].lower()
        missing = why_not_read(suffix)
        if suffix in FILMS:
            films.append(name)
        if missing is not None:
            unread[f"{missing.kind}: not read ({{}}); {missing.way}"].append(name)
        elif suffix in EXTENSIONS:
            names.append(name)
    check_names(names, folder)
    return Listing(tuple(names), tuple(films), {why: tuple(found) for why, found in unread.items()})


def _files(folder: Path) -> Iterator[str]:
    """POSIX paths of the files below `folder`; real folders before links, which may lead into them."""
    seen = {os.path.realpath(folder)}
    links = [""]
    while links:
        folders = [links.pop(0)]
        while folders:
            below = folders.pop()
            for entry in sorted(os.scandir(folder / below), key=lambda entry: entry.name):
                name = f"{below}/{entry.name}" if below else entry.name
                if entry.name.startswith(".") or entry.name in PASSED_OVER:
                    continue
                if not entry.is_dir():
                    if entry.is_file():
                        yield name
                elif entry.is_symlink():
                    links.append(name)
                elif os.path.realpath(entry.path) not in seen:
                    seen.add(os.path.realpath(entry.path))
                    folders.append(name)
        while links and os.path.realpath(folder / links[0]) in seen:
            links.pop(0)
        if links:
            seen.add(os.path.realpath(folder / links[0]))
