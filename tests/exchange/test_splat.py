"""The 3dgs export: pinhole photos under flat names whose pixels are where the model says; turned, masked."""

import json

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image

from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.exchange.models import export_model
from desdis_match.exchange.photo_files import flat_names, turned_from_camera, turned_intrinsics, turned_points


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A made-up model of five distorted photos with dots where its points are; two names differ by folders.

    The last photo is stored turned: EXIF says to turn it clockwise.
    """
    folder = tmp_path_factory.mktemp("scene")
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=5)
    options.num_points3D = 40
    model = pycolmap.synthesize_dataset(options)
    (camera,) = model.cameras.values()
    camera.model, camera.params = pycolmap.CameraModelId.SIMPLE_RADIAL, [1280, 512, 384, 0.08]
    names = ["cam0/IMG_1.jpg", "cam1/IMG_1.jpg", "ü 1.v2.jpg", "shot.tif", "turned.jpg"]
    for image, name in zip(model.images.values(), names, strict=True):
        image.name = name
        for point in image.points2D:
            if point.has_point3D():
                point.xy = image.project_point(model.point3D(point.point3D_id).xyz)
        pixels = np.full((768, 1024, 3), 40, np.uint8)
        for point in image.points2D:
            if point.has_point3D():
                place = tuple(round(v) for v in (point.xy - 0.5) * 16)
                cv2.circle(pixels, place, 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if name == "turned.jpg":
            exif[0x0112] = 6
        Image.fromarray(pixels).save(path, quality=95, exif=exif)
    (folder / "model").mkdir()
    model.write_binary(folder / "model")
    mask = np.full((768, 1024), 255, np.uint8)
    mask[:, :320] = 0
    cv2.imwrite(str(folder / "mask.png"), mask)
    return folder


@pytest.fixture(scope="module")
def splat(scene):
    export_model(scene / "model", "3dgs", scene / "splat", scene / "photos", masks=scene / "mask.png")
    return scene / "splat"


def test_photos_show_the_points_where_the_model_says(splat):
    model = pycolmap.Reconstruction(splat / "sparse" / "0")
    assert {camera.model.name for camera in model.cameras.values()} == {"PINHOLE"}
    checked = 0
    for image in model.images.values():
        camera = model.camera(image.camera_id)
        photo = cv2.imread(str(splat / "images" / image.name), cv2.IMREAD_GRAYSCALE)
        assert photo.shape == (camera.height, camera.width)
        for point in image.points2D:
            xy = image.project_point(model.point3D(point.point3D_id).xyz)
            np.testing.assert_allclose(point.xy, xy, atol=0.01)
            x, y = (int(v) for v in xy)
            if 0 <= x < camera.width and 0 <= y < camera.height:
                assert photo[y, x] > 150, (image.name, xy)
                checked += 1
    assert checked > 60


def test_names_are_flat_ascii_and_unique_before_their_first_dot(splat):
    names = sorted(path.name for path in (splat / "images").iterdir())
    assert names == ["1_v2.jpg", "cam0_IMG_1.jpg", "cam1_IMG_1.jpg", "shot.png", "turned.jpg"]
    assert flat_names(["a/b.jpg", "a_b.png", "a b.jpg"]) == {
        "a b.jpg": "a_b.jpg",
        "a/b.jpg": "a_b_2.jpg",
        "a_b.png": "a_b_3.png",
    }


def test_a_turned_photo_is_written_upright_and_says_no_orientation(splat):
    with Image.open(splat / "images" / "turned.jpg") as image:
        assert image.size[0] < image.size[1] and 0x0112 not in image.getexif()


def test_smaller_copies_masks_and_points(splat):
    width, height = Image.open(splat / "images" / "shot.png").size
    assert Image.open(splat / "images_4" / "shot.png").size == (width // 4, height // 4)
    mask = cv2.imread(str(splat / "masks" / "shot.png"), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (height, width) and not mask[:, :280].any() and mask[60:-60, 370:-60].all()
    turned = cv2.imread(str(splat / "masks" / "turned.png"), cv2.IMREAD_GRAYSCALE)
    assert not turned[:280].any() and turned[370:-60, 60:-60].all()  # left of the stored photo is its top
    assert (splat / "masks_2" / "cam0_IMG_1.png").is_file()
    head = (splat / "sparse" / "0" / "points3D.ply").read_bytes().split(b"end_header")[0]
    assert b"property float nx" in head and b"property uchar red" in head


def test_the_terminal_says_what_it_holds_and_what_comes_next(scene, capsys):
    words = ["export", "--model", str(scene / "model"), "--images", str(scene / "photos")]
    assert main([*words, "--format", "3dgs", "--output", str(scene / "again")]) == 0
    said = capsys.readouterr().out
    assert "40 points of 5 photos, 5 pinholes" in said and "next: python train.py -s" in said
    assert main([*words, "--format", "3dgs", "--output", str(scene / "again")]) == 2  # not empty


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_camera_sees_the_turned_pixel(turns):
    """Project with the turned camera, and turn what the stored one projects: the same pixel."""
    size, ray = (320, 240), np.array([0.2, -0.1, 1.0])
    stored = np.array([[300 * ray[0] + 150, 310 * ray[1] + 130]])
    (fx, fy), (cx, cy) = turned_intrinsics((300, 310), (150, 130), size, turns)
    x, y, z = turned_from_camera(turns) @ ray
    seen = [fx * x / z + cx, fy * y / z + cy]
    np.testing.assert_allclose(seen, turned_points(stored, size, turns)[0], atol=1e-9)


@pytest.mark.parametrize("link", [False, True])
def test_nerfstudio_s_photos_show_the_points_too_also_the_turned_one(scene, tmp_path, link):
    export_model(scene / "model", "nerfstudio", tmp_path / "ns", scene / "photos", link=link)
    content = json.loads((tmp_path / "ns" / "transforms.json").read_text())
    model = pycolmap.Reconstruction(scene / "model")
    applied = np.vstack([content["applied_transform"], [0, 0, 0, 1]])
    sizes, checked = set(), 0
    for frame in content["frames"]:
        assert ".." not in frame["file_path"]
        path = tmp_path / "ns" / frame["file_path"]
        assert path.is_symlink() == (link and path.name in ("1_v2.jpg", "cam0_IMG_1.jpg", "cam1_IMG_1.jpg"))
        photo = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert photo.shape == (frame["h"], frame["w"])
        assert cv2.imread(str(tmp_path / "ns" / "images_2" / path.name)).shape[1] == frame["w"] // 2
        sizes.add(photo.shape)
        camera_from_world = np.linalg.inv(frame["transform_matrix"]) @ applied
        image = model.image(frame["colmap_im_id"])
        for point in image.points2D:
            if point.has_point3D():
                x, y, z, _ = camera_from_world @ [*model.point3D(point.point3D_id).xyz, 1]
                u, v = x / -z, y / z
                factor = 1 + frame["k1"] * (u * u + v * v)
                column, row = (
                    frame["fl_x"] * u * factor + frame["cx"],
                    frame["fl_y"] * v * factor + frame["cy"],
                )
                if 0 <= column < frame["w"] and 0 <= row < frame["h"]:
                    assert photo[int(row), int(column)] > 150, (path.name, column, row)
                    checked += 1
    assert sizes == {(768, 1024), (1024, 768)} and checked > 60


def test_nerfstudio_has_a_mask_for_each_photo_white_where_there_is_none(scene, tmp_path):
    (tmp_path / "masks" / "cam0").mkdir(parents=True)
    for name in ("cam0/IMG_1.jpg.png", "turned.png"):
        cv2.imwrite(str(tmp_path / "masks" / name), cv2.imread(str(scene / "mask.png")))
    photos, output = scene / "photos", tmp_path / "ns"
    made = export_model(scene / "model", "nerfstudio", output, photos, masks=tmp_path / "masks")
    assert "masks" in made.holds
    content = json.loads((output / "transforms.json").read_text())
    dark = {}
    for frame in content["frames"]:
        mask = cv2.imread(str(output / frame["mask_path"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (frame["h"], frame["w"])
        assert (output / "masks_4" / frame["mask_path"].split("/")[1]).is_file()
        dark[frame["file_path"]] = (int((~mask.any(0)).sum()), int((~mask.any(1)).sum()))
    assert dark["images/cam0_IMG_1.jpg"] == (320, 0)
    assert dark["images/turned.jpg"] == (0, 320)  # left of the stored photo is its top
    assert dark["images/shot.png"] == dark["images/cam1_IMG_1.jpg"] == (0, 0)


def test_masks_that_nothing_can_be_done_with_are_named(scene, tmp_path, caplog):
    model, photos, output = scene / "model", scene / "photos", tmp_path / "ns"
    with pytest.raises(InputError, match=r"gone does not exist; give the folder of masks"):
        export_model(model, "3dgs", output, photos, masks=tmp_path / "gone")
    with pytest.raises(InputError, match="masks go with photos in 3dgs and nerfstudio"):
        export_model(model, "nerfstudio", output, masks=scene / "mask.png")
    with pytest.raises(InputError, match="masks go with photos"):
        export_model(model, "undistorted", output, photos, masks=scene / "mask.png")
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(InputError, match=r"mask \(.*notes.png\) that is damaged or in a format"):
        export_model(model, "3dgs", output, photos, masks=tmp_path / "notes.png")
    assert not output.exists()
    (tmp_path / "masks" / "cam0").mkdir(parents=True)
    whole = (scene / "mask.png").read_bytes()
    (tmp_path / "masks" / "cam0" / "IMG_1.jpg.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cam0/IMG_1.jpg: has a mask .* that is (truncated|damaged)"):
        export_model(model, "3dgs", output, photos, masks=tmp_path / "masks")
    assert not output.exists()
    assert "4 of 5 photos have no mask: cam1/IMG_1.jpg" in caplog.text
