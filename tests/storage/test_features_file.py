"""features.h5 and matches.h5: hloc's layout to the letter, whole files only, clear words about bad ones."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from desdis_match.conventions import FRAME_SCALE
from desdis_match.errors import InputError
from desdis_match.patchsets.patchfile import read_patch_file
from desdis_match.storage.features_file import (
    FeatureFile,
    merge_features,
    read_features,
    write_features,
)
from desdis_match.storage.hdf5 import FORMAT_VERSION, file_config
from desdis_match.storage.keypoint_files import read_given
from desdis_match.storage.matches_file import (
    MatchFile,
    check_pair_names,
    merge_matches,
    read_matches,
    write_matches,
)
from desdis_match.support.files import config_differences
from desdis_match.types import Features, Matches


def features(num: int, seed: int = 0, dim: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(num, dim)).astype(np.float32)
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9)
    return Features(
        keypoints=(3000 + 100 * rng.random((num, 2))).astype(np.float32),
        descriptors=descriptors,
        scores=rng.random(num).astype(np.float32),
        scales=rng.random(num).astype(np.float32),
        angles=rng.uniform(-3, 3, num).astype(np.float32),
        image_size=(4000, 3000),
    )


def matches(*rows: tuple[int, int]) -> Matches:
    indices = np.array(rows, np.int32).reshape(-1, 2)
    return Matches(indices, np.linspace(0.25, 1, len(rows), dtype=np.float32))


def test_features_come_back_and_keypoints_keep_their_fraction_of_a_pixel(tmp_path: Path) -> None:
    made = features(50)
    path = write_features(tmp_path / "features.h5", [("a b/ü.jpg", made)], {}, descriptor_type="float32")
    back = read_features(path, "a b/ü.jpg")
    np.testing.assert_array_equal(back.keypoints, made.keypoints)
    np.testing.assert_array_equal(back.descriptors, made.descriptors)
    np.testing.assert_array_equal(back.scores, made.scores)
    np.testing.assert_allclose(back.angles, made.angles, atol=1e-6)
    assert back.image_size == (4000, 3000)


def test_images_that_were_left_out_are_told_and_no_more(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [("a/b.jpg", features(3))], {}, left_out={"a/c.jpg": "is black"})
    with FeatureFile(path) as file:
        assert file.names() == ["a/b.jpg"] and "a/c.jpg" not in file
        assert file.left_out() == {"a/c.jpg": "is black"}


def test_float16_descriptors_come_back_as_unit_vectors(tmp_path: Path) -> None:
    made = features(200, dim=128)
    back = read_features(write_features(tmp_path / "f.h5", [("a.jpg", made)], {}), "a.jpg")
    assert back.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(back.descriptors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(back.descriptors, made.descriptors, atol=5e-4)


def test_the_layout_of_features_is_hlocs(tmp_path: Path) -> None:
    made = features(5)
    write_features(tmp_path / "f.h5", [("sub/a.jpg", made)], {})
    with h5py.File(tmp_path / "f.h5") as file:
        group = file["sub/a.jpg"]
        assert (group["keypoints"].shape, group["keypoints"].dtype) == ((5, 2), np.float32)
        assert group["keypoints"].attrs["uncertainty"] == 1.0
        assert (group["descriptors"].shape, group["descriptors"].dtype) == ((8, 5), np.float16)
        assert tuple(group["image_size"][()]) == (4000, 3000)
        assert group["scores"].shape == group["scales"].shape == group["oris"].shape == (5,)
        # hloc's DoG stores degrees and hands their negative to Kornia.
        np.testing.assert_allclose(group["oris"][()], -np.rad2deg(made.angles), rtol=1e-5)


def test_empty_features_and_matches_are_normal(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [("a.jpg", features(0))], {})
    assert read_features(path, "a.jpg").descriptors.shape == (0, 8)
    assert FeatureFile(path).counts() == {"a.jpg": 0}
    path = write_matches(tmp_path / "m.h5", [("a", "b", matches())], {}, {"a": 0, "b": 3})
    assert read_matches(path, "a", "b").indices.shape == (0, 2)
    assert read_matches(path, "b", "a").indices.shape == (0, 2)


def test_equal_content_gives_equal_bytes_at_another_time(tmp_path: Path) -> None:
    def write(folder: Path) -> bytes:
        names = [f"{letter}/{i}.jpg" for letter in "ba" for i in range(4)]
        write_features(folder / "f.h5", [(n, features(9)) for n in names], {"x": 1, "y": [2]})
        pairs = [(a, b, matches((0, 1))) for a in names for b in names if a < b]
        write_matches(folder / "m.h5", pairs, {"y": 1}, dict.fromkeys(names, 9))
        return (folder / "f.h5").read_bytes() + (folder / "m.h5").read_bytes()

    first = write(tmp_path / "1")
    time.sleep(1.1)  # HDF5's time stamps count seconds
    assert write(tmp_path / "2") == first


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [("a.jpg", features(3))], {"run": 1})

    def broken():
        yield "a.jpg", features(4)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_features(path, broken(), {"run": 2})
    assert file_config(path) == {"run": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


def test_the_configuration_travels_and_says_which_field_differs(tmp_path: Path) -> None:
    config = {"detector": {"name": "dog", "max": 8000}, "path": Path("a/b")}
    path = write_features(tmp_path / "f.h5", [], config)
    assert file_config(path) == {"detector": {"name": "dog", "max": 8000}, "path": "a/b"}
    assert config_differences(file_config(path), config) == []
    changed = {"detector": {"name": "hessian", "max": 8000}, "path": "a/b", "new": True}
    assert config_differences(file_config(path), changed) == [
        'detector.name: "dog" -> "hessian"',
        "new: (absent) -> true",
    ]


def test_matches_have_hlocs_layout_and_read_in_either_order(tmp_path: Path) -> None:
    made = matches((1, 40000), (3, 0), (4, 2))
    counts = {"x/a.jpg": 6, "b c.jpg": 50000}
    path = write_matches(tmp_path / "m.h5", [("x/a.jpg", "b c.jpg", made)], {}, counts)
    with h5py.File(path) as file:
        group = file["x-a.jpg/b c.jpg"]
        assert group["matches0"].dtype == np.int32
        assert group["matches0"][()].tolist() == [-1, 40000, -1, 0, 2, -1]
        assert group["matching_scores0"].dtype == np.float16
        assert group["matching_scores0"][()].tolist() == [0, 0.25, 0, 0.625, 1, 0]
    assert read_matches(path, "x/a.jpg", "b c.jpg").indices.tolist() == made.indices.tolist()
    turned = read_matches(path, "b c.jpg", "x/a.jpg")
    assert turned.indices.tolist() == [[0, 3], [2, 4], [40000, 1]]
    assert turned.scores.tolist() == [0.625, 1, 0.25]
    assert MatchFile(path).pairs(counts) == [("x/a.jpg", "b c.jpg")]


def hloc_file(path: Path) -> Path:
    """What hloc writes: float16 keypoints, int16 matches, no scales, no attributes; older `a_b` groups."""
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("db/1_a.jpg")
        group.create_dataset("keypoints", data=np.array([[1.5, 2], [3, 4]], np.float16))
        group.create_dataset("descriptors", data=np.eye(4, 2, dtype=np.float16))
        group.create_dataset("image_size", data=np.array([640, 480]))
        pair = file.create_group("db-1_a.jpg/q.jpg")
        pair.create_dataset("matches0", data=np.array([-1, 40000 - 65536], np.int16))
        pair.create_dataset("matching_scores0", data=np.array([0, 0.5], np.float16))
        old = file.create_group("q_2.jpg_db-1_a.jpg")
        old.create_dataset("matches0", data=np.array([1, -1, 0], np.int16))
    return path


def test_hlocs_own_files_are_read(tmp_path: Path) -> None:
    path = hloc_file(tmp_path / "hloc.h5")
    back = read_features(path, "db/1_a.jpg")
    assert back.keypoints.dtype == np.float32 and back.keypoints.tolist() == [[1.5, 2], [3, 4]]
    assert back.descriptors.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert (back.scales.tolist(), back.angles.tolist()) == ([2 * FRAME_SCALE] * 2, [0, 0])
    assert read_matches(path, "db/1_a.jpg", "q.jpg").indices.tolist() == [[1, 40000]]
    assert read_matches(path, "db/1_a.jpg", "q_2.jpg").indices.tolist() == [[0, 2], [1, 0]]
    assert file_config(path) is None
    names = ["db/1_a.jpg", "q.jpg", "q_2.jpg"]
    assert MatchFile(path).pairs(names) == [("db/1_a.jpg", "q.jpg"), ("q_2.jpg", "db/1_a.jpg")]


def test_the_scales_of_hlocs_files_are_sigmas(tmp_path: Path) -> None:
    path = hloc_file(tmp_path / "hloc.h5")
    with h5py.File(path, "a") as file:
        file["db/1_a.jpg"].create_dataset("scales", data=np.array([3, 0.5], np.float16))
    assert read_given(path, "db/1_a.jpg").sigmas.tolist() == [3, 0.5]
    assert read_features(path, "db/1_a.jpg").scales.tolist() == [3 * FRAME_SCALE, 0.5 * FRAME_SCALE]


def test_names_that_collide_are_named_both(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a/b\.jpg' and 'a-b\.jpg'"):
        check_pair_names(["a/b.jpg", "c.jpg", "a-b.jpg"])
    with pytest.raises(InputError, match=r"'a/b\.jpg' and 'a-b\.jpg'"):
        write_matches(tmp_path / "m.h5", [("a/b.jpg", "c", matches()), ("c", "a-b.jpg", matches())], {})
    with pytest.raises(InputError, match="twice"):
        write_matches(tmp_path / "m.h5", [("a", "b", matches()), ("b", "a", matches())], {})
    with pytest.raises(InputError, match=r"'a\.jpg' occurs twice"):
        write_features(tmp_path / "f.h5", [("a.jpg", features(1)), ("a.jpg", features(1))], {})
    assert list(tmp_path.iterdir()) == []


def test_matches_beyond_the_keypoints_name_file_group_and_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"keypoint 7 of 'b' is used, but it has 7 keypoints"):
        write_matches(tmp_path / "m.h5", [("a", "b", matches((0, 7)))], {}, {"a": 1, "b": 7})
    path = write_matches(tmp_path / "m.h5", [("a", "b", matches((0, 7)))], {})
    with pytest.raises(InputError, match=r"m\.h5: group '/a/b': keypoint 7 of 'b'"):
        MatchFile(path).get("b", "a", {"a": 1, "b": 7})


def test_a_pair_of_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_matches(tmp_path / "m.h5", [("a", "gone", matches())], {})
    with pytest.raises(InputError, match=r"m\.h5: group 'a/gone' points to an image"):
        MatchFile(path).pairs(["a", "b"])
    with pytest.raises(InputError, match=r"no pair 'a', 'b'"):
        read_matches(path, "a", "b")


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="files are locked otherwise on this system")
    path = write_features(tmp_path / "f.h5", [("a.jpg", features(5))], {})
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for read in (FeatureFile, file_config, lambda file: read_given(file, "a.jpg"), read_patch_file):
            with pytest.raises(InputError, match=r"f\.h5 is being written by another program"):
                read(path)
    assert file_config(path) == {}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [("a.jpg", features(500))], {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"f\.h5 is not a readable HDF5 file"):
        FeatureFile(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"f\.h5 is not a readable HDF5 file"):
        file_config(path)
    with pytest.raises(InputError, match="does not exist"):
        FeatureFile(tmp_path / "none.h5")
    with pytest.raises(InputError, match="swapped"):
        MatchFile(write_features(tmp_path / "g.h5", [], {}))


def test_a_file_of_the_future_is_refused(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [], {})
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = FORMAT_VERSION + 1
    with pytest.raises(InputError, match=rf"f\.h5 has format version {FORMAT_VERSION + 1}"):
        FeatureFile(path)


def test_arrays_of_different_length_name_file_and_group(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f.h5", [("s/a.jpg", features(4))], {})
    with h5py.File(path, "a") as file:
        del file["s/a.jpg/scores"]
        file["s/a.jpg/scores"] = np.zeros(3, np.float32)
        file["b.jpg/keypoints"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"f\.h5: /s/a\.jpg/scores has 3 values for 4 keypoints"):
        read_features(path, "s/a.jpg")
    with pytest.raises(InputError, match=r"f\.h5: /b\.jpg/keypoints is \(3,\), expected \(N, 2\)"):
        read_features(path, "b.jpg")
    with pytest.raises(InputError, match=r"no image 'c\.jpg'; it holds 2 images"):
        read_features(path, "c.jpg")


def test_files_are_merged_as_stored_and_what_two_have_is_an_error(tmp_path: Path) -> None:
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    write_features(old, [("b/2.jpg", features(5)), ("c.jpg", features(0))], {"run": 1})
    write_features(new, [("a.jpg", features(7, seed=1))], {"run": 2})
    with FeatureFile(old) as f, FeatureFile(new) as g:
        before = [f.get("b/2.jpg"), g.get("a.jpg")]
        merge_features(old, [f, g], {"run": 3})
        with pytest.raises(InputError, match=r"'a\.jpg' is in .*new\.h5 and in another file"):
            merge_features(tmp_path / "x.h5", [g, g], {})
    with h5py.File(tmp_path / "hloc.h5", "w") as file:
        file["d.jpg/keypoints"] = np.zeros((1, 2), np.float32)
    theirs = FeatureFile(tmp_path / "hloc.h5")
    with theirs, pytest.raises(InputError, match=r"hloc\.h5 was not written by desdis-match"):
        merge_features(tmp_path / "x.h5", [theirs], {})
    with FeatureFile(old) as merged:
        assert merged.config == {"run": 3}
        assert merged.counts() == {"a.jpg": 7, "b/2.jpg": 5, "c.jpg": 0}
        for name, record in zip(("b/2.jpg", "a.jpg"), before, strict=True):
            np.testing.assert_array_equal(merged.get(name).descriptors, record.descriptors)
    with pytest.raises(InputError, match="would be lost"):
        write_matches(old, [("a", "b", matches((0, 1)))], {})
    first = write_matches(tmp_path / "first.h5", [("a", "b", matches((0, 1)))], {})
    second = write_matches(tmp_path / "second.h5", [("a", "c", matches((2, 2)))], {})
    with MatchFile(first) as m, MatchFile(second) as n:
        merge_matches(tmp_path / "m.h5", [m, n], {})
    assert MatchFile(tmp_path / "m.h5").pairs("abc") == [("a", "b"), ("a", "c")]
