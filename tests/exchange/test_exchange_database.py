"""Into and out of COLMAP databases that others made, and COLMAP's text features."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import SIZE, PointCloud, make_point_cloud

from desdis_match.colmap.database import open_database
from desdis_match.colmap.mapping import build_database, map_database, verify
from desdis_match.conventions import FRAME_SCALE, scale_from_sigma
from desdis_match.errors import InputError
from desdis_match.exchange.database import export_database, import_database
from desdis_match.exchange.text import write_text_features
from desdis_match.photos.cameras import CameraConfig
from desdis_match.pipeline import fingerprint
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.storage.keypoint_files import read_given
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.types import Features, Matches


def colmap_made(path: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    """A database as another program would make it: ids not from 1, one camera for all."""
    with open_database(path, create=True) as database:
        camera = pycolmap.Camera.create_from_model_name(7, "OPENCV", 500.0, *size)
        database.write_camera(camera, use_camera_id=True)
        rig = pycolmap.Rig(rig_id=3)
        rig.add_ref_sensor(camera.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for image_id, name in enumerate(names, start=20):
            image = pycolmap.Image(image_id=image_id, name=name, camera_id=7)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=image_id + 5, rig_id=3)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
    return path


def with_sift(path: Path) -> Path:
    """Two keypoints an image, with a scale of 2 and a quarter turn, one match."""
    with open_database(path) as database:
        for image in database.read_all_images():
            affine = np.array([[10.5, 20.5, 0, -2, 2, 0], [0.5, 0.5, 2, 0, 0, 2]], np.float32)
            database.write_keypoints(image.image_id, affine)
            bytes_ = np.zeros((2, 128), np.uint8)
            bytes_[0, 0], bytes_[1, :2] = 200, 3
            kind = pycolmap.FeatureExtractorType.SIFT
            database.write_descriptors(image.image_id, pycolmap.FeatureDescriptors(type=kind, data=bytes_))
        database.write_matches(21, 20, np.array([[0, 1]], np.uint32))
    return path


def test_a_sift_database_comes_out_in_our_frame(tmp_path: Path) -> None:
    path = with_sift(colmap_made(tmp_path / "x.db", ["b ü.jpg", "a.jpg"]))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    found = import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    assert path.read_bytes() == before  # COLMAP's own reader would have switched the journal
    with pytest.raises(InputError, match=r"f\.h5 exists; give --overwrite"):
        import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    assert (found.num_images, found.num_keypoints, found.num_pairs, found.num_matches) == (2, 4, 1, 1)
    features = FeatureFile(tmp_path / "f.h5").get("b ü.jpg")
    assert features.keypoints.tolist() == [[10, 20], [0, 0]]
    assert features.scales.tolist() == [2 * FRAME_SCALE] * 2
    np.testing.assert_allclose(features.angles, [-np.pi / 2, 0], atol=1e-6)
    assert features.descriptors[0, 0] == 1
    np.testing.assert_allclose(features.descriptors[1, :2], [0.5**0.5] * 2, rtol=1e-3)
    assert features.image_size == SIZE
    matches = MatchFile(tmp_path / "m.h5")
    assert matches.get("a.jpg", "b ü.jpg").indices.tolist() == [[0, 1]]  # a.jpg has id 21


def test_the_copy_to_read_lies_beside_the_features_and_goes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # the output's disk is the one with room
    path = with_sift(colmap_made(tmp_path / "x.db", ["a", "b"]))
    killed = tmp_path / "out" / ".f.h5.scratch"
    killed.mkdir(parents=True)
    (killed / "database.db-journal").write_text("of a run that was killed")
    assert import_database(path, tmp_path / "out" / "f.h5", tmp_path / "m.h5").num_images == 2
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["f.h5"]


def test_another_database_under_the_same_name_counts_as_another(tmp_path: Path) -> None:
    path = with_sift(colmap_made(tmp_path / "x.db", ["a", "b"]))
    outputs = (tmp_path / "f.h5", tmp_path / "m.h5")
    import_database(path, *outputs)
    first = [(output.read_bytes(), fingerprint(output)) for output in outputs]
    import_database(path, *outputs, overwrite=True)
    assert [(output.read_bytes(), fingerprint(output)) for output in outputs] == first
    with open_database(path) as database:
        database.update_keypoints(20, np.ones((2, 2), np.float32))
    import_database(path, *outputs, overwrite=True)
    for output, (_, before) in zip(outputs, first, strict=True):
        assert fingerprint(output) != before


def test_only_verified_matches_are_better_than_none(tmp_path: Path) -> None:
    path = colmap_made(tmp_path / "x.db", ["a", "b"])
    with open_database(path) as database:
        for image_id in (20, 21):
            database.write_keypoints(image_id, np.ones((3, 2), np.float32))
        inliers = np.array([[0, 1], [2, 2]], np.uint32)
        database.write_two_view_geometry(20, 21, pycolmap.TwoViewGeometry(inlier_matches=inliers, config=3))
    import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    assert MatchFile(tmp_path / "m.h5").get("a", "b").indices.tolist() == [[0, 1], [2, 2]]


def test_an_empty_row_of_matches_is_none(tmp_path: Path) -> None:
    path = colmap_made(tmp_path / "x.db", ["a", "b", "c"])
    with open_database(path) as database:
        for image_id in (20, 21, 22):
            database.write_keypoints(image_id, np.ones((3, 2), np.float32))
        for pair in ((20, 21), (20, 22)):
            database.write_matches(*pair, np.zeros((0, 2), np.uint32))
        inliers = np.array([[0, 1], [2, 2]], np.uint32)
        database.write_two_view_geometry(20, 21, pycolmap.TwoViewGeometry(inlier_matches=inliers, config=3))
    import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    assert MatchFile(tmp_path / "m.h5").get("a", "b").indices.tolist() == [[0, 1], [2, 2]]
    assert len(MatchFile(tmp_path / "m.h5").get("a", "c")) == 0


def test_matches_of_an_image_that_is_gone_are_passed_over(tmp_path: Path) -> None:
    path = with_sift(colmap_made(tmp_path / "x.db", ["a", "b", "c"]))
    with open_database(path) as database:
        database.write_matches(20, 22, np.array([[1, 1]], np.uint32))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        for table in ("images", "keypoints"):
            connection.execute(f"DELETE FROM {table} WHERE image_id = 22")
        connection.execute("DELETE FROM frame_data WHERE data_id = 22")
    assert import_database(path, tmp_path / "f.h5", tmp_path / "m.h5").num_pairs == 1


def test_descriptors_of_networks_are_floats(tmp_path: Path) -> None:
    path = colmap_made(tmp_path / "x.db", ["a"])
    rows = np.array([[0.6, -0.8, 0], [0, 0, 2]], np.float32)
    with open_database(path) as database:
        database.write_keypoints(20, np.ones((2, 2), np.float32))
        kind = pycolmap.FeatureExtractorType.ALIKED_N16ROT
        floats = pycolmap.FeatureDescriptorsFloat(type=kind, data=rows)
        database.write_descriptors(20, pycolmap.FeatureDescriptors.from_float(floats))
    import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    expected = [[0.6, -0.8, 0], [0, 0, 1]]
    np.testing.assert_allclose(FeatureFile(tmp_path / "f.h5").get("a").descriptors, expected, atol=1e-3)


def test_an_empty_or_damaged_database_is_named(tmp_path: Path) -> None:
    path = colmap_made(tmp_path / "x.db", ["a"])
    with pytest.raises(InputError, match=r"x\.db holds no keypoints"):
        import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    (tmp_path / "bad.db").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"bad\.db is not a readable COLMAP database"):
        import_database(tmp_path / "bad.db", tmp_path / "f.h5", tmp_path / "m.h5")
    assert not (tmp_path / "f.h5").exists()


def export(cloud: PointCloud, path: Path, **kwargs) -> int:
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        return export_database(f, m, path, **kwargs)


def test_known_images_keep_ids_and_cameras_and_new_ones_join(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=4, num_points=150)
    path = colmap_made(tmp_path / "x.db", [cloud.names[2], cloud.names[0]])
    with open_database(path) as database:
        camera = database.read_camera(7)
        camera.params = [600, 600, 320, 240, 0, 0, 0, 0]
        database.update_camera(camera)
    assert export(cloud, path) == 2
    with open_database(path) as database:
        images = {image.name: image for image in database.read_all_images()}
        assert (images[cloud.names[2]].image_id, images[cloud.names[0]].image_id) == (20, 21)
        assert {image.camera_id for image in images.values()} == {
            7
        }  # of equal size, and nothing tells them apart
        assert (
            database.read_keypoints(21)[0].tolist()
            == (cloud.keypoints[cloud.names[0]][0] + 0.5).astype(np.float32).tolist()
        )
    verify(path)
    (model,) = map_database(path, None, tmp_path / "sparse").models
    assert model.num_reg_images() == 4
    assert model.num_points3D() > 140


def test_keypoints_that_are_there_are_not_lost_by_accident(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=30)
    path = with_sift(colmap_made(tmp_path / "x.db", ["other.jpg", cloud.names[0]]))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"x\.db has keypoints of 1 of these images"):
        export(cloud, path)
    assert path.read_bytes() == before
    export(cloud, path, overwrite=True)
    with open_database(path) as database:
        assert len(database.read_keypoints(21)) == 30
        assert len(database.read_keypoints(20)) == 2  # not one of ours
        assert not database.exists_descriptors(21)
        assert not database.exists_matches(20, 21)
    assert {p.name for p in tmp_path.iterdir()} == {"features.h5", "matches.h5", "x.db"}


def test_photos_of_another_size_are_other_photos(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=30)
    path = colmap_made(tmp_path / "x.db", [cloud.names[0]], size=(100, 50))
    with pytest.raises(InputError, match="has a camera of 100 x 50 pixels, the features are of 640 x 480"):
        export(cloud, path)


def test_our_own_database_takes_new_features_and_forgets_what_made_it(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=60)
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        path = build_database(tmp_path / "x.db", None, f, m, config={"made": "so"})
    assert verify(path).num_verified == 3
    a, b, _ = cloud.names
    few = Matches(np.stack([np.arange(20)] * 2, axis=1).astype(np.int32), np.ones(20, np.float32))
    write_matches(cloud.matches, [(a, b, few)], {})
    assert export(cloud, path, overwrite=True, cameras=CameraConfig()) == 0
    assert verify(path).num_pairs == 1


def test_text_features_are_colmaps_and_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    descriptors = np.abs(rng.normal(size=(3, 128))).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    xy = np.array([[0, 0], [1234.567, 89.25], [3.1, 2.7]], np.float32)
    made = Features(
        xy,
        descriptors,
        np.ones(3, np.float32),
        np.full(3, 24, np.float32),
        np.float32([0.5, 0, -1]),
        (1600, 1200),
    )
    signed = replace(made, descriptors=descriptors - np.float32(0.05))
    write_features(tmp_path / "f.h5", [("s/a b.jpg", made), ("n.jpg", signed)], {}, "float32")
    with FeatureFile(tmp_path / "f.h5") as file:
        folder = write_text_features(file, tmp_path / "text")
    lines = (folder / "s/a b.jpg.txt").read_text().splitlines()
    assert lines[0] == "3 128"
    assert len(lines) == 4
    first = lines[1].split()
    assert [float(v) for v in first[:4]] == pytest.approx(
        [0.5, 0.5, 2, -0.5]
    )  # corner origin, sigma, clockwise
    assert [int(v) for v in first[4:]] == np.rint(512 * descriptors[0]).clip(0, 255).astype(int).tolist()
    back = read_given(folder, "s/a b.jpg")
    np.testing.assert_allclose(back.xy, xy, atol=1e-4)
    np.testing.assert_allclose(back.angles, made.angles, atol=1e-6)
    np.testing.assert_allclose(scale_from_sigma(back.sigmas), made.scales, rtol=1e-6)
    assert (np.sum(described(folder / "s/a b.jpg.txt") * descriptors, axis=1) > 0.999).all()
    unit = signed.descriptors / np.linalg.norm(signed.descriptors, axis=1, keepdims=True)
    assert (np.sum(described(folder / "n.jpg.txt") * unit, axis=1) > 0.999).all()


def described(path: Path) -> np.ndarray:
    """Unit vectors (N, 128) of a text file's bytes; zeros stay."""
    first, *rows = path.read_text().splitlines()
    values = np.array([row.split()[4:] for row in rows], np.float32) - (128 if "signed" in first else 0)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def test_text_features_are_filled_up_with_zeros(tmp_path: Path) -> None:
    rows = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5]], np.float32)
    ones = np.ones(2, np.float32)
    made = Features(np.zeros((2, 2), np.float32), rows, ones, ones, ones, (9, 9))
    positive = replace(made, descriptors=np.abs(rows))
    write_features(tmp_path / "f.h5", [("signed", made), ("positive", positive)], {}, "float32")
    with FeatureFile(tmp_path / "f.h5") as file:
        folder = write_text_features(file, tmp_path / "text")
    for name, expected in (("signed", rows), ("positive", np.abs(rows))):
        back = described(folder / f"{name}.txt")
        np.testing.assert_allclose(back[:, :4], expected, atol=0.01)
        assert not back[:, 4:].any()


def test_descriptors_too_long_for_the_text_are_named(tmp_path: Path) -> None:
    long = Features(
        np.zeros((1, 2), np.float32), np.ones((1, 256), np.float32), *(np.ones(1, np.float32),) * 3, (9, 9)
    )
    write_features(tmp_path / "f.h5", [("a", long)], {})
    with FeatureFile(tmp_path / "f.h5") as file, pytest.raises(InputError, match="256 values"):
        write_text_features(file, tmp_path / "text")
