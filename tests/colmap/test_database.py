"""The COLMAP database: the half pixel, any name, equal bytes for equal input, and nothing half written."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import make_point_cloud

from desdis_match.colmap.database import (
    build_database,
    connect,
    content_changed,
    database_config,
    open_database,
    seal,
    set_notes,
)
from desdis_match.conventions import from_colmap, to_colmap
from desdis_match.errors import InputError
from desdis_match.storage.features_file import FeatureFile, write_features
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.types import Features, Matches


def features(*keypoints: tuple[float, float]) -> Features:
    num = len(keypoints)
    columns = (np.zeros(num, np.float32) for _ in range(3))
    xy = np.array(keypoints, np.float32).reshape(-1, 2)
    return Features(xy, np.zeros((num, 4), np.float32), *columns, image_size=(64, 48))


def build(folder: Path, images: dict[str, Features], pairs: dict[tuple[str, str], list], **kwargs) -> Path:
    folder.mkdir(exist_ok=True)
    write_features(folder / "f.h5", images.items(), {})
    items = [
        (a, b, Matches(np.array(m, np.int32).reshape(-1, 2), np.ones(len(m), np.float32)))
        for (a, b), m in pairs.items()
    ]
    write_matches(folder / "m.h5", items, {})
    with FeatureFile(folder / "f.h5") as f, MatchFile(folder / "m.h5") as m:
        return build_database(folder / "database.db", None, f, m, **kwargs)


def test_the_centre_of_the_first_pixel_is_half_half_in_colmap(tmp_path: Path) -> None:
    path = build(tmp_path, {"a.jpg": features((0, 0), (10.25, 3))}, {})
    with open_database(path) as database:
        assert database.read_keypoints(1).tolist() == [[0.5, 0.5], [10.75, 3.5]]
    assert from_colmap(to_colmap(np.array([[1.5, 2]]))).tolist() == [[1.5, 2]]


def test_names_with_blanks_and_letters_of_any_alphabet(tmp_path: Path) -> None:
    names = ["a b/Straße 1.jpg", "a b/写真 2.jpg", "c.jpg"]
    pairs = {(names[1], names[0]): [(0, 1), (1, 0)], (names[0], names[2]): []}
    images = {name: features((1, 1), (2, 2)) for name in names}
    path = build(tmp_path, images, pairs)
    with open_database(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        assert set(ids) == set(names)
        assert database.read_matches(ids[names[1]], ids[names[0]]).tolist() == [[0, 1], [1, 0]]
        assert database.exists_matches(ids[names[0]], ids[names[2]])
        assert database.num_rigs() == 1 and database.num_frames() == 3


def test_matches_keep_their_direction_whatever_the_order_of_names(tmp_path: Path) -> None:
    images = {"a": features((1, 1)), "b": features((2, 2), (3, 3), (4, 4))}
    path = build(tmp_path, images, {("b", "a"): [(2, 0)]})
    with open_database(path) as database:
        assert database.read_matches(1, 2).tolist() == [[0, 2]]


def test_images_without_keypoints_are_kept(tmp_path: Path) -> None:
    path = build(tmp_path, {"a": features(), "b": features((1, 1))}, {("a", "b"): []})
    with open_database(path) as database:
        assert database.read_keypoints(1).shape == (0, 2)
        assert database.num_images() == 2


def test_equal_input_gives_equal_bytes_and_carries_the_configuration(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=20)

    def again(name: str) -> bytes:
        with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
            path = build_database(tmp_path / name, None, f, m, config={"ratio": 0.9})
        assert database_config(path) == {"ratio": 0.9}
        return path.read_bytes()

    assert again("1.db") == again("2.db")
    assert database_config(tmp_path / "none.db") is None


def test_a_failure_leaves_the_old_database_and_no_other_file(tmp_path: Path) -> None:
    path = build(tmp_path, {"a": features((1, 1))}, {})
    before = path.read_bytes()
    with pytest.raises(InputError, match="keypoint 5 of 'b'"):
        build(tmp_path, {"a": features((1, 1)), "b": features((1, 1))}, {("a", "b"): [(0, 5)]})
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"f.h5", "m.h5", "database.db"}


def test_damaged_databases_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database at all" * 100)
    with (
        pytest.raises(InputError, match=r"x\.db is not a readable COLMAP database"),
        open_database(tmp_path / "x.db"),
    ):
        pass
    with pytest.raises(InputError, match=r"x\.db is not a readable COLMAP database"):
        database_config(tmp_path / "x.db")
    with pytest.raises(InputError, match="does not exist"), open_database(tmp_path / "y.db"):
        pass


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keypoints SET data = zeroblob(length(data)) WHERE image_id = 1",
        "UPDATE images SET name = 'c.jpg' WHERE name = 'a.jpg'",
        "UPDATE cameras SET prior_focal_length = 1 - prior_focal_length",
        "DELETE FROM matches",
    ],
)
def test_what_changes_in_a_sealed_database_is_noticed(tmp_path: Path, change: str) -> None:
    path = build(
        tmp_path, {"a.jpg": features((1, 2)), "b.jpg": features((3, 4))}, {("a.jpg", "b.jpg"): [(0, 0)]}
    )
    assert not content_changed(path)  # nothing is noted of it
    seal(path)
    set_notes(path, {"config": "{}"})  # notes are none of the content
    with open_database(path):
        pass
    assert not content_changed(path)
    with connect(path) as connection:
        connection.execute(change)
    assert content_changed(path)


def test_pycolmap_agrees_on_the_pixel_frame() -> None:
    """COLMAP's own principal point of an image of one pixel is that pixel's centre."""
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 1.0, 1, 1)
    assert to_colmap(np.zeros((1, 2))).tolist() == [[camera.principal_point_x, camera.principal_point_y]]
