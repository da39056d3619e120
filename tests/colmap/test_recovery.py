"""Matches that were not verified but agree with a model's poses become observations of it; no others do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud
from pointcloud_models import database_of, poses

from desdis_match.colmap.database import notes
from desdis_match.colmap.mappers import Job, MapConfig, map_incremental
from desdis_match.colmap.recovery import recover
from desdis_match.colmap.verification import VerifyConfig, verify
from desdis_match.colmap.view_graph import verified_edges
from desdis_match.errors import InputError

PAIRS = 15  # of six photos
CONFIG = MapConfig(fix_intrinsics=True)
Change = Callable[[tuple[int, int], np.ndarray], np.ndarray]


def change_verified(path: Path, change: Change) -> None:
    with pycolmap.Database.open(path) as database:
        for pair_id in database.read_two_view_geometries()[0]:
            ids = pycolmap.pair_id_to_image_pair(pair_id)
            geometry = database.read_two_view_geometry(*ids)
            geometry.inlier_matches = change(ids, np.asarray(geometry.inlier_matches)).astype(np.uint32)
            database.update_two_view_geometry(*ids, geometry)


def change_matches(path: Path, change: Change) -> None:
    with pycolmap.Database.open(path) as database:
        pairs = [pycolmap.pair_id_to_image_pair(pair_id) for pair_id in database.read_all_matches()[0]]
        changed = [change(pair, np.asarray(database.read_matches(*pair))) for pair in pairs]
        database.clear_matches()
        for pair, rows in zip(pairs, changed, strict=True):
            database.write_matches(*pair, rows.astype(np.uint32))


def mapped(path: Path, folder: Path) -> pycolmap.Reconstruction:
    (folder / "scratch").mkdir()
    (model,) = map_incremental(Job(path, folder / "scratch", CONFIG))
    return model


class Scene:
    """Six photos of 300 points, 200 of them in verified matches."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cloud = folder, make_point_cloud(folder)
        self.path = database_of(self.cloud, folder)
        with pycolmap.Database.open(self.path) as database:
            self.names = {image.image_id: image.name for image in database.read_all_images()}

    def points(self, photo: int, rows: np.ndarray) -> np.ndarray:
        """Numbers of the points that keypoints see."""
        return self.cloud.order[self.names[photo]][rows]

    def verified(self) -> pycolmap.Reconstruction:
        """The model of what verification leaves."""
        verify(self.path)
        change_verified(self.path, lambda ids, rows: rows[self.points(ids[0], rows[:, 0]) < 200])
        return mapped(self.path, self.folder)

    def wrong(self, ids: tuple[int, int], rows: np.ndarray) -> np.ndarray:
        """The matches with those of points from 250 on exchanged among each other."""
        some = np.flatnonzero(self.points(ids[0], rows[:, 0]) >= 250)
        rows = rows.copy()
        rows[some, 1] = np.roll(rows[some, 1], 1)
        return rows


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_matches_that_agree_make_points_and_leave_poses_and_database_alone(scene: Scene) -> None:
    model = scene.verified()
    assert 190 <= model.num_points3D() <= 200
    before, edges = poses(model), verified_edges(scene.path, 1)
    assert recover(model, scene.path, CONFIG) == 100 * PAIRS
    assert model.num_points3D() >= 290 and model.compute_mean_track_length() > 5.9
    assert max(point.error for point in model.points3D.values()) < 0.1
    assert all((poses(model)[name] == pose).all() for name, pose in before.items())
    assert verified_edges(scene.path, 1) == edges
    assert recover(pycolmap.Reconstruction(model), scene.path, CONFIG) == 100 * PAIRS  # those that there are


def test_nothing_is_done_where_all_are_verified(scene: Scene) -> None:
    verify(scene.path)
    model = mapped(scene.path, scene.folder)
    num = model.num_points3D(), model.compute_num_observations()
    assert recover(model, scene.path, CONFIG) == 0
    assert (model.num_points3D(), model.compute_num_observations()) == num


def test_matches_that_disagree_stay_out(scene: Scene) -> None:
    change_matches(scene.path, scene.wrong)
    model = scene.verified()
    num = recover(model, scene.path, CONFIG)
    assert 50 * PAIRS <= num < 53 * PAIRS  # some wrong ones lie on their line by chance
    seen = [
        {scene.points(e.image_id, np.array([e.point2D_idx]))[0] for e in point.track.elements}
        for point in model.points3D.values()
    ]
    assert sum(len(one) > 1 for one in seen) <= 0.02 * len(seen)
    assert {point for one in seen for point in one} >= set(range(200, 250))


