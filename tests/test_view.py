"""The page of a reconstruction: its data checked against COLMAP's own reading, the page in a real browser."""

import base64
import json
import re
import shutil

import cv2
import numpy as np
import pycolmap
import pytest
from browser import Browser, find_browser

from desdis_match import viewpage
from desdis_match.errors import InputError
from desdis_match.store import write_features, write_matches
from desdis_match.types import Features, Matches
from desdis_match.view import main, write_report_page
from desdis_match.viewdata import Model, PairCounts, PairMatches, Pose, RunFolder, read_run
from desdis_match.viewpage import build_page


@pytest.fixture(scope="module")
def out(scene_folder, tmp_path_factory):
    """A run by COLMAP's own SIFT, with the report.json that our runs write."""
    out = tmp_path_factory.mktemp("run")
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = 800
    images = scene_folder / "images"
    pycolmap.extract_features(
        out / "database.db", images, extraction_options=options, device=pycolmap.Device.cpu
    )
    pycolmap.match_exhaustive(out / "database.db", device=pycolmap.Device.cpu)
    pycolmap.incremental_mapping(out / "database.db", images, out / "sparse")
    report = {"images_folder": str(images), "images": {"broken.jpg": {"why": "cannot be decoded"}}}
    (out / "report.json").write_text(json.dumps(report))
    return out


@pytest.fixture(scope="module")
def page(out):
    return write_report_page(out)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile")) as window:
        yield window


def blocks(path_or_text):
    """The data of a page: JSON parsed, arrays as bytes."""
    text = path_or_text if isinstance(path_or_text, str) else path_or_text.read_text()
    found = dict(
        re.findall(r'<script type="application/octet-stream" id="data-([\w-]+)">(.*?)</script>', text)
    )
    meta = re.search(r'<script type="application/json" id="data-meta">(.*?)</script>', text, re.S)
    return json.loads(meta[1]), {name: base64.b64decode(data) for name, data in found.items()}


# what the page holds


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
    source = read_run(out).source
    database = pycolmap.Database.open(out / "database.db")
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


def test_model_and_cameras(out, page):
    meta, data = blocks(page)
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    points = np.frombuffer(data["points"], np.float32).reshape(-1, 3)
    assert sorted(map(tuple, points.tolist())) == sorted(
        tuple(np.float32(p.xyz).tolist()) for p in model.points3D.values()
    )
    row = meta["images"][0]
    image = model.find_image_with_name(row["name"])
    np.testing.assert_allclose(row["center"], image.projection_center())
    assert meta["model"]["registered"] == 6 and row["registered"]
    starts = np.frombuffer(data["seen-starts"], np.uint32)
    assert starts[1] == image.num_points3D
    # Seen from the cameras' mean position up is away from the ground: the scene's z axis.
    up = np.array(meta["model"]["up"])
    downs = [model.images[i].cam_from_world().rotation.matrix()[1] for i in model.reg_image_ids()]
    assert np.mean(downs, axis=0) @ up < -0.9


def test_photos_are_small_copies(scene_folder, page):
    meta, data = blocks(page)
    photo = cv2.imdecode(np.frombuffer(data["photo-0"], np.uint8), cv2.IMREAD_COLOR)
    original = cv2.imread(str(scene_folder / "images" / meta["images"][0]["name"]))
    assert np.abs(photo.astype(int) - original).mean() < 12


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
    for name, value in (("MAX_POINTS", 50), ("MAX_KEYPOINTS", 600), ("MAX_PAIRS", 4), ("MAX_MATCHES", 80)):
        monkeypatch.setattr(viewpage, name, value)
    meta, data = blocks(build_page(read_run(out), None, "t"))
    total = int(meta["model"]["points"])
    assert len(data["points"]) == 50 * 12 and f"50 of {total:,} points are shown." in meta["notes"]
    assert np.diff(np.frombuffer(data["keypoint-starts"], np.uint32)).tolist() == [100] * 6
    assert "Photos show at most 100 keypoints each." in meta["notes"]
    assert meta["pairs"]["shown"] == [20] * 4 and meta["pairs"]["total"] == 15
    assert "4 of 15 matched pairs are shown, those with most matches." in meta["notes"]
    assert len(data["matches"]) == 80 * 8
    assert any("No photos" in note for note in meta["notes"])


# runs that are not whole, and wrong input


