"""Work in pieces: on an executor, where each worker writes its own results to the shared file system.

A `Task` is a picklable function from an item to its arrays. A piece is some items of it; whoever works on it
appends the results to the stage's ShardFolder and returns only their number. So no array passes through a
scheduler, and what a dead worker or a killed driver had finished is there when the work begins again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..support.checkpoint import Arrays, ShardFolder
from ..support.progress import track
from ..support.workers import LocalPool, WorkerLost, run_shards, threads_of_a_worker

log = logging.getLogger(__name__)

TRIES = 3
"""Times that a pool of processes is started anew after one of its processes died."""

Task = Callable[[Sequence[Any]], Iterator[tuple[str, Arrays]]]
"""Items -> (key, arrays) of each, in any order. Picklable; paths in it are absolute."""


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count` of a stage's work."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/8`. Raises InputError for anything else."""
        try:
            index, count = (int(part) for part in text.split("/"))
        except ValueError:
            index = count = 0
        if not 1 <= index <= count:
            raise InputError(f"shard is '{text}'; give i/n, the i-th of n parts, from 1/n to n/n")
        return cls(index, count)

    def of(self, items: Sequence[Any]) -> Sequence[Any]:
        """Its share: a block, so that neighbours stay together."""
        start, stop = (len(items) * i // self.count for i in (self.index - 1, self.index))
        return items[start:stop]


def spread(
    task: Task,
    items: Sequence[Any],
    shards: ShardFolder,
    label: str,
    unit: str,
    *,
    piece_size: int,
    workers: int = 1,
    executor: Executor | None = None,
    pool: LocalPool | None = None,
    alone: bool = True,
    name: Callable[[Any], str] = str,
    done: int = 0,
) -> None:
    """Work on all items, in pieces of `piece_size`: on `executor`, else in `workers` processes, of which one
    means this process, or in those of `pool` that are there. alone: this process takes one thread, as a
    worker does. name: of an item, for errors. done: items that an earlier run did.

    A process of our own pool that dies is replaced, and what it had not finished is begun again.
    """
    far = executor is not None
    parts = [items[i : i + piece_size] for i in range(0, len(items), piece_size)]
    pieces = [_Piece(task, part, shards.own(), far) for part in parts]
    with threads_of_a_worker(alone and executor is None and workers == 1):
        for tries_left in reversed(range(TRIES)):
            try:
                num = sum(len(piece.items) for piece in pieces)
                for _ in track(
                    _run(pieces, workers, executor, pool, name), label, num, unit, done + len(items) - num
                ):
                    pass
                return
            except WorkerLost as error:
                if executor is not None or not tries_left:
                    raise
                log.warning("%s; it is begun again", str(error).partition(";")[0])
            finally:
                _close_own()
                shards.done()


def _run(
    pieces: list[_Piece],
    workers: int,
    executor: Executor | None,
    pool: LocalPool | None,
    name: Callable[[Any], str],
) -> Iterator[int]:
    """One number an item that is finished; takes the pieces that are finished from the list."""

    def said(piece: _Piece) -> str:
        rest = f" and {len(piece.items) - 1} more" if len(piece.items) > 1 else ""
        return f"{name(piece.items[0])}{rest}"

    for piece, num in run_shards(_work, list(pieces), executor, workers, name=said, pool=pool):
        pieces.remove(piece)
        yield from range(num)


@dataclass(frozen=True, eq=False)
class _Piece:
    task: Task
    items: Sequence[Any]
    shards: ShardFolder
    far: bool  # perhaps on another machine


_here = threading.local()
"""The ShardFolder that this thread writes to, so that a worker has one log and not one a piece."""


def _work(piece: _Piece) -> int:
    """Do what of a piece is not done yet, and save it."""
    import cv2
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    shards = _writer(piece.shards)
    for key, arrays in piece.task(piece.items):
        shards.save(key, arrays)
    if piece.far:
        shards.sync()
    return len(piece.items)


def _close_own() -> None:
    """Close the log of this thread, which wrote to it where there was no other worker."""
    if getattr(_here, "key", None) is not None:
        _here.shards.close()
        _here.key = None


def _writer(shards: ShardFolder) -> ShardFolder:
    known: tuple[Path, str] | None = getattr(_here, "key", None)
    if known != (shards.path, shards.stamp) or not _here.shards.is_there():
        if known is not None:
            _here.shards.close()
        _here.key, _here.shards = (shards.path, shards.stamp), shards.own()
    result: ShardFolder = _here.shards
    return result
