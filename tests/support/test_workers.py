"""Shards: order, errors that name the item, workers that die, workers that outlive nobody."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from desdis_match.errors import InputError
from desdis_match.support.workers import (
    LocalPool,
    ShardError,
    WorkerLost,
    _Process,
    each_on_one_thread,
    run_shards,
)

started: list[str] = []


def square(number: int) -> int:
    return number * number


def slow_if_even(number: int) -> int:
    time.sleep(0.05 * (number % 2 == 0))
    return number


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("it is three")
    return number


def divide(number: int) -> float:
    return 1 / number


def die_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def remember(word: str) -> None:
    started.append(word)


def state(_: int) -> tuple[list[str], int, str]:
    import torch

    return started, torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "")


def picture(number: int) -> str:
    return f"image {number}.jpg"


def test_results_come_in_the_order_of_the_items():
    with ThreadPoolExecutor(3) as executor:
        assert list(run_shards(slow_if_even, range(20), executor)) == [(i, i) for i in range(20)]


def test_one_worker_is_this_process():
    started.clear()
    found = list(run_shards(state, [0], num_workers=1, setup=remember, setup_args=("here",)))
    assert found[0][1][0] == ["here"] and started == ["here"]


def test_no_items_no_results():
    assert list(run_shards(square, [], num_workers=1)) == []
    with ThreadPoolExecutor(1) as executor:
        assert list(run_shards(square, [], executor)) == []


def test_few_shards_are_under_way_at_a_time():
    taken = []

    def endless():
        for i in range(10_000):
            taken.append(i)
            yield i

    with ThreadPoolExecutor(2) as executor:
        results = run_shards(square, endless(), executor)
        assert next(results) == (0, 0)
        assert len(taken) < 10
        results.close()


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2)])
def test_an_error_names_its_item(executor):
    with pytest.raises(ShardError, match=r"^image 3.jpg: it is three$") as caught:
        list(run_shards(refuse_three, range(6), executor, num_workers=1, name=picture))
    assert caught.value.exit_code == InputError.exit_code
    with pytest.raises(RuntimeError, match=r"^image 0.jpg: ZeroDivisionError") as bug:
        list(run_shards(divide, range(6), executor, num_workers=1, name=picture))
    assert isinstance(bug.value.__cause__, ZeroDivisionError)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers begin anew elsewhere")


def test_workers_are_set_up_with_one_thread_and_need_no_main_guard(tmp_path):
    """A straight-line script, its own module beside it, runs its body once."""
    (tmp_path / "work.py").write_text(
        "import os\nwords = []\n"
        "def load(word): words.append(word)\n"
        "def look(i):\n"
        "    import torch\n    return i, words, torch.get_num_threads(), os.environ['OMP_NUM_THREADS']\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import os, work\nfrom desdis_match.support.workers import run_shards\n"
        "print('once', os.environ.get('OMP_NUM_THREADS'))\n"
        "shards = run_shards(work.look, [0, 1, 2], num_workers=2, setup=work.load, setup_args=('net',))\n"
        "for item, result in shards:\n    print(item, *result)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    wanted = ["once None"] + [f"{i} {i} ['net'] 1 1" for i in range(3)]
    assert done.stdout.splitlines() == wanted, done.stderr


FORKED = """
import os, signal, threading
import work
from desdis_match.support import workers
from desdis_match.support.workers import LocalPool, available_cores, forked_ahead, run_shards
work.words.append("forked")
signal.signal(signal.SIGTERM, lambda *_: print("the parent's handler"))
BEFORE
with forked_ahead(work.get_ready):
    work.words.append("later")
    print(len(workers._ahead))
    for num in available_cores() + 1, available_cores(), available_cores():
        with LocalPool() as pool:
            print({result for _, result in run_shards(work.look, range(6), num_workers=num, pool=pool)})
print(len(workers._ahead))
"""


@linux
@pytest.mark.parametrize(
    ("before", "forked"),
    [("", True), ("threading.Thread(target=threading.Event().wait, daemon=True).start()", False)],
)
def test_processes_are_forked_for_the_first_pool_that_wants_so_many(tmp_path, before, forked):
    (tmp_path / "work.py").write_text(
        "import signal, sys\nwords = []\n"
        "def get_ready():\n    import wave\n"
        "def look(i):\n"
        "    import torch\n"
        "    said = ' '.join(words + ['wave'] * ('wave' in sys.modules))\n"
        "    blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "    return said, torch.get_num_threads(), signal.getsignal(signal.SIGTERM).name, blocked\n"
    )
    script = tmp_path / "script.py"
    script.write_text(FORKED.replace("BEFORE", before))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    words = ["", "forked wave" if forked else "", ""]
    wanted = [str(int(forked)), *(str({(word, 1, "SIG_DFL", 0)}) for word in words), "0"]
    assert done.stdout.splitlines() == wanted, done.stderr


STOPPED = """
import os, signal
from desdis_match.support import workers
def end(number, frame):
    raise SystemExit(f"stopped, {len(workers._ahead)} pool")
signal.signal(signal.SIGTERM, end)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
workers.available_cores = lambda: 2
with workers.forked_ahead():
    print("goes on")
