"""Exported models are read back by their formats' own rules and must show each point where it was seen."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud, pose_errors
from pointcloud_models import verified_database

from desdis_match.colmap.mapping import map_database, read_model, write_models
from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.exchange.models import export_model

K1 = 0.02  # distortion of the model under test, so that its sign and place matter


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cameras, names with blanks; keypoints put where SIMPLE_RADIAL with K1 sees their points."""
    folder = tmp_path_factory.mktemp("model")
    cloud = make_point_cloud(folder, num_cameras=3, num_points=80)
    (model,) = map_database(verified_database(cloud, folder), None, folder / "sparse").models
    for camera in model.cameras.values():
        camera.model = pycolmap.CameraModelId.SIMPLE_RADIAL
        camera.params = [600, 320, 240, K1]
    for image in model.images.values():
        for point in image.points2D:
            if point.has_point3D():
                point.xy = image.project_point(model.point3D(point.point3D_id).xyz)
    for i, point in enumerate(model.points3D.values()):
        point.color = [i % 256, 100, 200]
    write_models([model], folder / "sparse")
    return folder / "sparse" / "0"


@pytest.fixture(scope="module")
def photos(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for image in read_model(model_dir).images.values():
        (folder / image.name).parent.mkdir(exist_ok=True)
        pixels = cv2.resize(rng.integers(0, 255, (24, 32, 3), np.uint8), (640, 480))
        cv2.imencode(".jpg", pixels)[1].tofile(folder / image.name)
    return folder


def observations(model: pycolmap.Reconstruction) -> dict[tuple[str, int], np.ndarray]:
    """COLMAP pixels by image name and keypoint index."""
    return {
        (image.name, i): point.xy
        for image in model.images.values()
        for i, point in enumerate(image.points2D)
        if point.has_point3D()
    }


@pytest.mark.parametrize("form", ["colmap-txt", "colmap-bin"])
def test_colmap_text_and_binary(model_dir: Path, tmp_path: Path, form: str) -> None:
    model = read_model(model_dir)
    for image in model.images.values() if form == "colmap-txt" else ():
        image.name = image.name.replace(" ", "_")
    (tmp_path / "from").mkdir()
    model.write_binary(tmp_path / "from")
    argv = ["--model", str(tmp_path / "from"), "--format", form, "--output", str(tmp_path / "m")]
    assert main(["export", *argv]) == 0
    assert (tmp_path / "m" / ("points3D." + form[-3:])).is_file()
    back = pycolmap.Reconstruction(tmp_path / "m")
    assert back.num_points3D() == model.num_points3D()
    for image_id, image in model.images.items():
        difference = back.image(image_id).cam_from_world().matrix() - image.cam_from_world().matrix()
        assert np.abs(difference).max() < 1e-12
        assert back.image(image_id).name == image.name
    with pytest.raises(InputError, match="is the model itself"):
        export_model(model_dir, "colmap-txt", model_dir)


@pytest.mark.parametrize("name", ["a b.jpg", "a\tb.jpg", " a.jpg"])
def test_names_that_a_text_ends_at_a_blank(model_dir: Path, tmp_path: Path, name: str) -> None:
    model = read_model(model_dir)
    model.image(model.reg_image_ids()[0]).name = name
    (tmp_path / "m").mkdir()
    model.write_binary(tmp_path / "m")
    with pytest.raises(InputError, match="text files end a name at a blank"):
        export_model(tmp_path / "m", "colmap-txt", tmp_path / "txt")
    export_model(tmp_path / "m", "colmap-bin", tmp_path / "bin")
    assert name in [image.name for image in read_model(tmp_path / "bin").images.values()]
    if name != "a b.jpg":  # VisualSFM writes blanks as quotation marks
        with pytest.raises(InputError, match="NVM holds no name"):
            export_model(tmp_path / "m", "nvm", tmp_path / "m.nvm")


def test_ply(model_dir: Path, tmp_path: Path) -> None:
    path = export_model(model_dir, "ply", tmp_path / "points.ply").path
    back = pycolmap.Reconstruction()
    back.import_PLY(path)
    model = read_model(model_dir)
    theirs, ours = (np.array(sorted(p.xyz.tolist() for p in m.points3D.values())) for m in (back, model))
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_nerfstudio(model_dir: Path, photos: Path, tmp_path: Path) -> None:
    path = export_model(model_dir, "nerfstudio", tmp_path / "ns", photos).path
    content = json.loads(path.read_text(encoding="utf-8"))
    model = read_model(model_dir)
    # Up of upright photos (COLMAP's -y) is +z.
    applied = np.array(content["applied_transform"])
    np.testing.assert_allclose(applied[:, :3] @ [0, -1, 0], [0, 0, 1])
    assert np.linalg.det(applied[:, :3]) == pytest.approx(1)
    assert (content["camera_model"], content["w"], content["h"]) == ("OPENCV", 640, 480)
    points = read_binary_ply(tmp_path / "ns" / content["ply_file_path"])
    world = [model.point3D(i) for i in sorted(model.point3D_ids())]
    np.testing.assert_allclose(
        points["xyz"], [applied[:, :3] @ p.xyz + applied[:, 3] for p in world], atol=1e-5
    )
    assert points["rgb"].tolist() == [p.color.tolist() for p in world]
    seen = observations(model)
    images = {image.name: image for image in model.images.values()}
    num_checked = 0
    for frame in content["frames"]:
        photo = (tmp_path / "ns" / frame["file_path"]).read_bytes()
        (name,) = (name for name in images if (photos / name).read_bytes() == photo)
        camera_from_world = np.linalg.inv(np.array(frame["transform_matrix"]))
        row = {point_id: i for i, point_id in enumerate(sorted(model.point3D_ids()))}
        for i, point in enumerate(images[name].points2D):
            if point.has_point3D():
                x, y, z = (camera_from_world @ [*points["xyz"][row[point.point3D_id]], 1])[:3]
                u, v = x / -z, -y / -z  # OpenGL: -z forward, y up
                factor = 1 + content["k1"] * (u * u + v * v) + content["k2"] * (u * u + v * v) ** 2
                pixel = (
                    content["fl_x"] * u * factor + content["cx"],
                    content["fl_y"] * v * factor + content["cy"],
                )
                np.testing.assert_allclose(pixel, seen[name, i], atol=1e-3)
                num_checked += 1
    assert num_checked == len(seen) > 200


def two_cameras(folder: Path, *kinds: pycolmap.CameraModelId) -> Path:
    """A made-up model with a camera of each kind."""
    options = pycolmap.SyntheticDatasetOptions(num_rigs=2, num_cameras_per_rig=1, num_frames_per_rig=2)
    options.num_points3D = 20
    model = pycolmap.synthesize_dataset(options)
    for camera, kind in zip(model.cameras.values(), kinds, strict=True):
        camera.model = kind
        camera.params = [500, 500, 320, 240, 0, 0, 0, 0]
    folder.mkdir()
    model.write_binary(folder)
    return folder


def test_nerfstudio_takes_one_kind_of_lens(tmp_path: Path) -> None:
    perspective, fisheye = pycolmap.CameraModelId.OPENCV, pycolmap.CameraModelId.OPENCV_FISHEYE
    content = json.loads(
        export_model(
            two_cameras(tmp_path / "m", fisheye, fisheye), "nerfstudio", tmp_path / "ns"
        ).path.read_text()
    )
    assert content["camera_model"] == "OPENCV_FISHEYE"  # nerfstudio does not look for it in the frames
    assert "fl_x" not in content and {frame["fl_x"] for frame in content["frames"]} == {500}
    with pytest.raises(InputError, match=r"perspective or fisheye photos, .* --format undistorted"):
        export_model(two_cameras(tmp_path / "both", perspective, fisheye), "nerfstudio", tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == []


def read_binary_ply(path: Path) -> np.ndarray:
    header, body = path.read_bytes().split(b"end_header\n", 1)
    assert header.splitlines()[1] == b"format binary_little_endian 1.0"
    return np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))


