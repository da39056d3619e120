"""COLMAP's, Ceres' and glog's lines go to a file while a person's progress bar stays on the terminal.

Those libraries write to file descriptor 2. Inside `log_to` that descriptor is the log file, and `sys.stderr`
is a copy of what it was before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def log_to(path: Path | None) -> Iterator[None]:
    """Send what C++ libraries write to stderr to the end of `path`; None: nowhere."""
    target = Path(os.devnull) if path is None else Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    python_stderr = sys.stderr
    terminal = os.dup(2)
    log = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)
    replaced = None
    if _is_descriptor_2(python_stderr):
        replaced = os.fdopen(
            os.dup(terminal), "w", buffering=1, encoding=python_stderr.encoding, errors="replace"
        )
        sys.stderr = replaced
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if replaced is not None:
            sys.stderr = python_stderr
            replaced.close()


def _is_descriptor_2(stream: object) -> bool:
    try:
        result: bool = stream.fileno() == 2  # type: ignore[attr-defined]
        return result
    except (AttributeError, OSError, ValueError):
        return False
