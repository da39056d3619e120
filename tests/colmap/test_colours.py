"""Points take their colour from the very pixels that see them."""

from pathlib import Path

import numpy as np
import pycolmap
from PIL import Image
from smallmodel import make_model

from desdis_match.colmap.colours import colour_points, colouring

SIZE = (40, 30)


def photo(path: Path) -> np.ndarray:
    """(30, 40, 3) a colour of its own for each pixel, lossless."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    pixels = np.stack([6 * x, 8 * y, 100 + x + y], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path, lossless=True)
    return pixels


def model_of(names: list[str], places: np.ndarray) -> pycolmap.Reconstruction:
    """Points that each photo sees at COLMAP's `places` (P, 2)."""
    at = (places - np.array(SIZE) / 2) / 50
    points = np.column_stack([4 * at, np.full(len(at), 4.0)])
    return make_model({name: pycolmap.Rigid3d() for name in names}, points, focal=50, size=SIZE)


def test_a_point_has_the_colour_of_its_pixel(tmp_path):
    pixels = photo(tmp_path / "a.webp")
    # In COLMAP's frame pixel (column 7, row 3) reaches from 7 to 8 and from 3 to 4.
    model = model_of(["a.webp"], np.array([[7.1, 3.9], [7.9, 3.1], [20.5, 25.5], [39.9, 29.9]]))
    colour_points(model, tmp_path)
    found = [model.point3D(i).color.tolist() for i in sorted(model.points3D)]
    assert found == [pixels[y, x].tolist() for x, y in ((7, 3), (7, 3), (20, 25), (39, 29))]


def test_keypoints_beyond_the_border_take_the_outermost_pixel(tmp_path):
    pixels = photo(tmp_path / "a.webp")
    model = model_of(["a.webp"], np.array([[-0.4, 10.5], [10.5, 30.3]]))
    colour_points(model, tmp_path)
    assert model.point3D(1).color.tolist() == pixels[10, 0].tolist()
    assert model.point3D(2).color.tolist() == pixels[29, 10].tolist()


def test_several_photos_are_averaged_and_missing_ones_passed_over(tmp_path):
    for name, level in (("a.webp", 10), ("b.webp", 21)):
        Image.fromarray(np.full((30, 40, 3), level, np.uint8)).save(tmp_path / name, lossless=True)
    model = model_of(["a.webp", "b.webp", "gone.webp"], np.array([[5.5, 5.5]]))
    colour_points(model, tmp_path)
    assert model.point3D(1).color.tolist() == [16, 16, 16]  # 15.5, to the even number


def test_what_has_a_colour_stays_and_black_counts(tmp_path):
    photo(tmp_path / "a.webp")
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "black.png")
    model = model_of(["a.webp", "black.png"], np.array([[5.5, 5.5], [9.5, 9.5]]))
    model.point3D(1).color = np.array([0, 0, 1], np.uint8)
    colour_points(model, tmp_path)
    assert model.point3D(1).color.tolist() == [0, 0, 1]
    assert model.point3D(2).color.tolist() == [27, 36, 59]  # half of a.webp's 54, 72, 118


def test_points_may_move_while_photos_are_read(tmp_path):
    pixels = photo(tmp_path / "a.webp")
    models = [model_of(["a.webp"], np.array([[x, 5.5]])) for x in (7.5, 20.5)]
    with colouring(models, tmp_path):
        for model in models:
            model.point3D(1).xyz = np.array([9.0, 9.0, 9.0])
            assert not model.point3D(1).color.any()
    assert [model.point3D(1).color.tolist() for model in models] == [pixels[5, x].tolist() for x in (7, 20)]


def test_points_may_leave_while_photos_are_read(tmp_path):
    pixels = photo(tmp_path / "a.webp")
    model = model_of(["a.webp"], np.array([[7.5, 5.5], [20.5, 5.5]]))
    with colouring([model], tmp_path):
        model.delete_point3D(1)
    assert model.point3D_ids() == {2} and model.point3D(2).color.tolist() == pixels[5, 20].tolist()


def test_each_photo_that_is_read_is_shown(tmp_path):
    pixels = photo(tmp_path / "a.webp")
    photo(tmp_path / "unseen.webp")
    shown = {}
    with colouring([model_of(["a.webp"], np.array([[5.5, 5.5]]))], tmp_path, shown.__setitem__):
        pass
    assert list(shown) == [tmp_path / "a.webp"]
    np.testing.assert_array_equal(shown[tmp_path / "a.webp"], pixels)


def test_a_photo_that_cannot_be_read_is_a_warning(tmp_path, caplog):
    photo(tmp_path / "a.webp")
    (tmp_path / "b.png").write_bytes(b"no photo")
    model = model_of(["a.webp", "b.png"], np.array([[5.5, 5.5]]))
    colour_points(model, tmp_path)
    assert model.point3D(1).color.tolist() == [30, 40, 110]
    assert "points may stay black" in caplog.text and "b.png" in caplog.text
