"""The page of a reconstruction: its data checked against COLMAP's own reading, and wrong input."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pycolmap
import pytest
from largerun import large_run
from pagedata import blocks, with_second_model
from PIL import Image, ImageOps
from smallmodel import make_model, turned_about_view

from desdis_match.colmap.database import set_notes
from desdis_match.commands.view import main
from desdis_match.errors import InputError
from desdis_match.page import matches as page_matches
from desdis_match.page import scene
from desdis_match.page.build import build_page
from desdis_match.page.models import PhotoPose, read_page_model
from desdis_match.page.photos import Pictures
from desdis_match.page.run import read_run
from desdis_match.page.write import write_report_page
from desdis_match.photos.images import read_rgb
from desdis_match.storage.georeference import Georeference

PAGE_TYPES = Path(__file__).parents[2] / "tools" / "page" / "page.d.ts"


def test_keypoints_are_colmaps_without_its_half_pixel(out, page):
    meta, data = blocks(page)
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    starts = np.frombuffer(data["keypoint-starts"], np.uint32)
    stored = np.frombuffer(data["keypoints"], np.uint16).reshape(-1, 2)
    lengths = np.frombuffer(data["keypoint-lengths"], np.uint8)
    for i, row in enumerate(meta["images"][:2]):
        image = model.find_image_with_name(row["name"])
        # COLMAP's (0, 0) is the photo's corner, which is the page's too.
        expected = np.array([point.xy for point in image.points2D])
        fractions = stored[starts[i] : starts[i + 1]] / 65535
        np.testing.assert_allclose(fractions * [row["width"], row["height"]], expected, atol=0.005)
        tracks = [
            model.points3D[p.point3D_id].track.length() if p.has_point3D() else 0 for p in image.points2D
        ]
        assert lengths[starts[i] : starts[i + 1]].tolist() == tracks
        assert row["points"] == np.count_nonzero(tracks) and row["keypoints"] == len(tracks)


def test_pixels_of_the_package_have_no_half(out):
    database = pycolmap.Database.open(out / "database.db")
    with closing(read_run(out).source) as source:
        image = database.read_image_with_name(source.names[0])
        np.testing.assert_allclose(
            source.keypoints(0) + 0.5, database.read_keypoints(image.image_id)[:, :2], atol=1e-4
        )


def test_matches_and_their_states(out, page):
    meta, data = blocks(page)
    database = pycolmap.Database.open(out / "database.db")
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    states = np.frombuffer(data["match-states"], np.uint8)
    start = 0
    assert len(meta["pairs"]["image0"]) == 15
    for p in range(15):
        names = [meta["images"][meta["pairs"][side][p]]["name"] for side in ("image0", "image1")]
        images = [model.find_image_with_name(name) for name in names]
        geometry = database.read_two_view_geometry(images[0].image_id, images[1].image_id)
        expected = []
        for k0, k1 in geometry.inlier_matches:
            ids = images[0].points2D[k0].point3D_id, images[1].points2D[k1].point3D_id
            expected.append(2 if ids[0] == ids[1] and images[0].points2D[k0].has_point3D() else 1)
        shown = states[start : start + meta["pairs"]["shown"][p]]
        assert meta["pairs"]["verified"][p] == len(expected)
        assert shown.tolist() == expected + [0] * (meta["pairs"]["matches"][p] - len(expected))
        start += len(shown)
    assert (states == 2).sum() > 500


def test_pairs_that_came_in_verified_are_not_lost(out, tmp_path):
    """Matches given as inliers: their raw row is missing, empty, or shorter after guided matching."""
    path = tmp_path / "database.db"
    shutil.copy(out / "database.db", path)
    with closing(read_run(out).source) as source:
        before = {(pair.image0, pair.image1): pair for pair in source.pairs}
    with closing(sqlite3.connect(path)) as connection, connection:
        query = "SELECT pair_id FROM two_view_geometries WHERE rows > 20 ORDER BY pair_id LIMIT 3"
        missing, empty, guided = connection.execute(query).fetchall()
        connection.execute("DELETE FROM matches WHERE pair_id = ?", missing)
        connection.execute("UPDATE matches SET rows = 0, data = x'' WHERE pair_id = ?", empty)
        connection.execute(
            "UPDATE matches SET rows = 9, data = substr(data, 1, 72) WHERE pair_id = ?", guided
        )
    run = read_run(tmp_path)
    with closing(run.source) as source:
        after = {(pair.image0, pair.image1): pair for pair in source.pairs}
        assert {key: pair.verified for key, pair in after.items()} == {
            key: pair.verified for key, pair in before.items()
        }
        counts = [(pair.matches, pair.verified) for pair in after.values()]
        assert sum(matches == verified > 20 for matches, verified in counts) >= 3
        assert all(matches >= verified for matches, verified in counts)
        assert all(source.matches(pair).verified.sum() == pair.verified for pair in after.values())
        meta, _ = blocks(build_page(run, None, "t"))
    assert len(meta["pairs"]["image0"]) == 15


def test_model_and_cameras(out, page):
    meta, data = blocks(page)
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    points = np.frombuffer(data["points-0"], np.float32).reshape(-1, 3)
    assert sorted(map(tuple, points.tolist())) == sorted(
        tuple(np.float32(p.xyz).tolist()) for p in model.points3D.values()
    )
    shown = meta["models"][0]
    image = model.find_image_with_name(meta["images"][shown["images"][0]]["name"])
    np.testing.assert_allclose(shown["centers"][0], image.projection_center(), rtol=1e-7)
    assert shown["registered"] == 6 and meta["images"][0]["model"] == 0
    starts = np.frombuffer(data["seen-starts-0"], np.uint32)
    assert starts[1] == image.num_points3D
    seen = points[np.frombuffer(data["seen-0"], np.uint32)[: starts[1]]]
    own = [model.points3D[p.point3D_id].xyz for p in image.points2D if p.has_point3D()]
    np.testing.assert_allclose(sorted(seen[:, 0]), sorted(np.float32(own)[:, 0]))
    stored = np.frombuffer(data["point-errors-0"], np.uint8) * shown["error_step"]
    errors = sorted(point.error for point in model.points3D.values())
    np.testing.assert_allclose(sorted(stored), np.minimum(errors, 5.1), atol=0.0101)
    # Seen from the cameras' mean position up is away from the ground: the scene's z axis.
    up = np.array(shown["up"])
    downs = [model.images[i].cam_from_world().rotation.matrix()[1] for i in model.reg_image_ids()]
    assert np.mean(downs, axis=0) @ up < -0.9


def test_intrinsics_are_colmaps(out, page):
    meta, _ = blocks(page)
    shown = meta["models"][0]
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    for number, camera in model.cameras.items():
        row = next(row for row in shown["cameras"] if row["id"] == number)
        assert list(row["params"].values()) == camera.params.tolist()
        assert list(row["params"]) == [name.strip() for name in camera.params_info.split(",")]
        assert (row["model"], row["width"], row["height"]) == (camera.model.name, camera.width, camera.height)
        half = np.degrees(np.arctan(camera.width / 2 / camera.params[0]))
        np.testing.assert_allclose([row["focal"], row["field"]], [camera.params[0], 2 * half])
    used = [model.find_image_with_name(meta["images"][i]["name"]).camera_id for i in shown["images"]]
    assert shown["camera"] == used


def test_every_model_is_on_the_page(out, tmp_path):
    """Two models, the second of half the photos; `model` says which is shown first."""
    run = tmp_path / "run"
    half = with_second_model(out, run)
    meta, data = blocks(write_report_page(run, model=1))
    assert meta["first"] == 1 and [model["registered"] for model in meta["models"]] == [6, 3]
    assert len(data["points-1"]) == 12 * half.num_points3D() < len(data["points-0"])
    assert sorted(meta["models"][1]["images"]) == [3, 4, 5]
    assert [model["metres"] for model in meta["models"]] == [False, False]
    Georeference().save(run / "sparse" / "1")
    meta, _ = blocks(write_report_page(run))
    assert [model["metres"] for model in meta["models"]] == [False, True]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_damaged_model_of_several_is_left_out_and_named(out, tmp_path, broken):
    run = tmp_path / "run"
    shutil.copytree(out, run)
    shutil.copytree(run / "sparse" / "0", run / "sparse" / "1")
    (run / "sparse" / str(broken) / "points3D.bin").write_bytes(b"")
    meta, data = blocks(write_report_page(run))
    assert len(meta["models"]) == 1 and meta["first"] == 0 and len(data["points-0"])
    assert meta["models"][0]["number"] == 1 - broken
    assert f"sparse/{broken}" in meta["left_out"] and "cut short" in meta["left_out"]
    if broken:
        with pytest.raises(InputError, match="cut short"):
            write_report_page(run, model=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_and_keypoints_stand_upright(tmp_path, orientation):
    """A white dot in a stored photo is where the page has its keypoint, and where Pillow turns it to."""
    stored = np.zeros((60, 100, 3), np.uint8)
    stored[8:13, 28:33] = 255
    photo = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "a.jpg", quality=95, exif=exif)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["a.jpg/keypoints"] = np.array([[30, 10]], np.float32)
        file["a.jpg/image_size"] = np.array([100, 60])
    meta, data = blocks(write_report_page(tmp_path, images=tmp_path))
    row = meta["images"][0]
    shown = cv2.imdecode(np.frombuffer(data["photo-0"], np.uint8), cv2.IMREAD_COLOR)
    upright = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    assert shown.shape == upright.shape == (row["height"], row["width"], 3)
    assert np.abs(shown.astype(int) - upright).mean() < 2
    x, y = np.frombuffer(data["keypoints"], np.uint16) / 65535 * [row["width"], row["height"]] - 0.5
    pictures = Pictures(1)
    pictures(tmp_path / "a.jpg", read_rgb(tmp_path / "a.jpg"))
    assert pictures.made[tmp_path / "a.jpg"].jpeg == data["photo-0"]
    assert pictures.made[tmp_path / "a.jpg"].size == (row["width"], row["height"])
    rows, columns = np.nonzero(upright[..., 0] > 128)
    np.testing.assert_allclose([x, y], [columns.mean(), rows.mean()], atol=0.3)


def test_turned_photos_tell_where_up_is():
    """Two cameras on their side, which EXIF says: up is against what is down on the upright photo."""
    lying = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]  # the stored photo's x axis is the world's -y
    pose = PhotoPose([0.0, 0.0, 0.0], lying, (0.6, 0.4))
    for orientation, down in ((6, [0, -1, 0]), (8, [0, 1, 0]), (1, [1, 0, 0]), (3, [-1, 0, 0])):
        np.testing.assert_allclose(scene._down(pose, orientation), down)


def test_photos_are_small_copies(scene_folder, page):
    meta, data = blocks(page)
    photo = cv2.imdecode(np.frombuffer(data["photo-0"], np.uint8), cv2.IMREAD_COLOR)
    original = cv2.imread(str(scene_folder / "images" / meta["images"][0]["name"]))
    assert np.abs(photo.astype(int) - original).mean() < 12


def test_pictures_at_hand_are_taken_where_they_have_the_size(tmp_path):
    photo = np.full((60, 100, 3), 200, np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["a.png/keypoints"] = np.array([[30, 10]], np.float32)
        file["a.png/image_size"] = np.array([100, 60])
    page = write_report_page(tmp_path, images=tmp_path).read_bytes()
    for num_photos, taken in ((1, True), (1000, False)):
        pictures = Pictures(num_photos)
        pictures(tmp_path / "a.png", photo)
        assert write_report_page(tmp_path, images=tmp_path, pictures=pictures).read_bytes() == page
        pictures(tmp_path / "a.png", photo // 2)
        other = write_report_page(tmp_path, images=tmp_path, pictures=pictures).read_bytes()
        assert (other != page) == taken


def test_an_image_that_was_left_out_is_in_the_table(page):
    meta, _ = blocks(page)
    assert meta["images"][-1]["name"] == "broken.jpg" and meta["images"][-1]["reason"] == "cannot be decoded"


def test_the_page_needs_no_network(page):
    text = page.read_text()
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!data:)""", re.sub(r"<script type=.*?</script>", "", text)
    )
    assert "http" not in re.sub(r'<script type="application/[^>]*>.*?</script>', "", text)


