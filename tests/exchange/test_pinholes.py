"""Panoramas cut into faces: each pixel shows what its pose says, each point is where its observations are.

The panoramas are of a scene known in closed form: what is seen in a direction of the world is a colour that
depends on the direction alone; where points are on a panorama is a formula written here, not COLMAP's.
"""

import json

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image

from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.exchange.models import export_model
from desdis_match.exchange.pinholes import FaceConfig

WIDTH, HEIGHT = 720, 360
NUM_POINTS = 60


def rays_of_panorama():
    """(h, w, 3): column 0 begins behind the camera, to its left; row 0 is up, which is -y."""
    longitude = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(HEIGHT) + 0.5) / HEIGHT) * np.pi
    longitude, latitude = np.meshgrid(longitude, latitude)
    across = np.cos(latitude)
    return np.stack([across * np.sin(longitude), -np.sin(latitude), across * np.cos(longitude)], axis=-1)


def colour_of(directions):
    """Of directions (..., 3) of the world, slowly changing."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return 128 + 100 * unit


def on_panorama(ray):
    """Pixel, COLMAP's origin."""
    x, y, z = ray / np.linalg.norm(ray)
    return np.array([(np.arctan2(x, z) / (2 * np.pi) + 0.5) * WIDTH, (np.arcsin(y) / np.pi + 0.5) * HEIGHT])


