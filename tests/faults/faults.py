"""The ways of maltreating a command. Each is a function of the bench that returns the fault, or None."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, Outcome, contents, outside
from odd import ODD
from options import Drawn
from table import COMMANDS, INPUTS, Call, call_of

Fault = str | None


@dataclass(frozen=True)
class Case:
    """One maltreatment. Its chances come from its own name, so each can be had again alone."""

    kind: str
    command: str
    what: str
    run: Callable[[Bench], Fault]

    @property
    def name(self) -> str:
        """Unlike any other case's."""
        return f"{self.kind}: {self.command}, {self.what}"


def undisturbed(bench: Bench, name: str) -> tuple[Outcome, dict[str, str]]:
    """A command's outcome and files from whole input, once for all."""
    if name not in bench.undisturbed:
        folder, call = bench.fresh(), call_of(name)
        outcome = bench.call(folder, call.argv)
        assert not outcome.fault and outcome.code == 0, f"{name}, undisturbed: {outcome.output}"
        bench.undisturbed[name] = outcome, made(bench, folder, call)
    return bench.undisturbed[name]


def made(bench: Bench, folder: Path, call: Call) -> dict[str, str]:
    """What a command wrote, or, where that is a part of something, what becomes of it."""
    if call.then:
        bench.call(folder, tuple(call.then.split()))
    return contents(folder, call.writes)


# Kills


def kills(name: str, seed: int, operations: int, moments: int) -> Iterator[Case]:
    """Kill a command before file operations spread over all of its own, and at moments of its time; stop it
    once by SIGTERM."""
    for way, count in (("operation", operations), ("moment", moments), ("stop", 1)):
        for i in range(count):
            rng = random.Random(f"{seed} {name} {way} {i}")
            run = functools.partial(killed, name=name, way=way, share=(i + rng.random()) / count)
            yield Case("kill", name, f"{way} {i} of {count}", run)


def killed(bench: Bench, name: str, way: str, share: float) -> Fault:
    """Kill a command, then run it again: the same files in the end, and nothing else was touched."""
    whole, wanted = undisturbed(bench, name)
    call = call_of(name)
    folder = bench.fresh()
    before = outside(folder, call.writes)
    if way == "operation":
        first = bench.call(folder, call.argv, kill_at=int(share * whole.operations))
    elif way == "moment":
        first = bench.call(folder, call.argv, kill_after=share * whole.seconds)
    else:
        first = bench.call(folder, call.argv, stop_after=share * whole.seconds)
        if first.code in (143, -15) and (fault := _ended_badly(first)):
            return fault
    if first.code not in (-9, -15, 143) and (first.fault or first.code):
        return f"not killed, but {first.fault or first.last_line}"
    again = bench.call(folder, call.argv)
    result = made(bench, folder, call)
    if again.fault or (again.code and result != wanted):  # `align` refuses the folder that it has filled
        return f"the same command then: {again.fault or again.last_line}"
    return _differences(wanted, result) or _touched(before, folder, call.writes)


STOPPED = "stopped; run the same command again to go on"


def _ended_badly(outcome: Outcome) -> Fault:
    """Of a command that SIGTERM ended: one sentence more than it says anyway, nothing of COLMAP's stack."""
    if outcome.code == -15:  # in the first moments, before the command has begun
        return "signal 15 had its own way" if outcome.operations else None
    if STOPPED not in outcome.last_line:
        return f"no sentence: {outcome.last_line}"
    return "a stack was printed" if "@ " in outcome.output or "*** " in outcome.output else outcome.fault


# Small disks


def small_disks(name: str, seed: int, count: int, mounts: bool) -> Iterator[Case]:
    """Give a command files of a limited size, and disks with little room."""
    for way in ("file", "disk") if mounts else ("file",):
        for i in range(count):
            rng = random.Random(f"{seed} {name} {way} {i}")
            share = (i + rng.random()) / count if i else 0.0
            run = functools.partial(short_of_room, name=name, way=way, share=share)
            yield Case("small disk", name, f"{way} {i} of {count}", run)


def short_of_room(bench: Bench, name: str, way: str, share: float) -> Fault:
    """Run a command with little room, then with enough."""
    _, wanted = undisturbed(bench, name)
    largest, together = _room(bench, name)
    if way == "disk":
        with bench.disk(int(share * together)) as folder:
            return _in_little_room(bench, name, folder, wanted, None)
    return _in_little_room(bench, name, bench.fresh(), wanted, int(share * largest))


