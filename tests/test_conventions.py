"""The conventions of every format, by hand: one keypoint, written and read where each format has it."""

import numpy as np
import pytest
import torch

from desdis_match import conventions
from desdis_match.features.frames import resized_lafs
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.storage.keypoint_files import read_given
from desdis_match.types import Features

# One keypoint in our convention: the centre of the pixel in column 10, row 20; a blob of sigma 2, whose patch
# reaches 12 sigmas; turned by 30 degrees against the clock as seen.
XY, SIGMA, SCALE, ANGLE = (10.0, 20.0), 2.0, 24.0, np.pi / 6
COS, SIN = 2.0 * np.cos(ANGLE), 2.0 * np.sin(ANGLE)
COLMAP_4 = (10.5, 20.5, 2.0, -np.pi / 6)
"""x, y, sigma, radians with the clock."""
COLMAP_6 = (10.5, 20.5, COS, SIN, -SIN, COS)
"""x, y, a11 a12 a21 a22: the patch's x axis goes to (a11, a21), up and to the right."""


def ours(dtype=np.float32):
    return np.array([XY], dtype), np.array([SCALE], dtype), np.array([ANGLE], dtype)


def features():
    xy, scales, angles = ours()
    return Features(xy, np.eye(1, 128, dtype=np.float32), np.ones(1, np.float32), scales, angles, (100, 80))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [COLMAP_4, COLMAP_6])
def test_colmap_s_columns(columns, dtype):
    xy, scales, angles = conventions.from_colmap_columns(np.array([columns], dtype))
    assert xy.dtype == scales.dtype == angles.dtype == dtype
    np.testing.assert_allclose(xy, [XY], atol=1e-6)
    np.testing.assert_allclose(scales, [SCALE], rtol=1e-6)
    np.testing.assert_allclose(angles, [ANGLE], rtol=1e-6)


def test_colmap_s_columns_back():
    table = conventions.to_colmap_columns(*ours())
    np.testing.assert_allclose(table, [COLMAP_4], rtol=1e-6)


def test_colmap_s_places_alone_have_sigma_1_and_no_angle():
    xy, scales, angles = conventions.from_colmap_columns(np.array([[10.5, 20.5]], np.float32))
    assert (xy.tolist(), scales.tolist(), angles.tolist()) == ([list(XY)], [12.0], [0.0])


def test_hloc_s_file_holds_degrees_with_the_clock_and_comes_back(tmp_path):
    path = write_features(tmp_path / "features.h5", [("a.jpg", features())], {})
    with FeatureFile(path) as file:
        stored = {key: np.asarray(value) for key, value in file.file()["a.jpg"].items()}
        again = file.get("a.jpg")
    np.testing.assert_allclose(stored["keypoints"], [XY])
    np.testing.assert_allclose(stored["scales"], [SCALE])  # ours: the radius
    np.testing.assert_allclose(stored["oris"], [-30.0], rtol=1e-6)
    np.testing.assert_allclose(again.angles, [ANGLE], rtol=1e-6)
    np.testing.assert_allclose(again.scales, [SCALE])
    given = read_given(path, "a.jpg")
    np.testing.assert_allclose(given.sigmas, [SIGMA])
    np.testing.assert_allclose(given.angles, [ANGLE], rtol=1e-6)


def test_a_file_of_hloc_s_own_holds_sigmas(tmp_path):
    import h5py

    with h5py.File(tmp_path / "hloc.h5", "w") as file:
        group = file.create_group("a.jpg")
        group["keypoints"], group["scales"] = np.array([XY], np.float32), np.array([SIGMA], np.float32)
        group["oris"] = np.array([-30.0], np.float32)
    with FeatureFile(tmp_path / "hloc.h5") as file:
        got = file.get("a.jpg")
    np.testing.assert_allclose(got.scales, [SCALE])
    np.testing.assert_allclose(got.angles, [ANGLE], rtol=1e-6)
    assert read_given(tmp_path / "hloc.h5", "a.jpg").sigmas.tolist() == [SIGMA]


def test_keypoints_of_hloc_without_a_scale_get_the_same_sigma_from_both_readers(tmp_path):
    import h5py

    with h5py.File(tmp_path / "hloc.h5", "w") as file:
        file.create_group("a.jpg")["keypoints"] = np.array([XY], np.float32)
    with FeatureFile(tmp_path / "hloc.h5") as file:
        assert file.get("a.jpg").scales.tolist() == [24.0]
    assert read_given(tmp_path / "hloc.h5", "a.jpg").sigmas.tolist() == [2.0]