def test_bundler(model_dir: Path, tmp_path: Path) -> None:
    path = export_model(model_dir, "bundler", tmp_path / "b").path
    names = (tmp_path / "b" / "list.txt").read_text(encoding="utf-8").splitlines()
    lines = path.read_text().splitlines()
    assert lines[0] == "# Bundle file v0.3"
    num_cameras, num_points = map(int, lines[1].split())
    cameras = []
    for i in range(num_cameras):
        block = [np.array(line.split(), float) for line in lines[2 + 5 * i : 7 + 5 * i]]
        cameras.append((block[0], np.stack(block[1:4]), block[4]))
    model = read_model(model_dir)
    seen, num_checked = observations(model), 0
    rest = lines[2 + 5 * num_cameras :]
    assert len(rest) == 3 * num_points
    for i in range(num_points):
        xyz = np.array(rest[3 * i].split(), float)
        count, *views = rest[3 * i + 2].split()
        assert len(views) == 4 * int(count)
        for camera, key, x, y in np.array(views, float).reshape(-1, 4):
            (f, k1, k2), rotation, translation = cameras[int(camera)]
            p = rotation @ xyz + translation
            p = -p[:2] / p[2]
            projected = f * (1 + k1 * (p @ p) + k2 * (p @ p) ** 2) * p
            np.testing.assert_allclose(projected, (x, y), atol=1e-6)
            pixel = seen[names[int(camera)], int(key)]
            np.testing.assert_allclose((x + 320, 240 - y), pixel, atol=1e-9)
            num_checked += 1
    assert num_checked == len(seen)
    assert rest[1].split()[1:] == ["100", "200"]


