import json

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation
from smallmodel import make_model

from desdis_match.errors import InputError
from desdis_match.evaluate.poses import geometry, ground_truth
from desdis_match.evaluate.poses.geometry import Pose
from desdis_match.evaluate.poses.sfm_runs import given_intrinsics
from desdis_match.evaluate.poses.sfm_scores import focal_errors


def turn(axis, degrees):
    return Rotation.from_rotvec(np.radians(degrees) * np.asarray(axis, float)).as_matrix()


def random_poses(count=5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"{i}.jpg": Pose(Rotation.random(random_state=seed * 100 + i).as_matrix(), rng.normal(size=3))
        for i in range(count)
    }


def moved(poses, alignment):
    """The same cameras in another world: y = s R x + t."""
    return {
        name: Pose(p.rotation @ alignment.rotation.T, alignment(p.center[None])[0])
        for name, p in poses.items()
    }


def test_angles_by_hand_also_small_and_straight():
    assert geometry.rotation_angle(turn([0, 0, 1], 30)) == pytest.approx(30)
    assert geometry.rotation_angle(turn([0, 1, 0], 180)) == pytest.approx(180)
    # The arc cosine of the trace would give 0 or nan here.
    assert geometry.rotation_angle(turn([1, 0, 0], 1e-6)) == pytest.approx(1e-6, rel=1e-6)
    assert geometry.angle_between(np.array([1.0, 0, 0]), np.array([1, 1e-8, 0])) == pytest.approx(
        np.degrees(1e-8)
    )
    assert geometry.angle_between(np.array([2.0, 0, 0]), np.array([-1.0, 0, 0])) == pytest.approx(180)


def test_relative_errors_do_not_depend_on_the_world():
    truth = random_poses()
    other = moved(truth, geometry.Alignment(3.7, turn([0.6, 0.8, 0], 50), np.array([1.0, -2, 3])))
    errors = geometry.pair_errors(other, truth)
    assert len(errors.pairs) == 10
    assert np.abs(errors.rotation).max() < 1e-9 and np.abs(errors.translation).max() < 1e-5


def test_a_turned_and_a_moved_camera_err_by_hand():
    level = np.eye(3)
    truth = {"a": Pose(level, np.zeros(3)), "b": Pose(level, np.array([1.0, 0, 0]))}
    turned = truth | {"b": Pose(turn([0, 1, 0], 2), np.array([1.0, 0, 0]))}
    errors = geometry.pair_errors(turned, truth)
    # Camera b turns by 2 degrees, and with it the direction to a as b sees it.
    assert errors.rotation[0] == pytest.approx(2) and errors.translation[0] == pytest.approx(2)
    shifted = truth | {"b": Pose(level, np.array([1.0, np.tan(np.radians(3)), 0]))}
    errors = geometry.pair_errors(shifted, truth)
    assert errors.rotation[0] == 0 and errors.translation[0] == pytest.approx(3)
    backwards = truth | {"b": Pose(level, np.array([-1.0, 0, 0]))}
    assert geometry.pair_errors(backwards, truth).translation[0] == pytest.approx(180)


def test_unregistered_images_are_infinite_and_one_place_has_no_direction():
    truth = random_poses(3) | {"twin.jpg": Pose(np.eye(3), random_poses(3)["0.jpg"].center)}
    estimate = {name: pose for name, pose in truth.items() if name != "1.jpg"}
    errors = geometry.pair_errors(estimate, truth)
    for pair, rotation, translation in zip(errors.pairs, errors.rotation, errors.translation, strict=True):
        assert np.isinf(rotation) == ("1.jpg" in pair)
        assert np.isnan(translation) == (pair == ("0.jpg", "twin.jpg"))
    assert np.isfinite(errors.pose()).sum() == 3
    with pytest.raises(InputError, match="two true cameras"):
        geometry.pair_errors({}, {"a": Pose(np.eye(3), np.zeros(3))})


def test_alignment_recovers_a_similarity_and_refuses_a_line():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, 3))
    true = geometry.Alignment(0.3, turn([0, 0.6, 0.8], 130), np.array([5.0, 6, 7]))
    found = geometry.fit_similarity(points, true(points))
    assert found.scale == pytest.approx(0.3) and np.allclose(found.rotation, true.rotation)
    assert np.allclose(found.translation, true.translation)
    with pytest.raises(InputError, match="on a line"):
        geometry.fit_similarity(np.outer(np.arange(4.0), [1, 2, 3]), points[:4])
    with pytest.raises(InputError, match="three cameras"):
        geometry.fit_similarity(points[:2], points[:2])
    # Cameras in a plane: a reflection would fit as well, a rotation is asked for.
    flat = points * [1, 1, 0]
    assert np.linalg.det(geometry.fit_similarity(flat, flat * [1, -1, 0]).rotation) == pytest.approx(1)


