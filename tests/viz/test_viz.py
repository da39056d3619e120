"""Plots: what is drawn is read back from the figures, and the convention of angles from real patches."""

import builtins
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pycolmap
import pytest
import torch

from desdis_match.errors import InputError
from desdis_match.features.frames import extract_patches, keypoints_to_lafs
from desdis_match.types import Features
from desdis_match.viz import images as viz

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def model(scene_folder):
    return pycolmap.Reconstruction(scene_folder / "ground_truth" / "sparse")


def features(xy, scales, angles):
    n = len(xy)
    values = (np.asarray(a, np.float32) for a in (xy, np.zeros((n, 2)), np.ones(n), scales, angles))
    return Features(*values, image_size=(40, 30))


def test_images_keep_their_pixels_and_shapes(scene_folder):
    path = scene_folder / "images" / "view_000.jpg"
    figure = viz.plot_images([path, np.zeros((30, 40))], titles=["photo", "black"])
    assert [axis.get_title() for axis in figure.axes] == ["photo", "black"]
    shown = figure.axes[0].images[0].get_array()
    assert np.array_equal(shown, cv2.imread(str(path))[..., ::-1])
    assert figure.axes[1].images[0].get_array().shape == (30, 40)
    with pytest.raises(InputError, match=r"none\.jpg: cannot be read"):
        viz.plot_images([scene_folder / "none.jpg"])


def test_keypoints_lie_where_they_are():
    figure = viz.plot_images([np.zeros((30, 40)), np.zeros((30, 40))])
    viz.plot_keypoints([[[3.0, 4.0]], np.zeros((0, 2))], colors="red")
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[3.0, 4.0]]
    assert len(figure.axes[1].collections[0].get_offsets()) == 0


def test_frames_show_radius_and_orientation():
    figure = viz.plot_images([np.zeros((30, 40))])
    viz.plot_keypoints([features([[10, 20]], [5], [np.pi / 2])], frames=True)
    _, circles, lines = figure.axes[0].collections
    assert circles._widths[0] == 5.0  # matplotlib keeps half of the width that it is given: the radius
    # A quarter turn counter-clockwise: the patch's right is the photo's up.
    np.testing.assert_allclose(lines.get_segments()[0], [[10, 20], [10, 15]], atol=1e-5)


def test_directions_are_those_of_the_patches():
    """Right of a patch's centre lies what the photo has along `patch_directions`."""
    angle = 0.7
    direction = viz.patch_directions([angle])[0]
    photo = np.zeros((101, 101), np.float32)
    spot = np.array([50.0, 50.0]) + 20 * direction
    cv2.circle(photo, tuple(int(v) for v in np.round(spot)), 4, 1.0, -1)
    lafs = keypoints_to_lafs(np.array([[50.0, 50.0]], np.float32), np.array([40.0 / 12], np.float32), angle)
    patch = extract_patches(torch.from_numpy(photo), lafs)[0, 0].numpy()
    rows, columns = np.mgrid[:32, :32]
    center = np.array([(patch * columns).sum(), (patch * rows).sum()]) / patch.sum() - 15.5
    assert center[0] == pytest.approx(8, abs=1) and center[1] == pytest.approx(0, abs=1)


def test_matches_are_coloured_by_correctness():
    figure = viz.plot_images([np.zeros((30, 40)), np.zeros((30, 40))])
    viz.plot_matches([[1, 2], [3, 4]], [[5, 6], [7, 8]], correct=[True, False])
    lines = figure.artists
    drawn = [
        (matplotlib.colors.to_hex(line.get_edgecolor()), tuple(line.xy1), tuple(line.xy2)) for line in lines
    ]
    assert drawn == [(viz.WRONG, (3, 4), (7, 8)), (viz.RIGHT, (1, 2), (5, 6))]  # right ones on top
    with pytest.raises(ValueError, match="2 keypoints cannot be matched with 1"):
        viz.plot_matches([[1, 2], [3, 4]], [[5, 6]])


