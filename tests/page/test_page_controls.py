"""Each control of the page in a real browser, on one page that is opened once."""

import numpy as np
import pytest
from browser import Browser, find_browser

RIGHT, HOME, TAB, ENTER, SHIFT = "\ue014", "\ue011", "\ue004", "\ue007", "\ue008"
"""WebDriver's codes of keys."""


@pytest.fixture(scope="module")
def window(tmp_path_factory, page):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile")) as window:
        window.open(page)
        window.wait("Page.model.reference > 0")
        window.run(HELPERS)
        yield window


HELPERS = """(() => {
  const first = [...document.querySelectorAll("#panel-model input, #panel-pair input, #panel-pair select")]
    .map((node) => [node, node.type === "checkbox" ? node.checked : node.value]);
  window.asAtFirst = () => {
    Page.model.stop();
    Page.model.setMeasuring(false);
    for (const [node, value] of first) node[node.type === "checkbox" ? "checked" : "value"] = value;
    byId("model-color").value = "photo";
    Page.model.setColors("photo");
    byId("model-options").hidden = true;
    byId("filter").value = "";
    Page.only = undefined;
    Page.pickImage(null);
    Page.list("images");
    Page.open("model");
    Page.model.orbit = new Orbit(Page.model.model);
    Page.model.reset();
  };
  // Pixels of a canvas that differ from its corner.
  window.inked = (canvas) => {
    Page.model.draw();
    if (Page.model.gl) Page.model.renderer.rest();
    const copy = make("canvas", { width: canvas.width, height: canvas.height });
    copy.getContext("2d").drawImage(canvas, 0, 0);
    const { data } = copy.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let other = 0;
    for (let k = 0; k < data.length; k += 4) other += [0, 1, 2, 3].some((c) => data[k + c] !== data[c]);
    return other;
  };
  // What is written on a canvas by draw().
  window.written = (draw) => {
    const texts = [];
    const { fillText } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.fillText = function (text) { texts.push(text); };
    draw();
    CanvasRenderingContext2D.prototype.fillText = fillText;
    return texts;
  };
})()"""


@pytest.fixture
def browser(window):
    """The page as it is at first: nothing chosen, the whole model."""
    window.run("asAtFirst()")
    yield window
    assert window.errors() == [] and window.run("pageErrors") == []


def set_value(browser, name, value):
    """Move a slider or choose an entry, as a hand does."""
    browser.run(
        f"(byId('{name}').value = '{value}', byId('{name}').dispatchEvent(new Event('input')), "
        f"byId('{name}').dispatchEvent(new Event('change')))"
    )


POINTS, OVERLAY = "inked(byId('model-points'))", "inked(byId('model-overlay'))"


