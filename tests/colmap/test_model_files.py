"""Model files: cut, lengthened and altered ones are named before COLMAP reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pycolmap
import pytest
from limits import largest_file

from desdis_match.colmap.mapping import new_folder, read_model, write_models, write_points
from desdis_match.colmap.model_files import (
    STAMP,
    changed_files,
    check_model_files,
    read_stamp,
    write_checksums,
)
from desdis_match.errors import InputError
from desdis_match.support.files import write_text


@pytest.fixture(scope="module")
def model() -> pycolmap.Reconstruction:
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=2, num_frames_per_rig=2)
    options.num_points3D = 20
    return pycolmap.synthesize_dataset(options)


@pytest.fixture
def sparse(model: pycolmap.Reconstruction, tmp_path: Path) -> Path:
    write_models([model], tmp_path / "sparse")
    return tmp_path / "sparse"


@pytest.mark.parametrize("name", ["cameras.bin", "rigs.bin", "frames.bin", "images.bin", "points3D.bin"])
def test_every_cut_of_every_file_is_named(sparse: Path, name: str) -> None:
    path = sparse / "0" / name
    whole = path.read_bytes()
    for length in sorted({0, 7, 8, 9, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read_model(sparse / "0")
    for more in (whole + b"\0", b"\xff" * 8 + whole[8:]):
        path.write_bytes(more)
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read_model(sparse / "0")


def test_counts_are_those_of_the_model(model: pycolmap.Reconstruction, sparse: Path) -> None:
    assert check_model_files(sparse / "0") == {
        "cameras.bin": 2,
        "rigs.bin": 1,
        "frames.bin": 2,
        "images.bin": 4,
        "points3D.bin": 20,
    }
    model.write_text(sparse)
    assert check_model_files(sparse)["images.txt"] == 4


def test_a_flipped_bit_is_a_warning_that_names_the_file(sparse: Path, caplog) -> None:
    path = sparse / "0" / "points3D.bin"
    content = bytearray(path.read_bytes())
    content[8 + 8 + 3] ^= 1  # in a coordinate: no length can tell
    path.write_bytes(content)
    assert changed_files(sparse / "0") == ["points3D.bin"]
    read_model(sparse / "0")
    assert "points3D.bin" in caplog.text and str(sparse / "0") in caplog.text


def test_a_stamp_that_was_edited_is_refused(sparse: Path) -> None:
    stamp = write_text(sparse / STAMP, '{"seed": 1}')
    assert read_stamp(stamp) == {"seed": 1}  # nothing was noted of it
    write_checksums(sparse)
    assert read_stamp(stamp) == {"seed": 1}
    write_text(stamp, '{"seed": 2}')
    with pytest.raises(InputError, match=f"{STAMP} is not as it was written"):
        read_stamp(stamp)


def test_names_that_leave_the_folder_are_refused(model: pycolmap.Reconstruction, tmp_path: Path) -> None:
    hostile = pycolmap.Reconstruction(model)
    hostile.image(1).name = "../../photo.jpg"
    for suffix, write in (("bin", hostile.write_binary), ("txt", hostile.write_text)):
        (tmp_path / suffix).mkdir()
        write(tmp_path / suffix)
        with pytest.raises(InputError, match="leads out of the folder"):
            read_model(tmp_path / suffix)


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt"])
def test_text_models_of_wrong_words(model: pycolmap.Reconstruction, tmp_path: Path, name: str) -> None:
    model.write_text(tmp_path)
    assert read_model(tmp_path).num_points3D() == 20
    with open(tmp_path / name, "a", encoding="utf-8") as file:
        file.write("7 nan\n")
    with pytest.raises(InputError, match=f"{name} is damaged"):
        read_model(tmp_path)


def test_what_colmap_writes_on_a_full_disk_is_an_error_and_the_old_stays(
    model: pycolmap.Reconstruction, sparse: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (sparse / "0").iterdir()}
    write_points(model, sparse / "points.ply")
    points = (sparse / "points.ply").read_bytes()
    whole = (sparse / "0" / "points3D.bin").stat().st_size
    with largest_file(whole // 2), pytest.raises(InputError, match="the disk is full"):
        write_models([model], sparse)
    with largest_file(len(points) // 2), pytest.raises(InputError, match="the disk is full"):
        write_points(model, sparse / "points.ply")
    assert {path.name: path.read_bytes() for path in (sparse / "0").iterdir()} == before
    assert (sparse / "points.ply").read_bytes() == points
    assert not list(sparse.parent.glob(".*"))


def test_the_old_model_comes_back_after_a_kill_between_two_renames(sparse: Path) -> None:
    before = (sparse / "0" / "points3D.bin").read_bytes()
    shutil.move(sparse, sparse.with_name(".sparse.old"))
    with pytest.raises(RuntimeError), new_folder(sparse):
        raise RuntimeError("the next run fails as well")
    assert (sparse / "0" / "points3D.bin").read_bytes() == before


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no folder"), new_folder(tmp_path / "notes.txt"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_photos_of_one_name_are_refused(model: pycolmap.Reconstruction, tmp_path: Path) -> None:
    twice = pycolmap.Reconstruction(model)
    twice.image(2).name = twice.image(1).name
    for suffix, write in (("bin", twice.write_binary), ("txt", twice.write_text)):
        (tmp_path / suffix).mkdir()
        write(tmp_path / suffix)
        with pytest.raises(InputError, match=f"images.{suffix} names a photo '.*' twice"):
            read_model(tmp_path / suffix)
