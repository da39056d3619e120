"""Where spread work runs, by name: processes of this machine, a Dask cluster, Slurm jobs.

    with open_executor("dask:tcp://head:8786", workers=0) as executor: ...

Dask and Slurm come with `pip install desdis-match[cluster]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError, missing_extra

RETRIES = 3
"""Times that Dask tries a piece again when its worker died or its work failed."""
START_SECONDS = 60
"""How long a connection to a scheduler may take."""


def check_executor(spec: str, workers: int) -> None:
    """Raise InputError for a name that `open_executor` does not know."""
    kind, _, where = spec.partition(":")
    if kind == "dask" and where:
        return
    if spec == "slurm" and workers:
        return
    if spec == "slurm":
        raise InputError("--executor slurm needs --workers, the number of Slurm jobs")
    if spec != "processes":
        raise InputError(
            f"executor is '{spec}'; it must be processes, dask:ADDRESS, dask:SCHEDULER_FILE or slurm"
        )


@contextmanager
def open_executor(spec: str, workers: int = 0) -> Iterator[Executor | None]:
    """The executor that `spec` names while the block lasts; None for `processes`, which stages start.

    dask:ADDRESS or dask:FILE, what `dask scheduler` prints or writes with --scheduler-file; the scheduler
    stays. slurm: `workers` Slurm jobs of one Dask worker each, which end with the block; partition, memory
    and the like come from dask-jobqueue's own configuration (jobqueue.yaml).
    Raises InputError where a scheduler cannot be reached or the extra is not installed.
    """
    check_executor(spec, workers)
    with ExitStack() as stack:
        if spec == "processes":
            yield None
        elif spec == "slurm":
            yield _executor(stack, stack.enter_context(_slurm_cluster(workers)))
        else:
            where = spec.partition(":")[2]
            file = Path(where)
            yield _executor(stack, {"scheduler_file": str(file)} if file.is_file() else where)


def _executor(stack: ExitStack, where: Any) -> Executor:
    distributed = _import("distributed")
    options = where if isinstance(where, dict) else {"address": where}
    try:
        client = distributed.Client(**options, timeout=START_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"the Dask scheduler {where} cannot be reached: {error}") from error
    stack.enter_context(client)
    result: Executor = client.get_executor(retries=RETRIES, pure=False)
    return result


def _slurm_cluster(workers: int) -> Any:
    jobqueue = _import("dask_jobqueue")
    import dask

    # What the site's jobqueue.yaml leaves open.
    defaults = {"cores": 1, "processes": 1, "memory": "4GB"}
    known = {key: dask.config.get(f"jobqueue.slurm.{key}", None) for key in defaults}
    cluster = jobqueue.SLURMCluster(**{k: v for k, v in defaults.items() if known[k] is None})
    cluster.scale(jobs=workers)
    return cluster


def _import(module: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise missing_extra("this executor needs", "cluster") from error
