"""Rendered walls: the homographies hold on the photos, and the evaluation reads the layout."""

import cv2
import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.evaluate.planes.sequences import find_sequences
from desdis_match.synthetic.geometry import transfer
from desdis_match.synthetic.walls import _view as view_of
from desdis_match.synthetic.walls import homography_between, render_walls


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    return render_walls(tmp_path_factory.mktemp("walls"), sequences=2, size=(240, 180))


def test_they_are_sequences_in_hpatches_layout(walls):
    sequences, notes = find_sequences((walls,))
    assert [sequence.name for sequence in sequences] == ["v_wall_0", "v_wall_1"] and not notes
    assert len(list((walls / "v_wall_0").glob("*.ppm"))) == 6


@pytest.mark.parametrize("k", [2, 6])
def test_homographies_map_one_photo_onto_the_other(walls, k):
    folder = walls / "v_wall_1"
    photos = [cv2.GaussianBlur(cv2.imread(str(folder / f"{i}.ppm"), 0), (0, 0), 2) for i in (1, k)]
    homography = np.loadtxt(folder / f"H_1_{k}")

    def difference(shift):
        moved = np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1]]) @ homography
        warped = cv2.warpPerspective(photos[1], np.linalg.inv(moved), photos[0].shape[::-1])[60:120, 80:160]
        gains = photos[0][60:120, 80:160].mean() / warped.mean()
        return np.abs(warped * gains - photos[0][60:120, 80:160]).mean()

    differences = [difference(shift) for shift in (-1.5, 0, 1.5)]
    assert np.argmin(differences) == 1 and differences[1] < 6


def test_homography_is_that_of_the_rays():
    rng = np.random.default_rng(0)
    from desdis_match.synthetic.geometry import Surface

    wall = Surface(np.array([-2, -1.5, 0]), np.eye(3)[:2], (4.0, 3.0), np.zeros((8, 8, 3), np.uint8))
    view0, view1 = view_of(0, (240, 180), rng), view_of(4, (240, 180), rng)
    xy = np.array([[120.0, 90.0], [60.0, 70.0], [180.0, 100.0]])
    expected, _ = transfer([wall], view0, view1, xy)
    mapped = cv2.perspectiveTransform(xy[None], homography_between(wall, view0, view1))[0]
    np.testing.assert_allclose(mapped, expected, atol=1e-6)


def test_equal_arguments_give_equal_bytes(walls, tmp_path):
    again = render_walls(tmp_path, sequences=1, size=(240, 180))
    for path in sorted((again / "v_wall_0").iterdir()):
        assert path.read_bytes() == (walls / "v_wall_0" / path.name).read_bytes()
    with pytest.raises(InputError):
        render_walls(tmp_path / "none", sequences=0)