def test_colmap_s_text_both_ways(tmp_path):
    from desdis_match.exchange.text import write_text_features

    path = write_features(tmp_path / "features.h5", [("a.jpg", features())], {})
    with FeatureFile(path) as file:
        write_text_features(file, tmp_path / "text")
    row = (tmp_path / "text" / "a.jpg.txt").read_text().splitlines()[1].split()[:4]
    np.testing.assert_allclose([float(value) for value in row], COLMAP_4, rtol=1e-6)
    again = read_given(tmp_path / "text", "a.jpg")
    np.testing.assert_allclose(again.xy, [XY], atol=1e-6)
    np.testing.assert_allclose(conventions.scale_from_sigma(again.sigmas), [SCALE], rtol=1e-6)
    np.testing.assert_allclose(again.angles, [ANGLE], rtol=1e-6)


def test_opencv_s_keypoints_have_a_diameter_and_degrees_with_the_clock():
    from desdis_match.plugins.opencv import _keypoints

    (keypoint,) = _keypoints(features())
    assert keypoint.pt == XY  # OpenCV's origin is ours
    assert keypoint.size == pytest.approx(4.0)
    assert keypoint.angle == pytest.approx(330.0)


def test_gluefactory_counts_from_the_corner():
    from desdis_match.plugins.gluefactory import _columns

    columns = _columns(features(), 1)
    np.testing.assert_allclose(columns["keypoints"].numpy(), [[10.5, 20.5]])
    np.testing.assert_allclose(columns["scales"].numpy(), [SIGMA])
    np.testing.assert_allclose(columns["oris"].numpy(), [-ANGLE], rtol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_borders_of_a_photo_fall_on_borders_of_its_resized_copy(kind):
    corners = kind([[-0.5, -0.5], [99.5, 79.5], [10.0, 20.0]])
    scale = kind([0.5, 0.25])
    resized = conventions.to_resized(corners, scale)
    expected = [[-0.5, -0.5], [49.5, 19.5], [4.75, 4.625]]
    np.testing.assert_allclose(np.asarray(resized), expected)
    np.testing.assert_allclose(np.asarray(conventions.to_original(resized, scale)), np.asarray(corners))


def test_intrinsics_of_a_resized_photo_and_its_frames_agree_with_its_pixels():
    matrix = conventions.resized_intrinsics((0.5, 0.25))
    np.testing.assert_allclose(matrix @ [10.0, 20.0, 1.0], [4.75, 4.625, 1.0])
    frame = resized_lafs(torch.tensor([[[1.0, 0, 10.0], [0, 1.0, 20.0]]]), (0.5, 0.25))
    np.testing.assert_allclose(frame[..., 2].numpy(), [[4.75, 4.625]])


def test_intrinsics_of_colmap_s_pixels():
    theirs = np.array([[100.0, 0, 50.0], [0, 100.0, 40.0], [0, 0, 1]])
    np.testing.assert_allclose(
        conventions.OURS_FROM_COLMAP @ theirs, [[100, 0, 49.5], [0, 100, 39.5], [0, 0, 1]]
    )


def test_a_photo_covers_half_a_pixel_around_its_outer_centres():
    xy = np.array([[-0.5, 0], [-0.6, 0], [99.5, 79.5], [99.6, 0], [0, 79.6]])
    assert conventions.inside(xy, (100, 80)).tolist() == [True, False, True, False, False]
    assert conventions.inside(np.array([[1.0, 1.0], [1.0, 5.0]]), (100, 80), 2.0).tolist() == [False, False]
    assert conventions.inside(np.array([[1.5, 1.5]]), (100, 80), np.array([[2.0, 2.0]])).tolist() == [True]


def test_a_nerfstudio_camera_s_centre_is_colmap_s(tmp_path):
    from desdis_match.evaluate.poses.ground_truth import TrueCamera

    camera = TrueCamera(None, np.array([[100.0, 0, 49.5], [0, 100.0, 39.5], [0, 0, 1]]), (100, 80))
    half = camera.resized((50, 40))
    np.testing.assert_allclose(half.intrinsics, [[50, 0, 24.5], [0, 50, 19.5], [0, 0, 1]])
