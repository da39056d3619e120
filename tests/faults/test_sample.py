"""A seeded sample of the campaign (campaign.py is the whole): every kind of fault, in about a minute."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import faults
from bench import COMMANDS, Bench, Outcome
from options import drawn

KILLED = ("extract", "match", "map", "add", "export colmap-bin", "import-database")
SHORT_OF_DISK = ("extract", "map", "export colmap-txt", "import-database", "export-database")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("faults") / "bench")
    yield found
    found.close()


def none_of(findings: Iterator[faults.Finding], at_least: int) -> None:
    tried = list(findings)
    assert len(tried) >= at_least
    assert [f"{what}: {fault}" for what, fault in tried if fault is not None] == []


@pytest.mark.parametrize("name", KILLED)
def test_killed_commands_end_with_the_same_files_when_run_again(bench: Bench, name: str) -> None:
    none_of(faults.kills(bench, name, random.Random(0), 2), at_least=2)


@pytest.mark.parametrize("name", SHORT_OF_DISK)
def test_small_disks_lose_nothing(bench: Bench, name: str) -> None:
    none_of(faults.small_disks(bench, name, random.Random(1), 2), at_least=2)


@pytest.mark.parametrize("path", sorted(faults.INPUTS))
def test_damaged_inputs_end_in_a_sentence_or_a_warning(bench: Bench, path: str) -> None:
    none_of(faults.damaged_inputs(bench, path, random.Random(2), 2), at_least=2)


def test_wrong_options_end_in_a_sentence(bench: Bench) -> None:
    tried = []

    @drawn(15, 3)
    def call(one: tuple[str, str, str]) -> None:
        tried.append(faults.bad_calls(bench, *one))

    call()
    none_of(iter(tried), at_least=10)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome(1, False, "Traceback (most recent call last):\n ...", 0), "traceback"),
        (Outcome(-11, False, "", 0), "signal 11"),
        (Outcome(-9, True, "", 0), "hung"),
        (Outcome(70, False, "error: ValueError: x; this is a fault of desdis-match", 0), "unexpected"),
        (Outcome(2, False, "", 0), "without a word"),
    ],
)
def test_the_judge_knows_a_fault(outcome: Outcome, word: str) -> None:
    assert word in str(outcome.fault)
    assert Outcome(2, False, "error: a sentence", 0).fault is None


def test_every_command_that_writes_is_on_the_bench() -> None:
    from desdis_match.commands.cli import COMMANDS as ALL

    # Not on the bench yet: align, merge, verify, merge-shards.
    without_files = {"doctor", "evaluate", "train", "export-onnx", "align", "merge", "verify", "merge-shards"}
    assert {name.split()[0] for name in COMMANDS} == set(ALL) - without_files
