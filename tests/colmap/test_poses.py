"""Known poses from every kind of file, and points triangulated with them; the poses stay as given."""

import json
from pathlib import Path

import numpy as np
import pytest
from pointcloud import PointCloud, make_point_cloud
from pointcloud_models import make_job, poses

from desdis_match.colmap.mappers import MapConfig, map_incremental
from desdis_match.colmap.poses import read_poses, triangulated, with_cameras_of_poses
from desdis_match.errors import InputError
from desdis_match.photos.cameras import CameraConfig
from desdis_match.photos.known_cameras import has_intrinsics, read_known_cameras
from desdis_match.pipeline.mapping import map_models
from desdis_match.support.native import pycolmap


def true_poses(cloud: PointCloud) -> dict[str, pycolmap.Rigid3d]:
    return {name: pycolmap.Rigid3d(pose) for name, pose in cloud.cam_from_world.items()}


def written(cloud: PointCloud, folder: Path, kind: str) -> Path:
    if kind == "table":
        lines = ["# name qw qx qy qz tx ty tz"]
        for name, pose in true_poses(cloud).items():
            x, y, z, w = pose.rotation.quat
            lines.append(" ".join(map(str, (name, w, x, y, z, *pose.translation))))
        (folder / "poses.txt").write_text("\n".join(lines), encoding="utf-8")
        return folder / "poses.txt"
    frames = []
    for name, pose in true_poses(cloud).items():
        matrix = np.eye(4)
        matrix[:3] = pose.inverse().matrix()
        matrix[:3, 1:3] *= -1  # OpenGL: y up, looking along -z
        frames.append({"file_path": f"./images/{name}", "transform_matrix": matrix.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}), encoding="utf-8")
    return folder / "transforms.json"


@pytest.mark.parametrize("kind", ["table", "transforms"])
def test_poses_come_from_files(tmp_path: Path, kind: str) -> None:
    cloud = make_point_cloud(tmp_path)
    found = read_poses(written(cloud, tmp_path, kind), cloud.names)
    assert found.keys() == set(cloud.names)
    for name, pose in found.items():
        assert pose.matrix() == pytest.approx(cloud.cam_from_world[name], abs=1e-9)