def test_center_errors_are_in_the_unit_of_the_truth():
    truth = random_poses(8)
    estimate = moved(truth, geometry.Alignment(100.0, turn([1, 0, 0], 40), np.array([1.0, 1, 1])))
    assert max(geometry.center_errors(estimate, truth).values()) < 1e-9
    off = np.array([0.001, 0, 0])
    truth["0.jpg"] = Pose(truth["0.jpg"].rotation, truth["0.jpg"].center + off)
    errors = geometry.center_errors(estimate, truth)
    assert 0.0003 < errors["0.jpg"] <= 0.001 and errors["0.jpg"] == max(errors.values())


def test_epipolar_distance_by_hand():
    # Camera 1 stands beside camera 0: epipolar lines are rows, so a match off by 3 rows is off by 3.
    matrix = geometry.essential(np.eye(3), np.array([1.0, 0, 0]))
    distance = geometry.epipolar_line_distance(
        matrix, np.array([[1.0, 2], [0, 0]]), np.array([[5.0, 5], [9, 0]])
    )
    assert distance == pytest.approx([3, 0])


def test_strecha_cameras(tmp_path):
    rotation = turn([0, 0, 1], 90)
    numbers = [100, 0, 50, 0, 101, 40, 0, 0, 1, 0, 0, 0, *rotation.T.ravel(), 1, 2, 3, 640, 480]
    (tmp_path / "a.jpg.camera").write_text(" ".join(map(str, numbers)))
    truth = ground_truth.read_truth(tmp_path)
    camera = truth.cameras["a.jpg"]
    assert np.allclose(camera.pose.rotation, rotation) and camera.pose.center.tolist() == [1, 2, 3]
    assert camera.intrinsics[1, 1] == 101 and camera.size == (640, 480)
    assert camera.intrinsics[:2, 2].tolist() == [49.5, 39.5]
    # COLMAP gets what was published, for photos of that size and of a half.
    assert given_intrinsics(truth, (640, 480)) == "100.000000,101.000000,50.000000,40.000000"
    assert given_intrinsics(truth, (320, 240)) == "50.000000,50.500000,25.000000,20.000000"
    (tmp_path / "b.jpg.camera").write_text("1 2 3")
    with pytest.raises(InputError, match="should hold 26 numbers, not 3"):
        ground_truth.read_truth(tmp_path)


