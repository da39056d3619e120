"""Dask over TCP and Slurm's script, the latter by a stand-in that says so: the same bytes as one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from desdis_match.commands import cli
from desdis_match.errors import InputError
from desdis_match.pipeline.resume import parts_folder
from desdis_match.support.executors import open_executor

ROOT = Path(__file__).parents[2]
STANDIN = Path(__file__).parent / "standin"
pytest.importorskip("distributed", reason="needs the extra cluster")

OPTIONS = ["--descriptor=rootsift", "--max-keypoints=200", "--orientation=upright", "--device=cpu"]


def python(*arguments: str | Path, **options) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *map(str, arguments)], **quiet, **options)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler file and the processes of three workers over TCP."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    scheduler = (
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    )
    processes = [python(*scheduler, "--scheduler-file", file, cwd=folder)]
    worker = ("-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    processes += [python(*worker, "--scheduler-file", file, cwd=folder, env=environment) for _ in range(3)]
    yield file, processes[1:]
    for process in processes:
        process.kill()
        process.wait()


def test_dask_with_a_worker_killed_gives_the_same_bytes(scene_folder, tmp_path, cluster):
    from distributed import Client

    file, workers = cluster
    images = tmp_path / "photos"
    images.mkdir()
    for number in range(3):
        for photo in (scene_folder / "images").iterdir():
            os.link(photo, images / f"{number}-{photo.name}")
    with Client(scheduler_file=str(file), timeout=120) as client:
        client.wait_for_workers(3, timeout=120)
    output = tmp_path / "features.h5"
    command = ["-m", "desdis_match", "extract", f"--images={images}", f"--output={output}", *OPTIONS]
    driver = python(
        *command, f"--executor=dask:{file}", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    parts = parts_folder(output)
    deadline = time.monotonic() + 400  # a busy machine loads the package for minutes
    while not (busy := [int(log.name.split("-")[0]) for log in parts.glob("*.log") if log.stat().st_size]):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    assert busy[0] in [worker.pid for worker in workers]
    os.kill(busy[0], signal.SIGKILL)
    assert driver.wait(timeout=300) == 0
    assert sum(worker.poll() is None for worker in workers) == 2
    alone = tmp_path / "alone.h5"
    assert cli.main(["extract", f"--images={images}", f"--output={alone}", *OPTIONS, "--workers=1"]) == 0
    assert output.read_bytes() == alone.read_bytes()


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("desdis_match.support.executors.START_SECONDS", 1)
    with (
        pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9 cannot be reached"),
        open_executor("dask:tcp://127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The stand-ins for Slurm's commands first on the path; the folder of their jobs."""
    jobs, bin_folder = tmp_path / "jobs", tmp_path / "bin"
    jobs.mkdir()
    bin_folder.mkdir()
    client = STANDIN / "command_client.py"
    (bin_folder / "desdis-match").write_text(f'#!/bin/bash\nexec {sys.executable} -S {client} "$@"\n')
    (bin_folder / "desdis-match").chmod(0o755)
    monkeypatch.setenv("STANDIN_JOBS", str(jobs))
    monkeypatch.setenv("PATH", os.pathsep.join([str(STANDIN), str(bin_folder), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return jobs


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A process that runs the thirteen calls of desdis-match, so that each need not load the package anew."""
    monkeypatch.setenv("STANDIN_SERVER", str(tmp_path / "server"))
    command = [sys.executable, STANDIN / "command_server.py", tmp_path / "server"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout.readline() == "ready\n"
    yield
    server.kill()
    server.wait()


def test_slurms_script_makes_a_model_by_job_arrays(scene_folder, tmp_path, slurm, served):
    images = tmp_path / "my photos"
    images.symlink_to(scene_folder / "images")
    done = subprocess.run(
        ["bash", ROOT / "pipelines" / "slurm.sh", images, tmp_path / "out", "2"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "stand-in for sbatch" in done.stderr
    assert (tmp_path / "out" / "sparse" / "0" / "points3D.bin").stat().st_size > 1000
    assert len(list(slurm.glob("*.job"))) == 7
    assert not list((tmp_path / "out").glob(".*.parts"))


def test_slurm_as_an_executor_starts_and_ends_its_jobs(slurm, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    with open_executor("slurm", workers=1) as executor:
        assert executor.submit(pow, 2, 5).result(timeout=120) == 32
        (pid_file,) = slurm.glob("*.pid")
        pid = int(pid_file.read_text())
        assert Path(f"/proc/{pid}").exists()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)
