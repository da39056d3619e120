"""What the console script does around its command: fork worker processes, end at once."""

import atexit
import gc
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from desdis_match.commands import cli
from desdis_match.pipeline import extraction


@pytest.mark.parametrize(
    ("before", "argv", "forks", "code"),
    [
        ((), ["extract", "--images", "photos"], True, 5),
        (("reconstruct",), ["--images", "photos"], True, 5),
        (("reconstruct",), ["--help"], False, 5),
        ((), ["view", "run"], False, 5),
        ((), [], None, 0),
    ],
)
def test_workers_are_made_ready_for_the_commands_that_have_some(monkeypatch, before, argv, forks, code):
    seen = []

    @contextmanager
    def forked_ahead(get_ready):
        assert get_ready is extraction.get_ready and gc.isenabled() and gc.get_freeze_count() > 0
        seen.append(os.environ.get("OPENBLAS_NUM_THREADS"))
        yield
        seen.append("ended")

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr("desdis_match.support.workers.forked_ahead", forked_ahead)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(atexit, "_run_exitfuncs", lambda: seen.append("exit functions"))
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    command = SimpleNamespace(main=lambda argv: seen.append(list(argv)) or 5)
    monkeypatch.setitem(sys.modules, "a_command", command)
    for name in ("extract", "reconstruct", "view"):
        monkeypatch.setitem(cli.COMMANDS, name, ("", "a_command:main", ""))
    monkeypatch.setattr(sys, "argv", ["desdis-match", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.entry(*before)
    assert stop.value.code == code
    called = [[*before, *argv][1:]]
    expected = {True: [None, *called, "ended"], False: called, None: []}[forks]
    assert seen == [*expected, "exit functions"]
    seen.clear()
    assert cli.main(["extract"]) == 5  # of a process that goes on nothing is forked
    assert seen == [[]]


@pytest.mark.parametrize(("given", "within"), [(None, "1"), ("4", "4")])
def test_numpy_is_loaded_without_threads_unless_some_were_asked_for(monkeypatch, given, within):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    with cli._one_blas_thread():
        assert os.environ["OPENBLAS_NUM_THREADS"] == within
    assert os.environ.get("OPENBLAS_NUM_THREADS") == given


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers begin anew elsewhere")
def test_what_is_loaded_before_the_fork_has_one_thread_and_is_little():
    code = (
        "import importlib, os, sys\nfrom desdis_match.commands import cli\nwith cli._one_blas_thread():\n"
        "    importlib.import_module(cli.WORK)\n"
        "print(len(os.listdir('/proc/self/task')), {'torch', 'cv2', 'scipy', 'pycolmap'} & set(sys.modules))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() in ("1 {'torch', 'cv2'}", "1 {'cv2', 'torch'}"), done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_streams_may_be_closed_where_there_are_workers(tmp_path):
    """What is forked would else have the numbers of its streams."""
    (tmp_path / "photos").mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 255, (60, 80), np.uint8)
        assert cv2.imwrite(str(tmp_path / "photos" / f"{i}.png"), noise)
    options = "--images photos --output features.h5 --workers 2 --descriptor rootsift"
    command = f"{sys.executable} -m desdis_match extract {options} <&- >&- 2>&-"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0
    assert (tmp_path / "features.h5").stat().st_size > 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full, of Linux")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--help >&-", 0),
        ("--version 2>&-", 0),
        ("--help >/dev/full", 2),
        ("--version >/dev/full", 2),
        ("nosuch 2>&-", 2),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_needs_no_command_bears_closed_and_full_streams(command, code, unbuffered):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONUNBUFFERED": unbuffered,
    }
    command = f"{sys.executable} -m desdis_match {command}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
    assert ("disk is full" in done.stderr) == ("/dev/full" in command)
    assert "nosuch" not in done.stdout  # what is wrong is said on stderr or not at all
