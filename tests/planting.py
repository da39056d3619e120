"""Where planted.py and mutants.py change the code: a copy of package and tests, and how tests run on it."""

from __future__ import annotations

import importlib
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]

HEAVY = (
    "torch",
    "cv2",
    "pycolmap",
    "kornia",
    "scipy.optimize",
    "scipy.spatial",
    "h5py",
    "onnxruntime",
    "tyro",
)
"""Loaded once and not by every run of tests; OpenCV before pycolmap (support/native.py)."""


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the package and its tests in a folder of its own: any number of these may run at a time."""
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("desdis_match", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        yield folder


def failing(folder: Path, tests: tuple[str, ...], limit: float | None = None) -> bool:
    """Whether one of the tests fails on the copy in `folder`, or they take longer than `limit` seconds.

    They run in a fork of this process, which has loaded what takes long to load (not on Windows, then).
    RuntimeError when they cannot be run.
    """
    report = folder / "report.txt"
    child = os.fork()
    if not child:
        _run_tests(folder, tests, report)
    end = time.monotonic() + (limit or math.inf)
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.05)
    code = os.waitstatus_to_exitcode(status[1])
    if code in (2, 3, 4, 5):  # interrupted, pytest's own error, wrong call, no tests
        raise RuntimeError(f"the tests {' '.join(tests)} do not run:\n{report.read_text()[-4000:]}")
    return code != 0


def _run_tests(folder: Path, tests: tuple[str, ...], report: Path) -> NoReturn:
    """In the child: never returns."""
    code = 3
    try:
        os.setpgid(0, 0)
        with report.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = str(folder)
        paths = [f"tests/{test}" for test in tests]
        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *paths]))
    finally:
        os._exit(code)


def write_module(path: Path, text: str) -> None:
    """Put a module's text in its place, and away what Python compiled of the one before."""
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()