def test_the_same_run_gives_the_same_page(out, page, tmp_path):
    assert write_report_page(out, tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_too_much_is_thinned_out_and_said(out, monkeypatch):
    monkeypatch.setattr(scene, "MAX_POINTS", 50)
    for name, value in (("MAX_KEYPOINTS", 600), ("MAX_PAIRS", 4), ("MAX_MATCHES", 80)):
        monkeypatch.setattr(page_matches, name, value)
    run = read_run(out)
    with closing(run.source):
        meta, data = blocks(build_page(run, None, "t"))
    total = int(meta["models"][0]["points"])
    assert len(data["points-0"]) == 50 * 12 and f"50 of {total:,} points are shown." in meta["notes"]
    assert np.diff(np.frombuffer(data["keypoint-starts"], np.uint32)).tolist() == [100] * 6
    assert "Photos show at most 100 keypoints each." in meta["notes"]
    assert meta["pairs"]["shown"] == [20] * 4 and meta["pairs"]["total"] == 15
    assert meta["pairs"]["num_verified"] == sum(pair.verified > 0 for pair in run.source.pairs) > 4
    assert "4 of 15 matched pairs are shown, those with most matches." in meta["notes"]
    assert len(data["matches"]) == 80 * 8
    assert any("No photos" in note for note in meta["notes"])


def test_a_run_without_model_shows_why(unfinished):
    folder, names = unfinished
    meta, data = blocks(write_report_page(folder))
    assert meta["models"] == [] and meta["report"]["diagnosis"].startswith("2 matches")
    assert [image["name"] for image in meta["images"]] == names
    assert meta["pairs"]["verified"] == [-1] and meta["pairs"]["shown"] == [2]
    with_half = np.frombuffer(data["keypoints"], np.uint16).reshape(-1, 2)[0] / 65535 * [100, 80]
    with closing(read_run(folder).source) as source:
        np.testing.assert_allclose(with_half, source.keypoints(0)[0] + 0.5, atol=0.002)


def test_sizes_that_the_features_do_not_tell(tmp_path):
    """The photo's own size, not that of its small copy; without a photo what holds the keypoints."""
    places = np.array([[1999, 99], [0, 0], [999.5, 49.5]], np.float32)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        for name in ("gone.jpg", "there.png"):
            file[f"{name}/keypoints"] = places - [0, 20] if name == "gone.jpg" else places
    cv2.imwrite(str(tmp_path / "there.png"), np.zeros((100, 2000, 3), np.uint8))
    meta, data = blocks(write_report_page(tmp_path, images=tmp_path))
    gone, there = meta["images"]
    assert (gone["width"], gone["height"]) == (2000, 80)
    assert (there["width"], there["height"]) == (2000, 100) and there["photo"] == [1280, 64]
    stored = np.frombuffer(data["keypoints"], np.uint16).reshape(2, 3, 2)[1]
    np.testing.assert_allclose(stored / 65535 * [2000, 100], places + 0.5, atol=0.02)


def test_a_model_of_another_run_is_not_shown(out, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(out, run)
    set_notes(run / "database.db", {"config": json.dumps({"features": "new", "matches": "m"})})
    stamp = run / "sparse" / "made_by.json"
    stamp.write_text(json.dumps({"map": {}, "features": "old", "matches": "m"}))
    meta, data = blocks(write_report_page(run))
    assert meta["models"] == [] and "made from other features or matches" in meta["left_out"]
    assert meta["left_out"] in meta["notes"] and not any(data["keypoint-lengths"])
    stamp.write_text(json.dumps({"map": {}, "features": "new", "matches": "m"}))
    assert blocks(write_report_page(run))[0]["models"][0]["registered"] == 6


def test_a_model_with_other_keypoints_is_named(out, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(out, run)
    with closing(pycolmap.Database.open(run / "database.db")) as database:
        database.update_keypoints(1, database.read_keypoints(1)[:9])
    with pytest.raises(
        InputError, match=r"sparse/0 uses keypoint \d+ of 'view_00.\.jpg', which has 9 keypoints"
    ):
        write_report_page(run)


def test_a_database_of_others_is_only_read(out, tmp_path):
    database = shutil.copy(out / "database.db", tmp_path)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA user_version=3800")  # COLMAP's 3.8: its reader would bring it up to date
    before = (tmp_path / "database.db").read_bytes()
    page = write_report_page(tmp_path, tmp_path / "page.html")
    assert len(blocks(page)[0]["images"]) == 6
    assert (tmp_path / "database.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["database.db", "page.html"]


def test_our_own_database_is_closed(out, tmp_path):
    database = tmp_path / "database.db"
    shutil.copy(out / "database.db", database)
    set_notes(database, {"config": "{}"})
    source = read_run(tmp_path).source
    assert len(list(tmp_path.iterdir())) > 1  # COLMAP's journal
    source.close()
    assert list(tmp_path.iterdir()) == [database]


def test_wrong_input_is_named(tmp_path, out):
    with pytest.raises(InputError, match=r"neither database\.db nor features\.h5"):
        write_report_page(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        write_report_page(tmp_path / "none")
    for model in (7, -1):
        with pytest.raises(InputError, match=f"there is no model {model}"):
            write_report_page(out, tmp_path / "page.html", model=model)
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_report_page(out, tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        write_report_page(out, tmp_path / "page.html", images=tmp_path / "none")
    (tmp_path / "database.db").write_bytes(b"not a database at all" * 99)
    with pytest.raises(InputError, match=r"database\.db is not a readable COLMAP database"):
        write_report_page(tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_a_damaged_model_is_named(tmp_path, out):
    shutil.copy(out / "database.db", tmp_path)
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    for name in ("cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin"):
        (tmp_path / "sparse" / "0" / name).write_bytes(b"\x01")
    with pytest.raises(InputError, match="is damaged: it is cut short"):
        write_report_page(tmp_path)


def test_a_model_that_ends_early_is_named(tmp_path, out):
    model = tmp_path / "0"
    shutil.copytree(out / "sparse" / "0", model)
    images = model / "images.bin"
    images.write_bytes(images.read_bytes()[: images.stat().st_size // 2])
    with pytest.raises(InputError, match="is damaged: it is cut short"):
        read_page_model(model)
    shutil.copy(out / "sparse" / "0" / "images.bin", model)
    (model / "points3D.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"points3D\.bin is damaged: it is cut short"):
        read_page_model(model)


@pytest.mark.parametrize("focal", [0.0, np.nan])
def test_a_focal_length_that_cannot_be_is_named(tmp_path, out, focal):
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    for camera in model.cameras.values():
        camera.focal_length = focal
    model.write_binary(tmp_path)
    with pytest.raises(InputError, match="is damaged"):
        read_page_model(tmp_path)


def test_a_panorama_has_no_focal_length(tmp_path, out):
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    for camera in model.cameras.values():
        camera.model = pycolmap.CameraModelId.EQUIRECTANGULAR
        camera.params = [camera.width, camera.height]
    model.write_binary(tmp_path)
    assert {pose.half for pose in read_page_model(tmp_path).poses.values()} == {
        (1, camera.height / camera.width)
    }


@pytest.mark.parametrize("shift", [(500_000.25, 5_200_000.5, 120.0), (50.0, 0.0, 0.0)])
def test_a_scene_far_from_0_keeps_its_detail(tmp_path, shift):
    """UTM's metres have seven digits before the point, float32 seven in all; near 0 nothing is moved."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 5], [1, 1, 7], (40, 3))
    model = make_model({"a.jpg": pycolmap.Rigid3d(), "b.jpg": turned_about_view(5)}, points)
    moved = pycolmap.Sim3d(1, pycolmap.Rotation3d(), np.array(shift))
    model.transform(moved)
    model.write_binary(tmp_path)
    found = read_page_model(tmp_path)
    centers = [pose.center for pose in found.poses.values()]
    by_x = found.points[np.argsort(found.points[:, 0])].astype(float)
    wanted = points[np.argsort(points[:, 0])]
    if shift[0] > 1000:
        np.testing.assert_allclose(by_x - centers[0], wanted, atol=1e-6)
        assert np.abs(found.points).max() < 10
    else:
        np.testing.assert_allclose(by_x, wanted + shift, atol=1e-5)
        np.testing.assert_allclose(centers[0], shift, atol=1e-9)


def test_points_on_one_another_do_not_hide_the_cameras():
    run = large_run(12, 300)
    (model,) = run.models
    spread = np.random.default_rng(0).normal(0, 1e-4, model.points.shape)
    same = replace(model, points=(2.3 + spread).astype(np.float32))
    centers = np.array([pose.center for pose in model.poses.values()])
    for shown, middle in ((same, [2.3, 2.3, 2.3]), (model, np.median(model.points, axis=0))):
        meta, _ = blocks(build_page(replace(run, models=(shown,)), None, "t"))
        away = np.linalg.norm((centers if shown is same else model.points) - middle, axis=1)
        wanted = np.median(away) if shown is same else np.percentile(away, 80)
        assert meta["models"][0]["radius"] == pytest.approx(wanted, rel=1e-5)


def test_command_line(out, tmp_path, capsys):
    assert main([str(out), "--output", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out and (tmp_path / "page.html").is_file()


def declared(interface: str) -> tuple[set[str], set[str]]:
    """Fields of an interface of page.d.ts that are always there, and those that may be."""
    text = PAGE_TYPES.read_text(encoding="utf-8")
    body = re.search(rf"^interface {interface} {{\n(.*?)^}}", text, re.M | re.S)[1]
    fields = re.findall(r"^  (\w+)(\??):", body, re.M)
    return {name for name, may in fields if not may}, {name for name, may in fields if may}


def test_the_types_of_the_scripts_are_those_of_the_data(page):
    """tsc checks the scripts against page.d.ts; here that is checked against what Python writes."""
    meta, _ = blocks(page)
    model = meta["models"][0]
    for interface, record in (
        ("Meta", meta),
        ("PhotoData", meta["images"][0]),
        ("PairsData", meta["pairs"]),
        ("ReportData", meta["report"]),
        ("ModelData", model),
        ("CameraData", model["cameras"][0]),
    ):
        always, sometimes = declared(interface)
        assert always <= set(record) <= always | sometimes, interface
