"""Ctrl-C and SIGTERM that wait until what they would break is over.

What a handler raises is lost in callbacks of a fork, and in those of C++ that loads it ends the process.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stops_wait() -> Iterator[None]:
    """In the block both signals wait; what came is acted upon as it ends, by the handlers of before.

    Other threads do not take them either, where they begin in the block: a library may put in a handler of
    its own meanwhile. In the main thread only; elsewhere it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: handler for number in STOPS if (handler := signal.getsignal(number)) is not None}
    with _blocked():
        for number in before:
            signal.signal(number, lambda number, _: came.append(number))  # one that another thread took
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if came:
                signal.raise_signal(came[0])


def let_through() -> None:
    """In a process that was begun within `stops_wait`: signals arrive again."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


@contextmanager
def _blocked() -> Iterator[None]:
    """The system holds both signals back from this thread, and from those that it begins; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
