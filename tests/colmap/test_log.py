"""C++ libraries' lines go to the log while Python's stderr stays with the person."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
from pathlib import Path
from desdis_match.colmap.log import log_to
with log_to(Path(sys.argv[1])):
    os.write(2, b"from C++\\n")
    print("to the person", file=sys.stderr)
    import pycolmap
    pycolmap.logging.warning("from glog")
os.write(2, b"after\\n")
print("python after", file=sys.stderr)
try:
    with log_to(None):
        os.write(2, b"nowhere\\n")
        raise RuntimeError
except RuntimeError:
    os.write(2, b"restored\\n")
"""


def test_descriptor_2_goes_to_the_log_and_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "sub" / "colmap.log"
    log.parent.mkdir()
    log.write_text("earlier\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == ["to the person", "after", "python after", "restored"]
    lines = log.read_text().splitlines()
    assert lines[:2] == ["earlier", "from C++"]
    assert lines[2].endswith("from glog")


def test_open_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    from desdis_match.colmap.log import log_to

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(3):
        with log_to(tmp_path / "log"):
            os.write(2, b"x\n")
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "log").read_text() == "x\nx\nx\n"