@pytest.mark.parametrize("seed", range(3))
def test_the_scene_is_fitted_wherever_cameras_are(browser, seed):
    """Cameras close to the viewer too: all are inside, nearly all points as well; they reach the edges."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, [1, 1, 0.2], (800, 3)).tolist()
    cameras = np.add(rng.normal(0, [2, 2, 0.1], (40, 3)), [0, 3, 0]).tolist()
    width, height = (980, 580) if seed else (390, 640)
    at = browser.run(
        f"""(() => {{
          const orbit = new Orbit({{ radius: 1, up: [0, 0, 1], middle: [0, 0, 0] }});
          orbit.yaw = {seed};
          orbit.fit({points}, {cameras}, {width}, {height});
          return [{points}, {cameras}].map((places) => places.map(orbit.projector({width}, {height})));
        }})()"""
    )
    low, high = np.array([0.06 * width, 0.07 * height]), np.array([0.94 * width, 0.87 * height])
    cameras = np.array(at[1])[:, :2]
    assert ((cameras > low - 1) & (cameras < high + 1)).all()
    points = np.array([place[:2] for place in at[0] if place])
    inside = ((points > low - 1) & (points < high + 1)).all(axis=1)
    assert inside.sum() >= 0.98 * 800
    both = np.vstack([cameras, points[inside]])
    reach = (both.max(axis=0) - both.min(axis=0)) / (high - low)
    assert reach.max() > 0.9
    middle = (both.max(axis=0) + both.min(axis=0)) / 2
    np.testing.assert_allclose(middle, (low + high) / 2, atol=0.08 * height)


def test_sliders_of_points(browser):
    """Larger points cover more; those of long tracks or small errors alone are fewer."""
    set_value(browser, "model-cameras", "on")
    covered = browser.run(POINTS)
    set_value(browser, "model-size", 1)
    assert browser.run(POINTS) > 1.5 * covered
    set_value(browser, "model-size", 0)
    for name, value, kept in (("length", 4, "lengths[k] >= 4"), ("error", 1, "errors[k] * step <= 0.1")):
        set_value(browser, f"model-{name}", value)
        share = browser.run(
            f"""(() => {{
              const {{ cloud, numPoints: n, model }} = Page.model;
              const {{ lengths, errors }} = cloud, step = model.error_step;
              let some = 0;
              for (let k = 0; k < n; k++) some += {kept};
              return some / n;
            }})()"""
        )
        assert 0.02 < share < 0.95
        assert browser.run(POINTS) == pytest.approx(share * covered, rel=0.35)
        assert browser.run(POINTS) < 0.98 * covered
        browser.run("asAtFirst()")
    set_value(browser, "model-error", 5)
    browser.wait("byId('model-error-value').textContent === '0.5 px'")


def test_shading_makes_points_behind_darker(browser):
    total = """(() => {
      Page.model.draw();
      Page.model.renderer.rest();
      const { gl } = Page.model;
      const pixels = new Uint8Array(4 * gl.drawingBufferWidth * gl.drawingBufferHeight);
      gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      return pixels.reduce((sum, v) => sum + v, 0);
    })()"""
    shaded = browser.run(total)
    browser.run("(byId('model-shading').checked = false)")
    assert browser.run(total) > shaded


def test_cameras_their_size_and_their_path(browser):
    start = browser.run("(Page.model.cameraScale())")
    set_value(browser, "model-camera-size", 1)
    assert browser.run("Page.model.cameraScale()") == pytest.approx(2 * start)
    with_cameras = browser.run(OVERLAY)
    browser.run("(byId('model-path').checked = true)")
    with_path = browser.run(OVERLAY)
    browser.run("(byId('model-cameras').checked = false)")
    path_alone = browser.run(OVERLAY)
    browser.run("(byId('model-path').checked = false)")
    assert with_path > with_cameras > path_alone > browser.run(OVERLAY) > 100  # axes and scale bar are left


def test_colour_scales_are_set_by_the_data(browser):
    set_value(browser, "model-color", "error")
    high = browser.run("byId('model-legend').textContent")
    errors = browser.run("Array.from(Page.model.cloud.errors, (step) => step * Page.model.model.error_step)")
    assert high.startswith("0") and high.endswith(" px or more")
    assert float(high[1:].split()[0]) == pytest.approx(np.quantile(errors, 0.95), abs=0.05)
    set_value(browser, "model-color", "length")
    most = round(np.quantile(browser.run("Array.from(Page.model.cloud.lengths)"), 0.98))
    assert browser.run("byId('model-legend').textContent") == f"2{most} or more photos"
    # A point at the end of the scale has the ramp's last colour.
    k = browser.run(f"Page.model.cloud.lengths.findIndex((length) => length >= {most})")
    color = browser.run(f"Array.from(Page.model.renderer.cloud.colors.subarray(3 * {k}, 3 * {k} + 3))")
    assert color == browser.run("ramp(1)")
    set_value(browser, "model-color", "photo")
    assert browser.run("byId('model-legend').hidden")


def test_the_scale_bar_and_the_axes(browser):
    """The bar is a round length, as long on the screen as it is at the target's distance."""
    texts = browser.run("written(() => Page.model.draw())")
    assert {"x", "y", "z", "up"} <= set(texts)
    (bar,) = (text for text in texts if text.endswith(("unit", "units")))
    length = float(bar.split()[0])
    assert length / 10 ** np.floor(np.log10(length)) in (1, 2, 5)
    pixels = browser.run(
        f"""(() => {{
          const {{ orbit, overlay }} = Page.model;
          const project = Page.model.projector();
          const ends = [orbit.target, V.add(orbit.target, V.mul(orbit.pose().right, {length}))].map(project);
          return ends[1][0] - ends[0][0];
        }})()"""
    )
    assert pixels == pytest.approx(
        browser.run(f"{length} / Page.model.orbit.perPixel(Page.model.overlay.clientHeight)")
    )
    assert 40 < pixels <= 130


