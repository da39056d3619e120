"""Fetch a published file: whole or not at all, checked by its hash where that is known."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from ..errors import InputError
from .files import read_json, sha256_of, write_text
from .progress import track

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds without an answer after which the network counts as missing."""
BLOCK = 1 << 20


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


def download(url: str, target: Path, sha256: str | None = None, *, goes_on: bool = False) -> None:
    """Put the file at `url` (http, https, file) at `target`, which is never half-written.

    sha256: that its bytes must have. goes_on: what a stopped download left beside `target` is kept, and the
    next goes on there where the server allows it; for one process at a time. InputError when there is no
    network (it says which file to fetch and where to put it), when it breaks off, when the bytes are not the
    expected ones, and when they cannot be written.
    """
    logger.info("downloading %s to %s", url, target)
    # Several workers may miss a file at the same time: each writes one of its own.
    partial = target.with_name(f"{target.name}.partial" if goes_on else f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, partial, target)
        if sha256 is not None and (found := sha256_of(partial)) != sha256:
            raise InputError(
                f"what {url} sent is not the published {target.name} (sha256 {found[:16]}..., "
                f"expected {sha256[:16]}...); try again, or put the right file at {target}"
            )
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if not goes_on:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def check_as_before(url: str, path: Path) -> None:
    """Raise InputError where `path` is not what `url` sent at an earlier time (see `remember`)."""
    known, found = _remembered().get(url), sha256_of(path)
    if known is not None and known != found:
        path.unlink()
        raise InputError(
            f"{url} sent something else than before (sha256 {found[:16]}..., {known[:16]}... then): damaged, "
            f"or published anew; in that case delete its line in {_record()}"
        )


def remember(url: str, path: Path) -> None:
    """Note the SHA-256 of what `url` sent, where it is whole and no hash of it was published."""
    found = {**_remembered(), url: sha256_of(path)}
    write_text(_record(), json.dumps(found, indent=1, sort_keys=True) + "\n")


def _record() -> Path:
    return cache_folder() / "downloads.json"


def _remembered() -> dict[str, str]:
    return read_json(_record()) if _record().is_file() else {}


def _fetch(url: str, partial: Path, target: Path) -> None:
    """Append what is missing of `partial`, or write it anew."""
    have = partial.stat().st_size if partial.is_file() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send: the file was whole already
            return
        raise _unreachable(url, target, f"the server says {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unreachable(url, target, getattr(error, "reason", error)) from error
    with answer:
        goes_on = getattr(answer, "status", None) == 206
        rest = _length(answer.headers.get("Content-Length"))
        begun = have if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as sink:
            blocks = iter(lambda: _block(answer, url, target), b"")
            for block in track(blocks, "download", -(-rest // BLOCK) or None, "MiB"):
                sink.write(block)
    if rest and partial.stat().st_size != begun + rest:
        raise InputError(f"{url} broke off; run the same command again")


def _length(header: str | None) -> int:
    """Bytes that an answer promises; 0 where it says nothing, or nothing that is a number."""
    return int(header) if header is not None and header.isascii() and header.isdigit() else 0


def _block(answer: http.client.HTTPResponse, url: str, target: Path) -> bytes:
    try:
        return answer.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, target, error) from error


def _unreachable(url: str, target: Path, reason: object) -> InputError:
    return InputError(
        f"{target.name} could not be downloaded ({reason}); fetch {url} elsewhere and put it at {target}"
    )