def test_tracks_that_they_join_become_one(scene: Scene) -> None:
    """Points from 200 on are two each at first, of photos 1 to 3 and of 4 to 6."""
    verify(scene.path)
    change_verified(
        scene.path,
        lambda ids, r: r if (ids[0] > 3) == (ids[1] > 3) else r[scene.points(ids[0], r[:, 0]) < 200],
    )
    model = mapped(scene.path, scene.folder)
    assert model.num_points3D() > 380
    assert recover(model, scene.path, CONFIG) == 100 * 9
    assert 290 <= model.num_points3D() <= 300 and model.compute_mean_track_length() > 5.9


def test_they_lengthen_what_is_verified(scene: Scene) -> None:
    """What two photos alone see is no point; a third photo's matches make it one."""

    def chain(ids: tuple[int, int], rows: np.ndarray) -> np.ndarray:
        return rows if ids in ((1, 2), (2, 3)) else rows[scene.points(ids[0], rows[:, 0]) < 200]

    change_matches(scene.path, chain)
    verify(scene.path)
    change_verified(scene.path, lambda ids, r: r if ids == (1, 2) else r[scene.points(ids[0], r[:, 0]) < 200])
    model = mapped(scene.path, scene.folder)
    assert model.num_points3D() <= 200
    assert recover(model, scene.path, CONFIG) == 100
    assert model.num_points3D() >= 290


def test_what_lies_on_its_lines_but_not_at_its_point_leaves_again(scene: Scene) -> None:
    model = scene.verified()
    moved = np.flatnonzero(scene.points(1, np.arange(300)) >= 200)
    with pycolmap.Database.open(scene.path) as database:  # along the lines of photos side by side
        keypoints = database.read_keypoints(1)
        keypoints[moved, 0] += 8
        database.update_keypoints(1, keypoints)
    for row in moved.tolist():
        model.image(1).points2D[row].xy = keypoints[row, :2]
    assert recover(model, scene.path, CONFIG) > 100 * (PAIRS - 1)
    assert model.num_points3D() >= 290 and max(p.error for p in model.points3D.values()) < 4.0
    assert not any(model.image(1).points2D[row].has_point3D() for row in moved.tolist())


def test_pairs_that_the_model_contradicts_are_not_asked(scene: Scene) -> None:
    model = scene.verified()
    change_verified(scene.path, lambda ids, r: np.c_[r[:, 0], np.roll(r[:, 1], 1)] if ids == (1, 2) else r)
    assert recover(model, scene.path, CONFIG) == 100 * (PAIRS - 1)


def test_matches_of_keypoints_that_are_not_there_are_said(scene: Scene) -> None:
    model = scene.verified()
    with pycolmap.Database.open(scene.path) as database:
        database.update_keypoints(3, database.read_keypoints(3)[:40])
    with pytest.raises(
        InputError, match=rf"of keypoint \d+ of {scene.names[3]}, which has 40; make the data"
    ):
        recover(model, scene.path, CONFIG)


def test_the_error_is_that_of_verification(scene: Scene) -> None:
    model = scene.verified()
    with pycolmap.Database.open(scene.path) as database:  # points 200 to 299 of photo 1 lie 3 pixels lower
        keypoints = database.read_keypoints(1)
        keypoints[scene.points(1, np.arange(300)) >= 200, 1] += 3
        database.update_keypoints(1, keypoints)
    found = {}
    for error in (2.0, 4.0):
        config = MapConfig(fix_intrinsics=True, verify=VerifyConfig(max_epipolar_error=error))
        found[error] = recover(pycolmap.Reconstruction(model), scene.path, config)
    assert found[4.0] == 100 * PAIRS
    assert 100 * (PAIRS - 5) <= found[2.0] < 100 * (PAIRS - 4)


@pytest.mark.parametrize(("drop_still", "extra"), [(True, 0), (False, 20)])
def test_matches_that_stay_at_their_pixels_stay_out(scene: Scene, drop_still: bool, extra: int) -> None:
    """Twenty keypoints in the middle of each photo, where all cameras look, agree with any model."""
    with pycolmap.Database.open(scene.path) as database:
        for photo in scene.names:
            middle = np.zeros((20, database.read_keypoints(photo).shape[1]), np.float32)
            middle[:, :2] = np.random.default_rng(0).uniform(-0.1, 0.1, (20, 2)) + np.array([320, 240])
            database.update_keypoints(photo, np.concatenate([database.read_keypoints(photo), middle]))
    still = np.repeat(np.arange(300, 320)[:, None], 2, axis=1)
    change_matches(scene.path, lambda ids, rows: np.concatenate([rows, still]))
    verify(scene.path, VerifyConfig(drop_still=drop_still))
    assert bool(notes(scene.path)["still matches"]) == drop_still
    change_verified(scene.path, lambda ids, rows: rows[rows[:, 0] < 150])
    model = mapped(scene.path, scene.folder)
    # Of the others a few move as little as what stands still.
    assert 0 <= (150 + extra) * PAIRS - recover(model, scene.path, CONFIG) < 15
