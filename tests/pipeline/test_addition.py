"""New photos into an existing model: what was there stays, what is new joins, and a kill loses nothing."""

import json
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pycolmap
import pytest

import desdis_match.pipeline.addition as add
from desdis_match.colmap.database import open_database
from desdis_match.colmap.mapping import MapConfig, read_model
from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.photos.cameras import CameraConfig
from desdis_match.pipeline import RunConfig
from desdis_match.pipeline.addition import add_photos
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.hdf5 import file_config
from desdis_match.storage.matches_file import MatchFile

ONE = RunConfig(device="cpu", workers=1)


@pytest.fixture(scope="module")
def first_run(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ (five of the scene's six) and out/, their reconstruction."""
    folder = tmp_path_factory.mktemp("first run")
    shutil.copytree(scene_folder / "images", folder / "photos")
    sorted((folder / "photos").iterdir())[2].unlink()
    extract = ExtractConfig(max_keypoints=800, descriptor="rootsift")
    # The true camera: six small photos leave its focal length, and with it the poses, uncertain.
    camera = next(iter(read_model(scene_folder / "ground_truth" / "sparse").cameras.values()))
    cameras = CameraConfig(camera_model=camera.model.name, camera_params=camera.params_to_string())
    mapping = MapConfig(cameras, fix_intrinsics=True)
    config = ReconstructConfig(folder / "photos", folder / "out", extract=extract, map=mapping, run=ONE)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("tempfile.tempdir", str(folder / "none"))  # the output's disk is the one with room
        reconstruct(config)
    assert not (folder / "out" / ".mapping").exists()
    return folder


@pytest.fixture
def grown(first_run: Path, scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the first run whose photos are all there now, the missing one under a name with a blank.

    The system's temporary folder cannot be used: the output's disk is the one with room.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    shutil.copytree(first_run, tmp_path / "run")
    missing = sorted((scene_folder / "images").iterdir())[2]
    (tmp_path / "run" / "photos" / "later on").mkdir()
    shutil.copy(missing, tmp_path / "run" / "photos" / "later on" / "ü 1.jpg")
    return tmp_path / "run"


def poses(folder: Path) -> dict[str, np.ndarray]:
    model = read_model(folder / "out" / "sparse" / "0")
    return {model.image(i).name: model.image(i).cam_from_world().matrix() for i in model.reg_image_ids()}


def test_a_new_photo_joins_and_the_others_stay(grown: Path, first_run: Path) -> None:
    before = poses(grown)
    result = add_photos(grown / "out", grown / "photos", run=ONE)
    assert result.registered == ("later on/ü 1.jpg",)
    assert (result.before.num_registered, result.after.num_registered) == (5, 6)
    assert result.after.num_observations > result.before.num_observations
    after = poses(grown)
    assert set(after) == {*before, "later on/ü 1.jpg"}
    for name, pose in before.items():  # the scene is about ten units wide
        np.testing.assert_allclose(after[name], pose, atol=0.05)
    with FeatureFile(grown / "out/features.h5") as now, FeatureFile(first_run / "out/features.h5") as then:
        assert set(now.names()) == set(after)
        for name in before:
            np.testing.assert_array_equal(now.get(name).descriptors, then.get(name).descriptors)
    with MatchFile(grown / "out/matches.h5") as now_m, MatchFile(first_run / "out/matches.h5") as then_m:
        pairs = now_m.pairs(after)
        assert len(pairs) == 15
        for pair in then_m.pairs(before):
            np.testing.assert_array_equal(now_m.get(*pair).indices, then_m.get(*pair).indices)
    lines = (grown / "out" / "pairs.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 15
    with open_database(grown / "out" / "database.db") as database:
        assert database.num_images() == 6
        assert database.num_cameras() == 1  # of the same kind as the others
        assert database.num_matched_image_pairs() == 15
    report = json.loads((grown / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["images"]["later on/ü 1.jpg"]["registered"]
    assert report["models"][0]["num_registered"] == 6
    assert not (grown / "out" / ".add").exists()
    colours = [point.color.sum() for point in read_model(grown / "out/sparse/0").points3D.values()]
    assert np.mean(np.array(colours) == 0) < 0.02


def test_fixed_poses_do_not_move(grown: Path) -> None:
    before = poses(grown)
    assert add_photos(grown / "out", grown / "photos", run=ONE, fix_poses=True).registered
    after = poses(grown)
    for name, pose in before.items():
        np.testing.assert_allclose(after[name], pose, atol=1e-9)


def test_a_kill_anywhere_is_made_good_by_the_same_command(
    grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = {p.name: p.read_bytes() for p in (grown / "out").iterdir() if p.is_file()}

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(add, "extend_model", killed)
        add_photos(grown / "out", grown / "photos", run=ONE)
    after = {p.name: p.read_bytes() for p in (grown / "out").iterdir() if p.is_file()}
    for name in ("features.h5", "matches.h5", "pairs.txt", "database.db", "points.ply", "report.json"):
        assert after[name] == untouched[name]
    assert len(poses(grown)) == 5
    real = add.os.replace

    def killed_at_database(source, target):
        if Path(target).name == "database.db" and Path(target).parent.name == "out":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(add.os, "replace", killed_at_database)
        add_photos(grown / "out", grown / "photos", run=ONE)
    result = add_photos(grown / "out", grown / "photos", run=ONE)
    assert result.registered == ("later on/ü 1.jpg",)
    assert (result.before.num_registered, result.after.num_registered) == (5, 6)
    assert not (grown / "out" / ".add").exists()


def test_a_kill_while_models_change_places_is_made_good(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = add.os.replace

    def killed_at_new_models(source, target):
        if Path(target) == grown / "out" / "sparse":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(add.os, "replace", killed_at_new_models)
        add_photos(grown / "out", grown / "photos", run=ONE)
    assert not (grown / "out" / "sparse").exists()
    result = add_photos(grown / "out", grown / "photos", run=ONE)
    assert (result.before.num_registered, result.after.num_registered) == (5, 6)
    assert not (grown / "out" / ".add").exists()


def test_a_photo_of_something_else_is_left_out_with_the_reason(grown: Path, capsys) -> None:
    (grown / "photos" / "later on" / "ü 1.jpg").unlink()
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8), (0, 0), 2)
    cv2.imwrite(str(grown / "photos" / "noise.png"), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    new_only = grown / "new only"
    new_only.mkdir()
    shutil.move(grown / "photos" / "noise.png", new_only / "noise.png")
    before = poses(grown)
    code = main(["add", "--output", str(grown / "out"), "--images", str(new_only), "--workers", "1"])
    assert code == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "0 of 1 new photos registered"
    assert printed[1].startswith("  noise.png: ")
    assert printed[2].startswith("before 5 images") and printed[3].startswith("now    5 images")
    after = poses(grown)
    assert all((after[name] == pose).all() for name, pose in before.items())
    assert "added" in (file_config(grown / "out" / "features.h5") or {})


def test_a_folder_of_new_photos_only_may_lie_anywhere(grown: Path, tmp_path: Path) -> None:
    (grown / "new only").mkdir()
    (grown / "photos" / "later on" / "ü 1.jpg").rename(grown / "elsewhere.jpg")
    (grown / "new only" / "linked.jpg").symlink_to(Path("..") / "elsewhere.jpg")
    (grown / "new only" / "broken.jpg").write_bytes(b"no photo")
    report = grown / "out" / "report.json"
    told = json.loads(report.read_text(encoding="utf-8"))
    report.write_text(json.dumps({**told, "images_folder": str(grown / "photos")}), encoding="utf-8")
    result = add_photos(grown / "out", grown / "new only", run=ONE)
    assert result.registered == ("linked.jpg",) and list(result.left_out) == ["broken.jpg"]
    with open_database(grown / "out" / "database.db") as database:
        assert len(database.read_all_cameras()) == 1
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["images_folder"] == str(grown / "photos")
    assert told["added_folders"] == [str(grown / "new only")]
    assert told["images"]["broken.jpg"]["why"].startswith("it ") and told["counts"]["images"] == 7
    page = (grown / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('id="data-photo-') == 6 and "any more" not in page


def test_a_photo_on_its_side_is_described_as_the_others_stand(grown: Path) -> None:
    path = grown / "photos" / "later on" / "ü 1.jpg"
    upright = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    path.unlink()
    cv2.imwrite(str(path.parent / "turned.png"), cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))
    add_photos(grown / "out", grown / "photos", run=ONE)
    with FeatureFile(grown / "out" / "features.h5") as features:
        angles = features.get("later on/turned.png").angles
        np.testing.assert_allclose(np.abs(angles), np.pi / 2, atol=1e-3)
        assert all(np.abs(features.get(name).angles).max() < 1e-3 for name in features.names()[1:])
    told = json.loads((grown / "out" / "report.json").read_text(encoding="utf-8"))
    assert told["images"]["later on/turned.png"]["verified_matches"] > 200


def test_what_new_photos_cannot_be_described_like_is_refused(grown: Path, monkeypatch) -> None:
    class Other:
        fingerprint = "of other weights"

    with monkeypatch.context() as patched, pytest.raises(InputError, match="has other weights now"):
        patched.setattr(add, "load_descriptor", lambda *_, **__: Other())
        add_photos(grown / "out", grown / "photos", run=ONE)
    with h5py.File(grown / "out" / "features.h5", "r+") as file:
        file.attrs["config"] = json.dumps({**json.loads(file.attrs["config"]), "keypoints": "mine.h5"})
    with pytest.raises(InputError, match=r"describes given keypoints \(mine\.h5\)"):
        add_photos(grown / "out", grown / "photos", run=ONE)


def test_nothing_new_and_nothing_there_are_errors(first_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no photo that"):
        add_photos(first_run / "out", first_run / "photos", run=ONE)
    with pytest.raises(InputError, match="holds no model; run desdis-match reconstruct"):
        add_photos(tmp_path, first_run / "photos", run=ONE)
    assert isinstance(read_model(first_run / "out/sparse/0"), pycolmap.Reconstruction)
    shutil.copytree(first_run / "out/sparse", tmp_path / "mapped/sparse")  # as `map` alone leaves it
    with pytest.raises(InputError, match=r"lacks features.h5, pairs.txt, matches.h5; copy what the model"):
        add_photos(tmp_path / "mapped", first_run / "photos", run=ONE)


def test_an_addition_that_was_stopped_is_finished_before_another(
    grown: Path, tmp_path: Path, scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while A was put in place, then B is added: both are there, and B's result is B's."""
    with monkeypatch.context() as patch:
        patch.setattr(add, "write_points", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add_photos(grown / "out", grown / "photos", run=ONE)
    (tmp_path / "B").mkdir()
    shutil.copy(sorted((scene_folder / "images").iterdir())[2], tmp_path / "B" / "b.jpg")
    result = add_photos(grown / "out", tmp_path / "B", run=ONE)
    assert (*result.registered, *result.left_out) == ("b.jpg",)
    with FeatureFile(grown / "out" / "features.h5") as features:
        assert {"later on/ü 1.jpg", "b.jpg"} <= set(features.names())
    assert not (grown / "out" / ".add").exists()


def test_another_photo_of_a_known_name_is_said(grown: Path, tmp_path: Path, caplog) -> None:
    name = min(path.name for path in (grown / "photos").glob("*.jpg"))
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / name), np.zeros((100, 100), np.uint8))
    with pytest.raises(InputError, match="no photo that"):
        add_photos(grown / "out", tmp_path / "more", run=ONE)
    assert name in caplog.text and "another photo of this name" in caplog.text
