"""The page of a reconstruction in a real browser: what it draws, clicks, large runs."""

import time
from dataclasses import replace

import numpy as np
import pytest
from browser import Browser, find_browser
from largerun import large_run
from pagedata import blocks, with_second_model

from desdis_match.page import matches as page_matches
from desdis_match.page.build import build_page
from desdis_match.page.write import write_report_page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile")) as window:
        yield window


def open_run(browser, page, run):
    """Write a run's page and open it."""
    page.write_text(build_page(run, None, "t"))
    browser.open(page)
    browser.wait("Page.model.reference > 0")


def no_errors(browser):
    assert browser.errors() == [] and browser.run("pageErrors") == []


def test_page_opens_and_draws_the_model(browser, page):
    browser.open(page)
    browser.wait("Page.model.numPoints > 500 && Page.model.reference > 0")
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
    browser.wait("Page.model.reference > 0")
    x, y, _ = browser.run("Page.model.placeOf(2)")
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
    browser.double_click("#list-images tbody tr:nth-child(2)", "Page.panel === 'photo'")
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
        np.testing.assert_allclose(browser.run("Page.model.orbit.pose().eye"), center, atol=1e-9)
        browser.click("#tabs [data-panel=model]")
        browser.click("#model-reset")
    no_errors(browser)


def test_photos_stay_connected_at_any_threshold(browser, page):
    """At the end of the slider a spanning tree and each photo's strongest edges are left."""
    browser.open(page)
    browser.click("#tabs [data-panel=graph]")
    browser.run("(byId('graph-least').value = 100, Page.graph.setLeast())")
    edges = browser.run("Page.graph.edges.map(p => [Data.meta.pairs.image0[p], Data.meta.pairs.image1[p]])")
    reached = {edges[0][0]}
    for _ in edges:
        reached |= {image for edge in edges if reached & set(edge) for image in edge}
    assert len(reached) == 6
    for image in range(6):
        mine = f"[Data.meta.pairs.image0[p], Data.meta.pairs.image1[p]].includes({image})"
        best = browser.run(f"Page.graph.order.find(p => {mine})")
        assert browser.run(f"Page.graph.edges.includes({best})")
    total = browser.run("Page.graph.order.length")
    note = browser.run("document.querySelector('#graph-note').textContent")
    assert f"{total - len(edges)} weaker ones hidden" in note and len(edges) < total
    # The matrix shows all, with the legend's ends at the fewest and the most matches.
    browser.click("[name=graph-kind][value=matrix]")
    assert browser.run("Page.graph.edges.length") == total
    low, high = browser.run("[Page.graph.weights[Page.graph.order.at(-1)], Page.graph.most]")
    assert browser.run("byId('graph-legend').textContent") == f"{low:,}{high:,} matches"
    no_errors(browser)


def test_the_header_counts_verified_pairs_that_are_not_shown_too(browser, out, tmp_path, monkeypatch):
    monkeypatch.setattr(page_matches, "MAX_PAIRS", 2)
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
    said = "byId('pair-note').textContent"
    browser.wait(said)
    kind = "Data.meta.pairs.kinds[Data.meta.pairs.kind[Page.pair]]"
    browser.run(f"({kind} = 'PLANAR_OR_PANORAMIC', Page.pairPanel.show(Page.pair), 0)")
    assert browser.run(said).endswith("matches verified, planar or panoramic")
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
    browser.double_click("#list-pairs tbody tr", "Page.panel === 'pair'")
    assert browser.run("Page.panel") == "pair"
    no_errors(browser)


def test_one_click_selects_and_two_open(browser, page):
    browser.open(page)
    browser.click("#list-images tr[data-row='2']")
    assert browser.run("[Page.panel, Page.image, Page.model.picked]") == ["model", 2, 2]
    browser.double_click("#list-images tr[data-row='3']", "Page.panel === 'photo'")
    assert browser.run("[Page.panel, Page.image]") == ["photo", 3]
    no_errors(browser)


def test_tables_by_keys_alone(browser, page):
    browser.open(page)
    down, enter = "\ue015", "\ue007"
    browser.press("#list-images", down, down, down)  # the first is broken.jpg
    assert browser.run("[Page.panel, Page.image]") == ["model", 1]
    browser.press("#list-images", enter)
    assert browser.run("[Page.panel, Page.photo.image]") == ["photo", 1]
    browser.press("#list-images th:nth-child(3)", enter)
    assert browser.run("document.querySelector('#list-images th:nth-child(3)').ariaSort") == "descending"
    no_errors(browser)