def quarter(axis, degrees):
    return pycolmap.Rotation3d(np.radians(degrees) * np.array(axis, float)).matrix()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three panoramas in a cloud of points, tilted and turned differently, and a photo with a lens."""
    folder = tmp_path_factory.mktemp("panoramas")
    rng = np.random.default_rng(4)
    directions = rng.normal(size=(NUM_POINTS, 3))
    points = (
        directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(4, 8, (NUM_POINTS, 1))
    )
    model = pycolmap.Reconstruction()
    panorama = pycolmap.Camera(
        camera_id=1, model="EQUIRECTANGULAR", width=WIDTH, height=HEIGHT, params=[WIDTH, HEIGHT]
    )
    lens = pycolmap.Camera(
        camera_id=2, model="SIMPLE_RADIAL", width=320, height=240, params=[300, 160, 120, 0.05]
    )
    model.add_camera_with_trivial_rig(panorama)
    model.add_camera_with_trivial_rig(lens)
    tracks = [[] for _ in range(NUM_POINTS)]
    poses = {
        "a/360.jpg": (1, quarter([0, 1, 0], 25), [0.0, 0, 0]),
        "b/360.jpg": (1, quarter([1, 0, 0], 12) @ quarter([0, 1, 0], -70), [1, 0.2, -0.5]),
        "c.png": (1, quarter([0, 0, 1], 8) @ quarter([0, 1, 0], 160), [-0.7, 0, 0.8]),
        "lens.jpg": (2, quarter([0, 1, 0], 40), [0.3, 0, 0.1]),
    }
    for image_id, (name, (camera_id, rotation, centre)) in enumerate(poses.items(), start=1):
        seen = (points - centre) @ rotation.T
        rays = rays_of_panorama() if camera_id == 1 else None
        if rays is None:
            pixels = np.full((240, 320, 3), 128, np.uint8)
            xy = {i: np.asarray(lens.img_from_cam(ray)).ravel() for i, ray in enumerate(seen) if ray[2] > 0.5}
            xy = {i: place for i, place in xy.items() if 0 < place[0] < 320 and 0 < place[1] < 240}
        else:
            pixels = np.rint(colour_of(rays @ rotation)).astype(np.uint8)
            xy = {i: on_panorama(ray) for i, ray in enumerate(seen)}
        keypoints = np.array(list(xy.values())).reshape(-1, 2)
        for row, i in enumerate(xy):
            tracks[i].append((image_id, row))
        image = pycolmap.Image(image_id=image_id, name=name, camera_id=camera_id, keypoints=keypoints)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ centre)
        model.add_image_with_trivial_frame(image, pose)
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=98)
    for xyz, track in zip(points, tracks, strict=True):
        elements = pycolmap.Track()
        for image_id, row in track:
            elements.add_element(image_id, row)
        model.add_point3D(xyz, elements, np.array([9, 8, 7], np.uint8))
    (folder / "model").mkdir()
    model.write_binary(folder / "model")
    (folder / "masks" / "a").mkdir(parents=True)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, :90] = mask[:, -90:] = 0  # the quarter behind
    cv2.imwrite(str(folder / "masks" / "a" / "360.jpg.png"), mask)
    return folder


@pytest.fixture(scope="module")
def splat(scene):
    made = export_model(
        scene / "model", "3dgs", scene / "splat", scene / "photos",
        masks=scene / "masks", faces=FaceConfig(around=6, poles=True),
    )  # fmt: skip
    assert "60 points of 4 photos, 25 pinholes" in made.holds
    return scene / "splat"


def test_a_face_s_pixels_show_the_directions_that_its_pose_says(splat):
    """Also over the seam behind, which runs through face 3, and at the poles."""
    model = pycolmap.Reconstruction(splat / "sparse" / "0")
    checked = []
    for image in model.images.values():
        if image.name == "lens.jpg":
            continue
        camera = model.camera(image.camera_id)
        pixels = cv2.imread(str(splat / "images" / image.name))[..., ::-1].astype(float)
        side = round(WIDTH / np.pi)
        assert camera.model.name == "PINHOLE" and pixels.shape == (side, side, 3)
        assert camera.params.tolist() == [side / 2] * 4  # 90 degrees
        x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
        rays = np.stack([x / (side / 2) - 1, y / (side / 2) - 1, np.ones_like(x)], axis=-1)
        expected = colour_of(rays @ image.cam_from_world().rotation.matrix())
        error = np.abs(pixels - expected).max(axis=-1)
        assert error.mean() < 1.5 and error.max() < 8, image.name  # JPEG's; a pixel is about 0.9
        down, right = np.gradient(expected, axis=(0, 1))
        gradients = np.stack([right.ravel(), down.ravel()], axis=1)
        shift = np.linalg.lstsq(gradients, (pixels - expected).ravel(), rcond=None)[0]
        assert np.abs(shift).max() < 0.1, image.name  # pixels
        checked.append(image.name)
    labels = [f"face{i}" for i in range(6)] + ["up", "down"]
    assert sorted(checked) == sorted(
        f"{stem}_{label}.{kind}" for stem, kind in STEMS.items() for label in labels
    )


def test_faces_begin_in_the_panoramas_middle_and_go_to_the_right(scene, splat):
    model = pycolmap.Reconstruction(splat / "sparse" / "0")
    before = pycolmap.Reconstruction(scene / "model").find_image_with_name("a/360.jpg")
    world_from_panorama = before.cam_from_world().inverse()
    for label, degrees in {"face0": 0, "face1": 60, "face3": 180}.items():
        face_from_panorama = (
            model.find_image_with_name(f"a_360_{label}.jpg").cam_from_world() * world_from_panorama
        )
        angle = np.radians(degrees)
        ahead = face_from_panorama * np.array([np.sin(angle), 0, np.cos(angle)])
        np.testing.assert_allclose(ahead, [0, 0, 1], atol=1e-9)
    up = model.find_image_with_name("a_360_up.jpg").cam_from_world() * world_from_panorama
    np.testing.assert_allclose(up * np.array([0.0, -1, 0]), [0, 0, 1], atol=1e-9)


STEMS = {"a_360": "jpg", "b_360": "jpg", "c": "png"}


def test_points_are_observed_where_they_are_in_every_face_that_sees_them(scene, splat):
    before, model = pycolmap.Reconstruction(scene / "model"), pycolmap.Reconstruction(splat / "sparse" / "0")
    places = {tuple(np.round(point.xyz, 6)): point for point in before.points3D.values()}
    assert model.num_points3D() == NUM_POINTS
    observed = 0
    for image in model.images.values():
        camera = model.camera(image.camera_id)
        visible = {}
        for i, point in model.points3D.items():
            ray = image.cam_from_world() * point.xyz
            xy = ray[:2] / ray[2] * camera.params[:2] + camera.params[2:]
            if ray[2] > 0 and (xy > 0.01).all() and (xy < [camera.width - 0.01, camera.height - 0.01]).all():
                visible[i] = xy
        seen = {point.point3D_id: point.xy for point in image.points2D if point.has_point3D()}
        assert len(seen) == len(image.points2D)
        if image.name != "lens.jpg":
            assert seen.keys() == visible.keys()
        for i, xy in seen.items():
            np.testing.assert_allclose(xy, visible[i], atol=0.01)
            assert model.point3D(i).color.tolist() == [9, 8, 7]
            assert tuple(np.round(model.point3D(i).xyz, 6)) in places
            observed += 1
    # Six faces of 90 degrees around cover the horizon 1.5 times, and each panorama's poles are seen too.
    assert observed > 1.2 * 3 * NUM_POINTS
    assert max(point.error for point in model.points3D.values()) < 0.01


def test_the_mask_is_cut_with_its_panorama(splat):
    names = sorted(path.name for path in (splat / "masks").iterdir())
    assert names == sorted(f"a_360_{label}.png" for label in [f"face{i}" for i in range(6)] + ["up", "down"])
    shares = {i: cv2.imread(str(splat / "masks" / f"a_360_face{i}.png"), 0).mean() / 255 for i in range(6)}
    assert shares[0] == shares[1] == shares[5] == 1  # none is nearer than 135 - 105 degrees to what is masked
    assert shares[3] < 0.01  # straight behind
    # They look 120 degrees away, and what is beyond 135 is masked: (1 + tan 15) / 2 of them is left.
    assert shares[2] == pytest.approx(0.634, abs=0.005) and shares[4] == pytest.approx(0.634, abs=0.005)


def test_other_formats_take_faces_where_asked_and_undistorted_does_so_by_itself(scene, tmp_path, capsys):
    words = ["export", "--model", str(scene / "model"), "--images", str(scene / "photos")]
    for form, more in (
        ("undistorted", []),
        ("colmap-txt", ["--faces", "4"]),
        ("nerfstudio", ["--faces", "4"]),
    ):
        assert main([*words, "--format", form, "--output", str(tmp_path / form), *more]) == 0
        assert "faces of 4 photos" in capsys.readouterr().out
    dense = pycolmap.Reconstruction(tmp_path / "undistorted" / "sparse")
    assert dense.num_reg_images() == 25 and dense.num_points3D() > 40  # none at the poles
    assert {camera.model.name for camera in dense.cameras.values()} == {"PINHOLE"}
    assert all((tmp_path / "undistorted" / "images" / i.name).is_file() for i in dense.images.values())
    text = pycolmap.Reconstruction(tmp_path / "colmap-txt")
    assert text.num_reg_images() == 13
    assert all((tmp_path / "colmap-txt" / "images" / i.name).is_file() for i in text.images.values())
    frames = json.loads((tmp_path / "nerfstudio" / "transforms.json").read_text())["frames"]
    assert len(frames) == 13
    assert all((tmp_path / "nerfstudio" / frame["file_path"]).is_file() for frame in frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colmap-txt", "nerfstudio", "undistorted"]


def test_what_cannot_be_cut_is_an_error(scene, splat, tmp_path):
    with pytest.raises(InputError, match="give 4 or more"):
        FaceConfig(around=3)
    with pytest.raises(InputError, match="csv is one file"):
        export_model(scene / "model", "csv", tmp_path / "a.csv", faces=FaceConfig())
    with pytest.raises(InputError, match="no photo of the model is a panorama"):
        export_model(splat / "sparse" / "0", "colmap-txt", tmp_path / "n", faces=FaceConfig())
    with pytest.raises(InputError, match="cut the panoramas with --faces"):
        export_model(scene / "model", "nerfstudio", tmp_path / "n", scene / "photos")
    with pytest.raises(InputError, match="leave --link out"):
        export_model(
            scene / "model", "nerfstudio", tmp_path / "n", scene / "photos", link=True, faces=FaceConfig()
        )
    assert not list(tmp_path.iterdir())
