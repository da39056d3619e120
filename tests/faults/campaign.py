"""The whole campaign, by hand: `python tests/faults/campaign.py`; `--help` says how much of each there is.

Prints every fault as it is found and a table at the end; exit code 1 when there was any.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import faults  # noqa: E402
from bench import COMMANDS, Bench  # noqa: E402
from options import drawn  # noqa: E402


def main() -> int:
    """Run all, or as many of each as is said."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200, help="in all, shared among the commands")
    parser.add_argument("--disks", type=int, default=faults.SIZES, help="sizes for each command")
    parser.add_argument("--damages", type=int, default=15, help="for each input file")
    parser.add_argument("--calls", type=int, default=600, help="with one wrong option each")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng, done, wrong = random.Random(chosen.seed), Counter[str](), Counter[str]()

    def note(kind: str, finding: faults.Finding) -> None:
        what, fault = finding
        done[kind] += 1
        if fault is not None:
            wrong[kind] += 1
            print(f"{kind}: {what}: {fault}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch) / "bench")
        each = -(-chosen.kills // len(COMMANDS))
        for name in COMMANDS:
            for finding in faults.kills(bench, name, rng, each) if chosen.kills else ():
                note("kill", finding)
            for finding in faults.small_disks(bench, name, rng, chosen.disks) if chosen.disks else ():
                note("small disk", finding)
        for path in faults.INPUTS:
            for finding in faults.damaged_inputs(bench, path, rng, chosen.damages):
                note("damaged file", finding)

        @drawn(max(chosen.calls, 1), chosen.seed)
        def call(one: tuple[str, str, str]) -> None:
            note("bad call", faults.bad_calls(bench, *one))

        if chosen.calls:
            call()
        bench.close()
    for kind in done:
        print(f"{kind:<14}{done[kind]:>6} tried{wrong[kind]:>6} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