def test_a_filter_without_hits_says_so(browser, page):
    browser.open(page)
    browser.run("(byId('filter').value = 'xyzzy', Page.fill())")
    assert "xyzzy" in browser.run("document.querySelector('#list-images td.none').textContent")
    browser.click("#lists [data-list=pairs]")
    assert "xyzzy" in browser.run("document.querySelector('#list-pairs td.none').textContent")
    no_errors(browser)


def test_the_whole_scene_fills_the_canvas(browser, page):
    """Points and cameras reach over most of the canvas, and nearly none is out of it."""
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    inside = """(() => {
      const { orbit, overlay, cloud, cameras } = Page.model;
      const [w, h] = [overlay.clientWidth, overlay.clientHeight];
      const at = Array.from({ length: 500 }, (_, k) => [...cloud.positions.subarray(3 * k, 3 * k + 3)])
        .concat(cameras.map((camera) => camera.center)).map(orbit.projector(w, h));
      const xs = at.map((p) => p[0] / w), ys = at.map((p) => p[1] / h);
      const share = at.filter((p) => p && p[0] > 0 && p[0] < w && p[1] > 0 && p[1] < h).length / at.length;
      // All cameras, and the points but for some strays.
      const ends = (v, s) => Math.max(...v.slice(500).map((x) => s * x), quantile(v.map((x) => s * x), 0.98));
      const reach = (v) => ends(v, 1) + ends(v, -1);
      return [share, Math.max(reach(xs), reach(ys))];
    })()"""
    share, reach = browser.run(inside)
    assert share > 0.95 and 0.7 < reach < 1
    browser.drag("#model-overlay", (300, 300), (500, 250))
    assert browser.run("Page.model.fitted") is False
    browser.press("#model-overlay", "\ue011")  # Home
    browser.wait("Page.model.fitted")
    assert browser.run(inside) == [share, reach]
    no_errors(browser)


def test_the_model_by_keys(browser, page):
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    yaw, distance = browser.run("[Page.model.orbit.yaw, Page.model.orbit.distance]")
    browser.press("#model-overlay", "\ue014", "+")
    new_yaw, new_distance = browser.run("[Page.model.orbit.yaw, Page.model.orbit.distance]")
    assert new_yaw == pytest.approx(yaw + 0.08) and new_distance == pytest.approx(distance / 1.15)
    assert browser.run("Page.panel") == "model"
    no_errors(browser)


def test_measuring_and_a_true_length(browser, page):
    """Clicks at two points give their distance; its true length makes metres of the units."""
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    browser.click("#model-measure")
    browser.click("#model-more")
    browser.click("#model-cameras")
    browser.click("#model-more")
    place = """((wanted) => {
      const { model } = Page;
      const project = model.projector();
      const { clientWidth: w, clientHeight: h } = model.overlay;
      for (let k = 0; k < model.numPoints; k++) {
        const at = project(model.cloud.positions.subarray(3 * k, 3 * k + 3));
        if (Math.hypot(at[0] - wanted[0] * w, at[1] - wanted[1] * h) > 60) continue;
        const found = model.pointAt(...at);
        return [...at.slice(0, 2), ...found];
      }
    })"""
    x0, y0, *first = browser.run(place + "([0.45, 0.45])")
    x1, y1, *second = browser.run(place + "([0.6, 0.5])")
    assert "first point" in browser.run("byId('measure-text').textContent")
    browser.click_at("#model-overlay", x0, y0)
    browser.click_at("#model-overlay", x1, y1)
    measured = np.array(browser.run("Page.model.measured"))
    size = browser.run("Page.model.model.radius")
    np.testing.assert_allclose(measured, [first, second], atol=0.1 * size)  # the pixel is rounded
    length = float(np.linalg.norm(measured[0] - measured[1]))
    text = browser.run("byId('measure-text').textContent")
    assert text.endswith(" units") and float(text.split()[0]) == pytest.approx(length, rel=1e-3)
    browser.press("#measure-true", "1", "2")
    assert browser.run("byId('measure-text').textContent") == "12 m"
    assert browser.run("Page.model.perUnit") == pytest.approx(12 / length)
    browser.click("#measure-clear")
    assert browser.run("Page.model.measured.length") == 0
    no_errors(browser)


