"""Frames of a model's observations: each patch as its track's reference sees it; the surface they lie on."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest
from smallmodel import make_model, turned_about_view

from desdis_match.colmap import tangent_planes
from desdis_match.colmap.alignment import AlignConfig, radii
from desdis_match.colmap.observations import Observations, observations, references, views_of


def observed(model, sigmas) -> Observations:
    views = views_of(model, sigmas)
    return observations(views, references(views), radii(views, AlignConfig(window=4.0)))


GRID = np.array([[x, y, 0.0] for x in np.linspace(-1, 1, 5) for y in np.linspace(-1, 1, 5)])


def facing_plane(degrees: float, ratio: float) -> tuple[pycolmap.Reconstruction, dict[str, np.ndarray]]:
    """The plane z = 0 from straight above, and `ratio` times as far and turned about the view."""
    model = make_model(
        {
            "near.png": turned_about_view(0, (0, 0, 4)),
            "far.png": turned_about_view(degrees, (0, 0, 4 * ratio)),
        },
        GRID,
    )
    return model, {name: np.full(len(GRID), 2.0, np.float32) for name in ("near.png", "far.png")}


@pytest.mark.parametrize(("degrees", "ratio"), [(0, 1.0), (0, 2.0), (90, 1.0), (30, 1.5)])
def test_frames_map_the_tangent_plane_from_photo_to_photo(degrees, ratio):
    model, sigmas = facing_plane(degrees, ratio)
    seen = observed(model, sigmas)
    assert seen.names == ("far.png", "near.png") and len(seen.photo) == 2 * len(GRID)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = {"near.png": np.eye(2), "far.png": np.array([[c, -s], [s, c]]) / ratio}  # of a step in the plane
    for row, reference in enumerate(seen.reference):
        assert seen.keypoint[row] == seen.keypoint[reference]  # here keypoint i is of point i
        mine, theirs = (turn[seen.names[seen.photo[k]]] for k in (row, reference))
        expected = 8.0 * mine @ np.linalg.inv(theirs)  # four sigmas of two pixels
        np.testing.assert_allclose(seen.frames[row, :, :2], expected, atol=0.05)


def test_places_are_in_our_pixels_and_radii_within_their_limits():
    model, sigmas = facing_plane(0, 1.0)
    by_name = {image.name: image for image in model.images.values()}
    for sigma, radius in ((0.5, 5.0), (2.0, 8.0), (50.0, 24.0)):
        sigmas = {name: np.full(len(GRID), sigma, np.float32) for name in sigmas}
        seen = observed(model, sigmas)
        for row in range(len(seen.photo)):
            stored = by_name[seen.names[seen.photo[row]]].points2D[int(seen.keypoint[row])].xy
            # COLMAP's frame has the centre of the first pixel at (0.5, 0.5), ours at (0, 0).
            np.testing.assert_allclose(seen.frames[row, :, 2], stored - 0.5, atol=1e-9)
        own = seen.frames[seen.reference == np.arange(len(seen.photo))]
        np.testing.assert_allclose(own[:, :, :2], np.broadcast_to(radius * np.eye(2), own[:, :, :2].shape))


@pytest.mark.parametrize(("side", "pixel"), [(400, 1.0), (1600, 1.0), (4000, 2.5)])
def test_lengths_are_counted_in_larger_pixels_in_larger_photos(side, pixel):
    model, sigmas = facing_plane(0, 1.0)
    for camera in model.cameras.values():
        camera.width, camera.height = side // 2, side
    assert views_of(model, sigmas).pixel.tolist() == [pixel, pixel]
    assert observed(model, sigmas).pixel.tolist() == [pixel, pixel]


def test_the_radius_is_that_of_the_reference():
    model, _ = facing_plane(0, 2.0)
    sigmas = {"near.png": np.full(25, 3.0, np.float32), "far.png": np.full(25, 1.5, np.float32)}
    seen = observed(model, sigmas)
    sizes = np.sqrt(np.abs(np.linalg.det(seen.frames[:, :, :2])))
    for row, reference in enumerate(seen.reference):
        mine, other = (seen.names[seen.photo[k]] for k in (row, reference))
        radius = {"near.png": 12.0, "far.png": 6.0}[other]
        grown = {"near.png": 2.0, "far.png": 0.5}[mine] if mine != other else 1.0  # it is half as far
        assert sizes[row] == pytest.approx(grown * radius, rel=0.01)


def test_the_reference_sees_the_point_most_from_the_middle():
    # Point 0 is seen by rows 0, 3, 4, point 1 by rows 1, 2; of equals the first is taken.
    point_of = np.array([0, 1, 1, 0, 0])
    facing = np.array([0.90, 0.80, 0.99, 0.95, 0.95])
    views = SimpleNamespace(point=point_of, facing=facing)
    assert references(views).tolist() == [3, 2, 2, 3, 3]
    # Of those that may be it; any of a point of which none may.
    among = np.array([True, False, False, False, True])
    assert references(views, among).tolist() == [4, 2, 2, 4, 4]


def test_normals_are_the_surfaces_and_face_the_cameras():
    plane = np.array([[x, y, 0.3 * x] for x in range(6) for y in range(6)], float)
    steep = np.array([-0.3, 0, 1]) / np.hypot(0.3, 1)
    above = np.broadcast_to([0.0, 0.0, 1.0], plane.shape)
    for towards, normal in ((above, steep), (-above, -steep)):
        np.testing.assert_allclose(
            tangent_planes.normals(plane, towards), np.tile(normal, (36, 1)), atol=1e-9
        )
    # Seen from the side, no surface at all, too few to say: the direction of view.
    aside = np.broadcast_to([0.0, 1.0, 0.0], plane.shape)
    np.testing.assert_array_equal(tangent_planes.normals(plane, aside), aside)
    cloud = np.random.default_rng(0).normal(size=(200, 3))
    view = np.broadcast_to([0.0, 0.0, 1.0], cloud.shape)
    followed = (tangent_planes.normals(cloud, view) == view).all(axis=1)
    assert followed.mean() > 0.7
    np.testing.assert_array_equal(tangent_planes.normals(plane[:12], above[:12]), above[:12])


def test_tangents_span_the_plane():
    normals = np.random.default_rng(1).normal(size=(50, 3))
    normals = np.vstack([normals / np.linalg.norm(normals, axis=1, keepdims=True), np.eye(3)])
    across, down = tangent_planes.tangents(normals)
    frames = np.stack([across, down, normals], axis=1)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.tile(np.eye(3), (53, 1, 1)), atol=1e-12)


def test_a_singular_shape_has_no_inverse():
    matrices = np.array([[[2.0, 1], [0.5, 3]], [[1, 2], [2, 4]], [[0, -1], [1, 0]]])
    found = tangent_planes.inverse(matrices)
    np.testing.assert_allclose(found[[0, 2]], np.linalg.inv(matrices[[0, 2]]))
    np.testing.assert_array_equal(found[1], np.eye(2))