def test_middlebury_and_nerfstudio_tell_the_same_camera(tmp_path):
    rotation, center = turn([0.6, 0, 0.8], 33), np.array([0.3, -0.2, 4.0])
    k = [500, 0, 320, 0, 500, 240, 0, 0, 1]
    line = ["x.png", *k, *rotation.ravel(), *(-rotation @ center)]
    par = tmp_path / "temple_par.txt"
    par.write_text("1\n" + " ".join(map(str, line)) + "\n")
    world_from_camera = np.eye(4)
    # nerfstudio's camera has y up and looks along -z.
    world_from_camera[:3, :3] = rotation.T * [1, -1, -1]
    world_from_camera[:3, 3] = center
    frame = {"file_path": "./images/x.png", "transform_matrix": world_from_camera.tolist()}
    transforms = tmp_path / "transforms.json"
    transforms.write_text(
        json.dumps({"fl_x": 500, "cx": 320, "cy": 240, "w": 640, "h": 480, "frames": [frame]})
    )
    for truth in (ground_truth.read_truth(par), ground_truth.read_truth(transforms).named_as(["x.png"])):
        camera = truth.cameras["x.png"]
        assert np.allclose(camera.pose.rotation, rotation) and np.allclose(camera.pose.center, center)
        # The middle of a row of 640 pixels lies between those with centres at 319 and 320.
        assert np.allclose(camera.intrinsics, [[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
        assert given_intrinsics(truth, (640, 480)) == "500.000000,500.000000,320.000000,240.000000"
    par.write_text("2\n" + " ".join(map(str, line)) + "\n")
    with pytest.raises(InputError, match="as many cameras as it says"):
        ground_truth.read_truth(par)


def test_a_colmap_model_gives_its_poses(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    rotation, center = turn([0, 1, 0], 25), np.array([1.0, 2, 3])
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", 700, 640, 480)
    model.add_camera_with_trivial_rig(camera)
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ center)
    model.add_image_with_trivial_frame(pycolmap.Image(name="deep/a b.jpg", camera_id=1, image_id=1), pose)
    model.register_frame(1)
    model.write(tmp_path)
    truth = ground_truth.read_truth(tmp_path)
    assert np.allclose(truth.cameras["deep/a b.jpg"].pose.center, center)
    assert truth.cameras["deep/a b.jpg"].intrinsics[0, 0] == 700
    assert list(truth.named_as(["photos/a b.jpg"]).cameras) == ["photos/a b.jpg"]
    assert given_intrinsics(truth, (640, 480)) == "700.000000,700.000000,320.000000,240.000000"
    with pytest.raises(InputError, match="names no photo that is here"):
        truth.named_as(["other.jpg"])


def test_a_camera_of_equal_last_name_takes_no_photo_from_another():
    names = ["left/0001.jpg", "right/0001.jpg", "left/0002.jpg", "right/0002.jpg"]
    cameras = {
        name: ground_truth.TrueCamera(Pose(np.eye(3), np.full(3, float(i))), None, None)
        for i, name in enumerate(names)
    }
    truth = ground_truth.Truth(cameras, "test", "m")
    # left/0001.jpg keeps its own camera; 0002.jpg could be of either side.
    found = truth.named_as(["left/0001.jpg", "0002.jpg"]).cameras
    assert found == {"left/0001.jpg": cameras["left/0001.jpg"]}
    alone = ground_truth.Truth({n: cameras[n] for n in names[1:3]}, "test", "m").named_as(
        ["0001.jpg", "0002.jpg"]
    )
    assert alone.cameras == {"0001.jpg": cameras[names[1]], "0002.jpg": cameras[names[2]]}


def test_what_is_no_ground_truth_is_refused(tmp_path):
    with pytest.raises(InputError, match="no ground truth that is known"):
        ground_truth.read_truth(tmp_path)
    assert ground_truth.find_truth(tmp_path) is None
    (tmp_path / "transforms.json").write_text('{"frames": [{"file_path": "a"}]}')
    with pytest.raises(InputError, match=r"no transforms\.json of nerfstudio"):
        ground_truth.read_truth(tmp_path)
    mirrored = np.diag([1.0, 1, -1, 1]).tolist()
    (tmp_path / "transforms.json").write_text(
        json.dumps({"frames": [{"file_path": "a", "transform_matrix": mirrored}]})
    )
    with pytest.raises(InputError, match="reflection"):
        ground_truth.read_truth(tmp_path)


def test_published_cameras_of_fountain_see_the_scene_together(shared_data):
    truth = ground_truth.find_truth(shared_data / "strecha" / "fountain-P11")
    assert len(truth.cameras) == 11 and truth.unit == "m"
    centers = np.array([c.pose.center for c in truth.cameras.values()])
    # The photographer walked a few metres, looking at one wall: all cameras look the same way to 90 degrees.
    assert 5 < np.linalg.norm(centers.max(axis=0) - centers.min(axis=0)) < 30
    ahead = np.array([c.pose.rotation[2] for c in truth.cameras.values()])
    assert (ahead @ ahead.mean(axis=0) > 0).all()


@pytest.mark.parametrize(("published", "focal"), [((640, 480), 500.0), ((1280, 960), 1000.0), (None, 500.0)])
def test_focal_errors_are_shares_of_the_published_length_at_the_photos_size(published, focal):
    """The same lens, whatever size of photo its numbers were published for."""
    identity = Pose(np.eye(3), np.zeros(3))
    model = make_model(
        {"a.jpg": pycolmap.Rigid3d(), "b.jpg": pycolmap.Rigid3d()}, np.array([[0, 0, 4.0]]), 510
    )
    k = np.diag([focal, focal, 1.0])
    unknown = ground_truth.TrueCamera(identity, None, published)
    cameras = {"a.jpg": ground_truth.TrueCamera(identity, k, published), "b.jpg": unknown}
    truth = ground_truth.Truth(cameras, "here", "unknown")
    assert focal_errors(model, truth) == pytest.approx([0.02])
    wide = np.diag([focal * 0.8, focal * 1.2, 1.0])  # the mean of both axes counts
    truth = ground_truth.Truth({"a.jpg": ground_truth.TrueCamera(identity, wide, published)}, "here", "")
    assert focal_errors(model, truth) == pytest.approx([0.02])
