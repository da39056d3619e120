"""Mapper auto: nothing more than the incremental mapper where that is enough, and never less."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud, pose_errors
from pointcloud_models import make_job, poses, without

from desdis_match.colmap import placing
from desdis_match.colmap.database import open_database
from desdis_match.colmap.mappers import MAPPERS, map_incremental
from desdis_match.colmap.placing import place
from desdis_match.colmap.ranking import Standing, best_first, held_images, standing, weak_photos


def fail(*_: object, **__: object) -> list[pycolmap.Reconstruction]:
    raise RuntimeError("no")


def test_what_is_placed_at_once_costs_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(make_point_cloud(tmp_path), tmp_path)
    for name in ("map_global", "grow", "calibrated", "join_models"):
        monkeypatch.setattr(placing, name, fail)
    result = place(job)
    assert [attempt.what for attempt in result.record.attempts] == ["incremental"]
    assert standing(result.models[0]).num_held == 6
    alone = best_first(MAPPERS["incremental"](job))
    for ours, theirs in zip(result.models, alone, strict=True):
        assert all(np.array_equal(poses(ours)[name], pose) for name, pose in poses(theirs).items())


@pytest.mark.parametrize("whole_by_long_tracks", [True, False])
def test_photos_that_long_tracks_leave_out_are_mapped_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_by_long_tracks: bool
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    first = whole if whole_by_long_tracks else without(whole, cloud.names[4:])
    monkeypatch.setattr(placing, "map_by_long_tracks", lambda job: [first])
    for name in ("map_global", "grow"):
        monkeypatch.setattr(placing, name, fail)
    result = place(job)
    attempts = [(attempt.what, attempt.num_photos) for attempt in result.record.attempts]
    by_long_tracks = "incremental, by long tracks"
    assert attempts == (
        [(by_long_tracks, 6)] if whole_by_long_tracks else [(by_long_tracks, 4), ("incremental", 6)]
    )
    assert result.models[0].num_reg_images() == 6


def test_colmap_stopping_at_long_tracks_leaves_the_mapping_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "map_by_long_tracks", fail)
    result = place(make_job(make_point_cloud(tmp_path), tmp_path))
    assert [(attempt.what, attempt.num_photos) for attempt in result.record.attempts] == [("incremental", 6)]


def test_the_global_mapper_places_what_the_incremental_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: [])
    result = place(job)
    assert [attempt.num_photos for attempt in result.record.attempts] == [0, 6]
    assert result.record.attempts[1].what.startswith("global") and result.record.attempts[1].kept
    assert max(pose_errors(cloud, poses(result.models[0]))) < 0.02


def test_left_out_photos_are_tried_again_on_the_model_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: [without(whole, cloud.names[4:])])
    monkeypatch.setattr(placing, "map_global", fail)
    result = place(job)
    assert [attempt.num_photos for attempt in result.record.attempts] == [4, 6]
    assert max(pose_errors(cloud, poses(result.models[0]))) < 0.02


def test_a_weak_start_is_not_built_upon_before_other_mappers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    weak = without(whole, cloud.names[3:])
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: [weak])
    monkeypatch.setattr(placing, "map_global", lambda *_, **__: [whole])
    assert [attempt.num_photos for attempt in place(job).record.attempts] == [3, 6]
    monkeypatch.setattr(placing, "map_global", fail)
    monkeypatch.setattr(placing, "calibrated", fail)
    attempts = place(job).record.attempts
    assert [attempt.num_photos for attempt in attempts] == [3, 0, 0, 0, 3, 0, 6]
    assert attempts[-1].what == "left-out photos again"


def test_a_photo_that_sees_thirteen_points_of_the_model_is_placed(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    *others, last = cloud.names
    with open_database(job.database) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        geometry = database.read_two_view_geometry(ids[others[0]], ids[last])
        rows = np.array(geometry.inlier_matches)[:16]
        rows[13:, 1] = np.roll(rows[13:, 1], 1)  # three wrong ones
        geometry.inlier_matches = rows
        for name in others:
            database.delete_two_view_geometry(ids[name], ids[last])
        database.write_two_view_geometry(ids[others[0]], ids[last], geometry)
    result = place(job)
    assert [attempt.what for attempt in result.record.attempts] == ["incremental", "left-out photos again"]
    assert [attempt.num_photos for attempt in result.record.attempts] == [5, 6]
    assert max(pose_errors(cloud, poses(result.models[0]))) < 0.02


def test_the_last_few_photos_are_no_reason_for_other_mappers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    first = without(whole, cloud.names[5:])  # five of six, 60 points a photo
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: [first])
    monkeypatch.setattr(placing, "grow", lambda job, model, **_: model)
    monkeypatch.setattr(placing, "map_global", lambda *_, **__: [whole])

    def tried() -> list[str]:
        return [attempt.what.split(",")[0] for attempt in place(job).record.attempts]

    assert tried() == ["incremental", "left-out photos again", "global"]
    monkeypatch.setattr(placing, "FEW", 1 / 6)
    assert tried() == ["incremental", "left-out photos again"]
    monkeypatch.setattr(placing, "GOOD_POINTS", 61)
    assert tried() == ["incremental", "left-out photos again", "global"]


def test_a_later_try_that_brings_less_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    first, worse = without(whole, cloud.names[5:]), without(whole, cloud.names[4:])
    results = iter([[first], [worse], [worse]])
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: next(results))
    monkeypatch.setattr(placing, "map_global", lambda *_, **__: [worse])
    monkeypatch.setattr(placing, "grow", lambda job, model, **_: model)
    result = place(job)
    assert result.models[0] is first
    assert [attempt.kept for attempt in result.record.attempts] == [True] + [False] * 6


def test_fragments_of_one_scene_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=8)
    job = make_job(cloud, tmp_path)
    (whole,) = map_incremental(job)
    left, right = without(whole, cloud.names[4:]), without(whole, cloud.names[:4])
    right.transform(pycolmap.Sim3d(2.0, pycolmap.Rotation3d(np.array([0, 0, 0.6, 0.8])), np.ones(3)))
    monkeypatch.setattr(placing, "map_incremental", lambda *_, **__: [left, right])
    monkeypatch.setattr(placing, "map_global", fail)
    result = place(job)
    assert [attempt.what for attempt in result.record.attempts][-1] == "models joined"
    (model,) = result.models
    assert model.num_points3D() == whole.num_points3D()
    assert model.compute_mean_track_length() == pytest.approx(8, abs=0.1)
    assert max(pose_errors(cloud, poses(model))) < 0.02


def test_tries_fall_with_the_number_of_photos() -> None:
    assert [placing._num_tries(n) for n in (10, 120, 240, 600, 5000)] == [5, 5, 2, 1, 1]


def test_points_that_do_not_hold_up_hold_no_photo(tmp_path: Path) -> None:
    job = make_job(make_point_cloud(tmp_path, num_points=40), tmp_path)
    (model,) = map_incremental(job)
    assert standing(model) == Standing(6, 6, model.num_points3D())
    last = next(image for image in model.images.values() if image.name == "left wing/photo ü 5.jpg")
    for index in last.get_observation_point2D_idxs()[7:]:
        model.delete_observation(last.image_id, index)
    assert last.name not in held_images(model)
    assert standing(model) == Standing(5, 6, model.num_points3D())
    assert "1 of the 6 placed photos" in weak_photos(model)[0] and last.name in weak_photos(model)[0]
    for point in model.points3D.values():
        point.error = 5.0
    assert standing(model) == Standing(0, 6, 0)


def test_a_focal_length_that_no_lens_has_holds_no_photo(tmp_path: Path) -> None:
    job = make_job(make_point_cloud(tmp_path), tmp_path)
    (model,) = map_incremental(job)
    camera = next(iter(model.cameras.values()))
    camera.has_prior_focal_length = False
    camera.params = [640 * 0.2, 320, 240]
    assert standing(model).num_held == 0
    camera.params = [640 * 1.2, 320, 240]
    assert standing(model).num_held == 6