@pytest.fixture
def unfinished(tmp_path):
    """Features and matches, no database; a name that is not friendly to HTML."""
    names = ["a </script><b>&.jpg", "b ü.jpg"]
    rng = np.random.default_rng(0)
    items = []
    for name in names:
        xy = rng.uniform(0, 90, (30, 2)).astype(np.float32)
        ones = np.ones(30, np.float32)
        items.append(
            (name.replace("/", "_"), Features(xy, np.eye(30, dtype=np.float32), ones, ones, ones, (100, 80)))
        )
    names = [name for name, _ in items]
    write_features(tmp_path / "features.h5", items, {})
    pairs = Matches(np.array([[1, 2], [3, 4]], np.int32), np.ones(2, np.float32))
    write_matches(tmp_path / "matches.h5", [(*names, pairs)], {})
    report = {
        "diagnosis": "2 matches are too few: 15 are needed",
        "images": {n: {"why": "starved"} for n in names},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path, names


def test_a_run_without_model_shows_why(unfinished):
    folder, names = unfinished
    meta, data = blocks(write_report_page(folder))
    assert meta["model"] is None and meta["report"]["diagnosis"].startswith("2 matches")
    assert [image["name"] for image in meta["images"]] == names
    assert meta["pairs"]["verified"] == [-1] and meta["pairs"]["shown"] == [2]
    with_half = np.frombuffer(data["keypoints"], np.uint16).reshape(-1, 2)[0] / 65535 * [100, 80]
    np.testing.assert_allclose(with_half, read_run(folder).source.keypoints(0)[0] + 0.5, atol=0.002)


def test_wrong_input_is_named(tmp_path, out):
    with pytest.raises(InputError, match=r"neither database\.db nor features\.h5"):
        write_report_page(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        write_report_page(tmp_path / "none")
    with pytest.raises(InputError, match="there is no model 7"):
        write_report_page(out, tmp_path / "page.html", model=7)
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
    with pytest.raises(InputError, match="is not a readable COLMAP model"):
        write_report_page(tmp_path)


def test_command_line(out, tmp_path, capsys):
    assert main([str(out), "--output", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out and (tmp_path / "page.html").is_file()


# the page in a browser


def no_errors(browser):
    assert browser.errors() == [] and browser.run("pageErrors") == []


def test_page_opens_and_draws_the_model(browser, page):
    browser.open(page)
    browser.wait("Page.model.numPoints > 500 && Page.model.distance > 0")
    assert browser.run("document.querySelector('#facts dd').textContent") == "6 of 7"
    # Points are on the canvas: many pixels differ from its ground.
    drawn = """(() => {
      const { gl } = Page.model;
      if (!gl) return -1;
      Page.model.draw();
      const pixels = new Uint8Array(4 * gl.drawingBufferWidth * gl.drawingBufferHeight);
      gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      let other = 0;
      for (let k = 4; k < pixels.length; k += 4) other += pixels[k] !== pixels[0];
      return other;
    })()"""
    assert browser.run(drawn) > 1000
    no_errors(browser)


def test_a_click_on_a_camera_picks_its_image(browser, page):
    browser.open(page)
    browser.wait("Page.model.distance > 0")
    x, y = browser.run("Page.model.placeOf(2)")
    browser.click_at("#model-overlay", x, y)
    picked = browser.run("Page.image")
    assert browser.run("document.querySelector('#list-images tr.picked .text').textContent") == browser.run(
        f"Data.meta.images[{picked}].name"
    )
    browser.click("#model-reset")
    no_errors(browser)


def test_a_click_on_an_edge_opens_the_pair(browser, page):
    browser.open(page)
    browser.click("#tabs [data-panel=graph]")
    browser.wait("Page.graph.places !== undefined && Page.graph.zoom.scale !== 1")
    # The middle of the first edge that no other edge or node is nearer to.
    place = """(() => {
      const { graph } = Page;
      for (const p of graph.edges) {
        const [a, b] = [Data.meta.pairs.image0[p], Data.meta.pairs.image1[p]].map((i) => graph.places.get(i));
        for (const t of [0.5, 0.4, 0.6, 0.3, 0.7]) {
          const at = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
          const found = graph.find(...at);
          if (found && found.pair === p) return [p, ...graph.zoom.toScreen(...at)];
        }
      }
      return null;
    })()"""
    pair, x, y = browser.run(place)
    browser.click_at("#graph-canvas", x, y)
    browser.wait("Page.panel === 'pair'")
    assert browser.run("Page.pair") == pair
    names = browser.run(
        f"[Data.meta.pairs.image0[{pair}], Data.meta.pairs.image1[{pair}]].map(i => Data.meta.images[i].name)"
    )
    assert all(name in browser.run("document.querySelector('#pair-name').textContent") for name in names)
    browser.wait("Page.pairPanel.photos[0] !== null && Page.pairPanel.photos[1] !== null")
    no_errors(browser)


def test_a_click_on_an_image_shows_its_keypoints(browser, page):
    browser.open(page)
    browser.click("#list-images tbody tr:nth-child(2)")
    browser.wait("Page.panel === 'photo' && Page.photo.photo")
    row = browser.run("Data.meta.images[Page.image]")
    assert browser.run("document.querySelector('#photo-points-count').textContent") == f"{row['points']:,}"
    # Both colours are on the canvas.
    colors = """(() => {
      const canvas = document.querySelector('#photo-canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const near = (k, ...rgb) => rgb.every((v, c) => Math.abs(data[k + c] - v) < 5);
      let [good, bad] = [0, 0];
      for (let k = 0; k < data.length; k += 4) {
        good += near(k, 25, 224, 164);
        bad += near(k, 255, 77, 141);
      }
      return [good, bad];
    })()"""
    browser.wait(f"{colors}[0] > 100")
    good, bad = browser.run(colors)
    assert good > 100 and bad > 100
    browser.click("#photo-rest")
    browser.wait(f"{colors}[1] < {bad} / 4")
    no_errors(browser)


def test_the_address_opens_a_pair_and_tables_sort(browser, page):
    browser.open(page, "#pair=view_000.jpg|view_001.jpg")
    assert browser.run("Page.panel") == "pair"
    browser.click("#lists [data-list=pairs]")
    rows = "[...document.querySelectorAll('#list-pairs tbody tr')]"
    verified = rows + ".map(r => Number(r.cells[2].textContent.replace(',', '')))"
    falling = browser.run(verified)
    assert falling == sorted(falling, reverse=True) and len(falling) == 15
    browser.click("#list-pairs th:nth-child(3)")
    assert browser.run(verified) == sorted(falling)
    browser.click("#lists [data-list=images]")
    browser.run("(document.querySelector('#filter').value = 'view_00', Page.fill())")
    assert browser.run("document.querySelectorAll('#list-images tbody tr').length") == 6
    no_errors(browser)


def test_light_and_dark(browser, page):
    browser.open(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = browser.run(ground)
    browser.click("#theme")
    assert browser.run(ground) != before
    for tab in ("graph", "photo", "pair", "run", "model"):
        browser.click(f"#tabs [data-panel={tab}]")
    no_errors(browser)


def test_no_model_in_the_browser(browser, unfinished):
    folder, names = unfinished
    browser.open(write_report_page(folder))
    assert browser.run("Page.panel") == "graph"
    browser.click("#tabs [data-panel=model]")
    assert "too few" in browser.run("document.querySelector('#model-empty').textContent")
    assert browser.run("Data.meta.images.map(i => i.name)") == names
    browser.click("#tabs [data-panel=run]")
    assert "too few" in browser.run("document.querySelector('#run-text').textContent")
    browser.click("#lists [data-list=pairs]")
    browser.click("#list-pairs tbody tr")
    assert browser.run("Page.panel") == "pair"
    no_errors(browser)


class LargeSource:
    """500 images with 4000 keypoints each, 12,000 pairs with 300 matches each."""

    def __init__(self):
        self.names = [f"photo {i:03d}.jpg" for i in range(500)]
        self.sizes = [(4000, 3000)] * 500
        self.num_keypoints = [4000] * 500
        pairs = [(i, i + step) for i in range(500) for step in range(1, 26) if i + step < 500]
        self.pairs = [PairCounts(i, j, 300, 300 - 11 * (j - i), "CALIBRATED") for i, j in pairs]

    def keypoints(self, image):
        return np.random.default_rng(image).uniform(0, 3000, (4000, 2)).astype(np.float32)

    def matches(self, pair):
        return PairMatches(np.repeat(np.arange(300)[:, None], 2, axis=1), np.arange(300) < pair.verified)


def test_a_hundred_thousand_points_and_five_hundred_images(browser, tmp_path):
    rng = np.random.default_rng(0)
    source = LargeSource()
    num = 250_000
    points = rng.normal(0, 5, (num, 3)).astype(np.float32)
    around = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    poses, observations = {}, {}
    for i, name in enumerate(source.names):
        cos, sin = np.cos(around[i]), np.sin(around[i])
        rotation = [-sin, cos, 0.0, 0.0, 0.0, -1.0, -cos, -sin, 0.0]
        poses[name] = Pose([20 * cos, 20 * sin, 2.0], rotation, (0.6, 0.45))
        observations[name] = (np.arange(1500), rng.integers(0, num, 1500))
    model = Model(
        points,
        rng.integers(0, 255, (num, 3), dtype=np.uint8),
        rng.uniform(0, 2, num).astype(np.float32),
        rng.integers(2, 12, num),
        observations,
        poses,
        {"points": num, "observations": 750_000, "track_length": 3.0, "reprojection_error": 0.8},
    )
    page = tmp_path / "large.html"
    page.write_text(build_page(RunFolder(source, model, 1), None, "large"))
    assert page.stat().st_size < 40e6
    meta, data = blocks(page)
    assert "200,000 of 250,000 points are shown." in meta["notes"]
    assert len(data["points"]) == 200_000 * 12
    browser.open(page)
    browser.wait("Page.model.distance > 0")
    assert (
        browser.run(
            "(() => { const t = performance.now(); Page.model.draw(); return performance.now() - t; })()"
        )
        < 2000
    )
    browser.click("#tabs [data-panel=graph]")
    browser.wait("Page.graph.places !== undefined")
    assert browser.run("Page.graph.edges.length") <= 13 * 500
    browser.click("#lists [data-list=pairs]")
    assert "500 of 12,175 rows" in browser.run("document.querySelector('#list-note').textContent")
    browser.click("#list-pairs tbody tr")
    browser.wait("Page.panel === 'pair'")
    no_errors(browser)