def test_up_by_choice_and_by_its_handle(browser, page):
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    browser.run("(byId('model-up').value = '1 0 0', byId('model-up').dispatchEvent(new Event('change')))")
    assert browser.run("Page.model.orbit.axes[2]") == [1, 0, 0]
    browser.run("(byId('model-up').value = 'auto', byId('model-up').dispatchEvent(new Event('change')))")
    browser.click("#model-reset")
    browser.run("(Page.model.orbit.pitch = 0)")
    right = browser.run("Page.model.orbit.pose().right")
    handle, centre = browser.run(
        "[upHandle, gizmoCentre].map(f => f(Page.model.overlay.clientWidth, Page.model.overlay.clientHeight))"
    )
    browser.drag("#model-overlay", tuple(handle), (centre[0] + 45, centre[1]))
    np.testing.assert_allclose(browser.run("Page.model.orbit.axes[2]"), right, atol=0.03)
    no_errors(browser)


def test_playing_flies_through_the_cameras(browser, page):
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    browser.click("#model-play")
    browser.wait("Page.model.playing && Page.model.orbit.distance === Page.model.model.radius")
    eye = np.array(browser.run("Page.model.orbit.pose().eye"))
    centers = np.array(browser.run("Page.model.cameras.map(c => c.center)"))
    spacing = np.linalg.norm(np.diff(centers, axis=0), axis=1).max()
    assert np.linalg.norm(centers - eye, axis=1).min() < spacing
    browser.click("#model-play")
    assert browser.run("[Page.model.playing, byId('model-play').textContent]") == [None, "▶ Play"]
    no_errors(browser)


def test_the_picture_is_what_is_seen(browser, page):
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    save = "function () { saved.push(this.download, this.href) }"
    browser.run(f"(window.saved = [], HTMLAnchorElement.prototype.click = {save})")
    browser.click("#model-picture")
    browser.wait("saved.length === 2")
    assert browser.run("saved[0]").endswith(".png")
    browser.run("(window.picture = new Image(), picture.src = saved[1])")
    browser.wait("picture.complete && picture.width > 0")
    assert browser.run("[picture.width, picture.height]") == browser.run(
        "[Page.model.overlay.width, Page.model.overlay.height]"
    )
    differ = """((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let other = 0;
      for (let k = 4; k < data.length; k += 4) other += data[k] !== data[0];
      return other;
    })(Page.model.snapshot())"""
    assert browser.run(differ) > 1000
    no_errors(browser)


def test_far_points_are_cut_off(browser, tmp_path):
    page = tmp_path / "page.html"
    open_run(browser, page, large_run(40, 20_000))
    browser.click("#model-more")
    far = browser.run("Page.model.model.num_far")
    assert 0 < far <= 2 and browser.run("byId('model-far-count').textContent") == str(far)
    farthest = "Math.max(...Array.from(Page.model.cloud.positions).map(Math.abs))"
    assert browser.run(farthest) > 3 * browser.run("Page.model.model.radius")
    assert browser.run("Page.model.limits().cut") > 1e29
    browser.click("#model-far")
    assert browser.run("Page.model.limits().cut") == browser.run("Page.model.model.far")
    no_errors(browser)


def test_another_model_is_chosen(browser, out, tmp_path):
    run = tmp_path / "run"
    half = with_second_model(out, run)
    browser.open(write_report_page(run))
    browser.wait("Page.model.reference > 0")
    assert browser.run("[...byId('model-which').options].map(o => o.textContent)") == [
        "0: 6 photos",
        "1: 3 photos",
    ]
    browser.run("(byId('model-which').value = 1, byId('model-which').dispatchEvent(new Event('change')))")
    assert browser.run("Page.model.numPoints") == half.num_points3D()
    assert browser.run("document.querySelector('#facts dd').textContent") == "3 of 7"
    browser.click("#list-images tbody tr[data-row='0']")
    assert "in model 0" in browser.run("byId('model-card').textContent")
    no_errors(browser)


