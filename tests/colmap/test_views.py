"""What photos can see: the border of a photo on the plane z = 1, and how far a model's points lie."""

from pathlib import Path

import numpy as np
import pytest
from smallmodel import make_model, turned_about_view

from desdis_match.colmap.views import MIN_POINTS, field_of, read_views
from desdis_match.support.native import pycolmap


def camera(model: str, width: int = 1000, height: int = 500, focal: float = 500.0) -> pycolmap.Camera:
    return pycolmap.Camera.create_from_model_name(1, model, focal, width, height)


def test_the_border_of_a_photo_lies_where_the_camera_puts_it() -> None:
    assert field_of(camera("SIMPLE_PINHOLE")).tolist() == [-1, 1, -0.5, 0.5]
    shifted = camera("PINHOLE")
    shifted.params = [500, 250, 600, 250]
    assert field_of(shifted) == pytest.approx([-1.2, 0.8, -1, 1])
    corner = np.tan(np.hypot(1, 0.5)) / np.hypot(1, 0.5)  # an angle of 1.118 on the diagonal
    assert field_of(camera("OPENCV_FISHEYE")) == pytest.approx([-corner, corner, -corner / 2, corner / 2])


def test_cameras_that_look_behind_themselves_see_all_around() -> None:
    around = [-np.inf, np.inf, -np.inf, np.inf]
    assert field_of(camera("EQUIRECTANGULAR")).tolist() == around
    assert field_of(camera("OPENCV_FISHEYE", focal=200.0)).tolist() == around


def test_a_models_points_say_how_far_each_photo_sees(tmp_path: Path) -> None:
    depths = np.linspace(2.0, 12.0, 101)  # 5 % nearer than 2.5, 5 % farther than 11.5
    points = np.stack([0 * depths, 0 * depths, depths], axis=1)
    poses = {"images/a.jpg": turned_about_view(0), "images/b.jpg": turned_about_view(90, (0, 0, 1))}
    few = range(MIN_POINTS - 1)
    make_model(poses, points, seen={"images/a.jpg": range(101), "images/b.jpg": few}).write_binary(tmp_path)
    lens = camera("SIMPLE_PINHOLE")
    views = read_views(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], dict.fromkeys(["a.jpg", "b.jpg"], lens))
    assert list(views) == ["a.jpg", "b.jpg"]
    assert views["a.jpg"].depths == pytest.approx((2.5, 11.5)) and views["b.jpg"].depths is None
    assert views["b.jpg"].cam_from_world == pytest.approx(poses["images/b.jpg"].matrix())
    assert views["a.jpg"].focal == 500


def test_of_a_table_of_poses_nothing_is_known_of_depths(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text("a.jpg 1 0 0 0 1 2 3\n", encoding="utf-8")
    views = read_views(tmp_path / "poses.txt", ["a.jpg"], {"a.jpg": camera("EQUIRECTANGULAR")})
    assert views["a.jpg"].depths is None and views["a.jpg"].focal == pytest.approx(1000 / (2 * np.pi))
