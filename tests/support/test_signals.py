"""Ctrl-C and SIGTERM that come while something must not be interrupted."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from desdis_match.support.signals import STOPS, stops_wait

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class Ended(Exception):
    pass


def end(number, frame):
    raise Ended(signal.Signals(number).name)


@pytest.fixture(autouse=True)
def handlers():
    before = [(number, signal.signal(number, end)) for number in STOPS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_what_comes_in_the_block_is_acted_upon_at_its_end(number):
    seen = []
    with pytest.raises(Ended, match=number.name), stops_wait():
        with stops_wait():
            signal.raise_signal(number)  # to this thread, where os.kill may choose another
            seen.append("inner block")
        seen.append("outer block")
    assert seen == ["inner block", "outer block"]
    with stops_wait():
        pass
    assert signal.getsignal(number) is end and not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_so_it_is_where_another_thread_takes_it():
    asked, sent = threading.Event(), threading.Event()

    def take():
        asked.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        sent.set()

    taker = threading.Thread(target=take)
    taker.start()  # before the block
    seen = []
    with pytest.raises(Ended, match="SIGTERM"), stops_wait():
        asked.set()
        sent.wait()
        taker.join()
        seen.append("block")
    assert seen == ["block"]


def test_a_thread_begun_in_the_block_takes_neither():
    masks = []
    with stops_wait():
        thread = threading.Thread(target=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
        thread.start()
        thread.join()
    assert masks == [set(STOPS)]


def test_in_another_thread_it_changes_nothing():
    masks = []

    def work():
        with stops_wait():
            masks.append((signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert masks == [(set(), end)]


def test_a_process_without_handlers_of_its_own_ends_as_the_system_does_it():
    code = (
        "import os, signal\nfrom desdis_match.support.signals import stops_wait\n"
        "with stops_wait():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('block', flush=True)\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "block\n")
