"""Points with their quality, cameras as CSV and GeoJSON: read back by other readers."""

import csv
import json

import numpy as np
import pycolmap
import pytest

from desdis_match.errors import InputError
from desdis_match.exchange.models import export_model
from desdis_match.storage.georeference import Georeference

ORIGIN = (48.1361, 11.5722, 520.0)


@pytest.fixture
def model_dir(tmp_path):
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=4)
    options.num_points3D = 30
    model = pycolmap.synthesize_dataset(options)
    for i, point in enumerate(model.points3D.values()):
        point.color, point.error = [i, 100, 200], 0.25 + i / 100
    (tmp_path / "m").mkdir()
    model.write_binary(tmp_path / "m")
    return tmp_path / "m"


def test_ply_has_error_and_track(model_dir, tmp_path):
    data = export_model(model_dir, "ply", tmp_path / "p.ply").path.read_bytes()
    head, body = data.split(b"end_header\n")
    assert b"element vertex 30" in head and head.endswith(b"property float error\nproperty float track\n")
    rows = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3), ("error", "<f4"), ("track", "<f4")])
    model = pycolmap.Reconstruction(model_dir)
    for row, point_id in zip(rows, sorted(model.point3D_ids()), strict=True):
        point = model.point3D(point_id)
        assert row["track"] == point.track.length() and row["error"] == pytest.approx(point.error)
        np.testing.assert_allclose(row["xyz"], point.xyz, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_las_of_a_georeferenced_model_is_in_utm(model_dir, tmp_path, suffix):
    laspy = pytest.importorskip("laspy")
    Georeference(origin=ORIGIN).save(model_dir)
    export_model(model_dir, suffix, tmp_path / f"p.{suffix}")
    cloud = laspy.read(tmp_path / f"p.{suffix}")
    assert len(cloud.points) == 30
    model = pycolmap.Reconstruction(model_dir)
    first = model.point3D(min(model.point3D_ids()))
    # Munich, zone 32: by pycolmap's transform, of the origin; a few metres around it scale by 0.9996...1.0004
    (utm,), zone = pycolmap.GPSTransform().ellipsoid_to_utm(np.array([ORIGIN]))
    assert zone == 32
    place = np.array([cloud.x[0], cloud.y[0], cloud.z[0]])
    assert np.linalg.norm(place - utm) == pytest.approx(np.linalg.norm(first.xyz), rel=0.01)
    assert cloud.track[0] == first.track.length() and cloud.error[0] == pytest.approx(first.error)
    keys = next(v for v in cloud.header.vlrs if type(v).__name__ == "GeoKeyDirectoryVlr").geo_keys
    assert {key.id: key.value_offset for key in keys}[3072] == 32632


@pytest.mark.parametrize(
    ("origin", "epsg", "at_origin", "beside", "on_earth"),
    [
        (
            ORIGIN, 32632,
            (691362.3818, 5334627.3353, 520.0), (691455.6349, 5334830.5599, 550.0039),
            (11.573543496, 48.137898511, 550.004),
        ),
        (
            (-33.9, 151.2, 40.0), 32756,
            (333568.9410, 6247473.3368, 40.0), (333665.4140, 6247675.0445, 70.0039),
            (151.201081129, -33.898196923, 70.004),
        ),
    ],
)  # fmt: skip
def test_places_on_earth_are_those_of_proj(tmp_path, origin, epsg, at_origin, beside, on_earth):
    """A point at the origin and one 100 m east, 200 m north, 30 m up of it, by PROJ 9 (topocentric, utm)."""
    laspy = pytest.importorskip("laspy")
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(pycolmap.Camera.create_from_model_name(1, "PINHOLE", 500, 640, 480))
    down = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])  # of a camera at the second point
    east = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # of one at the origin
    poses = {"a.jpg": (down, -down @ [100.0, 200, 30]), "b.jpg": (east, np.zeros(3))}
    for image_id, (name, (rotation, shift)) in enumerate(poses.items(), start=1):
        image = pycolmap.Image(image_id=image_id, name=name, camera_id=1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), shift))
    for xyz in ([0.0, 0, 0], [100.0, 200, 30]):
        model.add_point3D(np.array(xyz), pycolmap.Track(), np.zeros(3, np.uint8))
    (tmp_path / "m").mkdir()
    model.write_binary(tmp_path / "m")
    Georeference(origin=origin).save(tmp_path / "m")
    for suffix in ("las", "laz"):
        cloud = laspy.read(export_model(tmp_path / "m", suffix, tmp_path / f"p.{suffix}").path)
        places = np.stack([cloud.x, cloud.y, cloud.z], axis=1)
        np.testing.assert_allclose(places, [at_origin, beside], atol=0.0006)
        assert cloud.header.scales.tolist() == [0.001] * 3
        assert cloud.header.offsets.tolist() == [
            float(np.floor(min(pair))) for pair in zip(at_origin, beside, strict=True)
        ]
        keys = next(v for v in cloud.header.vlrs if type(v).__name__ == "GeoKeyDirectoryVlr").geo_keys
        assert {key.id: key.value_offset for key in keys} == {1024: 1, 3072: epsg}
    content = json.loads(export_model(tmp_path / "m", "geojson", tmp_path / "c.geojson").path.read_text())
    above, below = content["features"]
    np.testing.assert_allclose(above["geometry"]["coordinates"], on_earth, atol=2e-3)
    np.testing.assert_allclose(above["geometry"]["coordinates"][:2], on_earth[:2], atol=2e-9)
    assert above["properties"]["pitch"] == -90
    assert below["properties"]["pitch"] == 0 and below["properties"]["heading"] == 90
    origin_there = [origin[1], origin[0], origin[2]]
    np.testing.assert_allclose(below["geometry"]["coordinates"], origin_there, atol=1e-9)


