"""Points read straight from COLMAP's file, beside what pycolmap says of each."""

import numpy as np
import pytest
from smallmodel import make_model, turned_about_view

from desdis_match.page.models import read_page_model


@pytest.mark.parametrize("write", ["write_binary", "write_text"])
def test_points_are_those_that_pycolmap_reads(tmp_path, write):
    rng = np.random.default_rng(0)
    poses = {f"{k}.jpg": turned_about_view(10 * k, (0.2 * k, 0, 5)) for k in range(4)}
    seen = {name: sorted(rng.choice(30, 12 + k, replace=False)) for k, name in enumerate(poses)}
    model = make_model(poses, rng.uniform(-1, 1, (30, 3)), seen=seen)
    for number, point in model.points3D.items():
        point.color = rng.integers(0, 256, 3)
        point.error = -1 if number == 3 else rng.uniform(0, 2)
    getattr(model, write)(tmp_path)
    page = read_page_model(tmp_path)
    assert len(page.points) == 30 and page.errors.min() == 0
    ours = {tuple(xyz): row for row, xyz in enumerate(page.points)}
    rows = {}
    for number, point in model.points3D.items():
        rows[number] = row = ours[tuple(point.xyz.astype(np.float32))]
        assert page.colors[row].tolist() == point.color.tolist()
        assert page.errors[row] == pytest.approx(max(point.error, 0))
        assert page.lengths[row] == point.track.length()
    for image in model.images.values():
        keypoints, points = page.observations[image.name]
        wanted = {p: rows[image.points2D[p].point3D_id] for p in image.get_observation_point2D_idxs()}
        assert dict(zip(keypoints.tolist(), points.tolist(), strict=True)) == wanted
