"""What the console script does before its command: load what worker processes need, beside this process."""

import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from desdis_match.commands import cli


@pytest.mark.parametrize(
    ("before", "argv", "loaded", "code"),
    [
        ((), ["extract", "--images", "photos"], ["desdis_match.pipeline.extraction"], 5),
        (("reconstruct",), ["--images", "photos"], ["desdis_match.pipeline.extraction"], 5),
        (("reconstruct",), ["--help"], [], 5),
        ((), ["view", "run"], [], 5),
        ((), [], None, 0),
    ],
)
def test_workers_are_made_ready_for_the_commands_that_have_some(monkeypatch, before, argv, loaded, code):
    seen = []
    monkeypatch.setattr("desdis_match.support.workers.load_ahead", seen.extend)
    command = SimpleNamespace(main=lambda argv: seen.append(list(argv)) or 5)
    monkeypatch.setitem(sys.modules, "a_command", command)
    for name in ("extract", "reconstruct", "view"):
        monkeypatch.setitem(cli.COMMANDS, name, ("", "a_command:main", ""))
    monkeypatch.setattr(sys, "argv", ["desdis-match", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.entry(*before)
    assert stop.value.code == code
    assert seen == ([] if loaded is None else [*loaded, [*before, *argv][1:]])
    seen.clear()
    assert cli.main(["extract"]) == 5  # within a process that goes on nothing is begun beside it
    assert seen == [[]]


def test_what_is_loaded_ahead_is_there():
    assert cli.OF_WORKERS.keys() <= cli.COMMANDS.keys()
    for modules in cli.OF_WORKERS.values():
        assert [importlib.import_module(module).__name__ for module in modules] == list(modules)


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_streams_may_be_closed_where_there_are_workers(tmp_path):
    """What is begun beside the command would else have the numbers of its streams."""
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
