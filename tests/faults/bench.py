"""The bench on which commands are maltreated: a folder with all they read, and what counts as a fault."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import odd
from table import PREPARED

DIFFERS = (
    "colmap.log", ".usage.json", "report.json", "report.html", "page.html", ".lock", "cameras.json",
    "scores.json", "log.jsonl", "checkpoint.pt",
)  # fmt: skip
"""Files that hold times or paths, which differ from run to run. The pieces of a stage are named by
process, the cache of `evaluate` holds times, and SQLite's journals come and go."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call."""

    code: int  # exit code, or minus the signal
    hung: bool
    output: str
    operations: int = 0  # changes to files that Python made
    seconds: float = 0.0

    @property
    def fault(self) -> str | None:
        """Why this is no way to end; None for a result or a sentence."""
        if self.hung:
            return "hung"
        if self.code < 0:
            return f"crash, signal {-self.code}"
        if "Traceback (most recent call last)" in self.output:
            return "traceback"
        if "this is a fault of desdis-match" in self.output:
            return "unexpected: " + self.output.strip().splitlines()[-1][:150]
        if self.code not in (0, 1, 2, 3, 130, 143):
            return f"exit code {self.code}"
        if self.code and not self.output.strip():
            return f"exit code {self.code} without a word"
        return None

    @property
    def last_line(self) -> str:
        """What it said in the end."""
        return (self.output.strip().splitlines() or [""])[-1][-300:]


class Bench:
    """A folder with photos, more photos and a run of them; copies of it are maltreated."""

    def __init__(self, folder: Path, original: Path | None = None) -> None:
        """original: a folder kept from an earlier bench, or where to keep it."""
        self.folder = folder
        self.original = original or folder / "original"
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"DESDIS_MATCH_CACHE": str(folder / "cache")}
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        self.undisturbed: dict[str, tuple[Outcome, dict[str, str]]] = {}
        if not (self.original / "other").exists():
            self._make()

    def _make(self) -> None:
        self.original.mkdir(parents=True)
        for line in PREPARED:
            made = self.call(self.original, tuple(line.split()))
            assert made.code == 0, (line, made.output)
            if not (self.original / "photos").exists():
                photos = sorted((self.original / "scene" / "images").iterdir())
                for name, some in (("photos", photos[:4]), ("more", photos[4:])):
                    (self.original / name).mkdir()
                    for photo in some:
                        shutil.copy(photo, self.original / name)
                odd.make(self.original)
        shutil.copy(self.original / "run" / "database.db", self.original / "other.db")
        shutil.copytree(self.original / "run" / "sparse", self.original / "other")

    def call(
        self,
        folder: Path,
        argv: tuple[str, ...],
        *,
        timeout: float = 120.0,
        file_size: int | None = None,
        kill_at: int | None = None,
        kill_after: float | None = None,
        stop_after: float | None = None,
        mortal: bool = False,
    ) -> Outcome:
        """Run a command in `folder`: with files of a limited size, killed before a file operation or after
        some seconds, told to end (SIGTERM) after some, bound to the rights of files as all but root are."""
        assert self._server.stdin is not None and self._server.stdout is not None
        request = {"cwd": str(folder), "argv": argv, "timeout": timeout, "file_size": file_size}
        request |= {"kill_at": kill_at, "kill_after": kill_after, "stop_after": stop_after, "mortal": mortal}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))

    def fresh(self, name: str = "work") -> Path:
        """A new copy of the folder."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        return self.fill(target)

    def fill(self, target: Path) -> Path:
        """Copy the folder into one that may be there."""
        shutil.copytree(self.original, target, symlinks=True, dirs_exist_ok=True)
        os.mknod(target / "device", stat.S_IFSOCK | 0o600)  # no ordinary file: not to be replaced
        return target

    @contextmanager
    def disk(self, room: int) -> Iterator[Path]:
        """A copy of the folder on a disk of its own, with so many bytes to spare. Only root may mount."""
        place = self.folder / "disk"
        place.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", "size=1g", "none", str(place))
        try:
            self.fill(place / "work")
            status = os.statvfs(place)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            _mount("-o", f"remount,size={used + room}", str(place))
            yield place / "work"
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)

    def more_room(self) -> None:
        """Inside `disk`: enough of it."""
        _mount("-o", "remount,size=1g", str(self.folder / "disk"))

    def close(self) -> None:
        """End the server."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.wait(20)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


NEW_NAMESPACE = 0x00020000
"""CLONE_NEWNS of Linux."""


def may_mount() -> bool:
    """Whether this process may mount; what it mounts from now on is its own and ends with it."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode == 0


def contents(folder: Path, written: tuple[str, ...], all_of_it: bool = False) -> dict[str, str]:
    """SHA-256 of every file that a command wrote; without `all_of_it` but for those that always differ."""
    found = {}
    for place in written:
        top = folder / place
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for path in files:
            comes_and_goes = path.name.endswith(("-wal", "-shm", "-journal"))
            if path.is_symlink() or not path.is_file() or comes_and_goes:
                continue
            varies = path.name in DIFFERS or path.parent.name.endswith(".parts") or "cache" in path.parts
            if all_of_it or not varies:
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    """A file's bytes; of SQLite's all rows as text: what is written once more lies on other pages."""
    data = path.read_bytes()
    if data[:15] != b"SQLite format 3":
        return data
    with tempfile.TemporaryDirectory() as scratch:  # SQLite writes beside what it reads
        copy = Path(scratch) / "copy.db"
        copy.write_bytes(data)
        try:
            with closing(sqlite3.connect(copy)) as database:
                return "\n".join(sorted(database.iterdump())).encode()
        except (sqlite3.Error, UnicodeDecodeError):
            return data


def outside(folder: Path, written: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of all that a command must not touch."""
    everything = contents(folder, (".",), all_of_it=True)
    return {name: digest for name, digest in everything.items() if not _within(name, written)}


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(place in (".", name) or name.startswith(f"{place}/") for place in places)
