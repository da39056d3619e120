"""Stage map on a point cloud: whose database it may replace, and what it takes as done."""

import sqlite3
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from pointcloud import PointCloud, make_point_cloud
from pointcloud_models import KNOWN

from desdis_match.colmap.arrays import arrays_of
from desdis_match.colmap.mapping import MapConfig
from desdis_match.errors import InputError
from desdis_match.pipeline.mapping import map_models
from desdis_match.storage.matches_file import MatchFile, write_matches
from desdis_match.storage.run_folder import RunFolder
from desdis_match.types import Matches

CONFIG = MapConfig(cameras=KNOWN, fix_intrinsics=True, align=False, mapper="incremental")


def mapped(cloud: PointCloud, output: Path, config: MapConfig = CONFIG, overwrite: bool = False):
    return map_models(output, cloud.features, cloud.matches, output, config, overwrite=overwrite)


@pytest.fixture
def cloud(tmp_path, monkeypatch) -> PointCloud:
    """There are no photos: cameras are as given."""
    monkeypatch.setattr("desdis_match.colmap.database.read_photo_info", without_photos)
    monkeypatch.setattr("desdis_match.pipeline.verification.read_photo_info", without_photos)
    return make_point_cloud(tmp_path, num_cameras=4, num_points=150)


def without_photos(images, sizes, threads=1):
    from desdis_match.photos.cameras import PhotoInfo

    return {name: PhotoInfo(size) for name, size in sizes.items()}


def test_a_database_of_another_program_is_not_overwritten_unasked(cloud, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    with pycolmap.Database.open(output / "database.db") as database:
        camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", 500, 640, 480)
        database.write_camera(camera, use_camera_id=True)

    def cameras() -> list[tuple]:
        with sqlite3.connect(output / "database.db") as connection:
            return list(connection.execute("SELECT width, params FROM cameras"))

    before = cameras()
    with pytest.raises(InputError, match="was not made by desdis-match map; give another --output or --over"):
        mapped(cloud, output)
    assert cameras() == before and not (output / "sparse").exists()
    (model,) = mapped(cloud, output, overwrite=True)
    assert model.num_reg_images() == 4 and cameras() != before


def test_a_model_is_kept_until_its_matches_or_options_change(cloud, tmp_path, monkeypatch):
    output = tmp_path / "out"
    mapped(cloud, output)
    folder = RunFolder(output)
    first = folder.stamp.read_bytes()
    with monkeypatch.context() as held:
        held.setattr("desdis_match.pipeline.mapping.find_models", lambda *_, **__: pytest.fail("again"))
        (kept,) = mapped(cloud, output)
        assert kept.num_reg_images() == 4
        with pytest.raises(InputError, match=r"map\.seed: 0 -> 1"):
            mapped(cloud, output, MapConfig(**{**vars(CONFIG), "seed": 1}))
    with MatchFile(cloud.matches) as file:
        a, b = cloud.names[:2]
        items = [
            (n0, n1, Matches(file.get(n0, n1).indices[:40], np.ones(40, np.float32)))
            for n0, n1 in file.pairs(cloud.names)
            if (n0, n1) != (a, b)
        ]
    write_matches(cloud.matches, items, {"fewer": True})
    mapped(cloud, output, overwrite=True)
    assert folder.stamp.read_bytes() != first
    with sqlite3.connect(folder.database) as connection:
        assert [rows for (rows,) in connection.execute("SELECT rows FROM matches")] == [40] * 5


def test_what_mapping_leaves_on_the_way_is_gone_when_it_fails(cloud, tmp_path, monkeypatch):
    seen = []

    def stopped(database: Path, scratch: Path, *_: object, **__: object) -> None:
        scratch.mkdir()
        seen.append(scratch)
        raise InputError("no model today")

    monkeypatch.setattr("desdis_match.pipeline.mapping.find_models", stopped)
    with pytest.raises(InputError, match="no model today"):
        mapped(cloud, tmp_path / "out")
    assert seen and not seen[0].exists()


def test_what_comes_and_goes_lies_in_the_output(cloud, tmp_path, monkeypatch):
    """The system's temporary folder may be small; the output's disk is the one with room."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    seen = []

    def align(model: pycolmap.Reconstruction, *_: object, **__: object) -> None:
        seen.append(len(arrays_of(model).points.ids))

    monkeypatch.setattr("desdis_match.pipeline.mapping.align_observations", align)
    monkeypatch.setattr("desdis_match.pipeline.mapping.photos_ahead", lambda *_: nullcontext())
    mapped(cloud, tmp_path / "out", replace(CONFIG, align=True))
    assert seen == [150] and not RunFolder(tmp_path / "out").unfinished.exists()


def test_matches_are_recovered_before_observations_are_aligned(cloud, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("desdis_match.pipeline.mapping.recover", lambda *a: seen.append(a[1]))
    monkeypatch.setattr(
        "desdis_match.pipeline.mapping.align_observations", lambda *_, **__: seen.append("aligned")
    )
    monkeypatch.setattr("desdis_match.pipeline.mapping.photos_ahead", lambda *_: nullcontext())
    mapped(cloud, tmp_path / "out", replace(CONFIG, align=True))
    assert seen == [RunFolder(tmp_path / "out").database, "aligned"]