def test_no_matches_draw_nothing():
    figure = viz.plot_images([np.zeros((30, 40)), np.zeros((30, 40))])
    viz.plot_matches(np.zeros((0, 2)), np.zeros((0, 2)))
    assert not figure.artists


def test_patches_come_row_by_row():
    patches = torch.arange(5).float().reshape(5, 1, 1, 1).expand(5, 1, 4, 4) / 10
    figure = viz.plot_patches(patches, columns=3, titles="five")
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (10, 16)
    np.testing.assert_allclose(sheet[[0, 0, 0, 6, 6, 6], [0, 6, 12, 0, 6, 12]], [0, 0.1, 0.2, 0.3, 0.4, 1])


def test_save_plot_writes_the_current_figure(tmp_path):
    viz.plot_images([np.zeros((30, 40))])
    path = viz.save_plot(tmp_path / "sub" / "plot.png", dpi=50)
    assert cv2.imread(str(path)) is not None


@pytest.mark.parametrize("color_by", ["visibility", "track_length", "depth"])
def test_keypoints_of_a_model(color_by, model, scene_folder):
    names = ["view_001.jpg"]
    (figure,) = viz.visualize_sfm_2d(model, scene_folder / "images", color_by, names)
    image = model.find_image_with_name("view_001.jpg")
    drawn = figure.axes[0].collections[-1]
    expected = np.array([p.xy for p in image.points2D]) - 0.5
    np.testing.assert_allclose(drawn.get_offsets(), expected)
    if color_by == "track_length":
        lengths = [model.points3D[p.point3D_id].track.length() for p in image.points2D]
        assert drawn.get_array().tolist() == lengths
    if color_by == "depth":
        point = model.points3D[image.points2D[0].point3D_id]
        assert drawn.get_array()[0] == pytest.approx((image.cam_from_world() * point.xyz)[2])


def test_keypoints_of_a_model_refuse_nonsense(model, scene_folder):
    with pytest.raises(InputError, match="color_by is 'colour'"):
        viz.visualize_sfm_2d(model, scene_folder, "colour")
    with pytest.raises(InputError, match="no registered image 'x'"):
        viz.visualize_sfm_2d(model, scene_folder, selected=["x"])


def test_model_in_3d(model, scene_folder):
    pytest.importorskip("plotly")
    figure = viz.init_figure()
    viz.plot_reconstruction(figure, scene_folder / "ground_truth" / "sparse", min_track_length=3)
    points, *cameras = figure.data
    assert len(points.x) == sum(p.track.length() >= 3 for p in model.points3D.values())
    assert len(cameras) == 6
    centers = [[camera.x[5], camera.y[5], camera.z[5]] for camera in cameras]
    expected = {image.name: image.projection_center() for image in model.images.values()}
    for camera, center in zip(cameras, centers, strict=True):
        np.testing.assert_allclose(center, expected[camera.name], atol=1e-9)
    viz.plot_reconstruction(figure, model, points=True, cameras=False, points_rgb=False, color="red")
    assert figure.data[-1].marker.color == "red" and len(figure.data) == 8


def test_without_plotly_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"desdis-match\[notebooks\]"):
        viz.init_figure()


def test_read_rgb_ignores_exif_rotation(scene_folder, tmp_path):
    data = (scene_folder / "images" / "view_000.jpg").read_bytes()
    # Their EXIF block has three entries in its first directory; the first becomes Orientation = 6.
    at = data.index(b"Exif\0\0") + 6 + 8 + 2
    turned = data[:at] + bytes([0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]) + data[at + 12 :]
    path = Path(tmp_path / "turned.jpg")
    path.write_bytes(turned)
    assert cv2.imread(str(path)).shape == (400, 300, 3)  # OpenCV itself turns it
    assert viz.read_rgb(path).shape == (300, 400, 3)
