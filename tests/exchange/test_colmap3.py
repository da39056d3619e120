"""Exported databases map at once, in COLMAP of this version and with the tables of 3.8."""

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pycolmap
import pytest
from pointcloud import PointCloud, make_point_cloud

from desdis_match.colmap.database import copy_database, open_database
from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.exchange.colmap3 import is_colmap3
from desdis_match.exchange.database import export_database, import_database
from desdis_match.photos.cameras import CameraConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile

COLUMNS_OF_3_8 = {  # of a database that COLMAP 3.8 made (`colmap database_creator`)
    "cameras": "camera_id model width height params prior_focal_length",
    "images": "image_id name camera_id prior_qw prior_qx prior_qy prior_qz prior_tx prior_ty prior_tz",
    "keypoints": "image_id rows cols data",
    "descriptors": "image_id rows cols data",
    "matches": "pair_id rows cols data",
    "two_view_geometries": "pair_id rows cols data config F E H qvec tvec",
}


def export(cloud: PointCloud, path: Path, **options) -> Path:
    with FeatureFile(cloud.features) as f, MatchFile(cloud.matches) as m:
        cameras = CameraConfig(camera_model="SIMPLE_RADIAL", camera_params="600,320,240,0")
        export_database(f, m, path, **{"cameras": cameras, **options})
    return path


def test_colmaps_mapper_runs_at_once(tmp_path):
    path = export(make_point_cloud(tmp_path, num_cameras=4, num_points=150), tmp_path / "x.db")
    (tmp_path / "sparse").mkdir()
    models = pycolmap.incremental_mapping(path, tmp_path, tmp_path / "sparse")
    assert [model.num_reg_images() for model in models.values()] == [4]


def test_raw_leaves_two_view_geometries_to_colmap(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=60)
    path = export(cloud, tmp_path / "x.db", verification=None)
    with open_database(path) as database:
        assert database.num_verified_image_pairs() == 0 and database.num_matched_image_pairs() == 3


def test_the_old_tables(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=4, num_points=150)
    new, old = export(cloud, tmp_path / "4.db"), export(cloud, tmp_path / "3.db", colmap="3")
    assert is_colmap3(old) and not is_colmap3(new)
    with sqlite3.connect(old) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3800,)
        for table, columns in COLUMNS_OF_3_8.items():
            found = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            assert found == columns.split(), table
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert tables == {*COLUMNS_OF_3_8, "sqlite_sequence"}
    # A newer COLMAP brings it up to date by itself and finds the same in it.
    copy_database(old, tmp_path / "again.db")
    with open_database(tmp_path / "again.db") as a, open_database(new) as b:
        for image in b.read_all_images():
            assert a.read_image(image.image_id).name == image.name
            assert (a.read_keypoints(image.image_id) == b.read_keypoints(image.image_id)).all()
        assert (a.read_matches(1, 2) == b.read_matches(1, 2)).all()
        one, two = (database.read_two_view_geometry(1, 2) for database in (a, b))
        assert (one.inlier_matches == two.inlier_matches).all() and one.config == two.config


def test_a_database_keeps_the_version_that_it_came_with(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=60)
    path = export(cloud, tmp_path / "x.db", colmap="3")
    assert is_colmap3(export(cloud, path, overwrite=True))
    assert not is_colmap3(export(cloud, path, overwrite=True, colmap="4"))


def test_a_database_of_colmap_3_is_read(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=60)
    path = export(cloud, tmp_path / "x.db", colmap="3")
    found = import_database(path, tmp_path / "f.h5", tmp_path / "m.h5")
    assert (found.num_images, found.num_keypoints, found.num_pairs) == (3, 180, 3)


def test_cameras_that_colmap_3_does_not_know(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=3, num_points=60)
    cameras = CameraConfig(camera_model="SIMPLE_DIVISION", camera_params="600,320,240,0")
    if "SIMPLE_DIVISION" not in pycolmap.CameraModelId.__members__:
        cameras = CameraConfig(camera_model="RAD_TAN_THIN_PRISM_FISHEYE")
    path = export(cloud, tmp_path / "x.db")
    before = path.read_bytes()
    shutil.copy(path, tmp_path / "y.db")
    with pytest.raises(InputError, match=r"COLMAP 3 has no camera model"):
        (tmp_path / "y.db").unlink()
        export(cloud, tmp_path / "y.db", colmap="3", cameras=cameras, verification=None)
    assert path.read_bytes() == before


@pytest.mark.skipif(shutil.which("colmap") is None, reason="no COLMAP program on this machine")
def test_the_colmap_program_maps_it(tmp_path):
    cloud = make_point_cloud(tmp_path, num_cameras=4, num_points=150)
    command = ["export-database", "--database", str(tmp_path / "x.db"), "--features", str(cloud.features)]
    command += ["--matches", str(cloud.matches), "--camera-params", "600,320,240,0", "--colmap", "3"]
    assert main(command) == 0
    (tmp_path / "out").mkdir()
    words = ["colmap", "mapper", "--database_path", tmp_path / "x.db", "--image_path", tmp_path]
    words += ["--output_path", tmp_path / "out", "--Mapper.extract_colors", "0"]
    subprocess.run(words, check=True, capture_output=True, env={"QT_QPA_PLATFORM": "offscreen"})
    assert pycolmap.Reconstruction(tmp_path / "out" / "0").num_reg_images() == 4
