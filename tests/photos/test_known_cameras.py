"""Given parameters fit photos of other sizes and turned ones, or a sentence says why not."""

import json
from pathlib import Path

import pycolmap
import pytest

from desdis_match.errors import InputError
from desdis_match.photos.cameras import CameraConfig, PhotoInfo, assign_cameras
from desdis_match.photos.known_cameras import KnownCamera, has_intrinsics, known_camera, read_known_cameras


def params(config: CameraConfig, *sizes: tuple[int, int]) -> list[list[float]]:
    photos = {f"{i}.jpg": PhotoInfo(size) for i, size in enumerate(sizes)}
    cameras, of = assign_cameras(photos, config)
    chosen = [cameras[of[name] - 1] for name in photos]
    assert [(camera.width, camera.height) for camera in chosen] == list(sizes)
    assert all(camera.has_prior_focal_length for camera in chosen)
    return [list(camera.params) for camera in chosen]


def test_a_smaller_copy_has_all_lengths_in_proportion() -> None:
    config = CameraConfig(camera_model="SIMPLE_RADIAL", camera_params="640,321,238,-0.1")
    assert params(config, (640, 480), (320, 240)) == [[640, 321, 238, -0.1], [320, 160.5, 119, -0.1]]


def test_a_photo_stored_sideways_has_width_and_height_changed() -> None:
    config = CameraConfig(camera_model="PINHOLE", camera_params="650,640,320,240")
    assert params(config, (640, 480), (480, 640)) == [[650, 640, 320, 240], [640, 650, 240, 320]]
    assert params(config, (240, 320)) == [[320, 325, 120, 160]]  # none of the size they are for


def test_parameters_of_a_larger_photo_come_down_to_all() -> None:
    config = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params="3200,2000,1500")
    assert params(config, (1200, 900)) == [[960, 600, 450]]


@pytest.mark.parametrize(
    ("model", "text", "sizes", "match"),
    [
        ("SIMPLE_PINHOLE", "640,320,240", [(640, 480), (640, 360)], "other proportions"),
        ("SIMPLE_PINHOLE", "640,340,240", [(640, 480), (480, 640)], "to which side the photo was turned"),
        ("OPENCV", "640,640,320,240,0,0,0.01,0", [(640, 480), (480, 640)], "tangential"),
        ("SIMPLE_PINHOLE", "640,1000,240", [(640, 480)], "cannot be those of these photos"),
        ("SIMPLE_PINHOLE", "640,-320,240", [(640, 480)], "cannot be those of these photos"),
        ("SIMPLE_PINHOLE", "640,320", [(640, 480)], "do not fit SIMPLE_PINHOLE, which takes f, cx, cy"),
    ],
)
def test_what_cannot_be_right_is_refused(
    model: str, text: str, sizes: list[tuple[int, int]], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        params(CameraConfig(camera_model=model, camera_params=text), *sizes)


def test_photos_cropped_all_alike_keep_their_principal_point() -> None:
    config = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params="640,380,240")
    assert params(config, (640, 480)) == [[640, 380, 240]]


def test_a_table_gives_cameras_by_photo_by_folder_and_for_all(tmp_path: Path) -> None:
    path = tmp_path / "cameras.table"
    path.write_text(
        "# name model width height params\n"
        "left wing/photo 1.jpg SIMPLE_PINHOLE 640 480 700 320 240\n"
        "left wing/ SIMPLE_PINHOLE 640 480 710 320 240\n* PINHOLE 640 480 720,721,320,240\n",
        encoding="utf-8",
    )
    names = ["left wing/photo 1.jpg", "left wing/sub/b.jpg", "c.jpg"]
    given = read_known_cameras(path)
    assert [known_camera(given, name).params[0] for name in names] == [700, 710, 720]  # type: ignore[union-attr]
    photos = {name: PhotoInfo((320, 240)) for name in [*names, "left wing/c.jpg"]}
    cameras, of = assign_cameras(photos, CameraConfig(camera_file=path))
    assert [camera.model_name for camera in cameras] == ["SIMPLE_PINHOLE", "SIMPLE_PINHOLE", "PINHOLE"]
    assert of["left wing/c.jpg"] == of["left wing/sub/b.jpg"] != of["left wing/photo 1.jpg"]
    assert list(cameras[0].params) == [350, 160, 120]


def test_a_model_and_a_database_give_theirs(tmp_path: Path) -> None:
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[700, 701, 320, 240], camera_id=3)
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    image = pycolmap.Image(name="sub/ü.jpg", camera_id=3, image_id=1)
    model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    for write, folder in ((model.write_text, tmp_path / "txt"), (model.write_binary, tmp_path / "bin")):
        folder.mkdir()
        write(folder)
        assert read_known_cameras(folder) == {
            "sub/ü.jpg": KnownCamera("PINHOLE", (700, 701, 320, 240), (640, 480))
        }
    (tmp_path / "txt/images.txt").unlink()
    assert list(read_known_cameras(tmp_path / "txt/cameras.txt")) == ["*"]
    with pycolmap.Database.open(tmp_path / "database.db") as database:
        database.write_camera(camera, use_camera_id=True)
        database.write_image(image, use_image_id=True)
    assert list(read_known_cameras(tmp_path / "database.db")) == ["sub/ü.jpg"]


def test_transforms_json_gives_its_own_and_photos_are_known_by_their_ends(tmp_path: Path) -> None:
    lens = {"w": 640, "h": 480, "fl_x": 700.0, "cx": 321.0, "cy": 239.0, "k1": 0.1}
    frames = [
        {"file_path": "images/sub/a.jpg"},
        {"file_path": "images/b.jpg", "fl_x": 710.0, "fl_y": 711.0, "p2": 0.01},
        {"file_path": "images/c.jpg", "camera_model": "OPENCV_FISHEYE", "k4": 0.2},
        {"file_path": "images/d.jpg", "camera_model": "EQUIRECTANGULAR", "w": 960},
    ]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({**lens, "frames": frames}), encoding="utf-8")
    assert has_intrinsics(path)
    assert [given.params for given in read_known_cameras(path).values()] == [
        (700, 700, 321, 239, 0.1, 0, 0, 0),
        (710, 711, 321, 239, 0.1, 0, 0, 0.01),
        (700, 700, 321, 239, 0.1, 0, 0, 0.2),
        (960, 480),
    ]
    photos = {name: PhotoInfo((640, 480)) for name in ("a.jpg", "b.jpg", "e.jpg")}
    cameras, _ = assign_cameras(photos, CameraConfig(camera_file=path))
    assert [camera.focal_length_x for camera in cameras[:2]] == [700, 710]
    assert cameras[2].model_name == "SIMPLE_RADIAL"  # not known
    path.write_text(json.dumps({"frames": frames}), encoding="utf-8")
    assert not has_intrinsics(path) and not has_intrinsics(tmp_path / "none.json")
    with pytest.raises(InputError, match="does not say what its photos' cameras are: KeyError"):
        read_known_cameras(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a.jpg NOVEL 640 480 1 2 3", "no camera model"),
        ("a.jpg PINHOLE 640 480 1 2", "2 parameters"),
        ("", "names no"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "t").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_known_cameras(tmp_path / "t")
    with pytest.raises(InputError, match="does not exist"):
        read_known_cameras(tmp_path / "none")
