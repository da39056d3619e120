"""The four ways of maltreating a command. Each yields (what was done, the fault or None)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import COMMANDS, Bench, Outcome, contents, outside

Finding = tuple[str, str | None]

SIZES = 20
"""Small disks a command is given."""


def kills(bench: Bench, name: str, rng: random.Random, count: int | None = None) -> Iterator[Finding]:
    """Kill a command before (so, after the one before) each of its file operations, then run it again."""
    argv, written = COMMANDS[name]
    folder = bench.fresh()
    whole = bench.call(folder, argv)
    if whole.fault or whole.code:
        yield f"{name}, undisturbed", whole.fault or f"exit code {whole.code}: {whole.output[-300:]}"
        return
    wanted = contents(folder, written)
    places = list(range(whole.operations))
    if count is not None and count < len(places):
        places = sorted(rng.sample(places, count))
    for place in places:
        folder = bench.fresh()
        before = outside(folder, written)
        killed = bench.call(folder, argv, kill_at=place)
        again = bench.call(folder, argv)
        what = f"{name}, killed before file operation {place} of {whole.operations}"
        if killed.code != -9:
            yield what, None if killed.fault is None else f"not killed, {killed.fault}"
        elif again.fault or again.code:
            yield what, f"the same command then: {again.fault or again.output.strip()[-200:]}"
        else:
            yield what, _differences(wanted, contents(folder, written)) or _touched(before, folder, written)


def small_disks(bench: Bench, name: str, rng: random.Random, count: int = SIZES) -> Iterator[Finding]:
    """Give a command files of a limited size, then enough."""
    argv, written = COMMANDS[name]
    folder = bench.fresh()
    old = contents(folder, written)
    bench.call(folder, argv)
    wanted = contents(folder, written)
    largest = max(((folder / path).stat().st_size for path in wanted), default=1 << 20)
    for i in range(count):
        size = int(largest * (i + rng.random()) / count) if i else 0
        folder = bench.fresh()
        before = outside(folder, written)
        short = bench.call(folder, argv, file_size=size)
        what = f"{name}, files of {size} bytes at most"
        after = contents(folder, written)
        if short.fault:
            yield what, short.fault
            continue
        if short.code == 0 and (wrong := _differences(wanted, after)):
            yield what, f"exit code 0, but {wrong}"
            continue
        if short.code and (lost := [path for path in old if path not in after]):
            yield what, f"lost {lost[0]}"
            continue
        again = bench.call(folder, argv)
        if again.fault or again.code:
            yield what, f"with room again: {again.fault or again.output.strip()[-200:]}"
        else:
            yield what, _differences(wanted, contents(folder, written)) or _touched(before, folder, written)


INPUTS: dict[str, tuple[str, ...]] = {
    # file below the bench: commands that read it
    "photos/view_001.jpg": ("extract", "reconstruct", "export undistorted"),
    "run/features.h5": ("match", "map", "localize", "export-features", "pairs"),
    "run/matches.h5": ("map", "export-database"),
    "run/pairs.txt": ("match", "add"),
    "run/database.db": ("view", "import-database", "add"),
    "other.db": ("export-database",),
    "run/sparse/0/cameras.bin": ("export colmap-txt", "localize"),
    "run/sparse/0/rigs.bin": ("export colmap-txt", "view"),
    "run/sparse/0/frames.bin": ("export colmap-txt", "view"),
    "run/sparse/0/images.bin": ("export colmap-txt", "view"),
    "run/sparse/0/points3D.bin": ("export ply", "view"),
    "run/sparse/made_by.json": ("add", "view"),
    "run/sparse/checksums.json": ("export ply",),
    "run/report.json": ("view", "add"),
}


UNTOLD = (("photos/view_001.jpg", "flip"), ("run/sparse/made_by.json", "flip"))
"""What nobody can tell: a JPEG's code with another bit is another picture's, a number another number."""


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


def damaged_inputs(bench: Bench, path: str, rng: random.Random, count: int) -> Iterator[Finding]:
    """Damage an input and run the commands that read it: no crash, and no other result without a word."""
    for i in range(count):
        kind = ("cut", "flip", "zeros")[i % 3]
        name = rng.choice(INPUTS[path])
        whole, wanted = undisturbed(bench, name)
        folder, (argv, _) = bench.fresh(), COMMANDS[name]
        spoilt = damage((folder / path).read_bytes(), kind, rng)
        (folder / path).write_bytes(spoilt)
        outcome = bench.call(folder, argv)
        unsaid = None if (path, kind) in UNTOLD else _unsaid(outcome, whole, wanted, folder, name)
        yield f"{name}, {path} {kind} ({i})", outcome.fault or unsaid


_UNDISTURBED: dict[str, tuple[Outcome, dict[str, str]]] = {}


def undisturbed(bench: Bench, name: str) -> tuple[Outcome, dict[str, str]]:
    """A command's outcome and files from whole input, once for all."""
    if name not in _UNDISTURBED:
        folder, (argv, written) = bench.fresh(), COMMANDS[name]
        _UNDISTURBED[name] = bench.call(folder, argv), contents(folder, written)
    return _UNDISTURBED[name]


def _unsaid(outcome: Outcome, whole: Outcome, wanted: dict[str, str], folder: Path, name: str) -> str | None:
    """Another result than from whole input, with no more words than with it."""
    _, written = COMMANDS[name]
    if outcome.code or outcome.output.count("\n") > whole.output.count("\n"):
        return None
    return "silent: " + wrong if (wrong := _differences(wanted, contents(folder, written))) else None


def bad_calls(bench: Bench, name: str, flag: str, value: str) -> Finding:
    """A command with one option set to `value`: no fault, and what it was given to read is as it was."""
    argv, _ = COMMANDS[name]
    folder = bench.fresh()
    outcome = bench.call(folder, (*argv, flag, value))
    given = {path: digest for path, digest in contents(bench.original, ("photos", "more")).items()}
    lost = [path for path, digest in given.items() if contents(folder, (path,)).get(path) != digest]
    if not (folder / "device").is_socket():
        lost.append("device")
    return f"{name} {flag} {value[:40]}", outcome.fault or (f"{lost[0]} was changed" if lost else None)


def _differences(wanted: dict[str, str], found: dict[str, str]) -> str | None:
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{missing[0]} is missing"
    if more := sorted(found.keys() - wanted.keys()):
        return f"{more[0]} is left over"
    other = sorted(path for path in wanted if wanted[path] != found[path])
    return f"{other[0]} has other bytes" if other else None


def _touched(before: dict[str, str], folder: Path, written: tuple[str, ...]) -> str | None:
    """Something outside of what the command writes that is not as it was."""
    now = outside(folder, written)
    wrong = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    return f"{wrong[0]} outside of its output was changed" if wrong else None


def remove(bench: Bench) -> None:
    """Delete all that the bench made."""
    bench.close()
    shutil.rmtree(bench.folder, ignore_errors=True)
