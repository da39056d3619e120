"""Models come into metres, east-north-up: known similarities are found again, wrong positions left out."""

import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud
from pointcloud_models import verified_database

from desdis_match.colmap.control import Control, read_control
from desdis_match.colmap.georeference import Targets, _check_agreement, georeference
from desdis_match.colmap.mapping import map_database
from desdis_match.colmap.similarity import Fit, fit_similarity, rotation_to_z
from desdis_match.colmap.upright import up_direction
from desdis_match.errors import InputError
from desdis_match.photos.gps import Position, east_north_up

MUNICH = Position(48.1361, 11.5722, 520.0)


def transform(scale=12.5, seed=3):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    return pycolmap.Sim3d(scale, pycolmap.Rotation3d(rotation), rng.normal(size=3) * 40)


def moved(sim, xyz):
    return xyz @ sim.matrix()[:, :3].T + sim.matrix()[:, 3]


def position(enu) -> Position:
    """Of a place east, north, up of MUNICH, by pycolmap's own transform."""
    found = pycolmap.GPSTransform().enu_to_ellipsoid(
        np.array([enu]), MUNICH.latitude, MUNICH.longitude, MUNICH.altitude
    )
    return Position(*(float(v) for v in found[0]))


@pytest.mark.parametrize("num", [3, 6, 40])
def test_a_similarity_is_found_again_among_wrong_points(num):
    rng = np.random.default_rng(0)
    source, truth = rng.normal(size=(num, 3)), transform()
    target = moved(truth, source)
    wrong = np.arange(num // 4)
    target[wrong] += rng.normal(size=(len(wrong), 3)) * 100
    fit = fit_similarity(source, target)
    np.testing.assert_allclose(fit.transform.matrix(), truth.matrix(), atol=1e-8)
    assert not fit.inliers[wrong].any() and fit.inliers[len(wrong) :].all()


@pytest.mark.parametrize("flat", ["source", "target", "both"])
def test_points_of_one_height_are_as_good_as_others(flat):
    rng = np.random.default_rng(2)
    level, turn = np.column_stack([rng.normal(size=(9, 2)), np.zeros(9)]), transform()
    if flat == "source":
        source, truth = level, turn
    elif flat == "target":
        source, truth = moved(turn.inverse(), level), turn
    else:
        about_z = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
        source, truth = level, pycolmap.Sim3d(3.0, pycolmap.Rotation3d(about_z), np.array([5.0, 6, 0]))
    target = level if flat == "target" else moved(truth, source)
    np.testing.assert_allclose(fit_similarity(source, target).transform.matrix(), truth.matrix(), atol=1e-8)


def test_points_on_a_line_need_to_know_what_is_up():
    line = np.outer(np.linspace(-3, 3, 8), [1.0, 0.5, 0.2])
    up = np.cross([1.0, 0.5, 0.2], [0.0, 1.0, 0.3])
    level = rotation_to_z(up)
    turn = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]) @ level
    truth = pycolmap.Sim3d(7.0, pycolmap.Rotation3d(turn), np.array([1.0, 2, 3]))
    assert fit_similarity(line, moved(truth, line)) is None
    fit = fit_similarity(line, moved(truth, line), up)
    np.testing.assert_allclose(fit.transform.matrix(), truth.matrix(), atol=1e-9)


@pytest.mark.parametrize("up", [[0, 0, 1.0], [0, 0, -1.0], [0, -1.0, 0], [0.3, -2, 0.5]])
def test_rotation_to_z(up):
    rotation = rotation_to_z(np.array(up))
    np.testing.assert_allclose(rotation @ up, [0, 0, np.linalg.norm(up)], atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def mapped_cloud(folder, num_cameras):
    cloud = make_point_cloud(folder, num_cameras=num_cameras, num_points=100)
    map_database(verified_database(cloud, folder), None, folder / "sparse")
    return folder / "sparse" / "0"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return mapped_cloud(tmp_path_factory.mktemp("cloud"), 5)


def centres(model):
    return {image.name: np.array(image.projection_center()) for image in model.images.values()}


def test_gps_positions_bring_a_model_into_metres(files):
    model, truth = pycolmap.Reconstruction(files), transform(scale=60)
    before = centres(model)
    places = {name: moved(truth, xyz) for name, xyz in before.items()}
    rng = np.random.default_rng(1)
    noise = {name: rng.normal(size=3) * 0.2 for name in places}
    found = georeference(model, Targets({n: position(places[n] + noise[n]) for n in places}))
    assert found.scale == pytest.approx(60, rel=0.05) and not found.up_from_photos
    origin = Position(*found.origin)
    after = centres(model)
    for name, xyz in places.items():
        offset = np.linalg.norm(after[name] - east_north_up([position(xyz)], origin)[0])
        assert offset < 0.5
        assert found.residuals[name] < 1
    assert found.median_residual == pytest.approx(np.median(list(found.residuals.values())), abs=1e-3)
    assert "metres by 5 GPS positions" in found.sentence() and "doubtful" not in found.sentence()


def test_positions_no_further_apart_than_gps_errs_keep_the_photos_upright(files):
    model = pycolmap.Reconstruction(files)
    names = sorted(centres(model))
    positions = {name: position([0.3 * i, 0.6 * i, 0.1 * i]) for i, name in enumerate(names)}
    found = georeference(model, Targets(positions))
    assert found.up_from_photos and "scale is doubtful" in found.sentence()
    np.testing.assert_allclose(up_direction(model, {}), [0, 0, 1], atol=1e-6)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return mapped_cloud(tmp_path_factory.mktemp("many"), 10)


@pytest.mark.parametrize("shrunk", [False, True])
def test_a_position_that_a_phone_repeats_does_not_shrink_the_model(many, monkeypatch, shrunk):
    """Six photos of ten at one position: with a model that is a point most agree."""
    model = pycolmap.Reconstruction(many)
    before = centres(model)
    places = [[0.0, 0, 0]] * 6 + [[160.0, 100, 0]] * 4
    positions = {name: position(xyz) for name, xyz in zip(sorted(before), places, strict=True)}
    why = "miss the model by"
    if shrunk:
        point = Fit(transform(scale=1e-3), np.array([0.01] * 6 + [188.0] * 4), np.arange(10) < 6)
        monkeypatch.setattr("desdis_match.colmap.georeference.fit_similarity", lambda *_: point)
        why = r"spread 92 m, but the 6 of 10 that agree with the model lie within 0\.0 m"
    with pytest.raises(InputError, match=why + ".*--control"):
        georeference(model, Targets(positions))
    assert all(np.array_equal(centres(model)[name], xyz) for name, xyz in before.items())


def test_positions_that_are_not_the_photos_are_refused(many):
    model = pycolmap.Reconstruction(many)
    rng = np.random.default_rng(3)
    positions = {name: position(rng.normal(size=3) * 60) for name in sorted(centres(model))}
    with pytest.raises(InputError, match=r"miss the model by \d+ m in the median.*--control"):
        georeference(model, Targets(positions))


def walk(num, radius, noise, seed):
    """Places on a circle of a radius of one, and GPS positions of them in metres."""
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, num))
    places = np.column_stack([np.cos(turn), np.sin(turn), np.zeros(num)])
    return places, radius * places + rng.normal(size=(num, 3)) * noise