def _room(bench: Bench, name: str) -> tuple[int, int]:
    """Bytes of the largest file that a command writes, and of all of them."""
    key = f"room of {name}"
    if key not in bench.undisturbed:
        folder, call = bench.fresh(), call_of(name)
        bench.call(folder, call.argv)
        sizes = [(folder / p).stat().st_size for p in contents(folder, call.writes, all_of_it=True)]
        bench.undisturbed[key] = Outcome(max(sizes, default=0), False, "", sum(sizes)), {}
    stored = bench.undisturbed[key][0]
    return stored.code, stored.operations


def _in_little_room(bench: Bench, name: str, folder: Path, wanted: dict[str, str], size: int | None) -> Fault:
    call = call_of(name)
    old, before = contents(folder, call.writes), outside(folder, call.writes)
    short = bench.call(folder, call.argv, file_size=size)
    after = contents(folder, call.writes)
    if short.fault:
        return f"{short.fault}: {short.last_line}"
    if short.code == 0 and not call.then:
        if wrong := _differences(wanted, after):
            return f"exit code 0, but {wrong}"
    elif lost := [path for path in old if path not in after]:
        return f"lost {lost[0]}"
    if size is None:
        bench.more_room()
    again = bench.call(folder, call.argv)
    result = made(bench, folder, call)
    if again.fault or (again.code and result != wanted):
        return f"with room again: {again.fault or again.last_line}"
    return _differences(wanted, result) or _touched(before, folder, call.writes)


# Damaged files


UNTOLD: tuple[tuple[str, str], ...] = (
    ("photos/view_001.jpg", "flip"),
    ("more/view_004.jpg", "flip"),
    ("run/pairs.txt", "any"),
    ("control.csv", "any"),
    ("scene/ground_truth/sparse/images.bin", "flip"),
    ("scene/ground_truth/sparse/images.bin", "zeros"),
)
"""What nobody can tell: a JPEG's code with another bit is another picture's, a text's number another number,
a model that no run of ours made has no checksum."""


