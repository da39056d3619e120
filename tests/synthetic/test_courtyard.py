"""The rendered scene: geometry checked by hand, photos checked against the geometry."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest

from desdis_match.commands.synthetic import main
from desdis_match.errors import InputError
from desdis_match.synthetic.courtyard import (
    SyntheticConfig,
    dead_leaves,
    focal_length,
    make_scene,
    make_views,
    read_scene,
    render_scene,
)
from desdis_match.synthetic.geometry import (
    Surface,
    View,
    cast,
    project,
    render,
    transfer,
    true_matches,
    visible,
)
from desdis_match.types import Features

SMALL = SyntheticConfig(views=6, size=(400, 300), quarter_turns=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return render_scene(tmp_path_factory.mktemp("scene"), SMALL)


@pytest.fixture(scope="module")
def scene():
    return make_scene(SMALL)


def wall(distance, left, right, top=-1.0, bottom=1.0):
    """A wall that faces a camera at the origin that looks along z; its right is the camera's right."""
    return Surface(
        corner=np.array([left, top, distance]),
        axes=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        size=(right - left, bottom - top),
        texture=np.full((8, 8, 3), round(20 * distance), np.uint8),
    )


def camera(x=0.0):
    """Focal length 100, 101 x 81 pixels, principal point in the middle, at (x, 0, 0)."""
    intrinsics = np.array([[100.0, 0, 50], [0, 100.0, 40], [0, 0, 1]])
    return View("a", (101, 81), intrinsics, np.eye(3), np.array([-x, 0.0, 0.0]))


def features(xy):
    n = len(xy)
    return Features(
        np.asarray(xy, np.float32).reshape(-1, 2),
        np.zeros((n, 1), np.float32),
        *(np.ones(n, np.float32),) * 3,
        (9, 9),
    )


def test_projection_by_hand():
    xy, depth = project([[0.5, -0.2, 2.0]], camera())
    np.testing.assert_allclose(xy, [[75.0, 30.0]])
    np.testing.assert_allclose(depth, [2.0])


def depth_map(scene, view):
    """(height, width) at every pixel's centre, inf in the sky."""
    xy = np.stack(np.meshgrid(np.arange(view.size[0]), np.arange(view.size[1])), axis=-1)
    return cast(scene, view, xy.reshape(-1, 2)).depths.reshape(view.size[::-1])


def test_the_nearest_surface_is_seen():
    scene = [wall(4.0, -9, 9, -9, 9), wall(2.0, 0.0, 9)]
    depth = depth_map(scene, camera())
    assert depth[40, 49] == 4.0 and depth[40, 51] == 2.0
    photo = render(scene, camera())
    assert photo[40, 49, 0] == 80 and photo[40, 51, 0] == 40
    # The near wall's edge is at x = 50.0, the middle of pixel 50: half of its samples show each wall.
    assert photo[40, 50, 0] == 60


def test_transfer_by_hand_and_occlusion():
    scene = [wall(4.0, -9, 9, -9, 9), wall(2.0, -0.2, 9)]
    # Pixel 38 sees the far wall at X = -0.48; a camera at -0.2 sees that at 50 + 100 * -0.28 / 4 = 43.
    xy, seen = transfer(scene, camera(), camera(-0.2), [[38.0, 40.0]])
    np.testing.assert_allclose(xy, [[43.0, 40.0]])
    assert seen.tolist() == [True]
    # From -0.8 the near wall's edge, at 50 + 100 * 0.6 / 2 = 80, is right of the point, at 58: seen.
    # From 0.8 the point is at 18 and the edge at 0: hidden.
    assert transfer(scene, camera(), camera(-0.8), [[38.0, 40.0]])[1].tolist() == [True]
    assert transfer(scene, camera(), camera(0.8), [[38.0, 40.0]])[1].tolist() == [False]


def test_sky_has_no_depth_and_no_match():
    scene = [wall(2.0, 0.0, 0.5)]
    hits = cast(scene, camera(), [[10.0, 40.0]])
    assert hits.surfaces[0] == -1 and np.isinf(hits.depths[0]) and np.isnan(hits.points).all()
    assert not transfer(scene, camera(), camera(0.1), [[10.0, 40.0]])[1].any()
    assert len(true_matches(scene, camera(), camera(0.1), features([[10, 40]]), features([[10, 40]]))) == 0