def test_a_double_click_on_a_camera_opens_its_photo(browser):
    x, y, _ = browser.run("Page.model.placeOf(3)")
    shown = browser.run(f"Page.model.cameraAt({x}, {y})")
    browser.click_at("#model-overlay", x, y, times=2)
    if browser.run("Page.panel") != "photo":  # a busy machine: they came too far apart
        browser.run(f"(Page.model.clicked = {{ i: {shown}, now: performance.now() }})")
        browser.click_at("#model-overlay", x, y)
    assert browser.run("[Page.panel, Page.photo.image]") == ["photo", shown]


def test_a_picked_camera_out_of_sight_has_an_arrow(browser):
    arrow = "written(() => Page.model.draw()).includes('its camera')"
    browser.run("Page.pickImage(2)")
    assert not browser.run(arrow)
    browser.run("Page.model.orbit.lookFrom(V.add(Data.meta.images[2].center, [0, 0, 50]), [0, 0, 1])")
    assert browser.run(arrow)
    assert "in the model" in browser.run("byId('model-card').textContent")


def test_a_card_in_a_low_window_keeps_its_words(browser):
    browser.run("Page.pickImage(2)")
    picture = "document.querySelector('#model-card img').offsetHeight"
    assert browser.run(picture) > 50
    browser.run("(byId('model-box').style.cssText = 'flex: 0 0 200px')")
    card = browser.run(f"[{picture}, byId('model-card').offsetTop + byId('model-card').offsetHeight]")
    browser.run("(byId('model-box').style.cssText = '')")
    assert card[0] == 0 and card[1] < 200


def test_wheel_and_shifted_drag(browser):
    distance, target = browser.run("[Page.model.orbit.distance, Page.model.orbit.target]")
    browser.run(
        "byId('model-overlay').dispatchEvent(new WheelEvent('wheel', { deltaY: 500, cancelable: true }))"
    )
    assert browser.run("Page.model.orbit.distance") == pytest.approx(distance * np.exp(0.6))
    assert browser.run("Page.model.orbit.target") == target
    yaw = browser.run("Page.model.orbit.yaw")
    browser.run(
        """(() => {
          const to = (type, x, more) => byId("model-overlay").dispatchEvent(new PointerEvent(
            type, { pointerId: 1, clientX: x, clientY: 300, shiftKey: true, ...more }));
          byId("model-overlay").setPointerCapture = () => {};
          to("pointerdown", 300); to("pointermove", 340); to("pointerup", 340);
        })()"""
    )
    moved = np.subtract(browser.run("Page.model.orbit.target"), target)
    right, step = browser.run(
        "[Page.model.orbit.pose().right, Page.model.orbit.perPixel(Page.model.overlay.clientHeight)]"
    )
    np.testing.assert_allclose(moved, np.multiply(right, -40 * step), atol=1e-9)
    assert browser.run("Page.model.orbit.yaw") == yaw


def test_playing_comes_to_the_last_camera_and_ends(browser):
    browser.run(
        "(window.playFrom = performance.now, performance.now = () => playFrom.call(performance) - 60000)"
    )
    browser.click("#model-play")
    browser.run("(performance.now = playFrom)")
    browser.wait("Page.model.playing === null")
    eye, last = browser.run("[Page.model.orbit.pose().eye, Page.model.cameras.at(-1).center]")
    np.testing.assert_allclose(eye, last, atol=1e-9)
    assert browser.run("byId('model-play').textContent") == "▶ Play"


def test_large_models_are_drawn_some_at_a_time(browser):
    """What is drawn in portions is what is drawn at once."""
    whole = browser.run(POINTS)
    in_portions = browser.run(
        """(() => {
          const { renderer } = Page.model;
          renderer.portion = 100;
          Page.model.draw();
          const some = renderer.numDrawn;
          while (renderer.numDrawn < renderer.numPoints) renderer.next(150);
          const copy = make("canvas", { width: renderer.canvas.width, height: renderer.canvas.height });
          copy.getContext("2d").drawImage(renderer.canvas, 0, 0);
          return [some, renderer.numPoints, renderer.portion];
        })()"""
    )
    assert in_portions[0] == 100 < in_portions[1]
    browser.run("(Page.model.renderer.portion = 50, Page.model.redraw())")
    browser.wait("Page.model.renderer.numDrawn === Page.model.renderer.numPoints")
    assert browser.run(POINTS) == whole


