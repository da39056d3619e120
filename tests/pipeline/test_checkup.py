"""The check-up of a run's folder: whole files are whole, and what was done to one is found there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from desdis_match.colmap.mappers import MapConfig
from desdis_match.commands.cli import main
from desdis_match.features.extract import ExtractConfig
from desdis_match.pipeline import RunConfig, extract
from desdis_match.pipeline.checkup import check_run
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct

EXTRACT = ExtractConfig(max_keypoints=300, descriptor="rootsift", orientation="upright")
ONE = RunConfig(device="cpu", workers=1)


@pytest.fixture(scope="module")
def whole(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkup") / "out"
    mapping = MapConfig(mapper="incremental", align=False)
    reconstruct(ReconstructConfig(scene_folder / "images", out, extract=EXTRACT, map=mapping, run=ONE))
    return out


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


def states(out: Path) -> dict[str, str]:
    return {one.file: one.state for one in check_run(out)}


def test_a_finished_run_is_whole(run: Path, capsys) -> None:
    assert set(states(run).values()) == {"whole"}
    assert main(["doctor", str(run)]) == 0
    assert "features.h5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["features.h5", "matches.h5", "database.db", "points.ply", "sparse/0/images.bin"]
)
def test_a_cut_file_is_found(run: Path, name: str, capsys) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])
    found = states(run)
    assert found["sparse/0" if name.startswith("sparse") else name] == "DAMAGED"
    assert main(["doctor", str(run)]) == 1


def test_a_flipped_bit_of_a_model_is_found(run: Path) -> None:
    content = bytearray((run / "sparse/0/points3D.bin").read_bytes())
    content[20] ^= 1
    (run / "sparse/0/points3D.bin").write_bytes(content)
    assert states(run)["sparse/0"] == "changed"


def test_files_that_no_longer_belong_together_are_found(run: Path, scene_folder: Path) -> None:
    other = ExtractConfig(max_keypoints=200, descriptor="rootsift", orientation="upright")
    extract(scene_folder / "images", run / "features.h5", other, run=ONE, overwrite=True)
    found = states(run)
    assert found["features.h5"] == "whole"
    assert (found["matches.h5"], found["database.db"], found["sparse/made_by.json"]) == ("stale",) * 3


def test_a_stopped_addition_is_said(run: Path) -> None:
    (run / ".add").mkdir()
    (run / ".add" / "ready").write_text("{}")
    assert states(run)[".add"] == "unfinished"