def test_true_matches_are_mutual_and_close():
    scene = [wall(2.0, -9, 9, -9, 9)]
    # A camera 0.2 further right shifts everything by -10 pixels.
    found = true_matches(
        scene,
        camera(),
        camera(0.2),
        features([[50, 40], [60, 40], [30, 20]]),
        features([[21, 20], [50.5, 40], [40, 43]]),
    )
    assert found.indices.tolist() == [[1, 1], [2, 0]]  # (50, 40) -> (40, 40): 3 pixels from (40, 43)
    np.testing.assert_allclose(found.scores, [1 - 0.5 / 4, 1 - 1 / 4])
    assert len(true_matches(scene, camera(), camera(0.2), features([]), features([[1, 1]]))) == 0


def test_photos_agree_with_transfer(scene):
    """What one photo shows at a pixel, the other shows where `transfer` says, and not a pixel beside it."""
    view0, view1 = make_views(SMALL)[2:4]
    photos = [
        cv2.GaussianBlur(render(scene, view), (0, 0), 1.5)[..., 1].astype(np.float32)
        for view in (view0, view1)
    ]
    rng = np.random.default_rng(0)
    xy0 = rng.uniform(10, 280, (4000, 2))
    xy1, seen = transfer(scene, view0, view1, xy0)

    def difference(shift):
        def look(photo, xy):
            x, y = xy[seen].astype(np.float32).T
            return cv2.remap(photo, x[None], y[None], cv2.INTER_LINEAR)[0]

        return np.median(np.abs(look(photos[0], xy0) - look(photos[1], xy1 + shift)))

    assert seen.sum() > 1500
    errors = {(x, y): difference(np.array([x, y])) for x in (-0.5, 0, 0.5) for y in (-0.5, 0, 0.5)}
    assert min(errors, key=errors.get) == (0, 0)


def test_depth_map_agrees_with_true_points(folder, scene):
    model = pycolmap.Reconstruction(folder / "ground_truth" / "sparse")
    view = make_views(SMALL)[0]
    depth = depth_map(scene, view)
    image = model.find_image_with_name(view.name)
    points = [(p.xy - 0.5, model.points3D[p.point3D_id].xyz) for p in image.points2D]
    xy, xyz = (np.array(a) for a in zip(*points, strict=True))
    assert len(xy) > 200
    np.testing.assert_allclose(project(xyz, view)[0], xy, atol=1e-6)
    column, row = np.round(xy).astype(int).T
    near = np.abs(depth[row, column] / project(xyz, view)[1] - 1) < 0.05
    assert near.mean() > 0.95  # the rest lies at the edges of surfaces


def test_the_true_model_is_colmaps(folder):
    model = pycolmap.Reconstruction(folder / "ground_truth" / "sparse")
    assert model.num_reg_images() == 6
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 1e-6
    assert model.compute_mean_track_length() > 2.5


def test_exif_holds_the_focal_length(folder):
    inferred = pycolmap.infer_camera_from_image(folder / "images" / "view_000.jpg")
    assert inferred.has_prior_focal_length
    assert inferred.focal_length == pytest.approx(focal_length(SMALL.size), abs=0.01)


def test_quarter_turns_swap_sides(folder):
    record = json.loads((folder / "ground_truth" / "cameras.json").read_text())
    turned = {view["name"]: view["size"] for view in record["views"]}
    for name, size in turned.items():
        assert cv2.imread(str(folder / "images" / name)).shape[1::-1] == tuple(size)
    # Two of six are turned, by 90, 180 or 270 degrees: the camera's down is no longer the world's.
    downs = [view.rotation[1] @ [0, 0, -1] for view in make_views(SMALL)]
    assert sum(down < 0.5 for down in downs) == 2


def leaf_by_leaf(size, texels_per_metre, base, rng):
    """`dead_leaves` as plain as it can be written."""
    columns, rows = (max(8, round(s * texels_per_metre)) for s in size)
    image = np.empty((rows, columns, 3), np.uint8)
    image[:] = base
    count = int(260 * size[0] * size[1]) + 60
    low, high, power = 0.012, 0.6, -1.2
    radii = np.sort((low**power + rng.random(count) * (high**power - low**power)) ** (1 / power))[::-1]
    centers = rng.random((count, 2)) * (columns, rows)
    for center, radius in zip(centers, radii * texels_per_metre, strict=True):
        corners = int(rng.integers(3, 8))
        angles = np.sort(rng.random(corners)) * 2 * np.pi
        arms = radius * (0.5 + 0.5 * rng.random((corners, 1)))
        outline = center + arms * np.column_stack([np.cos(angles), np.sin(angles)])
        color = np.clip(base * rng.uniform(0.35, 1.7) + rng.normal(0, 15, 3), 0, 255)
        cv2.fillPoly(image, [np.round(outline * 16).astype(np.int32)], color.tolist(), cv2.LINE_AA, shift=4)
    shades = np.zeros((rows, columns), np.float32)
    for cell, strength in ((0.02, 10.0), (0.07, 8.0), (0.3, 10.0)):
        grid = (max(2, round(size[1] / cell)), max(2, round(size[0] / cell)))
        coarse = rng.normal(0, strength, grid).astype(np.float32)
        shades += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + shades[..., None], 0, 255).astype(np.uint8)


