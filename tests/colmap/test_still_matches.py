"""What stays at the same pixels while other things move is left out; a camera that does not move is not."""

from pathlib import Path

import numpy as np
import pytest
from pointcloud import make_point_cloud
from pointcloud_models import KNOWN

from desdis_match.colmap.database import build_database, open_database
from desdis_match.colmap.mapping import MapConfig, map_database
from desdis_match.colmap.still_matches import find_still_keypoints
from desdis_match.colmap.verification import verify
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile

Photos = dict[int, np.ndarray]


def look(photos: Photos, sizes: dict[int, tuple[int, int]] | None = None):
    """Every keypoint matches its namesake in every other photo."""
    pairs = [(a, b) for a in photos for b in photos if a < b]
    rows = np.column_stack([np.arange(len(next(iter(photos.values()))))] * 2)
    found = find_still_keypoints(
        pairs, sizes or dict.fromkeys(photos, (640, 480)), photos.__getitem__, lambda *_: rows
    )
    return found, rows


def turntable(num_photos: int, num_still: int, num_moving: int = 30) -> Photos:
    """Keypoints that stay within a pixel, then such as move by 10 pixels a photo."""
    rng = np.random.default_rng(0)
    still = rng.uniform(0, 400, (num_still, 2))
    moving = rng.uniform(0, 400, (num_moving, 2))
    return {
        i: np.vstack([still + rng.uniform(-0.5, 0.5, still.shape), moving + 10 * i])
        for i in range(num_photos)
    }


def test_the_still_part_goes_and_the_moving_part_stays() -> None:
    photos = turntable(6, 20)
    found, rows = look(photos)
    assert (found.num_matches, found.num_photos) == (20 * 15, 6)
    assert found.share == pytest.approx(0.4)  # 20 of 50
    assert found.moving((0, 1), photos[0], photos[1], rows)[:, 0].tolist() == list(range(20, 50))
    assert "300 matches of 6 photos (40 %" in found.sentence()


def test_where_most_stays_what_hardly_moves_goes_too() -> None:
    for num_still, gone in ((20, 0), (40, 5)):  # of 50 and of 70 matches: a minority, and most
        photos = turntable(6, num_still)
        for i, photo in photos.items():
            photo[-5:] = photos[0][-5:] + 2.5 * (i % 2)
        found, rows = look(photos)
        kept = found.moving((0, 1), photos[0], photos[1], rows)[:, 0]
        assert len(kept) == 30 - gone


def test_a_handful_by_chance_is_left_alone() -> None:
    found, rows = look(turntable(6, 9))
    assert found.num_matches == 0 and found.sentence() == ""
    assert len(found.moving((0, 1), *[np.zeros((50, 2))] * 2, rows)) == len(rows)


def test_an_exposure_series_among_other_photos_is_left_alone() -> None:
    photos = turntable(12, 0, 60)
    photos[1] = photos[2] = photos[0]  # three of twelve see everything at the same place
    assert look(photos)[0].num_matches == 0


def test_photos_of_different_size_have_no_pixels_in_common() -> None:
    photos = turntable(6, 20)
    assert look(photos, {i: (640 + i, 480) for i in photos})[0].num_matches == 0


def test_verification_leaves_them_out_and_the_record_says_so(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path)
    with FeatureFile(cloud.features) as features, MatchFile(cloud.matches) as matches:
        path = build_database(tmp_path / "database.db", None, features, matches, cameras=KNOWN)
    with open_database(path) as database:
        for image in database.read_all_images():  # the first 40 points of the cloud become a caption
            keypoints = database.read_keypoints(image.image_id)
            points = cloud.order[image.name]
            keypoints[points < 40, :2] = np.column_stack([np.arange(40) * 5, np.full(40, 3)])[
                points[points < 40]
            ]
            database.update_keypoints(image.image_id, keypoints)
    assert verify(path).num_inliers <= 15 * 260
    record = map_database(path, None, tmp_path / "sparse", MapConfig(fix_intrinsics=True)).record
    # 600 of the caption, and those of points on the axis round which the cameras go.
    assert record.notes[0].startswith("6") and "matches of 6 photos (14 %" in record.notes[0]
