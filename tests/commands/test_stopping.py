"""Ctrl-C and SIGTERM end a command with one sentence, while it works and while it is being loaded."""

import os
import subprocess
import sys

import pytest

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
