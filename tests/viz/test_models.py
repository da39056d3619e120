"""Models as charts: points, a camera's pyramid, and the view from above, read back from the figures."""

import matplotlib
import numpy as np
import pycolmap
import pytest

from desdis_match.viz import models

matplotlib.use("Agg")


def test_points_are_those_given():
    pytest.importorskip("plotly")
    figure = models.init_figure()
    models.plot_points(figure, [[1, 2, 3], [4, 5, 6]], ps=3, name="mine")
    (trace,) = figure.data
    assert (list(trace.x), list(trace.y), list(trace.z)) == ([1, 4], [2, 5], [3, 6])
    assert trace.name == "mine" and trace.marker.size == 3


def test_a_cameras_pyramid_has_its_apex_at_the_centre():
    """A camera at (10, 0, 0) that looks along the world's y: base 2 wide and 1 high at depth 1."""
    pytest.importorskip("plotly")
    figure = models.init_figure()
    world_from_camera = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # its z is the world's y
    intrinsics = [[100, 0, 100], [0, 100, 50], [0, 0, 1]]
    models.plot_camera(figure, world_from_camera, [10, 0, 0], intrinsics)
    (trace,) = figure.data
    places = {tuple(np.round(place, 6)) for place in zip(trace.x, trace.y, trace.z, strict=True)}
    base = {(10 + x, 1, z) for x in (-1, 1) for z in (-0.5, 0.5)}
    assert places == base | {(10, 0, 0)}


@pytest.fixture
def axis(scene_folder):
    import matplotlib.pyplot as plt

    axis = models.plot_from_above(
        scene_folder / "ground_truth" / "sparse", others={"guest": pycolmap.Rigid3d()}
    )
    yield axis
    plt.close("all")


def test_from_above_cameras_look_to_the_top_on_average(axis, scene_folder):
    model = pycolmap.Reconstruction(scene_folder / "ground_truth" / "sparse")
    wedges = [patch.get_xy() for patch in axis.patches]
    assert len(wedges) == model.num_reg_images() + 1  # and the guest, with its name
    assert [text.get_text() for text in axis.texts if text.get_text()] == ["guest"]
    looks = np.array([wedge[1:3].mean(axis=0) - wedge[0] for wedge in wedges[:-1]])
    mean = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).mean(axis=0)
    assert mean[1] > 0.5 and abs(mean[0]) < 0.3
    assert len(axis.collections[0].get_offsets()) == model.num_points3D()


def test_from_above_distances_are_the_models(axis, scene_folder):
    """Cameras at one height are as far apart on the chart as in the world."""
    model = pycolmap.Reconstruction(scene_folder / "ground_truth" / "sparse")
    poses = [model.images[i].cam_from_world() for i in model.reg_image_ids()]
    centers = np.array([pose.inverse().translation for pose in poses])
    drawn = np.array([patch.get_xy()[0] for patch in axis.patches[:-1]])
    up = -np.mean([pose.rotation.matrix()[1] for pose in poses], axis=0)
    up /= np.linalg.norm(up)
    apart = centers[1:] - centers[0]
    level = apart - np.outer(apart @ up, up)
    np.testing.assert_allclose(
        np.linalg.norm(drawn[1:] - drawn[0], axis=1), np.linalg.norm(level, axis=1), rtol=1e-6
    )
