"""`desdis-match <command>`: one table of commands, each a module with `main(argv) -> exit code`.

A module is imported only when its command runs, so that `desdis-match --help` is instant.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import DesDisError, InputError
from ..support.signals import stops_wait

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (group, "module:function", what it does)
    "reconstruct": ("Reconstruct", "desdis_match.commands.reconstruct:main", "photos in, a COLMAP model out"),
    "extract": ("Reconstruct", "desdis_match.commands.stages:main_extract", "photos -> features.h5"),
    "pairs": ("Reconstruct", "desdis_match.commands.stages:main_pairs", "features.h5 -> pairs.txt"),
    "match": (
        "Reconstruct",
        "desdis_match.commands.stages:main_match",
        "features.h5 and pairs.txt -> matches.h5",
    ),
    "verify": (
        "Reconstruct",
        "desdis_match.commands.stages:main_verify",
        "features.h5 and matches.h5 -> two_view.h5",
    ),
    "merge-shards": (
        "Reconstruct",
        "desdis_match.commands.stages:main_merge_shards",
        "join what `--shard i/n` of extract, match or verify made",
    ),
    "map": (
        "Reconstruct",
        "desdis_match.commands.stages:main_map",
        "features.h5 and matches.h5 -> a COLMAP model",
    ),
    "add": ("Reconstruct", "desdis_match.commands.add:main", "new photos into the model of an earlier run"),
    "merge": (
        "Reconstruct",
        "desdis_match.commands.merge:main",
        "models of overlapping photos -> one model",
    ),
    "localize": ("Reconstruct", "desdis_match.commands.localize:main", "poses of new photos against a model"),
    "align": (
        "Reconstruct",
        "desdis_match.commands.align:main",
        "a model into metres: GPS, ground control, known distances",
    ),
    "synthetic": (
        "Reconstruct",
        "desdis_match.commands.synthetic:main",
        "render a scene with ground truth to try things on",
    ),
    "view": ("Look", "desdis_match.commands.view:main", "a reconstruction as one HTML page"),
    "doctor": (
        "Look",
        "desdis_match.commands.doctor:main",
        "versions, devices, weights, a self-test; or a run's folder checked",
    ),
    "export-onnx": ("Describe", "desdis_match.commands.export_onnx:main", "a descriptor as an ONNX file"),
    "evaluate": (
        "Measure",
        "desdis_match.commands.evaluate:main",
        "benchmarks: patches, homographies, models, speed",
    ),
    "train": ("Train", "desdis_match.commands.train:main", "train or distill a patch descriptor"),
    "build-patches": (
        "Train",
        "desdis_match.commands.build_patches:main",
        "photos and a COLMAP model -> patches to train on",
    ),
    "export": (
        "Exchange",
        "desdis_match.commands.exchange:main_export",
        "a model -> 3DGS, nerfstudio, COLMAP, PLY, LAS, GeoJSON, CSV, ...",
    ),
    "import-database": (
        "Exchange",
        "desdis_match.commands.exchange:main_import_database",
        "a COLMAP database -> features.h5 and matches.h5",
    ),
    "export-database": (
        "Exchange",
        "desdis_match.commands.exchange:main_export_database",
        "features.h5 and matches.h5 -> into a COLMAP database",
    ),
    "export-features": (
        "Exchange",
        "desdis_match.commands.exchange:main_export_features",
        "features.h5 -> COLMAP's text files",
    ),
}
"""Every command, in the order `--help` shows it."""


def run(function: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command's main; whatever ends it early becomes one sentence on stderr and an exit code.

    A DesDisError has its own code; a full disk, missing rights and want of memory give 2; Ctrl-C and SIGTERM
    130 and 143. Anything else is a fault of this program: it says so and gives 70 (with
    DESDIS_MATCH_TRACEBACK=1 the traceback).
    """
    _open_streams()
    try:
        before = _on_terminate(_end)
        try:
            _check_given(argv)
            code = function(argv)
            sys.stdout.flush()
            return code
        finally:
            _on_terminate(before)
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except Exception as error:
        behind: BaseException | None = error  # Python wraps what is raised while a class is being made
        while behind is not None and not isinstance(behind, KeyboardInterrupt):
            behind = behind.__cause__
        return _failed(error) if behind is None else _stopped(behind)


def _stopped(stop: KeyboardInterrupt) -> int:
    code = 143 if isinstance(stop, Terminated) else 130
    return _fail("stopped; run the same command again to go on", code, prefix="")


def _failed(error: Exception) -> int:
    if isinstance(error, DesDisError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, BrokenPipeError):  # `desdis-match ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    if isinstance(error, OSError):
        from ..support.files import file_error  # it loads NumPy, which `--help` does without

        return _fail(str(file_error(error)), 2)
    if isinstance(error, MemoryError):
        return _fail(f"there is not enough memory; {SMALLER}", 2)
    if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # Path.resolve before Python 3.13
        return _fail(f"{_one_line(error)}; give another path", 2)
    if isinstance(error, RuntimeError) and "memory" in str(error):
        return _fail(f"there is not enough memory ({_one_line(error)}); {SMALLER}", 2)
    return _unexpected(error)