def damages(path: str, seed: int, count: int) -> Iterator[Case]:
    """Cut an input, flip bits, zero stretches, and run the commands that read it in turn."""
    for i in range(count):
        kind = ("cut", "flip", "zeros")[i % 3]
        name = INPUTS[path][i // 3 % len(INPUTS[path])]
        run = functools.partial(damaged, path=path, kind=kind, name=name, chance=f"{seed} {path} {i}")
        yield Case("damaged file", name, f"{path} {kind} {i}", run)


def damaged(bench: Bench, path: str, kind: str, name: str, chance: str) -> Fault:
    """Damage an input: no fault, and no other result without words that name the file."""
    whole, wanted = undisturbed(bench, name)
    call = call_of(name)
    folder = bench.fresh()
    before = outside(folder, (*call.writes, path))
    harmed = damage((folder / path).read_bytes(), kind, random.Random(chance))
    (folder / path).write_bytes(harmed)
    outcome = bench.call(folder, call.argv)
    if outcome.fault:
        return f"{outcome.fault}: {outcome.last_line}"
    if touched := _touched(before, folder, (*call.writes, path)):
        return touched
    new = "\n".join(set(outcome.output.splitlines()) - set(whole.output.splitlines()))
    named = Path(path).name in new or Path(path).parent.as_posix() in new
    if outcome.code:
        return None if named else f"no word of {path}: {outcome.last_line}"
    found = made(bench, folder, call)
    if path in found and (folder / path).read_bytes() == harmed:
        found[path] = wanted[path]  # it was not used, and is no result; `doctor` tells
    wrong = _differences(wanted, found)
    untold = any(path == p and k in (kind, "any") for p, k in UNTOLD)
    return f"silent: {wrong}" if wrong and not named and not untold else None


def damage(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Truncated, one bit flipped, or a stretch of zeros, at a place of chance."""
    at = rng.randrange(len(data))
    if kind == "cut":
        return data[:at]
    changed = bytearray(data)
    if kind == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    else:
        length = max(1, min(len(data) - at, len(data) // 10))
        changed[at : at + length] = bytes(length)
    return bytes(changed)


# Bad calls


def bad_options(drawn: Drawn) -> Case:
    """A command with one option that is seldom good."""
    run = functools.partial(bad_option, drawn=drawn)
    return Case("bad option", drawn.command, f"{drawn.flag} {drawn.value[:40]!r}", run)


def bad_option(bench: Bench, drawn: Drawn) -> Fault:
    """No fault, no number that is none taken, and what the command was not told to write is as it was."""
    call = call_of(drawn.command)
    folder = bench.fresh()
    named = _of_output(drawn.value)
    spared = ("run",) if drawn.command == "add" else ()
    before = outside(folder, (*call.writes, *spared, *named))
    stray = _stray(bench)
    outcome = bench.call(folder, (*call.argv, drawn.flag, drawn.value))
    if outcome.fault:
        return f"{outcome.fault}: {outcome.last_line}"
    if outcome.code == 0 and drawn.wrong:
        return "taken without a word"
    if not (folder / "device").is_socket():
        return "the device was replaced"
    if drawn.value != "../x" and _stray(bench) != stray:
        return "something was written outside of the folder"
    if drawn.flag in ("--images", "--photos") or drawn.value in ("photos", "run", "other.db"):
        return None  # it was told to
    return _touched(before, folder, (*call.writes, *spared, *named))


def _of_output(value: str) -> tuple[str, ...]:
    """What a command may write that is told `value`: that, a stage's pieces, and what chose the pairs."""
    path = Path(os.path.normpath(value))
    beside = (path.with_name(f".{path.name}.parts"), path.with_suffix(".json")) if path.name else ()
    return tuple(place.as_posix() for place in (path, *beside)) if value.strip() else ()


def _stray(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.folder.iterdir())


def odd_inputs(name: str, seed: int, count: int) -> Iterator[Case]:
    """Put something odd in the place of each path that a command is given."""
    argv = COMMANDS[name].argv
    places = [i for i in range(1, len(argv)) if _is_path(argv, i)]
    every = [(place, odd) for place in places for odd in ODD if odd != argv[place]]
    random.Random(f"{seed} {name}").shuffle(every)
    for place, odd in every[:count]:
        label = argv[place - 1] if argv[place - 1].startswith("--") else f"argument {place}"
        run = functools.partial(odd_input, name=name, place=place, odd=odd)
        yield Case("odd input", name, f"{label} {odd!r}", run)


def _is_path(argv: tuple[str, ...], i: int) -> bool:
    known = ("photos", "more", "run", "other", "new", "parts", "scene", "control", "weights", "scores")
    return argv[i].split("/")[0].split(".")[0] in known and argv[i] != "scores"


def odd_input(bench: Bench, name: str, place: int, odd: str) -> Fault:
    """No fault, and all but the output as it was."""
    call = call_of(name)
    argv = list(call.argv)
    written = argv[place].split("/")[0] in call.writes
    argv[place] = odd
    folder = bench.fresh()
    writes = (*call.writes, *(_of_output(odd) if written else ()))
    before, stray = outside(folder, writes), _stray(bench)
    outcome = bench.call(folder, tuple(argv))
    if outcome.fault:
        return f"{outcome.fault}: {outcome.last_line}"
    if not (folder / "device").is_socket():
        return "the device was replaced"
    if _stray(bench) != stray:
        return "something was written outside of the folder"
    return _touched(before, folder, writes)


NOT_NEEDED = (("export-database", "photos"),)
"""What a command is given and does not read: the database has its cameras already."""


def without_rights(name: str) -> Iterator[Case]:
    """Take the rights to each path that a command is given, as a user for whom rights count."""
    argv = COMMANDS[name].argv
    for i in range(1, len(argv)):
        if _is_path(argv, i):
            run = functools.partial(forbidden, name=name, path=argv[i])
            yield Case("no rights", name, argv[i], run)


def forbidden(bench: Bench, name: str, path: str) -> Fault:
    """No fault; a sentence that names the path (or what it lies in)."""
    call = call_of(name)
    folder = bench.fresh()
    target = folder / path
    while not target.exists():
        target = target.parent
    target.chmod(0)
    outcome = bench.call(folder, call.argv, mortal=True)
    target.chmod(0o755)
    if outcome.fault:
        return f"{outcome.fault}: {outcome.last_line}"
    if outcome.code == 0:
        return None if (name, path) in NOT_NEEDED else "exit code 0"
    named = target.name in outcome.output or target == folder
    return None if named else f"no word of {target.name}: {outcome.last_line}"


# What is wrong


def _differences(wanted: dict[str, str], found: dict[str, str]) -> Fault:
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{missing[0]} is missing"
    if more := sorted(found.keys() - wanted.keys()):
        return f"{more[0]} is left over"
    other = sorted(path for path in wanted if wanted[path] != found[path])
    return f"{other[0]} has other bytes" if other else None


def _touched(before: dict[str, str], folder: Path, written: tuple[str, ...]) -> Fault:
    """Something outside of what the command writes that is not as it was."""
    now = outside(folder, written)
    wrong = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    return f"{wrong[0]} outside of its output was changed" if wrong else None
