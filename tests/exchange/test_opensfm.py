"""OpenSfM's formulas, written out here, take the points to where the tracks say they are seen."""

import json

import numpy as np
import pycolmap
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from desdis_match.errors import InputError
from desdis_match.exchange.models import export_model
from desdis_match.storage.georeference import Georeference

SIZE = (1024, 768)
LENSES = {
    "SIMPLE_RADIAL": ("perspective", [1280, 512, 384, 0.08]),
    "RADIAL": ("brown", [1280, 500, 390, 0.08, -0.02]),
    "OPENCV": ("brown", [1280, 1270, 512, 384, 0.05, -0.01, 0.003, -0.002]),
    "OPENCV_FISHEYE": ("fisheye_opencv", [700, 705, 510, 380, 0.01, -0.02, 0.003, 0.001]),
    "EQUIRECTANGULAR": ("spherical", list(SIZE)),
}


def project(camera, shot, point):
    """OpenSfM's camera_projections_functions.h and camera_distortions_functions.h, in plain words."""
    x, y, z = Rotation.from_rotvec(shot["rotation"]).apply(point) + shot["translation"]
    kind = camera["projection_type"]
    if kind == "spherical":
        return np.arctan2(x, z) / (2 * np.pi), np.arctan2(y, np.hypot(x, z)) / (2 * np.pi)
    k = [camera.get(f"k{i}", 0.0) for i in (1, 2, 3, 4)]
    if kind == "fisheye_opencv":
        r = np.hypot(x, y)
        theta = np.arctan2(r, z)
        u, v = theta / r * x, theta / r * y
    else:
        u, v = x / z, y / z
    r2 = u * u + v * v
    factor = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3 + k[3] * r2**4
    p1, p2 = camera.get("p1", 0.0), camera.get("p2", 0.0)
    du = 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    dv = 2 * p2 * u * v + p1 * (r2 + 2 * v * v)
    fx, fy = camera.get("focal_x", camera.get("focal")), camera.get("focal_y", camera.get("focal"))
    return (
        fx * (u * factor + du) + camera.get("c_x", 0.0),
        fy * (v * factor + dv) + camera.get("c_y", 0.0),
    )


@pytest.fixture
def model():
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=3)
    options.num_points3D = 20
    return pycolmap.synthesize_dataset(options)


def export(model, folder, lens="SIMPLE_RADIAL", **options):
    (camera,) = model.cameras.values()
    camera.model, camera.params = getattr(pycolmap.CameraModelId, lens), LENSES[lens][1]
    camera.width, camera.height = SIZE if lens != "EQUIRECTANGULAR" else (1024, 512)
    if lens == "EQUIRECTANGULAR":
        camera.params = [1024, 512]
    for image in model.images.values():
        for point in image.points2D:
            if point.has_point3D():
                point.xy = image.project_point(model.point3D(point.point3D_id).xyz)
    (folder / "model").mkdir(exist_ok=True)
    model.write_binary(folder / "model")
    export_model(folder / "model", "opensfm", folder / "sfm", **options)
    (content,) = json.loads((folder / "sfm" / "reconstruction.json").read_text())
    return content, (folder / "sfm" / "tracks.csv").read_text().splitlines()


@pytest.mark.parametrize("lens", LENSES)
def test_points_are_seen_where_the_tracks_say(model, tmp_path, lens):
    content, (header, *rows) = export(model, tmp_path, lens)
    assert header == "OPENSFM_TRACKS_VERSION_v2" and len(rows) > 30
    (camera,) = content["cameras"].values()
    assert camera["projection_type"] == LENSES[lens][0]
    for row in rows:
        shot, track, _, x, y, *others = row.split("\t")
        assert len(others) == 6 and content["shots"][shot]["camera"] == "1"
        seen = project(camera, content["shots"][shot], content["points"][track]["coordinates"])
        np.testing.assert_allclose(seen, (float(x), float(y)), atol=1e-6)
    # A pixel's centre: OpenSfM counts (column + 0.5 - width / 2) / longer side.
    image = min(model.images.values(), key=lambda image: image.name)
    first = next(point for point in image.points2D if point.has_point3D())
    assert float(rows[0].split("\t")[3]) == pytest.approx((first.xy[0] - 512) / 1024)


def test_a_camera_that_it_lacks_is_named(model, tmp_path):
    (camera,) = model.cameras.values()
    camera.model, camera.params = pycolmap.CameraModelId.FOV, [1280, 1280, 512, 384, 0.1]
    (tmp_path / "model").mkdir()
    model.write_binary(tmp_path / "model")
    with pytest.raises(InputError, match="OpenSfM has no camera like COLMAP's FOV"):
        export_model(tmp_path / "model", "opensfm", tmp_path / "sfm")


def test_photos_come_as_stored_under_the_shots_names_and_the_origin_with_them(model, tmp_path):
    for image, name in zip(model.images.values(), ("a/1.jpg", "b/1.jpg", "c.jpg"), strict=True):
        image.name = name
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "c.jpg" else 1
        Image.new("RGB", SIZE, (9, 9, 9)).save(path, exif=exif)
    (tmp_path / "model").mkdir()
    Georeference(origin=(48.1, 11.5, 520.0)).save(tmp_path / "model")
    content, _ = export(model, tmp_path, images_dir=tmp_path / "photos")
    assert list(content["shots"]) == ["a_1.jpg", "b_1.jpg", "c.jpg"]
    assert content["reference_lla"] == {"latitude": 48.1, "longitude": 11.5, "altitude": 520.0}
    for name in content["shots"]:
        with Image.open(tmp_path / "sfm" / "images" / name) as photo:
            assert photo.size == SIZE and photo.getexif().get(0x0112, 1) == 1
