"""Shards of work on any `concurrent.futures.Executor`: local processes, Dask, MPI, Slurm.

    for name, count in run_shards(describe, names, num_workers=2):
        ...

`function` and its items are pickled, so both are plain module-level things. Results come in the order of the
items, each as soon as all before it are there; few are under way at a time, so that memory stays bounded.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DesDisError
from .signals import let_through, stops_wait

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 3
"""Shards submitted per worker: one running, the others waiting or done and waiting for their turn."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that say how many threads a numerical library takes when it is loaded."""
UNKNOWN_WORKERS = 64
"""Shards under way on an executor that does not say how many workers it has."""


class ShardError(DesDisError):
    """Work on one item failed with an error that the user can mend; `item` is its name."""

    def __init__(self, item: str, error: DesDisError):
        super().__init__(f"{item}: {error}")
        self.item = item
        self.exit_code = error.exit_code


class WorkerLost(DesDisError):
    """A worker process died: most often the system ended it for want of memory."""


def run_shards(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor | None = None,
    num_workers: int | None = None,
    setup: Callable[..., None] | None = None,
    setup_args: tuple[Any, ...] = (),
    name: Callable[[Item], str] = str,
    pool: LocalPool | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) in the order of `items`.

    Without `executor`, `num_workers` processes of one thread each do the work (default: one a core; one means
    this process and no other), each calling `setup(*setup_args)` first, for example to load a network.
    An executor that is given is used as it is, without setup, and is left open. So are the processes of
    `pool`, which are begun where several are wanted and none are there.
    `name(item)` stands in errors: a DesDisError becomes a ShardError, any other exception a RuntimeError with
    the original as its cause, a dead worker process a WorkerLost. Work not yet begun is then cancelled.
    """
    if executor is not None:
        num_workers = getattr(executor, "_max_workers", None) or UNKNOWN_WORKERS
        yield from _run_on(executor, function, items, AHEAD * num_workers, name)
        return
    num_workers = num_workers or available_cores()
    if num_workers == 1 and not (pool and pool.begun):
        if setup is not None:
            setup(*setup_args)
        for item in items:
            with _named(name(item)):
                result = function(item)
            yield item, result
        return
    if getattr(getattr(function, "func", function), "__module__", "") == "__main__":
        raise ValueError("a worker process cannot import what the running script defines: put it in a module")
    with nullcontext(pool) if pool else LocalPool() as processes:
        executor = processes.executor(num_workers, setup, setup_args)
        try:
            yield from _run_on(executor, function, items, AHEAD * num_workers, name)
        except BaseException:
            processes.end()
            raise


class LocalPool:
    """Worker processes of this machine, from the first call of `run_shards` that wants them to the end of the
    block, so that what one call has loaded is there in the next."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    @property
    def begun(self) -> bool:
        """Whether there are processes."""
        return self._executor is not None

    def executor(
        self, num_workers: int, setup: Callable[..., None] | None = None, setup_args: tuple[Any, ...] = ()
    ) -> ProcessPoolExecutor:
        """The processes, as many as the first call wanted."""
        if self._executor is None and setup is None and _ahead and num_workers == available_cores():
            self._executor = _ahead.pop()
        if self._executor is None:
            self._executor = local_executor(num_workers, setup, setup_args)
        return self._executor

    def end(self) -> None:
        """End the processes after what they are at; later calls begin others."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def local_executor(
    num_workers: int,
    setup: Callable[..., None] | None = None,
    setup_args: tuple[Any, ...] = (),
    context: BaseContext | None = None,
) -> ProcessPoolExecutor:
    """Processes of one thread each that end with this one and do not run the caller's script again."""
    # Pickled here so that the worker limits its threads before it imports what `setup` needs.
    task = pickle.dumps((setup, setup_args))
    return ProcessPoolExecutor(
        num_workers, context or _Context(), initializer=_start_worker, initargs=(task,)
    )