def test_textures_are_those_of_leaf_by_leaf():
    base = np.array([110.0, 140.0, 90.0])
    ours, plain = (
        make((1.5, 0.7), 90.0, base, np.random.default_rng(3)) for make in (dead_leaves, leaf_by_leaf)
    )
    np.testing.assert_array_equal(ours, plain)


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    again = render_scene(tmp_path / "again", SMALL)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes(), path.name
    other = render_scene(tmp_path / "other", replace(SMALL, seed=1, views=2))
    assert (other / "images/view_000.jpg").read_bytes() != (folder / "images/view_000.jpg").read_bytes()


def test_a_rendered_folder_can_be_read_and_replaced(tmp_path, scene):
    output = render_scene(tmp_path / "scene", replace(SMALL, views=3, quarter_turns=0))
    read, views, config = read_scene(output)
    assert config == replace(SMALL, views=3, quarter_turns=0) and len(views) == 3
    np.testing.assert_array_equal(read[1].texture, scene[1].texture)
    render_scene(output, replace(SMALL, views=2, quarter_turns=0))
    assert len(list((output / "images").iterdir())) == 2
    (output / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        render_scene(output, SMALL)


@pytest.mark.parametrize("record", [None, "[1]", '{"config": {"size": [9, 9], "fov": 1}}'])
def test_a_data_set_of_the_same_layout_is_left_alone(record, tmp_path):
    for name in ("images/mine.jpg", "ground_truth/poses.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    if record is not None:
        (tmp_path / "ground_truth" / "cameras.json").write_text(record)
    with pytest.raises(InputError, match="holds other files"):
        render_scene(tmp_path, SMALL)
    assert (tmp_path / "images/mine.jpg").is_file() and (tmp_path / "ground_truth/poses.txt").is_file()


def test_a_killed_rendering_is_replaced(tmp_path, monkeypatch):
    def killed(*_args):
        raise KeyboardInterrupt

    two = replace(SMALL, views=2, quarter_turns=0)
    with monkeypatch.context() as patch:
        patch.setattr("desdis_match.synthetic.courtyard._write_truth", killed)
        with pytest.raises(KeyboardInterrupt):
            render_scene(tmp_path, two)
    render_scene(tmp_path, two)
    truth = sorted(path.name for path in (tmp_path / "ground_truth").iterdir())
    assert truth == ["cameras.json", "sparse"]


@pytest.mark.parametrize(
    "change", [{"views": 1}, {"size": (10, 300)}, {"quarter_turns": 7}, {"noise": -1.0}, {"points": 0}]
)
def test_wrong_values_are_refused(change, tmp_path):
    with pytest.raises(InputError):
        render_scene(tmp_path / "scene", replace(SMALL, **change))
    assert not (tmp_path / "scene").exists()


def test_command_line(tmp_path, capsys):
    options = ["--views", "2", "--size", "64", "64", "--seed", "3", "--noise", "0"]
    assert main(["--output", str(tmp_path / "scene"), *options]) == 0
    assert "2 photos" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["--output", str(tmp_path / "x"), "--no-such-option"])
    assert stop.value.code == 2


def test_colmaps_sift_reconstructs_the_scene(folder, tmp_path):
    """Texture, overlap and geometry are those of a scene that structure from motion can solve."""
    database = tmp_path / "database.db"
    pycolmap.extract_features(database, folder / "images", device=pycolmap.Device.cpu)
    pycolmap.match_exhaustive(database, device=pycolmap.Device.cpu)
    models = pycolmap.incremental_mapping(database, folder / "images", tmp_path)
    model = max(models.values(), key=lambda model: model.num_reg_images())
    assert model.num_reg_images() == 6
    views = {view.name: view for view in make_views(SMALL)}
    poses = {model.images[i].name: model.images[i].cam_from_world() for i in model.reg_image_ids()}
    first, *others = sorted(poses)
    for name in others:
        estimated = (poses[name] * poses[first].inverse()).rotation.matrix()
        true = views[name].rotation @ views[first].rotation.T
        assert np.degrees(np.arccos(np.clip((np.trace(estimated @ true.T) - 1) / 2, -1, 1))) < 0.5


def test_visible_needs_the_point_on_the_photo(scene):
    view = make_views(SMALL)[0]
    behind = view.center - 2 * view.rotation[2]
    assert visible(scene, view, [behind]).tolist() == [False]