def _check_given(argv: Sequence[str]) -> None:
    """No argument is empty: a shell makes that of a variable that is not set, and as a path it would be the
    current folder."""
    for before, argument in zip(("", *argv), argv, strict=False):
        if not argument.strip():
            which = before if before.startswith("-") else "an argument"
            raise InputError(f"{which} is empty; give a value or leave it out")


def _open_streams() -> None:
    """Give a process that was begun without stdin, stdout or stderr, as some daemons are, empty ones.

    Else the first files it opens would take their numbers, and be written to by what prints. Processes that
    it begins get them too.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - to the process's end
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


SMALLER = "take fewer --workers, a smaller --max-size or --batch"
UNEXPECTED = 70
"""Exit code of a fault of this program (EX_SOFTWARE of sysexits.h)."""


def _unexpected(error: Exception) -> int:
    if os.environ.get("DESDIS_MATCH_TRACEBACK"):
        raise error
    return _fail(
        f"{type(error).__name__}: {_one_line(error)}; this is a fault of desdis-match, please report it "
        "(DESDIS_MATCH_TRACEBACK=1 shows where it happened)",
        UNEXPECTED,
    )


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same as Ctrl-C, from another program."""


def _end(number: int, frame: object) -> None:
    raise Terminated


def _on_terminate(handler: Any) -> Any:
    """Set what SIGTERM does and return what it did before; elsewhere than in the main thread nothing."""
    if threading.current_thread() is not threading.main_thread():
        return None
    before = signal.getsignal(signal.SIGTERM)
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)
    return before


def _fail(text: str, code: int, prefix: str = "error: ") -> int:
    """Print why a command ended, after all that it said before.

    Its streams may be what failed, a full disk under both for one.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with suppress(OSError):
        print(f"{prefix}{printable(text)}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """Text of several lines without what a terminal would obey; names of photos come from others' files."""
    return "".join(repr(c)[1:-1] if c != "\n" and unicodedata.category(c) in OBEYED else c for c in text)


OBEYED = ("Cc", "Cf", "Zl", "Zp")
"""Categories of Unicode: control characters, direction marks, ends of line and paragraph."""


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no more is known"


def main(argv: Sequence[str], own_process: bool = False) -> int:
    """Dispatch `argv` (without the program's name) to its command; returns the exit code.

    own_process: it is all that this process does, so that its workers may be forked from it.
    """
    if not argv or argv[0] in ("-h", "--help"):
        return run(_say, [overview()])
    if argv[0] == "--version":
        from .. import __version__

        return run(_say, [f"desdis-match {__version__}"])
    if argv[0] not in COMMANDS:
        return run(_unknown, argv)
    module, function = COMMANDS[argv[0]][1].split(":")

    def command(rest: Sequence[str]) -> int:
        # Imported inside `run`: they take a second, in which one may press Ctrl-C. That waits: raised in the
        # midst of what C++ loads, it would end the process with pages of its own.
        if not own_process or argv[0] not in WITH_WORKERS or {"-h", "--help"} & set(rest):
            with stops_wait():
                loaded = importlib.import_module(module)
            return int(getattr(loaded, function)(rest))
        from ..support import lean_torch

        with _one_blas_thread(), _without_collection(), stops_wait():
            lean_torch.load()
            work = importlib.import_module(WORK)
        from ..support.workers import forked_ahead

        with forked_ahead(work.get_ready):
            with _without_collection(), stops_wait():
                rest_of_it = importlib.import_module(module)
            return int(getattr(rest_of_it, function)(rest))

    return run(command, argv[1:])


def _say(lines: Sequence[str]) -> int:
    print(*lines, sep="\n")
    return 0


def _unknown(argv: Sequence[str]) -> int:
    raise InputError(f"there is no command '{argv[0]}'; `desdis-match --help` lists them")


def overview() -> str:
    """The whole work at a glance: commands by group."""
    width = max(map(len, COMMANDS)) + 2
    lines = ["usage: desdis-match COMMAND [options]   (COMMAND --help for its options)"]
    for group in dict.fromkeys(group for group, _, _ in COMMANDS.values()):
        lines += ["", group]
        lines += [f"  {name:<{width}}{text}" for name, (g, _, text) in COMMANDS.items() if g == group]
    return "\n".join(lines)


WITH_WORKERS = ("reconstruct", "extract")
"""Commands whose worker processes are forked before the work begins..."""

WORK = "desdis_match.pipeline.extraction"
"""...as soon as their work is loaded; they get ready for it while the command loads the rest."""


@contextmanager
def _without_collection() -> Iterator[None]:
    """Modules that are loaded in the block are not searched for garbage meanwhile, nor ever again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """NumPy and SciPy that are loaded in the block have no threads, so that the process can be forked."""
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def entry(*before: str) -> None:
    """Console script; `before`: arguments that are put before those of the command line.

    The process ends here: to take apart what is loaded, as Python does at its end, takes half a second.
    """
    code = main([*before, *sys.argv[1:]], own_process=True)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads on
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
