"""Where files lie that come and go: beside what is being made, whose disk has room, where that is known.

    with scratch_in(output / ".mapping"):
        ...
        with temporary_folder() as folder:  # anywhere below, in this thread

The system's temporary folder is small on some machines, or is memory. A kill leaves what is there: the place
that is given is one that the next run empties.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory

from .files import writing

_PLACE: ContextVar[Path | None] = ContextVar("_PLACE", default=None)


@contextmanager
def scratch_in(place: Path) -> Iterator[None]:
    """In the block temporary folders lie in this one, which is there while one is wanted."""
    before = _PLACE.set(Path(place))
    try:
        yield
    finally:
        _PLACE.reset(before)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder that goes at the end of the block."""
    place = _PLACE.get()
    new = place is not None and not place.exists()
    try:
        with _made_in(place) as folder:
            yield Path(folder)
    finally:
        if place is not None and new:
            with suppress(OSError):  # others are in it now
                place.rmdir()


def _made_in(place: Path | None) -> TemporaryDirectory[str]:
    while True:
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        try:
            return TemporaryDirectory(dir=place)
        except FileNotFoundError:  # another who was done with it has taken the place away between the two
            if place is None:
                raise


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """An empty hidden folder beside a file that is being made; it goes at the end of the block."""
    folder = Path(path).with_name(f".{Path(path).name}.scratch")
    with writing(path):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