def test_another_model_while_a_photo_is_open(browser, out, tmp_path):
    """What is said of the photo is of the model in use; the flight ends, up is the model's own again."""
    run = tmp_path / "run"
    with_second_model(out, run)
    browser.open(write_report_page(run))
    browser.wait("Page.model.reference > 0")
    browser.run("Page.openImage(0)")
    browser.click("#tabs [data-panel=model]")
    browser.click("#model-play")
    browser.run("(byId('model-up').value = '0 0 1')")
    browser.run("(byId('model-which').value = 1, byId('model-which').dispatchEvent(new Event('change')))")
    assert browser.run("[Page.model.playing, byId('model-up').value]") == [None, "auto"]
    browser.click("#tabs [data-panel=photo]")
    assert browser.run("byId('photo-look').hidden")
    assert "in model 0" in browser.run("byId('photo-note').textContent")
    points = "[...document.querySelectorAll('#list-images th')].find(th => th.textContent === 'Points').title"
    assert "first model" in browser.run(points)
    no_errors(browser)


def test_the_whole_scene_stays_whole_behind_other_tabs(browser, page):
    browser.open(page)
    browser.wait("Page.model.reference > 0")
    where = "[Page.model.orbit.pose().eye, Page.model.orbit.target, Page.model.orbit.distance]"
    before = browser.run(where)
    for tab in ("run", "model", "graph", "model"):
        browser.click(f"#tabs [data-panel={tab}]")
        time.sleep(0.15)  # its size is told
    assert browser.run(where) == before


def test_names_of_any_script_and_addresses_of_any_spelling(browser, tmp_path):
    names = ["😀" * 30 + ".jpg", "صورة من البحر المتوسط.jpg", "<b>&\"'|=%E0.jpg", "a\u202egpj.exe\t.png"]
    run = large_run(4, 300)
    run.source.names[:] = names
    (model,) = run.models
    poses = dict(zip(names, model.poses.values(), strict=True))
    observed = dict(zip(names, model.observations.values(), strict=True))
    run = replace(run, models=(replace(model, poses=poses, observations=observed),))
    page = tmp_path / "page.html"
    page.write_text(build_page(run, None, "<i>&"))
    browser.open(page)
    assert browser.run("byId('title').textContent + document.title") == "<i>&<i>&"
    shown = browser.run(
        "Object.fromEntries([...document.querySelectorAll('#list-images tr[data-row] .cut')]"
        ".map(cut => [cut.title, [...cut.children].map(span => span.textContent)]))"
    )
    assert set(shown) == set(names)
    assert shown[names[0]] == ["😀" * 22, "😀" * 8 + ".jpg"]  # no character is cut in two
    assert shown[names[3]] == ["a\ufffdgpj.e", "xe\ufffd.png"]
    spans = "[...document.querySelector('#list-images tr[data-row=\"1\"] .cut').children]"
    left = browser.run(f"{spans}.map(span => span.getBoundingClientRect().left)")
    assert left[1] < left[0]  # read from the right, its end is on the left
    for k, name in enumerate(names):
        browser.run(f"Page.openImage({k})")
        address = browser.run("location.hash")
        browser.open(page, address)
        assert browser.run("Data.meta.images[Page.photo.image].name") == name
    for address in ("#image=%", "#pair=%|x", "#pair", "#photo", "#nothing"):
        browser.run(f"(location.hash = '{address}')")
    browser.run("Page.openPair(0)")
    browser.click("#tabs [data-panel=run]")
    browser.open(page, browser.run("location.hash"))
    assert browser.run("Page.panel") == "run"
    no_errors(browser)


def test_cameras_far_from_all_points_are_in_the_whole_scene(browser, tmp_path):
    """Photos taken from one place of things far off: none is within 2.5 radii of the points."""
    run = large_run(12, 300)
    (model,) = run.models
    points = (model.points * 0.03).astype(np.float32)
    page = tmp_path / "page.html"
    open_run(browser, page, replace(run, models=(replace(model, points=points),)))
    away, radius = browser.run(
        "[Page.model.cameras.map(c => V.length(V.sub(c.center, Page.model.model.middle))), "
        "Page.model.model.radius]"
    )
    assert np.median(away) > 2.5 * radius
    at = browser.run("Page.model.cameras.map(c => Page.model.projector()(c.center))")
    seen = np.array(
        [place for place, far in zip(at, away, strict=True) if far < 1.4 * np.quantile(away, 0.8)]
    )
    width, height = browser.run("[Page.model.overlay.clientWidth, Page.model.overlay.clientHeight]")
    assert len(seen) >= 9
    assert ((seen[:, :2] > 0) & (seen[:, :2] < [width, height])).all()
    no_errors(browser)