def test_many_cameras_are_lines_of_webgl(browser):
    ends = browser.run("Array.from(cameraLines(Page.model.cameras.slice(0, 2), 0.5))")
    corners = browser.run("Page.model.cameras.slice(0, 2).map((camera) => cameraCorners(camera, 0.5))")
    centers = browser.run("Page.model.cameras.slice(0, 2).map((camera) => camera.center)")
    wanted = [
        line
        for four, center in zip(corners, centers, strict=True)
        for k in range(4)
        for line in ([four[k], four[(k + 1) % 4]], [center, four[k]])
    ]
    np.testing.assert_allclose(np.reshape(ends, (-1, 2, 3)), wanted, atol=1e-5)
    before = browser.run(POINTS)
    browser.run("Page.model.renderer.setLines(cameraLines(Page.model.cameras, Page.model.cameraScale()))")
    browser.run("(({ renderer: r }) => r.draw(r.canvas.width, r.canvas.height, r.view))(Page.model)")
    drawn = browser.run(
        """(() => {
          const { canvas } = Page.model.renderer;
          const copy = make("canvas", { width: canvas.width, height: canvas.height });
          copy.getContext("2d").drawImage(canvas, 0, 0);
          const { data } = copy.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const ink = rgb("camera").map((v) => Math.round(255 * v));
          let blue = 0;
          for (let k = 0; k < data.length; k += 4) blue += ink.every((v, c) => Math.abs(v - data[k + c]) < 3);
          return blue;
        })()"""
    )
    browser.run("(Page.model.lines = null, Page.model.setLines(0))")
    assert drawn > 200 and browser.run(POINTS) == before


def test_the_options_open_and_close(browser):
    browser.click("#model-more")
    assert browser.run("[byId('model-options').hidden, byId('model-more').ariaExpanded]") == [False, "true"]
    browser.click("#model-more")
    assert browser.run("[byId('model-options').hidden, byId('model-more').ariaExpanded]") == [True, "false"]


def test_nodes_of_the_view_graph(browser):
    """Thumbnails do not overlap; the pointer over one tells its name, a click opens it; the matrix too."""
    browser.click("#tabs [data-panel=graph]")
    browser.wait("Page.graph.places !== undefined")
    places = np.array(browser.run("Page.graph.images.map((i) => Page.graph.nodeAt(i))"))
    canvas = browser.run("[byId('graph-canvas').clientWidth, byId('graph-canvas').clientHeight]")
    side = browser.run(f"thumbnailSide({canvas[0]}, {canvas[1]}, {len(places)})")
    apart = np.abs(places[:, None] - places).max(axis=2)[~np.eye(len(places), dtype=bool)]
    assert apart.min() > side
    assert (places > side / 2).all() and (places < np.subtract(canvas, side / 2)).all()
    browser.run("Page.graph.hover({ image: 3 })")
    assert browser.run("Data.meta.images[3].name") in browser.run("byId('graph-card').textContent")
    hint = "document.querySelector('#panel-graph .hint.mouse').textContent"
    assert "an image" in browser.run(hint)
    browser.click("[name=graph-kind][value=matrix]")
    assert "a cell" in browser.run(hint)
    pair = browser.run(
        "Page.graph.find(1.5 * 1000 / Page.graph.images.length, 0.5 * 1000 / Page.graph.images.length).pair"
    )
    assert {pairs[pair] for pairs in browser.run("[Data.meta.pairs.image0, Data.meta.pairs.image1]")} == {
        0,
        1,
    }
    browser.click("[name=graph-kind][value=graph]")
    browser.click_at("#graph-canvas", *browser.run("Page.graph.nodeAt(2)"))
    browser.wait("Page.panel === 'photo'")
    assert browser.run("Page.photo.image") == 2


