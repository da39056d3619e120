"""COLMAP's undistortion of photos, in a process of its own: its writers of pictures crash on a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..support.files import file_error
from .model_files import check_model_files

PROGRAM = """
import ctypes, signal, sys
if sys.platform == "linux":  # this process ends with the one that began it
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from desdis_match.support.native import pycolmap
pycolmap.logging.minloglevel = 3
pycolmap.undistort_images(*sys.argv[1:])
"""
ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
"""Last bytes of a whole file."""


def undistort(folder: Path, model_dir: Path, images: Path, names: Sequence[str]) -> None:
    """COLMAP's dense workspace of the model in an empty `folder`.

    names: photos that it must hold. Raises InputError for one that COLMAP cannot read, and on a full disk.
    """
    paths = [str(path.absolute()) for path in (folder, model_dir, images)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    full = file_error(OSError(errno.ENOSPC, "the disk is full"), folder)
    unread = [name for name in names if not (folder / "images" / name).is_file()]
    if done.returncode < 0:
        raise full
    if done.returncode or unread:
        words = (done.stderr.strip().splitlines() or ["COLMAP only logs why"])[-1][:200]
        named = images / unread[0] if unread else images
        raise InputError(f"{named} cannot be undistorted ({len(unread)} photos in all): {words}")
    if any(not _is_whole(folder / "images" / name) for name in names):
        raise full
    try:
        check_model_files(folder / "sparse")
    except InputError:
        raise full from None


def _is_whole(photo: Path) -> bool:
    end = ENDS.get(photo.suffix.lower(), b"")
    return photo.stat().st_size > 0 and photo.read_bytes().endswith(end)
