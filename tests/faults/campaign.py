"""The whole campaign, by hand: `python tests/faults/campaign.py --journal FILE`; `--help` says the rest.

Every result is appended to the journal, a JSON line each; the same command again does what is missing, with
`--again` also what was a fault. `--part 1/2` and `--part 2/2` share the work between two processes of one
journal. Prints every fault as it is found and a table at the end; exit code 1 when there was any.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import faults  # noqa: E402
from bench import Bench, may_mount  # noqa: E402
from options import draw  # noqa: E402
from table import COMMANDS, INPUTS  # noqa: E402

KINDS = ("kill", "small disk", "damaged file", "bad option", "odd input", "no rights")
SLOW = ("synthetic", "train", "evaluate pairs", "evaluate report")
"""Commands that take seconds on the smallest input: a quarter of the cases."""


def cases(seed: int, only: list[str], mounts: bool, scale: float) -> Iterator[faults.Case]:
    """All cases, or those of some kinds; in the same order each time."""

    def num(count: int, name: str = "") -> int:
        return max(1, round(count * scale * (0.25 if name in SLOW else 1)))

    for name in COMMANDS:
        if "kill" in only:
            yield from faults.kills(name, seed, operations=num(4, name), moments=num(3, name))
        if "small disk" in only:
            yield from faults.small_disks(name, seed, num(3, name), mounts)
        if "odd input" in only:
            yield from faults.odd_inputs(name, seed, num(10, name))
        if "no rights" in only:
            yield from faults.without_rights(name)
    for path in INPUTS if "damaged file" in only else ():
        yield from faults.damages(path, seed, num(10))
    for drawn in draw(num(500), seed) if "bad option" in only else ():
        yield faults.bad_options(drawn)


def read(journal: Path) -> dict[str, dict]:
    """The last result of each case."""
    found = {}
    for line in journal.read_text().splitlines() if journal.exists() else ():
        result = json.loads(line)
        found[result["case"]] = result
    return found


def table(results: dict[str, dict], columns: str = "command") -> str:
    """Cases tried and faults, by kind and command."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for result in results.values():
        for key in ((result[columns], result["kind"]), ("in all", result["kind"])):
            counts[key][0] += 1
            counts[key][1] += result["fault"] is not None
    names = [*sorted({name for name, _ in counts} - {"in all"}), "in all"]
    width = max(map(len, names)) + 2
    lines = [" " * width + "".join(f"{kind:>14}" for kind in KINDS)]
    for name in names:
        cells = (counts.get((name, kind), [0, 0]) for kind in KINDS)
        lines.append(
            f"{name:<{width}}" + "".join(f"{f'{n} ({bad})' if bad else n or '-':>14}" for n, bad in cells)
        )
    return "\n".join([*lines, "cases tried, (faults)"])


def main() -> int:
    """Run all that the journal lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--journal", type=Path, required=True, help="results, a JSON line each")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--part", default="1/1", help="i/n: only this part of the cases")
    parser.add_argument("--again", action="store_true", help="try once more what was a fault")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times as many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--original", type=Path, help="where to keep, and find, what the bench begins with")
    parser.add_argument("--table", action="store_true", help="print the journal's table only")
    chosen = parser.parse_args()
    if not chosen.table:
        run(chosen)
    results = read(chosen.journal)
    print(table(results))
    return 1 if any(result["fault"] for result in results.values()) else 0


def run(chosen: argparse.Namespace) -> None:
    """Append what the journal lacks."""
    mounts = may_mount()  # before the bench's server begins, which is to see what is mounted
    index, parts = map(int, chosen.part.split("/"))
    done = read(chosen.journal)
    chosen.journal.parent.mkdir(parents=True, exist_ok=True)
    todo = [
        case
        for case in cases(chosen.seed, chosen.kinds, mounts, chosen.scale)
        if crc32(case.name.encode()) % parts == index - 1
        and chosen.only in case.name
        and (case.name not in done or (chosen.again and done[case.name]["fault"]))
    ]
    random.Random(0).shuffle(todo)  # all kinds from the start
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch, chosen.journal.open("a") as journal:
        bench = Bench(Path(scratch) / "bench", chosen.original)
        begin = time.monotonic()
        for case in todo:
            if time.monotonic() - begin > chosen.seconds:
                break
            start = time.monotonic()
            try:
                fault = case.run(bench)
            except AssertionError as error:
                fault = str(error)
            if fault is not None:
                print(f"{case.name}: {fault}", flush=True)
            result = {"case": case.name, "kind": case.kind, "command": case.command, "fault": fault}
            result["seconds"] = round(time.monotonic() - start, 3)  # type: ignore[assignment]
            journal.write(json.dumps(result) + "\n")
            journal.flush()
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
