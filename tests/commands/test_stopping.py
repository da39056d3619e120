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
{imports}
def stop():
    os.kill(os.getpid(), signal.{signal})
    time.sleep(10)
{at_import}
def main(argv):
    stop()
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


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("signal", "code", "at_import", "imports"),
    [
        ("SIGINT", 130, "", ""),
        ("SIGTERM", 143, "", ""),
        ("SIGINT", 130, "stop()", ""),
        ("SIGTERM", 143, "stop()", ""),
        # While a class is being made Python wraps what is raised.
        (
            "SIGTERM",
            143,
            "class Noted:\n    def __set_name__(self, *_): stop()\nclass Made: field = Noted()",
            "",
        ),
        # COLMAP's library takes SIGTERM for itself when it is loaded, and would print its stack.
        ("SIGTERM", 143, "", "from desdis_match.support.native import pycolmap"),
    ],
)
def test_one_sentence(tmp_path, signal, code, at_import, imports):
    text = MODULE.format(signal=signal, at_import=at_import, imports=imports)
    (tmp_path / "stopper.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (code, SENTENCE, "")


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
