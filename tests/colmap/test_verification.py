"""Geometric verification: the same whatever the threads, and it goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest
from pointcloud import make_point_cloud

import desdis_match.colmap.verification as verification
from desdis_match.colmap.database import open_database
from desdis_match.colmap.mapping import build_database, verify
from desdis_match.colmap.verification import Verification, VerifyConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.types import Matches


def database(folder: Path, **kwargs) -> Path:
    folder.mkdir(exist_ok=True)
    cloud = make_point_cloud(folder, num_cameras=4, num_points=120, noise=0.5, **kwargs)
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        return build_database(folder / "database.db", None, f, m)


def test_true_matches_are_verified_and_wrong_ones_are_not(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=120)
    a, b, c = cloud.names
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        true = m.get(a, b)
        indices = m.get(a, c).indices[:30].copy()
        indices[:, 1] = np.random.default_rng(0).permutation(indices[:, 1])
        wrong = Matches(indices, np.ones(len(indices), np.float32))
        few = Matches(m.get(b, c).indices[:10], np.ones(10, np.float32))
    write_matches(cloud.matches, [(a, b, true), (a, c, wrong), (b, c, few)], {})
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        path = build_database(tmp_path / "database.db", None, f, m)
    assert verify(path) == Verification(num_pairs=3, num_verified=1, num_inliers=120)
    assert verify(path, VerifyConfig(min_num_inliers=121)) == Verification(3, 0, 0)


def test_the_result_depends_on_the_seed_and_not_on_threads(tmp_path: Path) -> None:
    def result(name: str, seed: int, threads: int) -> bytes:
        path = database(tmp_path / name)
        verify(path, seed=seed, threads=threads)
        return path.read_bytes()

    assert result("1", seed=0, threads=1) == result("2", seed=0, threads=3)
    assert result("3", seed=1, threads=1) != result("1", seed=0, threads=1)


def test_a_pairs_seed_is_of_its_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair draws other samples, and the same ones whatever else is in the database."""
    real = verification.pycolmap.estimate_two_view_geometry

    def seeds(folder: str, **kwargs) -> list[int]:
        path, given = database(tmp_path / folder, **kwargs), []

        def noting(*args):
            given.append(args[-1].ransac.random_seed)
            return real(*args)

        monkeypatch.setattr(verification.pycolmap, "estimate_two_view_geometry", noting)
        verify(path, threads=1)
        return given

    four = seeds("four", names=["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    assert len(set(four)) == 6 and min(four) >= 0
    assert seeds("others", names=["b.jpg", "c.jpg", "d.jpg", "e.jpg"])[:1] == [four[3]]  # b with c
    assert verification._pair_seed(0, "a", "b") != verification._pair_seed(0, "b", "a")
    assert verification._pair_seed(0, "a", "b") != verification._pair_seed(1, "a", "b")


def test_a_killed_verification_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = database(tmp_path / "whole"), database(tmp_path / "killed")
    verify(whole)
    monkeypatch.setattr(verification, "PAIRS_PER_COMMIT", 2)
    estimated = []
    real = verification.pycolmap.estimate_two_view_geometry

    def dies_after_three(*args):
        if len(estimated) == 3:
            raise KeyboardInterrupt
        estimated.append(args)
        return real(*args)

    monkeypatch.setattr(verification.pycolmap, "estimate_two_view_geometry", dies_after_three)
    with pytest.raises(KeyboardInterrupt):
        verify(killed, threads=1)
    with open_database(killed) as opened:
        assert len(opened.read_two_view_geometries()[0]) == 2

    def counts(*args):
        estimated.append(args)
        return real(*args)

    monkeypatch.setattr(verification.pycolmap, "estimate_two_view_geometry", counts)
    estimated.clear()
    verify(killed)
    assert len(estimated) == 4  # of 6 pairs
    assert killed.read_bytes() == whole.read_bytes()
    estimated.clear()
    verify(killed)
    assert estimated == []
    verify(killed, VerifyConfig(max_epipolar_error=2))
    assert len(estimated) == 6