def test_nvm(model_dir: Path, tmp_path: Path) -> None:
    tokens = export_model(model_dir, "nvm", tmp_path / "m.nvm").path.read_text(encoding="utf-8").split()
    model = read_model(model_dir)
    assert tokens[0] == "NVM_V3"
    num_cameras, at = int(tokens[1]), 2
    cameras = []
    for _ in range(num_cameras):
        name = tokens[at].replace('"', " ")
        f, w, x, y, z, *centre, radial, zero = map(float, tokens[at + 1 : at + 11])
        rotation = pycolmap.Rotation3d(np.array([x, y, z, w])).matrix()
        cameras.append((name, f, rotation, np.array(centre), radial))
        assert zero == 0
        at += 11
    num_points, at = int(tokens[at]), at + 1
    seen, num_checked = observations(model), 0
    for _ in range(num_points):
        xyz, count = np.array(tokens[at : at + 3], float), int(tokens[at + 6])
        views = np.array(tokens[at + 7 : at + 7 + 4 * count], float).reshape(-1, 4)
        at += 7 + 4 * count
        for camera, key, x, y in views:
            name, f, rotation, centre, radial = cameras[int(camera)]
            p = rotation @ (xyz - centre)
            measured = np.array([x, y]) / f
            corrected = measured * (1 + radial * (measured @ measured))
            # The one-term correction leaves 3 k^2 r^5: under a tenth of a pixel here.
            np.testing.assert_allclose(f * corrected, f * p[:2] / p[2], atol=0.1)
            np.testing.assert_allclose((x + 320, y + 240), seen[name, int(key)], atol=1e-9)
            num_checked += 1
    assert num_checked == len(seen)
    assert tokens[at:] == ["0"]


def test_undistorted(model_dir: Path, photos: Path, tmp_path: Path, capfd) -> None:
    made = export_model(model_dir, "undistorted", tmp_path / "dense", photos)
    output = made.path
    assert "splat trainers want --format 3dgs" in made.holds and str(output) in made.next_command
    model, flat = read_model(model_dir), pycolmap.Reconstruction(output / "sparse")
    assert {camera.model_name for camera in flat.cameras.values()} == {"PINHOLE"}
    for image in flat.images.values():
        assert cv2.imdecode(np.fromfile(output / "images" / image.name, np.uint8), 0).shape == (
            image.camera.height,
            image.camera.width,
        )
    poses = {image.name: image.cam_from_world().matrix() for image in model.images.values()}
    assert set(poses) == {image.name for image in flat.images.values()}
    for image in flat.images.values():
        np.testing.assert_allclose(image.cam_from_world().matrix(), poses[image.name], atol=1e-9)
    assert ".tmp" not in "".join(p.read_text() for p in output.glob("*.sh"))
    assert capfd.readouterr().err == ""
    with pytest.raises(InputError, match="is not empty"):
        export_model(model_dir, "undistorted", output, photos)
    with pytest.raises(InputError, match="--images"):
        export_model(model_dir, "undistorted", tmp_path / "d2")
    shutil.copytree(photos, tmp_path / "photos")
    name = sorted(poses)[0]
    (tmp_path / "photos" / name).write_bytes(b"no photo")
    with pytest.raises(InputError, match="is damaged or in a format that cannot be read"):
        export_model(model_dir, "undistorted", tmp_path / "d3", tmp_path / "photos")
    assert not (tmp_path / "d3").exists()


def test_what_a_format_cannot_say_is_an_error_and_writes_nothing(model_dir: Path, tmp_path: Path) -> None:
    model = read_model(model_dir)
    for camera in model.cameras.values():
        camera.model = pycolmap.CameraModelId.OPENCV
        camera.params = [600, 601, 320, 240, 0.01, 0, 0.001, 0]
    (tmp_path / "m").mkdir()
    model.write_binary(tmp_path / "m")
    for form, program, output in (("bundler", "Bundler", "out"), ("nvm", "VisualSFM", "out/m.nvm")):
        with pytest.raises(InputError, match=f"{program} cannot say a OPENCV camera"):
            export_model(tmp_path / "m", form, tmp_path / output)
    for camera in model.cameras.values():
        camera.model = pycolmap.CameraModelId.FOV
        camera.params = [600, 601, 320, 240, 0.5]
    model.write_binary(tmp_path / "m")
    with pytest.raises(InputError, match="nerfstudio has no camera like COLMAP's FOV"):
        export_model(tmp_path / "m", "nerfstudio", tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == []


def test_a_model_of_other_photos_is_noticed(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 of the model's 3 photos are not in"):
        export_model(model_dir, "nerfstudio", tmp_path / "out", tmp_path)
    with pytest.raises(InputError, match="holds no readable COLMAP model"):
        export_model(tmp_path, "ply", tmp_path / "p.ply")
    with pytest.raises(InputError, match="'obj' is unknown"):
        export_model(model_dir, "obj", tmp_path / "p.obj")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    for form in ("ply", "nvm"):
        with pytest.raises(InputError, match=f"is a folder; give the name of a file for {form}"):
            export_model(model_dir, form, tmp_path)
    for form in ("nerfstudio", "bundler", "colmap-txt"):
        with pytest.raises(InputError, match=f"is a file; give the name of a folder for {form}"):
            export_model(model_dir, form, tmp_path / "file")


def test_poses_of_the_model_under_test_are_true(model_dir: Path, tmp_path: Path) -> None:
    """The fixture is a reconstruction, not a made-up file."""
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=80)
    images = read_model(model_dir).images.values()
    assert pose_errors(cloud, {i.name: i.cam_from_world().matrix() for i in images})[0] < 0.05
