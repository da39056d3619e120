"""HDF5 files that are damaged or meant to harm: an InputError that names the file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from limits import largest_file

from desdis_match.errors import InputError
from desdis_match.storage.features_file import FeatureFile, read_features, write_features
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.types import Features, Matches


def features(num: int = 50) -> Features:
    rng = np.random.default_rng(num)
    descriptors = rng.standard_normal((num, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    ones = np.ones(num, np.float32)
    return Features(rng.random((num, 2), np.float32), descriptors, ones, ones, ones, (320, 240))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_features(tmp_path / "features.h5", [("a.jpg", features()), ("sub/b.jpg", features())], {})


def read_all(path: Path) -> None:
    with FeatureFile(path) as file:
        for name in file.names():
            file.get(name)


def test_every_flipped_bit_of_an_array_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    at = whole.index(np.asarray(features().descriptors.T.astype(np.float16)).tobytes())
    read_all(path)
    for offset in (0, 777, 50 * 16 * 2 - 1):
        damaged = bytearray(whole)
        damaged[at + offset] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="descriptors is missing or damaged"):
            read_all(path)


def test_matches_have_a_checksum_too(tmp_path: Path) -> None:
    found = Matches(np.array([[3, 4], [5, 5]], np.int32), np.ones(2, np.float32))
    path = write_matches(tmp_path / "matches.h5", [("a.jpg", "b.jpg", found)], {}, {"a.jpg": 9, "b.jpg": 9})
    with h5py.File(path) as file:
        assert file["a.jpg/b.jpg/matches0"].fletcher32 and file["a.jpg/b.jpg/matching_scores0"].fletcher32
    with MatchFile(path) as matches:
        np.testing.assert_array_equal(matches.get("a.jpg", "b.jpg").indices, found.indices)


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "a/../../outside.jpg", "C:\\outside.jpg", "a\\..\\..\\outside.jpg", "a\nb"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file.create_group(name)["keypoints"] = np.zeros((1, 2), np.float32)
    with pytest.raises(InputError, match="names a photo"):
        read_all(tmp_path / "features.h5")


def link_out(file: h5py.File) -> None:
    file["x.jpg"] = h5py.ExternalLink("other.h5", "/a.jpg")


def soft_link(file: h5py.File) -> None:
    file["x.jpg"] = h5py.SoftLink("/a.jpg")


def cycle(file: h5py.File) -> None:
    group = file.create_group("x")
    group["x"] = group["y"] = group  # two ways at every level: walking them all would never end


def external_storage(file: h5py.File) -> None:
    group = file.create_group("x.jpg")
    group.create_dataset("keypoints", (4, 2), "f4", external=[("/etc/hostname", 0, 32)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((50, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a.jpg/keypoints", (50, 2))
    file.create_group("x.jpg").create_virtual_dataset("keypoints", layout)


def huge(file: h5py.File) -> None:
    file.create_group("x.jpg").create_dataset("keypoints", (1 << 34, 2), "f4", chunks=(1024, 2))


def scalar(file: h5py.File) -> None:
    file.create_group("x.jpg")["keypoints"] = 3.0


def words(file: h5py.File) -> None:
    file.create_group("x.jpg")["keypoints"] = ["one", "two"]


def not_finite(file: h5py.File) -> None:
    file.create_group("x.jpg")["keypoints"] = np.full((3, 2), np.nan)


def linked_array(file: h5py.File) -> None:
    file.create_group("x.jpg")["keypoints"] = h5py.SoftLink("/a.jpg/keypoints")


def array_elsewhere(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["keypoints"] = np.zeros((5, 2), np.float32)
    file.create_group("x.jpg")["keypoints"] = h5py.ExternalLink("other.h5", "/keypoints")


def outside_of_the_photo(file: h5py.File) -> None:
    group = file.create_group("x.jpg")
    group["keypoints"] = np.array([[10, 10], [10, -1e6]], np.float32)
    group["image_size"] = [640, 480]


@pytest.mark.parametrize(
    "spoil",
    [
        linked_array,
        array_elsewhere,
        outside_of_the_photo,
        link_out,
        soft_link,
        cycle,
        external_storage,
        virtual,
        huge,
        scalar,
        words,
        not_finite,
    ],
)
def test_what_no_features_file_holds_is_refused(tmp_path: Path, spoil) -> None:
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file.create_group("a.jpg")["keypoints"] = np.zeros((1, 2), np.float32)
        spoil(file)
    with pytest.raises(InputError, match=r"features\.h5"):
        read_all(tmp_path / "features.h5")


def test_keypoints_may_lie_a_little_outside(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "features.h5", "w") as file:
        group = file.create_group("x.jpg")
        group["keypoints"] = np.array([[-31, -31], [671, 511]], np.float32)  # 5 % of 640 pixels are 32
        group["image_size"] = [640, 480]
    assert len(read_features(tmp_path / "features.h5", "x.jpg").keypoints) == 2
    with h5py.File(tmp_path / "features.h5", "r+") as file:
        file["x.jpg/keypoints"][1] = (671, 513)
    with pytest.raises(InputError, match="outside of its photo of 640x480"):
        read_features(tmp_path / "features.h5", "x.jpg")


def test_nothing_of_our_own_files_may_be_missing(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["a.jpg/scales"]
    with pytest.raises(InputError, match="scales is missing"):
        read_all(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]  # the file would be read as hloc's, whose scales mean something else
    with pytest.raises(InputError, match="lost a part of its head"):
        read_all(path)


@pytest.mark.parametrize("size", [0, 100, 2000, 5000, 9000])
def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(path: Path, size: int) -> None:
    before = path.read_bytes()
    assert len(before) > 9000
    with largest_file(size), pytest.raises(InputError, match="the disk is full"):
        write_features(path, [("c.jpg", features(60)), ("d.jpg", features(70))], {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
