"""What every stage shares: what made an output, whether it can stay, and where and how wide the work runs."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ..errors import InputError
from ..photos.masks import mask_path
from ..storage.hdf5 import file_config
from ..support.checkpoint import ShardFolder
from ..support.checks import check_options
from ..support.devices import pick_device
from ..support.executors import check_executor, open_executor
from ..support.files import FULL, Config, canonical_json, config_differences, file_error
from ..support.workers import available_cores
from .spread import Shard

log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class RunConfig:
    """Where the work runs. Nothing here changes a result."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""
    workers: int = 0
    """Photos or pairs worked on at a time, each by one thread; 0: one a core (one in all on a GPU)."""
    executor: str = "processes"
    """Where photos and pairs are worked on: processes (of this machine), dask:ADDRESS, dask:FILE (the
    scheduler file), slurm (as many jobs as --workers). All machines must see the photos and the outputs."""

    def __post_init__(self) -> None:
        check_options(self, workers=(0, 4096))
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; give a number above 0, or 0 for one a core")
        check_executor(self.executor, self.workers)

    @contextmanager
    def opened(self, given: Executor | None = None) -> Iterator[Executor | None]:
        """The executor: the one that is `given`, else the one that `executor` names, None for processes."""
        if given is not None:
            yield given
            return
        with open_executor(self.executor, self.workers) as executor:
            yield executor


def fingerprint(path: Path) -> str:
    """Of a features or matches file: its configuration's hash; of hloc's, which have none, size and time."""
    config = file_config(path)
    if config is None:
        status = path.stat()
        return digest([status.st_size, status.st_mtime_ns])
    return digest(config)


def digest(value: Any) -> str:
    """SHA-256 of any JSON value."""
    return hashlib.sha256(canonical_json({"": value}).encode()).hexdigest()


def stamp(images: Path, name: str, masks: Path | None, keypoints: Path | None) -> str:
    """Changes when the image, its mask or its given keypoints change."""
    paths = [images / name]
    if masks is not None:
        paths.append(mask_path(masks, name))
    if keypoints is not None:
        paths.append(keypoints if keypoints.is_file() else keypoints / f"{name}.txt")
    states = [path.stat() for path in paths if path.exists()]
    return " ".join(f"{s.st_size}-{s.st_mtime_ns}" for s in states)


def is_current(
    output: Path,
    made_by: dict[str, Any],
    overwrite: bool,
    what: str,
    read_config: Callable[[Path], dict[str, Any] | None] = file_config,
) -> bool:
    """Whether `output` was made by just this; raises InputError if it was made otherwise and must be kept."""
    if not output.exists():
        return False
    if output.is_dir():
        raise InputError(f"{output} is a folder; give the file to write with --output")
    try:
        made_before = read_config(output)
    except InputError as error:
        if not overwrite:
            raise
        log.warning("%s; it is made again", error)
        return False
    differences = config_differences(made_before, made_by)
    if not differences:
        # What a run left that was killed between its output and the end of its pieces.
        shutil.rmtree(parts_folder(output), ignore_errors=True)
        return True
    shown = "; ".join(differences[:3]) + ("; ..." if len(differences) > 3 else "")
    if not overwrite:
        raise InputError(
            f"{output} holds {what} made otherwise ({shown}); give --overwrite or another output"
        )
    log.info("%s is made again (%s)", output.name, shown)
    return False


