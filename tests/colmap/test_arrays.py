"""Models as arrays, beside what pycolmap says of each point and photo."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from smallmodel import make_model, turned_about_view

from desdis_match.colmap.arrays import arrays_of
from desdis_match.errors import InputError


def small_model() -> pycolmap.Reconstruction:
    """30 points in four photos, the 17th gone."""
    rng = np.random.default_rng(0)
    poses = {f"ä {k}.jpg": turned_about_view(10 * k, (0.2 * k, 0, 5)) for k in range(4)}
    seen = {name: sorted(rng.choice(30, 12 + k, replace=False)) for k, name in enumerate(poses)}
    model = make_model(poses, rng.uniform(-1, 1, (30, 3)), seen=seen)
    for point in model.points3D.values():
        point.color, point.error = rng.integers(0, 256, 3), rng.uniform(0, 2)
    model.delete_point3D(17)
    return model


def test_arrays_are_what_pycolmap_has():
    model = small_model()
    found = arrays_of(model)
    points = found.points
    assert points.ids.tolist() == sorted(model.points3D)
    for row, point_id in enumerate(points.ids.tolist()):
        point = model.point3D(point_id)
        np.testing.assert_array_equal(points.xyz[row], point.xyz)
        np.testing.assert_array_equal(points.colors[row], point.color)
        assert (points.errors[row], points.lengths[row]) == (point.error, point.track.length())
        mine = points.rows == row
        track = [(element.image_id, element.point2D_idx) for element in point.track.elements]
        assert list(zip(points.images[mine], points.keypoints[mine], strict=True)) == track
    assert found.keypoints.keys() == set(model.reg_image_ids())
    for image_id, places in found.keypoints.items():
        np.testing.assert_array_equal(places, [point.xy for point in model.image(image_id).points2D])


@pytest.mark.parametrize("name", ["points3D.bin", "images.bin"])
@pytest.mark.parametrize("left", [0, 9, -1])
def test_files_that_the_disk_has_no_room_for_are_told(name, left):
    class OnFullDisk:
        """Its files are cut short, as COLMAP leaves them without a word."""

        def __init__(self) -> None:
            self.num_points3D, self.num_reg_images = model.num_points3D, model.num_reg_images

        def write_binary(self, folder: Path) -> None:
            model.write_binary(folder)
            (folder / name).write_bytes((folder / name).read_bytes()[:left])

    model = small_model()
    with pytest.raises(InputError, match="disk"):
        arrays_of(OnFullDisk())
