"""The bench on which commands are maltreated: a small scene, every command, and what counts as a fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

EXTRACT = ("--max-keypoints", "300", "--orientation", "upright", "--descriptor", "rootsift", "--workers", "1")
MAP = ("--mapper", "incremental")

COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # name: (arguments, what it writes: paths below the bench)
    "extract": (("extract", "--images", "photos", "--output", "new/features.h5", *EXTRACT), ("new",)),
    "pairs": (("pairs", "--features", "run/features.h5", "--output", "new/pairs.txt"), ("new",)),
    "match": (
        ("match", "--features", "run/features.h5", "--pairs", "run/pairs.txt", "--output", "new/matches.h5"),
        ("new",),
    ),
    "map": (
        (
            "map",
            "--images",
            "photos",
            "--features",
            "run/features.h5",
            "--matches",
            "run/matches.h5",
            "--output",
            "new",
            *MAP,
        ),
        ("new",),
    ),
    "reconstruct": (("reconstruct", "--images", "photos", "--output", "new", *EXTRACT, *MAP), ("new",)),
    "add": (("add", "--output", "run", "--images", "more", "--workers", "1"), ("run",)),
    "localize": (
        (
            "localize",
            "--model",
            "run/sparse/0",
            "--features",
            "run/features.h5",
            "--queries",
            "more",
            "--output",
            "new",
            "--workers",
            "1",
        ),
        ("new",),
    ),
    "view": (("view", "run", "--output", "new/page.html"), ("new",)),
    **{
        f"export {kind}": (
            (
                "export",
                "--model",
                "run/sparse/0",
                "--format",
                kind,
                "--images",
                "photos",
                "--output",
                f"new/{kind}",
            ),
            ("new",),
        )
        for kind in ("colmap-bin", "colmap-txt", "ply", "nerfstudio", "bundler", "undistorted")
    },
    "import-database": (
        (
            "import-database",
            "--database",
            "run/database.db",
            "--features",
            "new/f.h5",
            "--matches",
            "new/m.h5",
            "--overwrite",
        ),
        ("new",),
    ),
    "export-database": (
        (
            "export-database",
            "--database",
            "other.db",
            "--features",
            "run/features.h5",
            "--matches",
            "run/matches.h5",
            "--images",
            "photos",
            "--overwrite",
        ),
        ("other.db",),
    ),
    "export-features": (
        ("export-features", "--features", "run/features.h5", "--output", "new/text"),
        ("new",),
    ),
    "synthetic": (
        ("synthetic", "--output", "new/scene", "--views", "2", "--size", "96", "64", "--points", "50"),
        ("new",),
    ),
    "build-patches": (
        (
            "build-patches",
            "--images",
            "photos",
            "--model",
            "run/sparse/0",
            "--features",
            "run/features.h5",
            "--output",
            "new/patches.h5",
        ),
        ("new",),
    ),
}
"""Every command that writes, and a call of it that ends well."""

DIFFERS = ("colmap.log", ".usage.json", "report.json", "report.html", "page.html", ".lock", "cameras.json")
"""Files that hold times or paths, which differ from run to run; SQLite's journals come and go."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call."""

    code: int  # exit code, or minus the signal
    hung: bool
    output: str
    operations: int  # changes to files that Python made

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


class Bench:
    """A folder with photos, more photos and a run of them; copies of it are maltreated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.original = folder / "original"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        self._make()

    def _make(self) -> None:
        self.original.mkdir(parents=True)
        scene = ("synthetic", "--output", "scene", "--views", "5", "--size", "320", "240", "--points", "200")
        made = self.call(self.original, scene)
        assert made.code == 0, made.output
        photos = sorted((self.original / "scene" / "images").iterdir())
        for name, some in (("photos", photos[:4]), ("more", photos[4:])):
            (self.original / name).mkdir()
            for photo in some:
                shutil.copy(photo, self.original / name)
        run = ("reconstruct", "--images", "photos", "--output", "run", *EXTRACT, *MAP)
        made = self.call(self.original, run)
        assert made.code == 0, made.output
        shutil.copy(self.original / "run" / "database.db", self.original / "other.db")

    def call(
        self,
        folder: Path,
        argv: tuple[str, ...],
        *,
        file_size: int | None = None,
        kill_at: int | None = None,
        timeout: float = 120.0,
    ) -> Outcome:
        """Run a command in `folder`."""
        assert self._server.stdin is not None and self._server.stdout is not None
        request = {"cwd": str(folder), "argv": argv, "file_size": file_size, "kill_at": kill_at}
        print(json.dumps({**request, "timeout": timeout}), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))

    def fresh(self, name: str = "work") -> Path:
        """A new copy of the folder."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.original, target)
        os.mknod(target / "device", stat.S_IFSOCK | 0o600)  # no ordinary file: not to be replaced
        return target

    def close(self) -> None:
        """End the server."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.wait(20)


def contents(folder: Path, written: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of every file that a command wrote, but for those that differ from run to run."""
    found = {}
    for place in written:
        top = folder / place
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for path in files:
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.name not in DIFFERS and not path.name.endswith(("-wal", "-shm")):
                found[name] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    """A file's bytes; of SQLite's without its counts of changes, which grow each time COLMAP opens it."""
    data = bytearray(path.read_bytes())
    if data[:15] == b"SQLite format 3":
        data[24:28] = data[92:96] = bytes(4)
    return bytes(data)


def outside(folder: Path, written: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of all that a command must not touch."""
    inside = set(contents(folder, written))
    everything = contents(folder, (".",))
    return {
        name: digest
        for name, digest in everything.items()
        if name not in inside and not name.startswith(tuple(written))
    }
