"""Seconds and peak memory, of this process and of those that it starts."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from desdis_match.support.resources import measured, tree_memory

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
MIB = 2**20
HOLDER = """
import subprocess, sys
held = bytearray(100 * 2**20)
held[::1024] = b"x" * len(held[::1024])
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", sys.argv[1]])
else:
    print("holding", flush=True)
    sys.stdin.read()
"""
"""Holds 100 MiB until its input ends; given a programme, first starts that, which does so too."""


def holder(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "holding\n"
    return process


@linux
@pytest.mark.parametrize(("arguments", "held"), [((), 100), ((HOLDER,), 200)])
def test_children_and_their_children_count(arguments: tuple[str, ...], held: int) -> None:
    before = tree_memory(os.getpid())
    process = holder(*arguments)
    try:
        assert tree_memory(os.getpid()) - before > held * MIB
        assert held * MIB < tree_memory(process.pid) < (held + 100) * MIB
    finally:
        process.communicate()


@linux
def test_a_peak_is_remembered_when_it_has_passed() -> None:
    before = tree_memory(os.getpid())
    with measured() as usage:
        process = holder()
        time.sleep(0.2)
        process.communicate()
    assert usage.peak_bytes - before > 100 * MIB
    assert tree_memory(os.getpid()) - before < 100 * MIB


def test_seconds_are_those_of_the_block() -> None:
    with measured() as usage:
        time.sleep(0.1)
    spent = usage.seconds
    time.sleep(0.1)
    assert 0.1 <= usage.seconds == spent < 1


@linux
def test_a_process_that_has_ended_holds_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tree_memory(process.pid) == 0
