"""How a command ends early: one sentence at Ctrl-C and SIGTERM, and for arguments that are empty;
with streams that are closed, and nothing that a terminal obeys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from desdis_match.commands import cli

SENTENCE = "stopped; run the same command again to go on"

MODULE = """
import os, signal, time
def stop():
    os.kill(os.getpid(), signal.{signal})
    time.sleep(10)
def main(argv):
{body}
"""

MAKING_A_CLASS = """
    class Noted:
        def __set_name__(self, *_):
            stop()
    class Made:
        field = Noted()
"""

PROGRAM = """
import sys
from desdis_match.commands import cli
cli.COMMANDS["stopper"] = ("", "stopper:main", "")
sys.exit(cli.main(["stopper"]))
"""


posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def stopped(folder: Path, module: str, program: str = PROGRAM) -> tuple[int, str, str]:
    """Exit code, stderr and stdout of a command whose module has this text."""
    (folder / "stopper.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr.strip(), done.stdout


@posix
@pytest.mark.parametrize(
    ("signal", "code", "body"),
    [
        ("SIGINT", 130, "    stop()"),
        ("SIGTERM", 143, "    stop()"),
        ("SIGTERM", 143, MAKING_A_CLASS),  # Python wraps what is raised meanwhile
        # COLMAP's library takes SIGTERM for itself when it is loaded, and would print its stack.
        ("SIGTERM", 143, "    from desdis_match.support.native import pycolmap\n    stop()"),
    ],
)
def test_one_sentence(tmp_path, signal, code, body):
    assert stopped(tmp_path, MODULE.format(signal=signal, body=body)) == (code, SENTENCE, "")


LOADING = """
import os, signal
os.kill(os.getpid(), signal.{signal})
print("loaded")
def main(argv):
    print("goes on")
"""

IN_ONE_PROCESS = """
import os, signal, sys
from desdis_match.commands import cli
from desdis_match.support import lean_torch
cli.COMMANDS["extract"] = ("", "stopper:main", "")
if {torch}:
    def load():
        os.kill(os.getpid(), signal.SIGTERM)
        print("loaded")
    lean_torch.load = load
sys.exit(cli.main(["extract"], own_process=True))
"""


@posix
@pytest.mark.parametrize(
    ("signal", "code", "program"),
    [
        ("SIGINT", 130, PROGRAM),
        ("SIGTERM", 143, PROGRAM),
        ("SIGTERM", 143, IN_ONE_PROCESS.format(torch=False)),
        ("SIGTERM", 143, IN_ONE_PROCESS.format(torch=True)),
    ],
)
def test_what_is_being_loaded_is_loaded_first(tmp_path, signal, code, program):
    """What is raised in callbacks of torch's C++ while it loads ends the process with a page of its own."""
    assert stopped(tmp_path, LOADING.format(signal=signal), program) == (code, SENTENCE, "loaded\n")


BEHIND_GLOG = """
import builtins, os, signal, sys
true_import = builtins.__import__
def and_stop(name, *rest, **further):
    loaded = true_import(name, *rest, **further)
    if name == "pycolmap":
        os.kill(os.getpid(), signal.SIGTERM)
    return loaded
builtins.__import__ = and_stop
"""


@posix
def test_one_sentence_while_pycolmap_is_loaded(tmp_path):
    """Its library has the signal then; no thread that was there before may take it."""
    load = "from desdis_match.support.native import pycolmap\n"
    module = f"{BEHIND_GLOG}{load}def main(argv):\n    print('goes on')"
    assert stopped(tmp_path, module) == (143, SENTENCE, "")


def test_it_comes_after_all_that_was_said(tmp_path):
    (tmp_path / "stopper.py").write_text("def main(argv):\n    print('words')\n    raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, **both)
    assert done.stdout == f"words\n{SENTENCE}\n"


@pytest.mark.parametrize(
    "argv", [["view", ""], ["view", "--output", " "], ["train", "quick", "--output", ""]]
)
def test_an_empty_argument_is_no_path(argv, capsys):
    assert cli.main(argv) == 2
    which = argv[-2] if argv[-2].startswith("-") else "an argument"
    assert capsys.readouterr().err == f"error: {which} is empty; give a value or leave it out\n"


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize("closed", ["<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(tmp_path, closed):
    command = f"{sys.executable} -m desdis_match export --model none --format csv --output a.csv {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == (0 if "2>" in closed else 1), done.stderr


def test_a_terminal_obeys_nothing_of_a_name():
    said = cli.printable("a\x1b[31m\u2028\u202e\tb.jpg\nnext \u00fc \u6f22")
    assert said == "a\\x1b[31m\\u2028\\u202e\\tb.jpg\nnext \u00fc \u6f22"


def test_a_loop_of_links_is_a_sentence(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    assert cli.run(lambda argv: Path(argv[0]).resolve() and 0, [str(tmp_path / "loop")]) in (0, 2)
    assert "fault of desdis-match" not in capsys.readouterr().err
