"""What the console script does before its command: load what worker processes need, beside this process."""

import importlib
import sys

import pytest

from desdis_match.commands import cli


@pytest.mark.parametrize(
    ("before", "argv", "loaded"),
    [
        ((), ["extract", "--images", "photos"], ["desdis_match.pipeline.extraction"]),
        (("reconstruct",), ["--images", "photos"], ["desdis_match.pipeline.extraction"]),
        (("reconstruct",), ["--help"], []),
        ((), ["view", "run"], []),
        ((), [], []),
    ],
)
def test_workers_are_made_ready_for_the_commands_that_have_some(monkeypatch, before, argv, loaded):
    seen = []
    monkeypatch.setattr("desdis_match.support.workers.load_ahead", seen.extend)
    monkeypatch.setattr(cli, "main", lambda argv: seen.append(list(argv)) or 5)
    monkeypatch.setattr(sys, "argv", ["desdis-match", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.entry(*before)
    assert stop.value.code == 5
    assert seen == [*loaded, [*before, *argv]]


def test_what_is_loaded_ahead_is_there():
    assert cli.OF_WORKERS.keys() <= cli.COMMANDS.keys()
    for modules in cli.OF_WORKERS.values():
        assert [importlib.import_module(module).__name__ for module in modules] == list(modules)