def test_poses_come_from_a_model(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    (model,) = map_incremental(make_job(cloud, tmp_path))
    (tmp_path / "model").mkdir()
    model.write_binary(tmp_path / "model")
    found = read_poses(tmp_path / "model", cloud.names[:4])
    assert found.keys() == set(cloud.names[:4])


def test_given_poses_stay_and_all_points_are_found(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    model = triangulated(make_job(cloud, tmp_path), true_poses(cloud), refine=False)
    assert model.num_points3D() == 300 and model.compute_mean_reprojection_error() < 1e-3
    for name, pose in poses(model).items():
        assert pose == pytest.approx(cloud.cam_from_world[name], abs=1e-12)


def test_a_photo_without_a_pose_is_registered_to_the_others(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    given = true_poses(cloud)
    last = cloud.names[-1]
    del given[last]
    found = poses(triangulated(make_job(cloud, tmp_path), given, refine=False))
    assert found[last] == pytest.approx(cloud.cam_from_world[last], abs=1e-3)
    assert found[cloud.names[0]] == pytest.approx(cloud.cam_from_world[cloud.names[0]], abs=1e-12)


def test_poses_a_little_off_are_refined_where_they_are(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    rng = np.random.default_rng(0)
    off = {
        name: pycolmap.Rigid3d(pose.rotation, pose.translation + rng.normal(0, 0.004, 3))
        for name, pose in true_poses(cloud).items()
    }
    model = triangulated(make_job(cloud, tmp_path), off, refine=True)
    assert model.compute_mean_reprojection_error() < 0.01
    centres = {model.image(i).name: model.image(i).projection_center() for i in model.reg_image_ids()}
    for name, pose in true_poses(cloud).items():
        assert centres[name] == pytest.approx(pose.inverse().translation, abs=0.02)


def test_wrong_poses_are_refused(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    (tmp_path / "bad.txt").write_text("a.jpg 1 0 0 0 1 2")
    with pytest.raises(InputError, match="line 1"):
        read_poses(tmp_path / "bad.txt", cloud.names)
    (tmp_path / "other.txt").write_text("other.jpg 1 0 0 0 1 2 3")
    with pytest.raises(InputError, match="none is of a photo here"):
        read_poses(tmp_path / "other.txt", cloud.names)
    turned = {name: pose.inverse() for name, pose in true_poses(cloud).items()}
    with pytest.raises(InputError, match="another convention"):
        triangulated(make_job(cloud, tmp_path), turned, refine=False)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a 1 0 0 0 1 2 3\nb 1 0 0 0 0 nan 0", "pose of 'b' has numbers that are no place"),
        ("a 1 0 0 0 1 2 3\nb 1 0 0 0 0 1e99 0", "pose of 'b' has numbers that are no place"),
        ("a 1 0 0 0 1 2 3\nb 1 0 0 0 0 0 0\na 1 0 0 0 1 2 4", "line 3: 'a' has a pose already"),
        ("a 1 0 0 0.1 1 2 inf", "pose of 'a' has numbers"),
        (b"\x80\x00", "is not"),
    ],
)
def test_a_wrong_table_is_refused_with_its_photo(tmp_path: Path, text: str | bytes, match: str) -> None:
    (tmp_path / "t").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=match):
        read_poses(tmp_path / "t", ["a", "b"])


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([("a", np.eye(4)), ("./a", np.eye(4))], "more than one pose of 'a'"),
        ([("a", 2 * np.eye(4))], "is no rotation"),
        ([("a", np.zeros((4, 4)))], "is no rotation"),
        ([("a", np.full((4, 4), np.nan))], "is no rotation"),
        ([("a", np.eye(2))], "is not nerfstudio's"),
    ],
)
def test_a_wrong_transforms_json_is_refused(tmp_path: Path, frames: list, match: str) -> None:  # type: ignore[type-arg]
    content = [{"file_path": name, "transform_matrix": matrix.tolist()} for name, matrix in frames]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": content}), encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_poses(tmp_path / "transforms.json", ["a"])


@pytest.mark.parametrize("text", ['{"a":' * 50_000, "[1]", "{"])
def test_what_is_no_json_object_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "transforms.json"
    path.write_text(text)
    assert not has_intrinsics(path)
    for read in (lambda: read_poses(path, ["a"]), lambda: read_known_cameras(path)):
        with pytest.raises(InputError, match=r"transforms\.json"):
            read()


def test_one_pose_makes_no_points(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    given = {cloud.names[0]: true_poses(cloud)[cloud.names[0]]}
    with pytest.raises(InputError, match="only one of the photos has a known pose"):
        triangulated(make_job(cloud, tmp_path), given, refine=False)
    with pytest.raises(InputError, match="give --poses or --rig-config"):
        MapConfig(CameraConfig(rig_config=tmp_path), poses=tmp_path)


def test_cameras_come_with_the_poses_unless_others_are_given(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    assert with_cameras_of_poses(CameraConfig(), tmp_path) == CameraConfig()  # no model
    (tmp_path / "cameras.bin").touch()
    assert with_cameras_of_poses(CameraConfig(), tmp_path).camera_file == tmp_path
    given = CameraConfig(camera_params="600,320,240,0")
    assert with_cameras_of_poses(given, tmp_path) == given
    for kind in ("table", "transforms"):  # that transforms.json has no intrinsics
        assert with_cameras_of_poses(CameraConfig(), written(cloud, tmp_path, kind)) == CameraConfig()
    content = json.loads((tmp_path / "transforms.json").read_text(encoding="utf-8"))
    content |= {"w": 640, "h": 480, "fl_x": 600.0, "fl_y": 600.0, "cx": 320.0, "cy": 240.0}
    (tmp_path / "transforms.json").write_text(json.dumps(content), encoding="utf-8")
    config = MapConfig(poses=tmp_path / "transforms.json", align=False)
    (model,) = map_models(None, cloud.features, cloud.matches, tmp_path / "out", config)  # type: ignore[arg-type]
    assert model.num_points3D() == 300 and model.compute_mean_reprojection_error() < 1e-3