def test_crowded_places_are_pushed_apart(browser):
    rng = np.random.default_rng(0)
    crowded = rng.normal(500, 30, (60, 2)).tolist()
    places = np.array(browser.run(f"apart({crowded}, 80, [1000, 900])"))
    gaps = np.abs(places[:, None] - places).max(axis=2)[~np.eye(60, dtype=bool)]
    assert gaps.min() > 0.9 * 80
    assert places.min() >= 0 and (places <= [1000, 900]).all()


def test_tracks_of_a_photo_have_a_scale(browser):
    browser.run("Page.openImage(2)")
    assert browser.run("byId('photo-legend').hidden")
    browser.click("#photo-length")
    assert browser.run("byId('photo-legend').textContent") == "210 or more photos"
    browser.click("#photo-length")
    browser.run("document.activeElement.blur()")
    browser.press("body", "\ue014")  # the next of the list, by its arrow
    assert browser.run("Page.photo.image") == 3


def test_a_pair_counts_all_its_matches(browser):
    """In the model, verified only, rejected: together all matches; boxes and lines choose what is drawn."""
    browser.run("Page.openPair(0)")
    pair = browser.run("Object.fromEntries(Object.entries(Data.meta.pairs).map(([k, v]) => [k, v[0]]))")
    shown = "Number(byId(`pair-${n}-count`).textContent.replace(',', ''))"
    said = browser.run(f"['model', 'verified', 'rejected'].map((n) => {shown})")
    states = browser.run("Array.from(Page.pairPanel.matches.states)")
    assert len(states) == pair["matches"]  # none is thinned out here
    assert said == [states.count(2), states.count(1), states.count(0)]
    assert sum(said[:2]) == pair["verified"] and said[0] > 0
    browser.run("(byId('pair-lines').value = '0', byId('pair-rejected').checked = true)")
    strokes = """(() => {
      let strokes = 0;
      const { stroke } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.stroke = function () { strokes++; };
      Page.pairPanel.hovered = -1;
      Page.pairPanel.draw(byId("pair-canvas").getContext("2d"));
      CanvasRenderingContext2D.prototype.stroke = stroke;
      return strokes;
    })()"""
    assert browser.run(strokes) == 0
    set_value(browser, "pair-lines", 50)
    assert browser.run(strokes) == 50
    set_value(browser, "pair-lines", "1e9")
    browser.run("(byId('pair-verified').checked = byId('pair-rejected').checked = false)")
    assert browser.run(strokes) == said[0]


def test_arrow_keys_go_one_step(browser):
    """To the next photo from a box or the photo itself; text and tabs have arrows of their own."""
    browser.run("Page.openImage(2)")
    for element, image in (("#photo-length", 3), ("#photo-canvas", 4), ("#filter", 4)):
        browser.press(element, RIGHT)
        assert browser.run("Page.photo.image") == image, element
    assert not browser.run("byId('photo-length').checked")
    browser.press("#tabs [data-panel=photo]", RIGHT)
    assert browser.run("[Page.panel, document.activeElement.dataset.panel, Page.photo.image]") == [
        "pair",
        "pair",
        4,
    ]
    browser.press("#lists [data-list=images]", RIGHT)
    assert browser.run("[Page.listed, Page.panel]") == ["pairs", "pair"]


def test_a_photo_by_keys(browser):
    browser.run("Page.openImage(2)")
    browser.wait("Page.photo.zoom.scale > 0.5")
    browser.run("(Page.open('model'), Page.openImage(2))")  # before the canvas is seen to have had no size
    browser.wait("Page.photo.zoom.scale > 0.5", seconds=5)
    view = "[Page.photo.zoom.scale, Page.photo.zoom.x, Page.photo.zoom.y]"
    whole = browser.run(view)
    browser.press("#photo-canvas", "+")
    larger = browser.run(view)
    assert larger[0] == pytest.approx(1.25 * whole[0])
    browser.run(
        "byId('photo-canvas').dispatchEvent(new KeyboardEvent('keydown', "
        "{ key: 'ArrowRight', shiftKey: true, bubbles: true }))"
    )
    assert browser.run(view) == pytest.approx([larger[0], larger[1] + 40, larger[2]])
    assert browser.run("Page.photo.image") == 2
    browser.press("#photo-canvas", HOME)
    assert browser.run(view) == pytest.approx(whole)


