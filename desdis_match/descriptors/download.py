"""Fetch a published file once: checked by sha256, and never half there."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import sys
import urllib.request
from pathlib import Path

from ..errors import InputError

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds without an answer after which the network counts as missing."""


def cache_folder() -> Path:
    """The user's cache: $DESDIS_MATCH_CACHE, else the place that the system has for such files."""
    if chosen := os.environ.get("DESDIS_MATCH_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "desdis_match"


def sha256_of(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()


def download(url: str, target: Path, sha256: str) -> None:
    """Put the file at `url` at `target` if its sha256 is right; `target` is never half-written.

    InputError when there is no network (it says which file to fetch and where to put it), when the bytes are
    not the expected ones, and when they cannot be written.
    """
    logger.info("downloading %s to %s", url, target)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{target.name} could not be downloaded ({reason}); fetch {url} elsewhere and put it at {target}"
        ) from error
    if sha256_of(content) != sha256:
        raise InputError(
            f"what {url} sent is not the published {target.name} (sha256 {sha256_of(content)[:16]}..., "
            f"expected {sha256[:16]}...); try again, or put the right file at {target}"
        )
    # The name holds the process id: several workers may miss the file at the same time.
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
