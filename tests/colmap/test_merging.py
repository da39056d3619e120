"""Two models of overlapping photos become one, or a sentence says why not."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud, pose_errors
from pointcloud_models import make_job, poses, without

from desdis_match.colmap.mappers import map_incremental
from desdis_match.colmap.merging import merge_models, merged
from desdis_match.errors import InputError

MOVE = pycolmap.Sim3d(0.5, pycolmap.Rotation3d(np.array([0, 0.6, 0, 0.8])), np.array([3.0, -1, 2]))


def test_models_that_share_photos_are_one_in_the_coordinates_of_the_first(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=8)
    (whole,) = map_incremental(make_job(cloud, tmp_path))
    left, right = without(whole, cloud.names[5:]), without(whole, cloud.names[:4])
    before = poses(left)
    right.transform(MOVE)
    joined = merge_models([right, left])
    assert joined.num_reg_images() == 8
    assert max(pose_errors(cloud, poses(joined))) < 0.02
    assert joined.num_points3D() == whole.num_points3D()
    assert joined.compute_mean_track_length() == pytest.approx(whole.compute_mean_track_length(), abs=0.01)
    for name, pose in before.items():
        assert poses(joined)[name] == pytest.approx(pose, abs=1e-2)


def test_models_without_anything_in_common_are_refused(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=8)
    (whole,) = map_incremental(make_job(cloud, tmp_path))
    left, right = without(whole, cloud.names[4:]), without(whole, cloud.names[:4])
    with pytest.raises(InputError, match="share 0 photos and 0 points"):
        merged(left, right)
