"""Work that is spread and work that is killed: the same bytes? And what a second worker saves.

    python eval/spread.py kills OUT    # kill -9 of driver or worker at ten moments, then the same command
    python eval/spread.py dask OUT     # three Dask workers over TCP, one killed in each stage; the script
    python eval/spread.py speedup OUT  # seconds by one and by two workers, on a machine with no other work

A rendered scene of small photos (OUT/scene-WHAT). Writes eval/results/spread.json, each part its own entry.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.pipeline.resume import parts_folder

ROOT = Path(__file__).parents[1]
SCENE = ("--size", "320", "240", "--points", "300")
VIEWS = {"kills": "12", "dask": "40", "speedup": "40"}
"""Photos: pieces enough for three workers, or a run short enough for ten kills."""
MOMENTS = 10
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
EXTRACT = ("--max-keypoints=500", "--descriptor=rootsift", "--device=cpu")
MADE = (
    "features.h5",
    "pairs.txt",
    "matches.h5",
    "two_view.h5",
    "database.db",
    "points.ply",
    "sparse/0/*.bin",
)
"""What a run makes and what holds neither times nor paths."""


@dataclass(frozen=True)
class Arguments:
    """Kill, spread, and time."""

    what: tyro.conf.Positional[Literal["kills", "dask", "speedup"]]
    out: tyro.conf.Positional[Path]


def start(*command: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """`python -m ...`, its words to `log`."""
    with log.open("ab") as words:
        return subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=words, stderr=words, env=ENVIRONMENT
        )


def finish(*command: str | Path, log: Path) -> None:
    """The same, and wait for it to end well."""
    if start(*command, log=log).wait() != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed; its words are in {log}")


def digests(folder: Path, patterns: tuple[str, ...] = MADE) -> dict[str, str]:
    """SHA-256 of what a run made; of SQLite's without its counts of changes."""
    found = {}
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        data = bytearray(path.read_bytes())
        if data[:15] == b"SQLite format 3":
            data[24:28] = data[92:96] = bytes(4)
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def children(pid: int) -> list[int]:
    """Worker processes of a driver; Python's own resource tracker is none."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
    except OSError:
        return []


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes], seconds: float = 300) -> Any:
    """What `what` gives once it gives something; nothing when the process has ended."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.002)
    return None


def killed(
    begin: Callable[[Path], subprocess.Popen[bytes]], folder: Path, moment: float, worker: bool
) -> tuple[Path, dict[str, Any]] | None:
    """A run into `folder`, killed `moment` seconds after it began to write and, where the driver died, run
    again; None when it had ended before. worker: kill one of its workers where it has any."""
    driver = begin(folder)
    wait_for(folder.exists, driver)
    time.sleep(moment)
    workers = children(driver.pid) if worker else []
    there = sorted(path.name for path in folder.iterdir())
    if driver.poll() is not None:
        return None
    os.kill(workers[0] if workers else driver.pid, signal.SIGKILL)
    codes = [driver.wait()]
    if codes == [0] and not workers:
        return None
    if codes != [0]:
        codes.append(begin(folder).wait())
    victim = "worker" if workers else "driver"
    return folder, {"after_seconds": round(moment, 2), "killed": victim, "exit_codes": codes, "there": there}


def kills(out: Path, images: Path) -> dict[str, Any]:
    """A whole run, killed at moments that divide its time evenly."""

    def begin(folder: Path) -> subprocess.Popen[bytes]:
        options = (
            "--images",
            images,
            "--output",
            folder,
            "--workers=2",
            "--mapper=incremental",
            "--no-align",
            *EXTRACT,
        )
        return start("-m", "desdis_match", "reconstruct", *options, log=out / "log")

    whole = out / "whole"
    driver = begin(whole)
    wait_for(whole.exists, driver)
    begun = time.monotonic()
    assert driver.wait() == 0, (out / "log").read_text()
    seconds = time.monotonic() - begun
    wanted, tried = digests(whole), []
    for number in range(MOMENTS):
        moment = seconds * (number + 0.5) / MOMENTS
        while not (found := killed(begin, out / f"killed-{number}-{moment:.2f}", moment, number % 2 == 0)):
            moment *= 0.8  # it had ended: quicker than the whole run
        folder, result = found
        tried.append({**result, "same_bytes": digests(folder) == wanted})
        print(tried[-1], flush=True)
    return {"files": len(wanted), "seconds": round(seconds, 1), "kills": tried}


