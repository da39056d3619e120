"""What is said of models: pieces, and lenses that a perspective camera does not fit."""

from pathlib import Path

import numpy as np
import pycolmap
from pointcloud import make_point_cloud
from pointcloud_models import make_job, without

from desdis_match.colmap.mappers import map_incremental
from desdis_match.colmap.remarks import _folds, lens_remarks, remarks, several_models


def test_several_models_and_a_short_lens_are_said(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    (whole,) = map_incremental(make_job(cloud, tmp_path))
    assert remarks([]) == remarks([whole]) == []
    left, right = without(whole, cloud.names[4:]), without(whole, cloud.names[:4])
    (sentence,) = several_models([left, right])
    assert "2 models" in sentence and "sparse/0 of 4, sparse/1 of 2 photos" in sentence
    assert sentence in remarks([left, right])
    next(iter(whole.cameras.values())).params = [0.3 * 640, 320, 240]
    assert "--camera-model OPENCV_FISHEYE" in lens_remarks(whole)[0]


def test_a_wide_lens_without_distortion_is_no_fisheye(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    (model,) = map_incremental(make_job(cloud, tmp_path))
    camera = next(iter(model.cameras.values()))
    camera.model = pycolmap.CameraModelId.SIMPLE_RADIAL
    camera.params = [0.3 * 640, 320, 240, -0.005]
    assert not lens_remarks(model)
    camera.params = [0.3 * 640, 320, 240, -0.06]
    assert lens_remarks(model)


def test_distortion_folds_where_the_corners_lie_beyond_its_reach() -> None:
    def camera(focal: float, k: float) -> pycolmap.Camera:
        return pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[focal, 320, 240, k])

    # k = -1/3 turns back at r = 1, where 2/3 focal lengths are seen; the corner is 400 pixels out.
    assert _folds(camera(400 / 0.68, -1 / 3)) and not _folds(camera(400 / 0.65, -1 / 3))
    assert not _folds(camera(500, -0.08)) and not _folds(camera(500, 0.3))
    opencv = pycolmap.Camera(
        model="OPENCV", width=640, height=480, params=[500, 500, 320, 240, -0.4, 0.02, 0, 0]
    )
    assert _folds(opencv)
    opencv.params = np.array([500, 500, 320, 240, -0.1, 0.02, 0, 0])
    assert not _folds(opencv)
