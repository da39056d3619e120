"""Runs commands of desdis-match one after another, each in a process forked from one that has loaded it all.

Reads a JSON request a line from stdin and answers with a JSON line. A call costs a tenth of a second, not the
three that Python needs to load the libraries, so that thousands of calls are possible.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback

CHANGES = frozenset(
    ["os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"]
)
"""Python's audit events of operations on the file system; opening for writing is one more."""
MEMORY = 8 << 30
"""Address space that a call may take: what fills the memory is a crash here, not of the machine."""


def answer(request: dict) -> dict:
    """Run one request in a child; what became of it."""
    # Pipes: a file would fall under the limit of the files' size, too.
    (words, output), (marks, counted) = pipe(), pipe()
    child = os.fork()
    if child == 0:
        run(request, output, counted)
    os.close(output)
    os.close(counted)
    start, killed = time.monotonic(), request.get("kill_after")
    if (stopped := request.get("stop_after")) is not None and not ends_within(child, stopped):
        os.kill(child, signal.SIGTERM)
    late = wait(child, request.get("timeout", 120.0), killed)
    status = STATUS.pop(child)
    with open(words, "rb") as said, open(marks, "rb") as counts:
        return {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status),
            "hung": late and killed is None,
            "output": said.read().decode("utf-8", errors="replace")[-20000:],
            "operations": len(counts.read()),
            "seconds": time.monotonic() - start,
        }


def pipe() -> tuple[int, int]:
    """A pipe that holds all that a call says, read when it has ended."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    os.set_blocking(ends[1], False)
    return ends


STATUS: dict[int, int] = {}


def ends_within(child: int, seconds: float) -> bool:
    """Wait so long for a child; True when it has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            STATUS[child] = status
            return True
        time.sleep(0.002)
    return False


def wait(child: int, seconds: float, kill_after: float | None) -> bool:
    """Wait for a child, longer on a busy machine; True when it had to be ended."""
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    if child in STATUS or ends_within(child, seconds * busy if kill_after is None else kill_after):
        return False
    with contextlib.suppress(ProcessLookupError):  # it had no time to make a group of its own
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    STATUS[child] = os.waitpid(child, 0)[1]
    return True


def run(request: dict, output: int, counted: int) -> None:
    """In the child: the command, under the request's limits; never returns."""
    code = 99
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(output, stream)
        os.chdir(request["cwd"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if request.get("file_size") is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
        if request.get("mortal"):
            heed_rights()
        sys.addaudithook(Counter(request["cwd"], counted, request.get("kill_at")))
        from desdis_match.commands.cli import main

        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, closefd=False)
        code = main(request["argv"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        code = 98
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


OVERRIDE, READ_SEARCH = 1, 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux: what lets root read and write all files."""
DROP_FROM_BOUNDS, CAPABILITY_VERSION_3 = 24, 0x20080522
"""PR_CAPBSET_DROP; _LINUX_CAPABILITY_VERSION_3."""


def heed_rights() -> None:
    """Give up, with all children, what sets root above the rights of files. (Another user would also lose
    the rights to the folders that Python and this package lie in.)"""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the first 32 and the rest
    done = [libc.prctl(DROP_FROM_BOUNDS, capability, 0, 0, 0) for capability in (OVERRIDE, READ_SEARCH)]
    done.append(libc.capget(header, sets))
    for i in range(3):
        sets[i] &= ~(1 << OVERRIDE | 1 << READ_SEARCH)
    if any([*done, libc.capset(header, sets)]):
        raise OSError(ctypes.get_errno(), "the rights of root cannot be given up")


class Counter:
    """Counts the operations below a folder, and kills the process before operation number `kill_at`."""

    def __init__(self, folder: str, counted: int, kill_at: int | None) -> None:
        self.folder, self.counted, self.kill_at, self.number = folder, counted, kill_at, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in CHANGES and event != "open":
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if not writes or not isinstance(path, (str, bytes)):
                return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(self.folder):
            return
        if self.number == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.number += 1
        os.write(self.counted, b".")


def load() -> None:
    """Import what commands need, and hold it to one thread: a fork takes no threads along.

    All of it, since another user may not be allowed to read where Python's own modules lie.
    """
    import html

    import cv2
    import torch

    import desdis_match

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    html.escape("")
    for name in ("utf-8-sig", "utf-16", "utf-16-le"):
        codecs.lookup(name)
    for module in pkgutil.walk_packages(desdis_match.__path__, "desdis_match."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    load()
    replies = os.fdopen(os.dup(1), "w")
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)
