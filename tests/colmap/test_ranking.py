"""What leaves a model before it is written."""

import numpy as np
import pycolmap
from smallmodel import make_model, turned_about_view

from desdis_match.colmap.ranking import leave_out_misfits, leave_out_unseeing

GRID = np.array([[x, y, 0.2 * x * y] for x in np.linspace(-1, 1, 4) for y in np.linspace(-1, 1, 4)])


def three_photos() -> pycolmap.Reconstruction:
    return make_model({f"{k}.png": turned_about_view(0, (0.5 * k, 0, 4)) for k in range(3)}, GRID)


def by_name(model: pycolmap.Reconstruction) -> dict[str, pycolmap.Image]:
    return {image.name: image for image in model.images.values()}


def without_observations(model: pycolmap.Reconstruction, name: str, kept: int) -> None:
    image = by_name(model)[name]
    for row in range(kept, len(image.points2D)):
        if image.points2D[row].has_point3D():
            model.delete_observation(image.image_id, row)


def test_photos_that_see_nothing_lose_their_pose():
    model = three_photos()
    without_observations(model, "1.png", 0)
    without_observations(model, "2.png", 1)
    leave_out_unseeing(model)
    assert {name for name, image in by_name(model).items() if image.has_pose} == {"0.png", "2.png"}
    assert model.num_points3D() == 1 and by_name(model)["2.png"].num_points3D == 1


def test_what_does_not_fit_is_left_out():
    model = three_photos()
    image = by_name(model)["1.png"]
    for row, pixels in ((0, 5.0), (1, 3.0)):
        image.points2D[row].xy = np.add(image.points2D[row].xy, [0, pixels])
    leave_out_misfits(model)
    assert [image.points2D[row].has_point3D() for row in (0, 1)] == [False, True]
    assert model.num_points3D() == len(GRID)
    errors = sorted(point.error for point in model.points3D.values())
    np.testing.assert_allclose(errors, [0.0] * (len(GRID) - 1) + [1.0], atol=1e-9)  # 1: of 3, 0 and 0 pixels
