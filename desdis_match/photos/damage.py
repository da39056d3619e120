"""What decoders say of a damaged photo, and how much memory one may take, before either does harm.

libjpeg, libtiff and the others write their warnings to file descriptor 2 and go on with grey or wrong pixels.
Here the words are caught beside the photo they are about.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ..support.resources import available_memory

_HARMLESS = re.compile(r"^\s*$|Unknown field with tag|iCCP|sRGB profile|pHYs|gAMA|cHRM")
"""Words about what is not the picture: private TIFF tags, colour profiles."""
_ONE_AT_A_TIME = threading.Lock()

DECODE_BYTES = 8
"""Memory for a pixel of a decoded photo: its colours, its grey values as floats."""
DETECT_BYTES = 140
"""Memory for a pixel in which keypoints are sought: the scale space of a photo at its own size."""


@contextmanager
def decoder_words() -> Iterator[list[str]]:
    """A list that holds, when the block has ended, what libraries wrote to stderr inside it."""
    words: list[str] = []
    with _ONE_AT_A_TIME, _memory() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            file.seek(0)
            lines = file.read().decode("utf-8", errors="replace").splitlines()
            words += [line.strip() for line in lines if not _HARMLESS.search(line)]


def _memory() -> IO[bytes]:
    """A file that no full disk cuts short, where the system has such; else a temporary one."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("words"), "w+b")
    return tempfile.TemporaryFile()


def too_large(size: tuple[int, int], bytes_per_pixel: int) -> str | None:
    """Why a photo of this size (width, height) does not fit into memory; None where it does."""
    needed, there = size[0] * size[1] * bytes_per_pixel, available_memory()
    if there is None or needed <= there:
        return None
    megapixels, gib = size[0] * size[1] / 1e6, 2**30
    memory = f"{needed / gib:.1f} GiB of memory; {there / gib:.1f} are free"
    return f"has {megapixels:.0f} megapixels, which take {memory}"
