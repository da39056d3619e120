"""Mapping by long tracks: which are chosen, and that the model has all points in the end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from pointcloud import FOCAL, make_point_cloud, pose_errors
from pointcloud_models import make_job, poses

from desdis_match.colmap import thinning
from desdis_match.colmap.mappers import Job, map_incremental
from desdis_match.colmap.thinning import kept_matches, map_by_long_tracks
from desdis_match.colmap.view_graph import VerifiedPair, verified_edges


def pair(photo0: int, photo1: int, *matches: tuple[int, int]) -> VerifiedPair:
    return VerifiedPair(photo0, photo1, np.array(matches, np.int64))


def test_the_longest_tracks_of_each_photo_and_pair_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PHOTO", 2)
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PAIR", 1)
    # Keypoint i of photos 1, 2, 3 is on track i: 0 and 1 go through all three, 5 and 6 through two.
    pairs = [
        pair(1, 2, (5, 5), (0, 0), (1, 1)),
        pair(2, 3, (1, 1), (6, 6), (0, 0)),
        pair(3, 9, (7, 8)),  # all that there is of photo 9
    ]
    kept = [rows.tolist() for rows in kept_matches(pairs, 0)]
    assert kept == [[False, True, True], [True, False, True], [True]]
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PAIR", 3)
    assert all(rows.all() for rows in kept_matches(pairs, 0))


def test_a_track_with_two_keypoints_in_a_photo_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PHOTO", 1)
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PAIR", 1)
    doubtful = [(1, 2, (0, 0)), (2, 3, (0, 0)), (1, 3, (4, 0))]  # keypoints 0 and 4 of photo 1
    pairs = [pair(a, b, match, (9, 9)) for a, b, match in doubtful]
    assert [rows.tolist() for rows in kept_matches(pairs, 0)] == [[False, True]] * 3


def test_the_seed_chooses_among_tracks_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PHOTO", 10)
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PAIR", 10)
    pairs = [pair(1, 2, *((i, i) for i in range(100)))]
    first, again, other = (kept_matches(pairs, seed)[0] for seed in (0, 0, 1))
    assert first.sum() == other.sum() == 10
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.ptp(np.flatnonzero(first)) > 50


def test_the_model_has_all_points_and_the_database_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path)
    job = make_job(cloud, tmp_path)
    assert map_by_long_tracks(job) == []  # 300 tracks are no more than the part
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PHOTO", 60)
    monkeypatch.setattr(thinning, "TRACKS_OF_A_PAIR", 110)
    before, seen = verified_edges(job.database, 1), []

    def noted(thin: Job, **how: Any) -> list[pycolmap.Reconstruction]:
        models = map_incremental(thin, **how)
        seen.extend(models)
        return models

    monkeypatch.setattr(thinning, "map_incremental", noted)
    filled = thinning.filled
    monkeypatch.setattr(
        thinning, "filled", lambda job, model: (seen.append(model.num_points3D()), filled(job, model))[1]
    )
    (model,) = map_by_long_tracks(job)
    assert verified_edges(job.database, 1) == before
    assert seen[1] == 110 and model.num_points3D() >= 290  # of 300
    assert model.compute_mean_track_length() > 5.5
    assert model.compute_mean_reprojection_error() < 0.01
    assert max(pose_errors(cloud, poses(model))) < 0.02
    assert not list(job.scratch.rglob("*.db*"))
    monkeypatch.setattr(thinning, "WORTHWHILE", 0.3)
    assert map_by_long_tracks(job) == []


@pytest.mark.parametrize(("align", "rounds", "completed"), [(True, 1, 1), (False, 5, 0)])
def test_a_model_to_be_aligned_is_adjusted_once_and_completed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, align: bool, rounds: int, completed: int
) -> None:
    job = make_job(make_point_cloud(tmp_path), tmp_path)
    job = replace(job, config=replace(job.config, align=align))
    (model,) = map_incremental(job)
    calls: dict[str, list[Any]] = {}
    for name in ("iterative_global_refinement", "complete_and_merge_tracks", "filter_points"):
        method = getattr(pycolmap.IncrementalMapper, name)
        noted = calls.setdefault(name, [])
        monkeypatch.setattr(
            pycolmap.IncrementalMapper, name, lambda *a, m=method, n=noted: (n.append(a[1]), m(*a))[1]
        )
    thinning.filled(job, model)
    assert calls["iterative_global_refinement"] == [rounds]
    assert len(calls["complete_and_merge_tracks"]) == len(calls["filter_points"]) == completed


def test_points_begin_within_a_few_pixels_of_the_widest_lens(tmp_path: Path) -> None:
    (model,) = map_incremental(make_job(make_point_cloud(tmp_path), tmp_path))
    assert thinning._angle(model, FOCAL) == pytest.approx(45)
    assert thinning._angle(model, thinning.CREATED_WITHIN) == pytest.approx(0.7639, abs=1e-4)
