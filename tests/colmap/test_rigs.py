"""A rig configuration becomes rigs and frames of the database, and stays so through mapping."""

import json
from pathlib import Path

import pytest
from pointcloud import make_point_cloud

from desdis_match.colmap.database import build_database, open_database
from desdis_match.errors import InputError
from desdis_match.photos.cameras import CameraConfig
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.matches_file import MatchFile

NAMES = [f"{side}/{i}.jpg" for i in range(3) for side in ("left", "right")]


def configuration(path: Path, *prefixes: str) -> Path:
    cameras = [{"image_prefix": prefix} for prefix in prefixes]
    cameras[0]["ref_sensor"] = True  # type: ignore[assignment]
    path.write_text(json.dumps([{"cameras": cameras}]))
    return path


def build(folder: Path, rigs: Path) -> Path:
    cloud = make_point_cloud(folder, names=NAMES)
    cameras = CameraConfig("per-folder", "SIMPLE_PINHOLE", "600,320,240", rig_config=rigs)
    with FeatureFile(cloud.features) as features, MatchFile(cloud.matches) as matches:
        return build_database(folder / "database.db", None, features, matches, cameras=cameras)


def test_photos_of_one_moment_are_one_frame(tmp_path: Path) -> None:
    path = build(tmp_path, configuration(tmp_path / "rig_config.json", "left/", "right/"))
    with open_database(path) as database:
        (rig,) = database.read_all_rigs()
        frames = database.read_all_frames()
        names = {image.image_id: image.name for image in database.read_all_images()}
    assert rig.num_sensors() == 2
    together = sorted(sorted(names[data.id] for data in frame.data_ids) for frame in frames)
    assert together == [[f"left/{i}.jpg", f"right/{i}.jpg"] for i in range(3)]


def test_prefixes_that_fit_no_photo_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="begins with 'middle/'"):
        build(tmp_path, configuration(tmp_path / "rig_config.json", "left/", "middle/"))
    (tmp_path / "other.json").write_text("no json")
    with pytest.raises(InputError, match=r"is not COLMAP's rig_config.json"):
        build(tmp_path, tmp_path / "other.json")
    with pytest.raises(InputError, match="does not exist"):
        build(tmp_path, tmp_path / "none.json")
    with pytest.raises(InputError, match="more than one camera for 'left/'"):
        build(tmp_path, configuration(tmp_path / "rig_config.json", "left/", "left/"))
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match="has no cameras"):
        build(tmp_path, tmp_path / "other.json")
    for lens in ("NOVEL", "PINHOLE"):
        cameras = [
            {"image_prefix": "left/", "ref_sensor": True, "camera_model_name": lens, "camera_params": [1]},
            {"image_prefix": "right/"},
        ]
        (tmp_path / "other.json").write_text(json.dumps([{"cameras": cameras}]))
        with pytest.raises(InputError, match="has parameters that are none"):
            build(tmp_path, tmp_path / "other.json")