def test_every_control_is_reached_by_tab_and_shows_it(browser):
    """What can be used has a place in the order of the Tab key, a name, and an outline that nothing cuts."""
    for tab in ("model", "graph", "photo", "pair", "run"):
        browser.run(f"Page.open('{tab}')")
        browser.run("(byId('model-options').hidden = false)")
        wanted = browser.run(
            """(() => {
              const kinds = "button, input, select, canvas, .list, #run-text, summary";
              window.controls = [...document.querySelectorAll(kinds)]
                .filter((node) => node.offsetParent && node.id !== "model-points");
              return controls.length;
            })()"""
        )
        browser.run("(window.reached = new Set(), 0)")
        browser.run("(addEventListener('focusin', (event) => { reached.add(event.target); }), 0)")
        browser.press("#theme", *(wanted + 20) * [TAB])
        left = browser.run(
            """controls.filter((node) => !reached.has(node) && !(node.type === "radio" && !node.checked))
              .map((node) => node.id || node.textContent)"""
        )
        assert left == [], tab
        unnamed = browser.run(
            """controls
              .filter((node) => !(node.ariaLabel || node.textContent.trim() || (node.labels || []).length))
              .map((node) => node.id || node.className)"""
        )
        assert unnamed in ([], ["run-text"]), tab
    browser.run("Page.open('model')")
    for selector in ("#model-overlay", ".list", "#theme"):
        browser.press(selector, SHIFT)
        shown = browser.run(
            f"(s => [s.outlineStyle, parseFloat(s.outlineWidth), parseFloat(s.outlineOffset)])"
            f"(getComputedStyle(document.querySelector('{selector}')))"
        )
        assert shown[:2] == ["solid", 2], selector
        assert shown[2] == (1 if selector == "#theme" else -2), selector


def test_measuring_by_keys(browser):
    browser.run("Page.model.setMeasuring(true)")
    at = """(() => {
      const { model } = Page;
      const [w, h] = [model.overlay.clientWidth, model.overlay.clientHeight];
      return model.pointAt(w / 2, h / 2);
    })()"""
    browser.run(
        "(Page.model.orbit.target = [...Page.model.cloud.positions.subarray(0, 3)], Page.model.draw())"
    )
    point = browser.run(at)
    assert point
    browser.press("#model-overlay", ENTER)
    assert browser.run("Page.model.measured") == [point]


def test_dots_of_a_pair_leave_the_photo_to_be_seen(browser):
    """They cover at most a tenth of the photo, however many there are."""
    browser.run("Page.openPair(0)")
    browser.wait("Page.pairPanel.zoom.scale > 100")
    covered = browser.run(
        """(() => {
          let area = 0;
          const { arc } = CanvasRenderingContext2D.prototype;
          CanvasRenderingContext2D.prototype.arc = (x, y, r) => { area += Math.PI * r * r; };
          const { pairPanel } = Page;
          const { matches, parts: [[, , w, h], [, , w1, h1]] } = pairPanel;
          const ends = new Float32Array(4 * 3000);
          for (let k = 0; k < ends.length; k++) ends[k] = matches.ends[k % matches.ends.length];
          pairPanel.matches = { ends, states: new Uint8Array(3000).fill(2) };
          pairPanel.hovered = -1;
          byId("pair-lines").value = "0";
          pairPanel.draw(byId("pair-canvas").getContext("2d"));
          CanvasRenderingContext2D.prototype.arc = arc;
          pairPanel.matches = matches;
          return area / ((w * h + w1 * h1) * pairPanel.zoom.scale ** 2);
        })()"""
    )
    assert 0.01 < covered < 0.1


def test_pairs_of_one_image_and_all_again(browser):
    browser.click("#list-images tr[data-row='2']")
    browser.click("#lists [data-list=pairs]")
    assert browser.run("Data.meta.images[2].name") in browser.run("byId('pairs-of').textContent")
    assert browser.run("Page.pairs.rows.length") == 5
    browser.click("#pairs-of button")
    assert browser.run("[Page.pairs.rows.length, byId('pairs-of').hidden]") == [15, True]
