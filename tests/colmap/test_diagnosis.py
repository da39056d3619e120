"""The first stage that runs dry is named, with the numbers."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from pointcloud import make_point_cloud
from pointcloud_models import verified_database

from desdis_match.colmap.diagnosis import Diagnosis, already_tried, starvation
from desdis_match.colmap.mapping import build_database, map_database, verify
from desdis_match.photos.cameras import CameraConfig
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.types import Matches

CAMERA = CameraConfig(camera_model="SIMPLE_PINHOLE", camera_params="600,320,240")


def diagnose(folder: Path, keep, num_points: int = 200, **kwargs) -> Diagnosis:
    """Keep the first keep(i, j) true matches of images i and j; None leaves the pair out."""
    cloud = make_point_cloud(folder, num_cameras=4, num_points=num_points, names=list("abcd"))
    with MatchFile(cloud.matches) as m:
        pairs = []
        for a, b in m.pairs(cloud.names):
            num = keep(cloud.names.index(a), cloud.names.index(b))
            full = m.get(a, b)
            if num is not None:
                pairs.append((a, b, Matches(full.indices[:num], full.scores[:num])))
    write_matches(cloud.matches, pairs, {})
    path = verified_database(cloud, folder)
    return starvation(path, map_database(path, None, folder / "sparse").models, **kwargs)


def test_everything_registered_needs_no_explanation(tmp_path: Path) -> None:
    result = diagnose(tmp_path, lambda i, j: 200)
    assert (result.starved, result.explanation) == ("", "")
    assert (result.num_pairs, result.num_matched_pairs, result.num_verified_pairs) == (6, 6, 6)
    assert result.num_registered == 4
    first = result.images[0]
    assert (first.num_keypoints, first.num_matched_pairs, first.num_matches) == (200, 3, 600)
    assert (first.num_verified_pairs, first.num_inliers, first.component, first.model) == (3, 600, 0, 0)
    assert all(image.reason == "" for image in result.images)


def test_no_keypoints(tmp_path: Path) -> None:
    result = diagnose(tmp_path, lambda i, j: None, num_points=12)
    assert result.starved == "keypoints"
    assert "4 of 4 images have fewer than 100 keypoints (the best has 12)" in result.explanation
    assert result.images[0].reason.startswith("12 keypoints")


def test_no_matches(tmp_path: Path) -> None:
    result = diagnose(tmp_path, lambda i, j: 9 if i == 0 else None)
    assert result.starved == "matches"
    assert "3 pairs were matched and the best has 9 matches" in result.explanation
    assert "try more pairs (--pairs exhaustive), --filter consensus, --views 5" in result.explanation
    assert result.images[0].reason == "its best pair has 9 matches, 15 are needed"


@pytest.mark.parametrize(
    ("tried", "advice"),
    [
        (
            (),
            "try --filter consensus, --views 5 where surfaces are seen at a slant, "
            "or photos that overlap more",
        ),
        (("filter",), "try --views 5 where surfaces are seen at a slant or photos that overlap more"),
        (("filter", "views"), "try photos that overlap more"),
    ],
)
def test_what_was_tried_is_not_advised(tmp_path: Path, tried, advice) -> None:
    """All six pairs were matched, two of them with nine matches, so that more pairs cannot be had."""
    result = diagnose(tmp_path, lambda i, j: 9 if i == 0 else 0, tried=tried)
    assert result.explanation == f"6 pairs were matched and the best has 9 matches: {advice}"


@pytest.mark.parametrize(
    ("extract", "match", "tried"),
    [
        ({}, {}, set()),
        ({"extract": {"views": 1}}, {"match": {"filter": "none"}}, set()),
        ({"extract": {"views": 5}}, {"match": {"filter": "none"}}, {"views"}),
        ({"extract": {"views": 1}}, {"match": {"filter": "consensus"}}, {"filter"}),
    ],
)
def test_what_was_tried_is_told_by_the_files(tmp_path: Path, extract, match, tried) -> None:
    features, matches = tmp_path / "features.h5", tmp_path / "matches.h5"
    write_features(features, [], extract)
    write_matches(matches, [], match)
    assert already_tried(features, matches) == tried


def test_hlocs_files_do_not_tell_what_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    h5py.File(path, "w").close()
    assert already_tried(path, path) == set()


def test_no_verified_pairs(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=200, names=list("abc"))
    rng = np.random.default_rng(1)
    noise = [np.stack([np.arange(24), rng.permutation(200)[:24]], axis=1) for _ in range(2)]
    pairs = [
        (*p, Matches(m.astype(np.int32), np.ones(24, np.float32)))
        for p, m in zip(("ab", "ac"), noise, strict=True)
    ]
    write_matches(cloud.matches, pairs, {})
    result = starvation(verified_database(cloud, tmp_path))
    assert result.starved == "verified pairs"
    assert "2 of 2 pairs have matches, the best 24" in result.explanation
    assert "agree with a geometry, 15 are needed" in result.images[0].reason


def test_pieces(tmp_path: Path) -> None:
    result = diagnose(tmp_path, lambda i, j: 200 if j == 1 or i == 2 else None)
    assert result.components == (("a", "b"), ("c", "d"))
    assert result.num_verified_pairs == 2
    assert [image.model for image in result.images] == [-1, -1, -1, -1]
    assert result.starved == "connected components"
    assert "2 verified pairs leave the images in pieces, the largest of 2 of 4" in result.explanation


def test_an_image_left_out_says_why(tmp_path: Path) -> None:
    result = diagnose(tmp_path, lambda i, j: 200 if j < 3 else 0)
    assert result.num_registered == 3
    assert result.images[3].reason == "no match with any other image, or in no pair"
    assert result.starved == "connected components"
    assert "connect 3 of 4 images, 1 are in no model" in result.explanation
    assert "--filter consensus, --views 5 where surfaces are seen at a slant" in result.explanation


def test_a_camera_that_only_turns_is_recognised(tmp_path: Path) -> None:
    """Every image sees the points at the places of the first: no baseline, no depth."""
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=200, names=list("abc"))
    with FeatureFile(cloud.features) as f:
        first = f.get("a")
        write_features(tmp_path / "same.h5", [(name, first) for name in cloud.names], {})
    same = Matches(np.stack([np.arange(200)] * 2, axis=1).astype(np.int32), np.ones(200, np.float32))
    write_matches(tmp_path / "same_m.h5", [(*pair, same) for pair in ("ab", "ac", "bc")], {})
    with FeatureFile(tmp_path / "same.h5") as f, MatchFile(tmp_path / "same_m.h5") as m:
        path = build_database(tmp_path / "database.db", None, f, m, cameras=CAMERA)
    verify(path)
    models = map_database(path, None, tmp_path / "sparse").models
    result = starvation(path, models)
    assert models == []
    assert result.starved == "mapping"
    assert "3 of 3 verified pairs show a flat scene or a camera that only turned" in result.explanation