@contextmanager
def forked_ahead(get_ready: Callable[[], None] | None = None) -> Iterator[None]:
    """In the block the first LocalPool that wants a process a core has processes that are forked now.

    A worker that begins anew takes two seconds to load torch; a fork has at once what is loaded here, and
    calls `get_ready` while this process goes on. For a process that has not yet done anything: what has
    threads, or open files, is not to be forked. Elsewhere than on Linux (where libraries of the system do not
    bear a fork), on one core, and where there are threads already, workers begin anew.
    """
    if (
        not sys.platform.startswith("linux")
        or available_cores() == 1
        or len(os.listdir("/proc/self/task")) > 1
    ):
        yield
        return
    fork = multiprocessing.get_context("fork")
    try:
        with stops_wait():  # Python drops what is raised in a fork's callbacks, such as those of logging
            pool = local_executor(available_cores(), get_ready, context=fork)
            try:
                pool.submit(os.getpid)  # begins them all
                _ahead.append(pool)
            except (OSError, RuntimeError):  # no more processes or threads, or no memory for them
                pool.shutdown(wait=False)
                for process in multiprocessing.active_children():  # that did begin; the end would wait
                    process.kill()
        yield
    finally:
        while _ahead:
            _ahead.pop().shutdown(wait=True, cancel_futures=True)


_ahead: list[ProcessPoolExecutor] = []
"""What `forked_ahead` began and no LocalPool took."""


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread() -> None:
    """Hold this process's numerical libraries to one thread each."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@contextmanager
def each_on_one_thread(num_threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads (default: one a core) in which torch and numpy take one for each piece of work, so
    that small products do not wait for each other's parts."""
    import torch

    before = torch.get_num_threads()
    num_threads = num_threads or available_cores()
    try:
        with (
            _blas().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            yield pool
    finally:
        torch.set_num_threads(before)


@cache
def _blas() -> ThreadpoolController:
    """Kept: to look for the libraries that are loaded takes a tenth of a second."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def threads_of_a_worker(alone: bool) -> Iterator[None]:
    """Where `alone`, this process has one thread inside, like a worker, and so gets the same last digits."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    if alone:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _run_on(
    executor: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_ahead: int,
    name: Callable[[Item], str],
) -> Iterator[tuple[Item, Result]]:
    """Keep `num_ahead` shards under way and yield the oldest as it completes."""
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    waiting = iter(items)
    try:
        while True:
            while len(under_way) < num_ahead and (following := next(waiting, under_way)) is not under_way:
                under_way.append((following, executor.submit(function, following)))  # type: ignore[arg-type]
            if not under_way:
                return
            item, future = under_way[0]
            with _named(name(item)):
                result = future.result()
            under_way.popleft()
            yield item, result
    except BrokenExecutor as error:
        lost = ", ".join(name(item) for item, future in under_way if not _has_result(future))
        when = f"during one of: {lost}" if lost else "before its work began"
        raise WorkerLost(
            f"a worker process was killed, most often for want of memory, {when}; "
            "run the same command again with fewer workers or smaller images"
        ) from error
    finally:
        for _, future in under_way:
            future.cancel()


def _has_result(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@contextmanager
def _named(item: str) -> Iterator[None]:
    """Errors inside carry the item's name."""
    try:
        yield
    except BrokenExecutor:
        raise
    except DesDisError as error:
        raise ShardError(item, error) from error
    except OSError:
        raise  # of the disk, not of the item; it names its path
    except Exception as error:
        raise RuntimeError(f"{item}: {type(error).__name__}: {error}") from error


def _start_worker(task: bytes) -> None:
    """First call in a worker: one thread, deaf to Ctrl-C (the parent ends it), gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has the handler of its parent
    let_through()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()
    setup, arguments = pickle.loads(task)
    if setup is not None:
        setup(*arguments)


def _end_with_parent() -> None:
    """A pool's workers outlive a killed parent, waiting for work for ever; these do not."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _of_main(start: Callable[..., Result], *arguments: Any) -> Result:
    """Start without `__main__`: a new process would run a script that has no main guard from its top."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return start(*arguments)
    finally:
        sys.modules["__main__"] = main


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with stops_wait():  # half begun, it would say that nobody told it what to do
            return _of_main(SpawnProcess._Popen, process_obj)


class _Context(SpawnContext):
    Process = _Process