@contextmanager
def cluster(out: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A scheduler file; the call that brings the workers (back) to three."""
    file, log = out / "scheduler.json", out / "dask.log"
    file.unlink(missing_ok=True)
    options = ("--no-dashboard", "--scheduler-file", file)
    processes = [
        start("-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", *options, log=log)
    ]

    def fill() -> None:
        processes[:] = [process for process in processes if process.poll() is None]
        worker = ("-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads=1", "--local-directory", out)
        processes.extend(start(*worker, *options, log=log) for _ in range(4 - len(processes)))
        from distributed import Client

        with Client(scheduler_file=str(file), timeout=120) as client:
            client.wait_for_workers(3, timeout=120)

    wait_for(file.exists, processes[0])
    try:
        yield file, fill
    finally:
        for process in processes:
            process.kill()
            process.wait()


def stages(folder: Path, images: Path) -> dict[str, tuple[str, ...]]:
    """Commands of the stages that can be spread, each with its output."""
    features, matches = folder / "features.h5", folder / "matches.h5"
    verified = ("--output", folder / "two_view.h5")
    commands: dict[str, tuple[Any, ...]] = {
        "features.h5": ("extract", "--images", images, "--output", features, *EXTRACT),
        "pairs.txt": (
            "pairs",
            "--features",
            features,
            "--output",
            folder / "pairs.txt",
            "--pairs=exhaustive",
        ),
        "matches.h5": ("match", "--features", features, "--pairs", folder / "pairs.txt", "--output", matches),
        "two_view.h5": (
            "verify",
            "--images",
            images,
            "--features",
            features,
            "--matches",
            matches,
            *verified,
        ),
    }
    return {name: tuple(map(str, command)) for name, command in commands.items()}


def dask(out: Path, images: Path) -> dict[str, Any]:
    """Each stage on three workers of which one is killed while it works, against one process."""
    alone, spread = out / "alone", out / "spread"
    for folder in (alone, spread):
        folder.mkdir()
    results: dict[str, Any] = {}
    for command in stages(alone, images).values():
        extra = () if command[0] == "pairs" else ("--workers=1",)
        finish("-m", "desdis_match", *command, *extra, log=out / "log")
    with cluster(out) as (file, fill):
        for name, command in stages(spread, images).items():
            if command[0] == "pairs":
                finish("-m", "desdis_match", *command, log=out / "log")
                continue
            fill()
            driver = start("-m", "desdis_match", *command, f"--executor=dask:{file}", log=out / "log")
            parts = parts_folder(spread / name)
            busy = wait_for(lambda parts=parts: [p for p in parts.glob("*.log") if p.stat().st_size], driver)
            os.kill(int(busy[0].name.split("-")[0]), signal.SIGKILL)
            results[command[0]] = {
                "exit_code": driver.wait(),
                "same_bytes": digests(spread, (name,)) == digests(alone, (name,)),
            }
            print(command[0], results[command[0]], flush=True)
        fill()
        scripted = out / "scripted"
        pipeline = (ROOT / "pipelines" / "dask_cluster.py", images, scripted)
        script = start(*pipeline, file, log=out / "log").wait()
    own = start(*pipeline[:2], out / "scripted-own", log=out / "log").wait()
    results["pipelines/dask_cluster.py"] = {
        "exit_codes": [script, own],
        "same_bytes_on_both_clusters": digests(scripted) == digests(out / "scripted-own") != {},
    }
    return results


def speedup(out: Path, images: Path) -> dict[str, Any]:
    """Wall-clock seconds of each stage, its start of three seconds included, by one worker and by two."""
    results: dict[str, Any] = {}
    for workers in (1, 2):
        folder = out / f"workers-{workers}"
        folder.mkdir()
        for command in stages(folder, images).values():
            extra = () if command[0] == "pairs" else (f"--workers={workers}",)
            begun = time.monotonic()
            finish("-m", "desdis_match", *command, *extra, log=out / "log")
            results.setdefault(command[0], []).append(round(time.monotonic() - begun, 2))
    return {"seconds by one and by two workers": results}


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/spread.py")
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    scene = out / f"scene-{arguments.what}"
    images = scene / "images"
    if not images.exists():
        views = ("--views", VIEWS[arguments.what])
        finish("-m", "desdis_match", "synthetic", "--output", scene, *SCENE, *views, log=out / "log")
    work = out / arguments.what
    work.mkdir()  # each part is measured in a new folder
    result = {"kills": kills, "dask": dask, "speedup": speedup}[arguments.what](work, images)
    path = Path(__file__).parent / "results" / "spread.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | {arguments.what: result}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
