"""A seeded sample of the campaign (campaign.py is the whole)."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import faults
from bench import Bench, Outcome
from campaign import SLOW, cases, read, table
from table import COMMANDS

SAMPLE = {"kill": 6, "small disk": 5, "damaged file": 8, "bad option": 12, "odd input": 8, "no rights": 3}
"""Cases of each kind."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("faults") / "bench")
    yield found
    found.close()


@pytest.mark.parametrize("kind", SAMPLE)
def test_no_fault(bench: Bench, kind: str) -> None:
    some = [case for case in cases(1, [kind], mounts=False, scale=0.3) if case.command not in SLOW]
    chosen = random.Random(0).sample(some, SAMPLE[kind])
    found = {case.name: case.run(bench) for case in chosen}
    assert {name: fault for name, fault in found.items() if fault is not None} == {}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome(1, False, "Traceback (most recent call last):\n ..."), "traceback"),
        (Outcome(-11, False, ""), "signal 11"),
        (Outcome(-9, True, ""), "hung"),
        (Outcome(70, False, "error: ValueError: x; this is a fault of desdis-match"), "unexpected"),
        (Outcome(2, False, ""), "without a word"),
    ],
)
def test_the_judge_knows_a_fault(outcome: Outcome, word: str) -> None:
    assert word in str(outcome.fault)
    assert Outcome(2, False, "error: a sentence").fault is None


class Silent:
    """A bench whose commands use what is damaged and say nothing."""

    def __init__(self, bench: Bench, output: str) -> None:
        self.bench, self.output = bench, output
        self.undisturbed: dict = {}
        self.folder = bench.folder

    def fresh(self) -> Path:
        return self.bench.fresh()

    def call(self, folder: Path, argv: tuple[str, ...]) -> Outcome:
        (folder / "new").mkdir(exist_ok=True)
        (folder / "new" / "pairs.txt").write_bytes((folder / "run" / "features.h5").read_bytes())
        return Outcome(0, False, self.output)


def test_the_judge_knows_a_silent_result_of_damaged_input(bench: Bench) -> None:
    some = {"path": "run/features.h5", "kind": "cut", "name": "pairs", "chance": "0"}
    assert faults.damaged(Silent(bench, "done\n"), **some) == "silent: new/pairs.txt has other bytes"


def test_results_are_kept_and_counted(tmp_path: Path) -> None:
    lines = [
        '{"case": "a", "kind": "kill", "command": "map", "fault": "hung"}',
        '{"case": "b", "kind": "kill", "command": "map", "fault": null}',
        '{"case": "a", "kind": "kill", "command": "map", "fault": null}',
    ]
    (tmp_path / "journal").write_text("\n".join(lines[:2]) + "\n")
    assert "2 (1)" in table(read(tmp_path / "journal"))
    (tmp_path / "journal").write_text("\n".join(lines) + "\n")
    assert "(1)" not in table(read(tmp_path / "journal"))


ELSEWHERE = {
    "doctor": "it writes nothing; tests/commands/test_doctor.py damages what it reads",
    "evaluate hpatches": "needs patches of 65 x 65; writes by evaluate/output.py as `pairs` does",
    "evaluate homographies": "writes by evaluate/output.py and evaluate/cache.py as `pairs` does",
    "evaluate phototour": "as hpatches",
    "evaluate sfm": "runs `reconstruct`, which is on the bench, and writes as `pairs` does",
    "evaluate speed": "measures a minute, and writes as `pairs` does",
    "evaluate make-hpatches": "writes by evaluate/results.py, a file a sequence",
    "evaluate fetch": "needs a server: tests/evaluate/patches/test_make_hpatches.py has one that lies",
}
"""Commands that are not on the bench, and why."""


def test_every_command_is_on_the_bench_or_says_why_not() -> None:
    from desdis_match.commands.cli import COMMANDS as ALL
    from desdis_match.commands.evaluate import TASKS, TOOLS
    from desdis_match.commands.stages import MERGED

    every = (set(ALL) - {"evaluate", "merge-shards"}) | {f"evaluate {name}" for name in (*TASKS, *TOOLS)}
    every |= {f"merge-shards {name}" for name in MERGED}
    here = {" ".join(call.argv[: 2 if call.argv[0] in ("evaluate", "merge-shards") else 1]) for call in
            COMMANDS.values()}  # fmt: skip
    assert here | set(ELSEWHERE) == every and not here & set(ELSEWHERE)