def test_one_photo_alone(browser, tmp_path):
    page = tmp_path / "page.html"
    open_run(browser, page, large_run(1, 300))
    assert browser.run("byId('model-play').hidden")
    assert browser.run("byId('list-note').textContent") == "1 row"
    browser.click("#tabs [data-panel=graph]")
    browser.wait("Page.graph.places !== undefined")
    assert browser.run("[byId('graph-note').textContent, byId('graph-legend').hidden]") == [
        "No two photos were matched",
        True,
    ]
    x, y = browser.run("Page.graph.nodeAt(0)")
    width, height = browser.run("[byId('graph-canvas').clientWidth, byId('graph-canvas').clientHeight]")
    assert abs(x - width / 2) < 5 and abs(y - height / 2) < 0.1 * height
    no_errors(browser)


def test_a_model_without_colours_is_seen_in_both_themes(browser, tmp_path):
    run = large_run(4, 300)
    (model,) = run.models
    page = tmp_path / "page.html"
    for colors, note in ((model.colors, ""), (np.zeros_like(model.colors), "no colours")):
        open_run(browser, page, replace(run, models=(replace(model, colors=colors),)))
        assert note in browser.run("byId('model-note').textContent")
        assert bool(note) == bool(browser.run("byId('model-note').textContent"))
    for _ in range(2):
        browser.click("#theme")
        drawn = browser.run("Array.from(Page.model.renderer.cloud.colors.subarray(0, 3))")
        assert drawn == rgb_of(browser.run("color('ink')"))
    no_errors(browser)


def test_the_run_tab_begins_with_what_is_missing(browser, page):
    browser.open(page)
    browser.click("#tabs [data-panel=run]")
    text = browser.run("byId('run-text').innerText")
    assert text.startswith("Not in the model: 1 of 7 photos")
    assert "broken.jpg" in text and "cannot be decoded" in text
    focal = browser.run("Data.meta.model.cameras[0].focal")
    assert f"{focal:.1f}" in text and "SIMPLE_RADIAL" in text
    no_errors(browser)


def test_many_missing_photos_are_summed_up_by_reason(browser, page):
    browser.open(page)
    browser.run("""(() => {
      for (let k = 0; k < 40; k++) {
        const reason = `${k} matches with 'q${k}' are too few`;
        Data.meta.images.push({ name: `p${k}.jpg`, reason, model: -1, keypoints: 1, verified: 0 });
      }
      fillRunTab(byId('run-text'));
    })()""")
    rows = browser.run(
        "[...document.querySelectorAll('#run-text .wide')[0].querySelectorAll('tr')].map(r => r.textContent)"
    )
    assert rows[1].startswith("… matches with … are too few40p0.jpg, p1.jpg, p2.jpg")
    assert browser.run("document.querySelector('#run-text details summary').textContent").startswith("All 41")


