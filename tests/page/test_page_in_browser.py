"""The page of a reconstruction in a real browser: what it draws, clicks, large runs."""

import numpy as np
import pytest
from browser import Browser, find_browser
from pagedata import blocks

from desdis_match.page import build as viewpage
from desdis_match.page.build import build_page
from desdis_match.page.run import Model, PairCounts, PairMatches, Pose, RunFolder
from desdis_match.page.write import write_report_page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile")) as window:
        yield window


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


def test_look_from_here_is_from_the_photo_shown(browser, page):
    browser.open(page)
    browser.click("#tabs [data-panel=photo]")
    assert browser.run("document.querySelector('#photo-look').hidden")  # there is no photo yet
    center = browser.run("(Page.openImage(2), Data.meta.images[2].center)")
    for picked in ("5", "null"):  # another camera, empty space
        browser.run(f"Page.model.onPick({picked})")
        browser.click("#tabs [data-panel=photo]")
        browser.click("#photo-look")
        np.testing.assert_allclose(browser.run("Page.model.pose().eye"), center, atol=1e-9)
        browser.click("#tabs [data-panel=model]")
        browser.click("#model-reset")
    no_errors(browser)


def test_the_strongest_edge_is_in_the_graph_to_the_end_of_the_slider(browser, page):
    browser.open(page)
    browser.run("(byId('graph-least').value = 100, Page.graph.setLeast())")
    most = browser.run("Math.max(...Data.meta.pairs.verified)")
    assert browser.run("Page.graph.edges.map(p => Data.meta.pairs.verified[p])") == [most]
    no_errors(browser)


def test_the_header_counts_verified_pairs_that_are_not_shown_too(browser, out, tmp_path, monkeypatch):
    monkeypatch.setattr(viewpage, "MAX_PAIRS", 2)
    browser.open(write_report_page(out, tmp_path / "page.html"))
    verified = browser.run("Data.meta.pairs.num_verified")
    assert verified > 2
    assert (
        browser.run("document.querySelector('#facts').lastChild.lastChild.textContent") == f"{verified} of 15"
    )
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
