"""What pycolmap's library is kept from doing to the process, and to the disk."""

import os
import subprocess
import sys

import pytest

CODE = """
from pathlib import Path
from desdis_match.colmap.log import log_to
from desdis_match.support.native import pycolmap
with log_to(Path("colmap.log")):
    pycolmap.logging.info("words of COLMAP")
    pycolmap.bundle_adjustment(pycolmap.Reconstruction())  # sets glog's options back
    pycolmap.logging.error("further words")
"""


@pytest.mark.parametrize("asked", [False, True])
def test_colmap_leaves_no_files_of_its_own_unless_asked_to(tmp_path, asked):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "logs").mkdir()
    environment = {k: v for k, v in os.environ.items() if "LOG" not in k}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "temporary")}
    if asked:
        environment["GLOG_log_dir"] = str(tmp_path / "logs")
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    said = (tmp_path / "colmap.log").read_text()
    assert said.count("words of COLMAP") == said.count("further words") == 1
    assert any((tmp_path / "logs").iterdir()) == asked
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 3  # nor in the current folder