@pytest.mark.parametrize("seed", range(4))
def test_many_positions_may_miss_by_more_than_few(seed):
    """A walk of 8 m radius with a phone, 60 photos; and places drawn at random, of few photos and of many."""
    places, gps = walk(60, 8.0, (3, 3, 6), seed)
    fit = fit_similarity(places, gps)
    _check_agreement(fit, gps)
    assert fit.transform.scale == pytest.approx(8, rel=0.1)
    for num in (8, 20, 60):
        places, _ = walk(num, 8.0, 0.0, seed)
        gps = np.random.default_rng(seed).normal(size=(num, 3)) * (60, 60, 5)
        with pytest.raises(InputError, match="are not those of the photos"):
            _check_agreement(fit_similarity(places, gps), gps)


def test_a_handful_of_positions_must_fit_well():
    places, gps = walk(5, 30.0, 1.5, 0)
    _check_agreement(fit_similarity(places, gps), gps)
    missed = Fit(transform(), np.full(5, 7.0), np.ones(5, bool))  # 0.23 of their spread
    with pytest.raises(InputError, match="are not those of the photos"):
        _check_agreement(missed, gps)


def test_up_follows_the_photos_orientation(files):
    """The same photos stored turned by 90 degrees have another up: where their upper edges are."""
    model = pycolmap.Reconstruction(files)
    stored = up_direction(model, {})
    turned = up_direction(model, dict.fromkeys(centres(model), 1))
    upside_down = up_direction(model, dict.fromkeys(centres(model), 2))
    assert abs(turned @ stored) < 0.3
    np.testing.assert_allclose(upside_down, -stored, atol=1e-9)
    image = next(iter(model.images.values()))
    left = image.cam_from_world().rotation.matrix().T @ [-1.0, 0, 0]
    assert turned @ left > 0.8


def write(tmp_path, text):
    path = tmp_path / "control.csv"
    path.write_text(text, encoding="utf-16")  # as a spreadsheet may write it
    return read_control(path)


def test_marked_points_of_a_local_frame(files, tmp_path):
    model, truth = pycolmap.Reconstruction(files), transform()
    points = sorted(model.points3D.items())[:6]
    rows = ["frame, local"]
    for i, (_, point) in enumerate(points):
        rows.append(f"point, P{i}, {', '.join(map(str, moved(truth, point.xyz)))}")
        for image in model.images.values():
            x, y = image.project_point(point.xyz)
            rows.append(f'mark, P{i}, "{image.name}", {x - 0.5}, {y - 0.5}')
    wanted = {point_id: moved(truth, point.xyz) for point_id, point in points}
    found = georeference(model, Targets(control=write(tmp_path, "\n".join(rows))))
    assert found.source == "control" and found.origin is None and found.scale == pytest.approx(12.5, rel=1e-6)
    for point_id, xyz in wanted.items():
        np.testing.assert_allclose(model.point3D(point_id).xyz, xyz, atol=1e-4)


def test_a_distance_sets_the_scale(files, tmp_path):
    model = pycolmap.Reconstruction(files)
    a, b, *_ = sorted(centres(model))
    found = georeference(model, Targets(control=write(tmp_path, f"# tape\ndistance, {a}, {b}, 2.5\n")))
    assert np.linalg.norm(centres(model)[a] - centres(model)[b]) == pytest.approx(2.5)
    assert found.source == "distances" and "1 distances" in found.sentence()


@pytest.mark.parametrize(
    "text, why",
    [
        ("point, P1, 1, 2", "line 1: 'point, P1, 1, 2' is no row"),
        ("frame, local\nmark, P1, a.jpg, one, 2", "line 2: could not convert"),
        ("x" * 200_000, "is not a control file: field larger"),
        ("frame, utm", "the frame 'utm' is unknown"),
        ("distance, a, b, -1", "not above 0"),
        ("mark, P1, a.jpg, 1, 2", "says no positions and no distances"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        write(tmp_path, text)


def test_too_little_is_an_error(files):
    model = pycolmap.Reconstruction(files)
    with pytest.raises(InputError, match="0 of the model's photos and points"):
        georeference(model, Targets(control=Control(points={"P1": (1, 2, 3)})))
