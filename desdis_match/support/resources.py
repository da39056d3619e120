"""Seconds and peak memory of a piece of work, worker processes included."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.1
"""How often memory is looked at; shorter peaks can be missed."""


@dataclass
class Usage:
    """Filled in when the `measured()` block ends."""

    seconds: float = 0.0
    peak_bytes: int | None = None  # resident memory of this process and its children; None where unknown


class measured:
    """Context manager: `with measured() as usage: ...`, then read `usage.seconds` and `usage.peak_bytes`."""

    def __enter__(self) -> Usage:
        self.usage = Usage()
        self._start = time.perf_counter()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self.usage

    def __exit__(self, *_: object) -> None:
        self.usage.seconds = time.perf_counter() - self._start
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while True:
            now = tree_memory(os.getpid())
            if now is not None:
                self.usage.peak_bytes = max(now, self.usage.peak_bytes or 0)
            if self._stop.wait(SAMPLE_SECONDS):
                return


def available_memory() -> int | None:
    """Bytes that a process may still take without swapping, as Linux says; None elsewhere."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def tree_memory(pid: int) -> int | None:
    """Resident bytes of `pid` and all its descendants, from Linux's /proc; None elsewhere.

    Pages that processes share count in each.
    """
    if not Path("/proc/self/statm").exists():
        return None
    total = 0
    waiting = [pid]
    page = os.sysconf("SC_PAGE_SIZE")
    while waiting:
        current = waiting.pop()
        try:
            total += int(_numbers(f"/proc/{current}/statm")[1]) * page
            for task in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, _numbers(f"/proc/{current}/task/{task}/children"))
        except OSError:  # it ended meanwhile
            continue
    return total


def _numbers(path: str) -> list[bytes]:
    """The words of a small file; a thirtieth of a millisecond that is taken dozens of times a second."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 16).split()
    finally:
        os.close(file)
