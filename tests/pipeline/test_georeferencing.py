"""GPS of photos goes into pose priors, report and model; `align` does it for a model that exists."""

import json
import sqlite3
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from PIL import Image

from desdis_match.colmap.mappers import MapConfig
from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.pipeline.resume import RunConfig
from desdis_match.storage.georeference import load_georeference

METRE = 1 / 111_200  # degrees of latitude


@pytest.fixture(scope="module")
def run(scene_folder, tmp_path_factory):
    """A run of six photos whose GPS is their true place, in metres times ten, at 60 N 10 E."""
    folder = tmp_path_factory.mktemp("gps")
    truth = pycolmap.Reconstruction(scene_folder / "ground_truth" / "sparse")
    (folder / "photos").mkdir()
    for image in truth.images.values():
        x, y, z = 10 * np.array(image.projection_center())
        exif = Image.Exif()
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N", (60 + y * METRE, 0.0, 0.0)  # the scene's z is up
        gps[3], gps[4] = "E", (10 + x * METRE * 2, 0.0, 0.0)
        gps[5], gps[6] = b"\0", 500.0 + z
        path = scene_folder / "images" / image.name
        Image.open(path).save(folder / "photos" / image.name, quality=95, exif=exif)
    config = ReconstructConfig(
        images=folder / "photos",
        output=folder / "model",
        extract=ExtractConfig(max_keypoints=600, orientation="upright"),
        map=MapConfig(align=False),
        run=RunConfig("cpu", 1),
        quiet=True,
    )
    return config, reconstruct(config)


def test_positions_are_pose_priors_of_the_database(run):
    config, _ = run
    with sqlite3.connect(config.output / "database.db") as connection:
        assert connection.execute("SELECT count(*) FROM pose_priors").fetchone() == (6,)
    with pycolmap.Database.open(config.output / "database.db") as database:
        prior = database.read_all_pose_priors()[0]
        assert prior.coordinate_system == pycolmap.PosePriorCoordinateSystem.WGS84
        assert prior.corr_data_id.id == 1 and 59 < prior.position[0] < 61 and prior.is_valid


def test_the_model_is_in_metres_and_the_report_says_how_well(run):
    config, result = run
    where = result.report.georeference
    assert where == load_georeference(config.output / "sparse" / "0")
    assert where.origin[0] == pytest.approx(60, abs=0.01) and len(where.residuals) == 6
    assert where.median_residual < 1.0
    saved = json.loads((config.output / "report.json").read_text())["georeference"]
    assert saved["residuals"].keys() == where.residuals.keys()
    stored = pycolmap.Reconstruction(config.output / "sparse" / "0")
    ups = [image.cam_from_world().rotation.matrix()[1] for image in stored.images.values()]
    assert np.mean(ups, axis=0)[2] < -0.5  # the photos' y points down, the world's z up


def test_the_same_run_again_keeps_it(run):
    config, result = run
    assert reconstruct(config).report.georeference == result.report.georeference


def test_without_georeference_the_model_keeps_its_units(run, tmp_path):
    config, _ = run
    again = replace(config, output=tmp_path / "m", map=replace(config.map, no_georeference=True))
    assert reconstruct(again).report.georeference is None
    assert load_georeference(tmp_path / "m" / "sparse" / "0") is None
    # ... and align brings it there afterwards.
    words = ["align", "--model", str(tmp_path / "m" / "sparse" / "0"), "--output", str(tmp_path / "metres")]
    assert main([*words, "--images", str(config.images)]) == 0
    assert load_georeference(tmp_path / "metres").median_residual < 1.0
    assert pycolmap.Reconstruction(tmp_path / "metres").num_reg_images() == 6
    assert main([*words, "--images", str(config.images)]) == 2  # the folder is not empty


def test_asked_for_without_gps_it_is_an_error(scene_folder, run, tmp_path):
    config, _ = run
    again = replace(
        config,
        images=scene_folder / "images",
        output=tmp_path / "m",
        map=replace(config.map, georeference=True),
    )
    with pytest.raises(InputError, match="0 of the 6 photos have a GPS position, three are needed"):
        reconstruct(again)