def make_folder(path: Path) -> None:
    """Make an output folder. Raises InputError when it cannot be made or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise file_error(error, path) from error
        raise InputError(
            f"the output folder {path} cannot be written ({error.strerror}); give another with --output"
        ) from error


_RUNS: set[Path] = set()
"""Folders of the runs that this process is at work in: their own stages may write there."""


@contextmanager
def run_in(folder: Path) -> Iterator[None]:
    """`alone_in` the folder of a run, from its first stage to its last: no stage alone writes there.

    Raises InputError, too, while a stage alone (`extract`, `match`, ...) is at work in it.
    Both sides lock first and look for the other afterwards, so that one of them sees the other.
    """
    place = Path(folder).resolve()
    with alone_in(folder):
        for parts in sorted(folder.glob(".*.parts")):
            _check_parts(parts, Path(folder))
        _RUNS.add(place)
        try:
            yield
        finally:
            _RUNS.discard(place)


def check_no_run(output: Path) -> None:
    """Raise InputError while another process's run is at work in the folder of a stage's output."""
    folder = Path(output).parent
    if folder.resolve() not in _RUNS and (folder / ".lock").is_file():
        with alone_in(folder, output):
            pass


def _check_parts(folder: Path, output: Path) -> None:
    """Raise InputError while a stage, or a part of one, is at work on the pieces in `folder`."""
    for lock in sorted([*folder.glob(".lock"), *folder.glob(".part-*.lock")]):
        with alone_in(folder, output, lock.name):
            pass


@contextmanager
def alone_in(folder: Path, output: Path | None = None, name: str = ".lock") -> Iterator[None]:
    """Keep a second run out of a folder while this one writes to it: the second gets an InputError.

    `output` is what the error names, by default the folder. The lock is the operating system's, so a killed
    run leaves none.
    """
    lock = FileLock(folder / name, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another run is at work in {output or folder}; wait until it has ended, or give another --output"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def unfinished(output: Path, config: Config, shard: Shard | None = None) -> Iterator[ShardFolder]:
    """What a stage has done of `output`, kept beside it until the block ends well, which means it is whole.

    shard: the block does only this part of it; then all stays, and other parts may be at work meanwhile.
    Raises InputError while another run works on the same output, or on the same part of it.
    """
    folder = parts_folder(output)
    check_no_run(output)  # before anything is made, and again below: see run_in
    make_folder(folder)
    if shard is not None:
        with alone_in(folder, output):  # no run on the whole
            pass
        part = f".part-{shard.index}-{shard.count}.lock"
        with alone_in(folder, Path(f"{output}, part {shard.index}/{shard.count}"), part):
            check_no_run(output)
            with FileLock(folder / ".begin.lock"):  # the first one here may empty the folder
                shards = ShardFolder(folder, config)
            try:
                yield shards
            finally:
                shards.close()
        return
    with alone_in(folder, output):
        for lock in sorted(folder.glob(".part-*.lock")):
            with alone_in(folder, Path(f"{output}, {lock.stem[1:]}"), lock.name):
                pass
        check_no_run(output)
        shards = ShardFolder(folder, config)
        try:
            yield shards
        finally:
            shards.close()
        for file in (*folder.glob(".part-*.lock"), folder / ".begin.lock"):
            file.unlink(missing_ok=True)
        shards.remove()
        with suppress(OSError):  # Windows keeps a file that is open
            (folder / ".lock").unlink()
    with suppress(OSError):  # a run that began just now has it
        folder.rmdir()


def parts_folder(output: Path) -> Path:
    """Where what is done of `output` is kept until it is whole."""
    return output.with_name(f".{output.name}.parts")


def still_to_do(
    items: Sequence[Item],
    key: Callable[[Item], str],
    shards: ShardFolder,
    shard: Shard | None,
    *,
    stage: str,
    unit: str,
    merge_into: Path | None = None,
) -> tuple[list[Item], int]:
    """Items of this part, or of all, that are not done yet, and the number of those that are.

    merge_into: the output of parts that were run apart; raises InputError where they do not make it whole.
    """
    finished = shards.done()
    mine = shard.of(items) if shard else items
    todo = [item for item in mine if key(item) not in finished]
    num_done = len(mine) - len(todo)
    if merge_into is not None:
        _check_whole(todo, len(items), unit, merge_into)
    if num_done:
        log.info("%s goes on: %d of %d %s are done", stage, num_done, len(mine), unit)
    return todo, num_done


def _check_whole(todo: Sequence[object], num: int, unit: str, output: Path) -> None:
    if todo:
        first = todo[0] if isinstance(todo[0], str) else " with ".join(map(str, todo[0]))  # type: ignore
        raise InputError(
            f"{len(todo)} of {num} {unit} of {output} are not done yet, {first} for one; run the parts "
            "(--shard i/n) that did not end well again, then merge"
        )


def num_workers(run: RunConfig, num_items: int, worthwhile: int) -> int:
    """Worker processes for so many items; below `worthwhile` of them one, which means this process."""
    if run.workers:
        return min(run.workers, max(num_items, 1))
    if num_items < worthwhile or pick_device(run.device).type != "cpu":
        return 1
    return min(available_cores(), num_items)
