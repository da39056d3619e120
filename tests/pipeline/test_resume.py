"""What counts as made by just this: a stamp follows every byte that a stage reads."""

import os
import re
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.pipeline import RunConfig, extract
from desdis_match.pipeline.resume import (
    digest,
    fingerprint,
    is_current,
    num_workers,
    parts_folder,
    stamp,
)
from desdis_match.storage.features_file import FeatureFile
from desdis_match.support.files import canonical_json, read_json


def later(path: Path, content: bytes) -> None:
    """Replace a file by one of the same size, as a camera or an editor would: a moment later."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


@pytest.fixture
def photo(tmp_path) -> Path:
    """photos/sub/a.jpg with a mask and given keypoints beside."""
    for name, content in {
        "photos/sub/a.jpg": b"photo",
        "masks/sub/a.jpg.png": b"mask",
        "keypoints/sub/a.jpg.txt": b"text",
        "keypoints.h5": b"hdf5",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "given"),
    [
        ("photos/sub/a.jpg", {}),
        ("masks/sub/a.jpg.png", {"masks": "masks"}),
        ("keypoints/sub/a.jpg.txt", {"keypoints": "keypoints"}),
        ("keypoints.h5", {"keypoints": "keypoints.h5"}),
    ],
)
def test_a_file_replaced_by_one_of_the_same_size_is_another(photo, changed, given):
    inputs = {"masks": None, "keypoints": None} | {what: photo / path for what, path in given.items()}

    def now() -> str:
        return stamp(photo / "photos", "sub/a.jpg", **inputs)

    before = now()
    assert now() == before
    later(photo / changed, (photo / changed).read_bytes().upper())
    assert now() != before


@pytest.mark.parametrize("appears", ["masks/sub/a.jpg.png", "photos/sub/a.jpg"])
def test_a_file_that_grows_or_comes_is_a_change(photo, appears):
    before = stamp(photo / "photos", "sub/a.jpg", photo / "masks", None)
    status = (photo / appears).stat()
    (photo / appears).write_bytes(b"longer than before")
    os.utime(photo / appears, ns=(status.st_atime_ns, status.st_mtime_ns))  # as copies keep it
    grown = stamp(photo / "photos", "sub/a.jpg", photo / "masks", None)
    assert grown != before
    (photo / appears).unlink()
    assert stamp(photo / "photos", "sub/a.jpg", photo / "masks", None) not in (before, grown)


def test_what_is_not_read_does_not_count(photo):
    before = stamp(photo / "photos", "sub/a.jpg", None, None)
    later(photo / "masks/sub/a.jpg.png", b"MASK")
    assert stamp(photo / "photos", "sub/a.jpg", None, None) == before


def test_a_changed_mask_and_a_changed_photo_are_extracted_again(tmp_path):
    noise = np.random.default_rng(0).random((120, 160), np.float32)
    pixels = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    images, masks, output = tmp_path / "images", tmp_path / "masks", tmp_path / "features.h5"
    images.mkdir()
    masks.mkdir()
    cv2.imwrite(str(images / "a.bmp"), pixels)
    mask = np.full((120, 160), 255, np.uint8)

    def found() -> np.ndarray:
        config = ExtractConfig(descriptor="rootsift", orientation="upright")
        extract(images, output, config, masks=masks, run=RunConfig("cpu", workers=1), overwrite=True)
        with FeatureFile(output) as file:
            return file.keypoints("a.bmp")

    mask[:, 80:] = 0
    later_mask = cv2.imencode(".png", mask)[1].tobytes()
    (masks / "a.bmp.png").write_bytes(later_mask)
    assert found()[:, 0].max() < 80
    (masks / "a.bmp.png").write_bytes(cv2.imencode(".png", mask[:, ::-1])[1].tobytes())
    right = found()
    assert right[:, 0].min() > 79 and len(right) > 10
    later(images / "a.bmp", cv2.imencode(".bmp", pixels[::-1])[1].tobytes())
    turned = found()
    assert turned.shape != right.shape or not np.allclose(turned, right, atol=1)
    written = output.stat().st_mtime_ns
    found()
    assert output.stat().st_mtime_ns == written


def test_files_of_others_go_by_size_and_time_and_ours_by_what_made_them(tmp_path):
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file["a.jpg/keypoints"] = np.zeros((3, 2), np.float32)
    before = fingerprint(path)
    later(path, path.read_bytes())
    assert fingerprint(path) != before

    def ours(name: str, config: dict) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["config"] = canonical_json(config)
            file["a.jpg/keypoints"] = np.zeros((3, 2), np.float32)
        return tmp_path / name

    assert fingerprint(ours("1.h5", {"a": 1})) == fingerprint(ours("2.h5", {"a": 1})) == digest({"a": 1})
    assert fingerprint(ours("3.h5", {"a": 2})) != digest({"a": 1})


def test_an_output_stays_is_made_again_or_is_refused(tmp_path):
    output, made_by = tmp_path / "made_by.json", {"map": {"seed": 1, "align": True}}

    def current(config: dict, overwrite: bool = False) -> bool:
        return is_current(output, config, overwrite, "a model", read_json)

    assert not current(made_by)
    output.write_text(canonical_json(made_by))
    assert current(made_by) and current(made_by, overwrite=True)
    other = {"map": {"seed": 2, "align": True}}
    assert not current(other, overwrite=True)
    with pytest.raises(InputError, match=r"holds a model made otherwise \(map\.seed: 1 -> 2\)"):
        current(other)
    with pytest.raises(InputError, match="is a folder"):
        is_current(tmp_path, made_by, True, "a model", read_json)


def test_what_a_killed_run_left_beside_a_whole_output_goes(tmp_path):
    output = tmp_path / "made_by.json"
    output.write_text(canonical_json({"a": 1}))
    parts = parts_folder(output)
    parts.mkdir()
    with pytest.raises(InputError):
        is_current(output, {"a": 2}, False, "a model", read_json)
    assert parts.is_dir()  # it may be of the run that is asked for
    assert is_current(output, {"a": 1}, False, "a model", read_json)
    assert not parts.exists()


def test_a_damaged_output_is_made_again_only_where_it_may_be(tmp_path, caplog):
    output = tmp_path / "made_by.json"
    output.write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        is_current(output, {}, False, "a model", read_json)
    assert not is_current(output, {}, True, "a model", read_json)
    assert "it is made again" in caplog.text


def test_three_differences_are_named_and_that_there_are_more(tmp_path):
    output = tmp_path / "made_by.json"
    for num, more in ((3, ""), (4, "; ...")):
        output.write_text(canonical_json({f"k{i}": 1 for i in range(num)}))
        told = "; ".join(f"k{i}: 1 -> 2" for i in range(3)) + more
        with pytest.raises(InputError, match=re.escape(f"({told})")):
            is_current(output, {f"k{i}": 2 for i in range(num)}, False, "a model", read_json)


def test_workers_are_as_many_as_told_or_as_pay(monkeypatch):
    monkeypatch.setattr("desdis_match.pipeline.resume.available_cores", lambda: 4)
    assert num_workers(RunConfig("cpu"), 6, worthwhile=6) == 4
    assert num_workers(RunConfig("cpu"), 3, worthwhile=2) == 3
    assert num_workers(RunConfig("cpu", workers=3), 10, worthwhile=6) == 3
    assert num_workers(RunConfig("cpu", workers=3), 2, worthwhile=6) == 2
    assert num_workers(RunConfig("cpu", workers=3), 0, worthwhile=6) == 1
    assert num_workers(RunConfig("cpu"), 5, worthwhile=6) == 1