def test_las_of_another_model_is_in_its_own_frame(model_dir, tmp_path):
    laspy = pytest.importorskip("laspy")
    export_model(model_dir, "las", tmp_path / "p.las")
    cloud, model = laspy.read(tmp_path / "p.las"), pycolmap.Reconstruction(model_dir)
    first = model.point3D(min(model.point3D_ids()))
    np.testing.assert_allclose([cloud.x[0], cloud.y[0], cloud.z[0]], first.xyz, atol=1e-3)


def test_geojson_places_the_photos(model_dir, tmp_path):
    with pytest.raises(InputError, match="not georeferenced"):
        export_model(model_dir, "geojson", tmp_path / "c.geojson")
    model = pycolmap.Reconstruction(model_dir)
    name = model.image(1).name
    Georeference(origin=ORIGIN, residuals={name: 0.5}).save(model_dir)
    export_model(model_dir, "geojson", tmp_path / "c.geojson")
    content = json.loads((tmp_path / "c.geojson").read_text())
    assert content["type"] == "FeatureCollection" and len(content["features"]) == 4
    (one,) = (f for f in content["features"] if f["properties"]["name"] == name)
    longitude, latitude, height = one["geometry"]["coordinates"]
    back = pycolmap.GPSTransform().ellipsoid_to_enu(np.array([[latitude, longitude, height]]), *ORIGIN)
    np.testing.assert_allclose(back[0], model.image(1).projection_center(), atol=0.01)
    assert one["properties"]["residual_metres"] == 0.5


def test_csv_gives_poses_and_intrinsics(model_dir, tmp_path):
    export_model(model_dir, "csv", tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    model = pycolmap.Reconstruction(model_dir)
    assert [row["name"] for row in rows] == sorted(image.name for image in model.images.values())
    for row in rows:
        image = next(image for image in model.images.values() if image.name == row["name"])
        quat = [float(row[q]) for q in ("qx", "qy", "qz", "qw")]
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(quat), [float(row[t]) for t in ("tx", "ty", "tz")])
        np.testing.assert_allclose(pose.matrix(), image.cam_from_world().matrix(), atol=1e-9)
        assert float(row["fx"]) == model.camera(image.camera_id).focal_length_x
        assert [float(row[c]) for c in "xyz"] == pytest.approx(list(image.projection_center()))