def test_long_names_are_cut_in_their_middle(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(build_page(large_run(20, 1000), None, "t"))
    browser.open(page)
    name = browser.run("Data.meta.images[3].name")
    cut = "document.querySelector('#list-images tr[data-row=\"3\"] .cut')"
    assert browser.run(f"[{cut}.title, {cut}.textContent]") == [name, name]
    start, end = f"{cut}.firstChild", f"{cut}.lastChild"
    assert browser.run(f"{start}.scrollWidth > {start}.clientWidth")
    box = browser.run(
        f"[{end}.getBoundingClientRect().right, {cut}.closest('td').getBoundingClientRect().right]"
    )
    assert box[0] <= box[1] + 1 and name.endswith(browser.run(f"{end}.textContent"))


def test_text_stands_out_in_both_themes(browser, page):
    """WCAG's contrast: 4.5 for text on its ground, 3 for what is drawn in the scene."""
    browser.open(page)
    for _ in range(2):
        browser.click("#theme")
        names = ["ground", "paper", "scene", "row", "ink", "soft", "picked", "good", "bad", "camera"]
        value = f"Object.fromEntries({names}.map(n => [n, color(n)]))"
        colors = {name: luminance(*rgb_of(text)) for name, text in browser.run(value).items()}
        for text in ("ink", "soft", "bad"):
            for ground in ("ground", "paper", "row"):
                assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for mark in ("picked", "camera", "good"):
            assert contrast(colors[mark], colors["scene"]) >= 3, mark
        ramps = browser.run("Array.from({length: 21}, (_, k) => ramp(k / 20))")
        assert all(contrast(luminance(*c), colors["scene"]) >= 3 for c in ramps)


def rgb_of(text):
    digits = text.lstrip("#")
    return [int(digits[k : k + 2], 16) for k in (0, 2, 4)]


def luminance(red, green, blue):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (red / 255, green / 255, blue / 255)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_a_running_reconstruction_is_followed(browser, out, tmp_path):
    browser.open(write_report_page(out, tmp_path / "page.html", refresh=6))
    assert not browser.run("byId('working').hidden")
    browser.run("(window.before = true)")
    time.sleep(8)  # a script that is asked for while the page loads fails
    assert browser.run("window.before === undefined")
    browser.open(write_report_page(out, tmp_path / "page.html", refresh=600))
    browser.run("(window.stopped = 0, window.clearTimeout = () => { stopped++; })")
    browser.click("#working-stop")
    assert browser.run("[stopped, byId('working').hidden]") == [1, True]


def test_a_phone(tmp_path_factory, page):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile"), (390, 780), phone=True) as window:
        window.open(page)
        window.wait("Page.model.reference > 0")
        assert window.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        hints = "[...document.querySelectorAll('#model-box .hint')].filter(h => h.offsetHeight)"
        (hint,) = window.run(hints + ".map(h => h.textContent)")
        assert "finger" in hint
        assert window.run("byId('model-box').clientHeight") > 300
        for tab in ("graph", "photo", "pair", "run"):
            window.click(f"#tabs [data-panel={tab}]")
            assert window.run("document.documentElement.scrollWidth") == 390
        assert window.run("getComputedStyle(byId('tabs')).overflowY") == "hidden"
        no_errors(window)


def test_without_webgl_points_are_drawn_plainly(tmp_path_factory, page):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile"), webgl=False) as window:
        window.open(page)
        window.wait("Page.model.reference > 0")
        assert window.run("Page.model.gl === null && byId('model-note').textContent.includes('no WebGL')")
        drawn = """(() => {
          Page.model.draw();
          const { overlay } = Page.model;
          const { data } = overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height);
          let other = 0;
          for (let k = 3; k < data.length; k += 4) other += data[k] > 0;
          return other;
        })()"""
        assert window.run(drawn) > 1000
        assert window.run("pageErrors") == []


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    page = tmp_path_factory.mktemp("large") / "large.html"
    page.write_text(build_page(large_run(5000, 1_000_000), None, "large"))
    return page


def test_five_thousand_photos_and_a_million_points(browser, large_page):
    assert large_page.stat().st_size < 45e6
    meta, data = blocks(large_page)
    assert len(data["points-0"]) == 1_000_000 * 12
    assert "Photos show at most 120 keypoints each." in meta["notes"]
    before = browser.cpu_seconds()
    browser.open(large_page)
    browser.wait("Page.model.reference > 0")
    # Work, not time: tests share their machine.
    assert browser.cpu_seconds() - before < 12  # 7.6 on a quiet machine, drawn without a GPU
    # Rows out of sight are not in the document; the filter and the scroll bar reach them.
    assert browser.run("document.querySelectorAll('#list-images tbody tr[data-row]').length") < 60
    browser.run("(byId('list-images').scrollTop = 44 * 4990)")
    browser.wait("document.querySelector('#list-images [data-row=\"4995\"]')")
    browser.click("#tabs [data-panel=graph]")
    browser.wait("Page.graph.places !== undefined")
    assert browser.run("Page.graph.places.size") == 5000
    browser.click("#lists [data-list=pairs]")
    assert "19,990 rows" in browser.run("document.querySelector('#list-note').textContent")
    browser.double_click("#list-pairs tbody tr[data-row]", "Page.panel === 'pair'")
    browser.wait("Page.panel === 'pair'")
    no_errors(browser)