"""


@linux
def test_a_signal_while_workers_are_forked_is_not_lost():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "stopped, 1 pool\n")


def test_a_signal_while_a_worker_begins_waits(monkeypatch):
    begun = []

    def begin(process):
        signal.raise_signal(signal.SIGINT)
        begun.append(process)

    monkeypatch.setattr(SpawnProcess, "_Popen", begin)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # dask_jobqueue sets another
    try:
        with pytest.raises(KeyboardInterrupt):
            _Process._Popen("a process")
    finally:
        signal.signal(signal.SIGINT, before)
    assert begun == ["a process"]


def test_a_function_of_the_script_itself_is_refused():
    main_function = partial(square)
    square.__module__, before = "__main__", square.__module__
    try:
        with pytest.raises(ValueError, match="put it in a module"):
            list(run_shards(main_function, [1, 2], num_workers=2))
    finally:
        square.__module__ = before


def test_a_killed_worker_is_named_with_what_it_did():
    with pytest.raises(WorkerLost, match=r"killed.*image 2\.jpg.*fewer workers"):
        list(run_shards(die_at_two, range(5), num_workers=2, name=picture))


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds processes through /proc")
@pytest.mark.parametrize("ahead", [False, pytest.param(True, marks=linux)])
def test_workers_end_when_the_parent_is_killed(tmp_path, ahead):
    (tmp_path / "work.py").write_text(
        "import os, pathlib, time\n"
        "def sit(folder):\n    pathlib.Path(folder, f'{os.getpid()}').touch()\n    time.sleep(60)\n"
    )
    (tmp_path / "pids").mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        "import work\nfrom contextlib import nullcontext\n"
        "from desdis_match.support.workers import LocalPool, available_cores, forked_ahead, run_shards\n"
        f"with {'forked_ahead' if ahead else 'nullcontext'}(), LocalPool() as pool:\n"
        f"    items = [{str(tmp_path / 'pids')!r}] * 2\n"
        "    list(run_shards(work.sit, items, num_workers=max(2, available_cores()), pool=pool))\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    parent = subprocess.Popen([sys.executable, script], env=environment)
    try:
        workers = _wait_for(lambda: sorted((tmp_path / "pids").iterdir()), lambda found: len(found) == 2)
    finally:
        parent.kill()
        parent.wait()
    assert workers
    alive = _wait_for(lambda: [w for w in workers if _runs(w.name)], lambda left: not left)
    assert alive == []


def test_workers_that_died_before_they_had_work_are_a_sentence_too():
    class Broken(ThreadPoolExecutor):
        def submit(self, *_):
            raise BrokenExecutor

    with (
        Broken() as executor,
        pytest.raises(WorkerLost, match=r"memory, before its work began; run the same"),
    ):
        list(run_shards(square, [1], executor))


FEW = """
import os, threading
from desdis_match.support import workers
workers.available_cores = lambda: 3
begun, fork, start = [], os.fork, threading.Thread.start
def few():
    if len(begun) == 2:
        raise BlockingIOError("no more processes")
    begun.append(fork())
    return begun[-1]
def none(thread):
    raise RuntimeError("can't start new thread")
if "WANT" == "processes":
    os.fork = few
else:
    threading.Thread.start = none
with workers.forked_ahead():
    threading.Thread.start = start
    print(len(workers._ahead))
"""


@linux
@pytest.mark.parametrize("want", ["processes", "threads"])
def test_a_fork_that_fails_leaves_nothing_that_the_end_waits_for(tmp_path, want):
    script = tmp_path / "script.py"
    script.write_text(FEW.replace("WANT", want))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def _runs(pid: str) -> bool:
    """A zombie has ended, though nobody asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(look, enough, seconds=60.0):
    end = time.monotonic() + seconds
    while not enough(seen := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def test_each_on_one_thread_holds_numpy_and_torch_to_one():
    def blas() -> set[int]:  # others may be loaded later than NumPy's
        return {found["num_threads"] for found in threadpool_info() if "numpy" in found["filepath"]}

    before = blas(), torch.get_num_threads()
    with each_on_one_thread(2) as pool:
        assert blas() == {1} and pool.submit(torch.get_num_threads).result() == 1
    assert (blas(), torch.get_num_threads()) == before


def process_of(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    time.sleep(0.05)
    return os.getpid()


def test_a_pool_stays_from_call_to_call_and_ends_with_an_error():
    with LocalPool() as pool:
        assert {process for _, process in run_shards(process_of, range(4), num_workers=1, pool=pool)} == {
            os.getpid()
        }
        assert not pool.begun
        first = {process for _, process in run_shards(process_of, range(8), num_workers=2, pool=pool)}
        # Where there are processes, a call that wants none for itself is given them too.
        again = {process for _, process in run_shards(process_of, range(8), num_workers=1, pool=pool)}
        begun = set(pool._executor._processes)  # a quick one may do all the work of a call
        assert first <= begun and again <= begun and len(begun) <= 2 and os.getpid() not in begun
        with pytest.raises(RuntimeError, match="negative"):
            list(run_shards(process_of, [-1], num_workers=2, pool=pool))
        assert not pool.begun
        other = {process for _, process in run_shards(process_of, range(8), num_workers=2, pool=pool)}
        assert other.isdisjoint(begun)
    assert not pool.begun
    for process in other:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
