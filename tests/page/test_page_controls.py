"""Each control of the page in a real browser, on one page that is opened once."""

import numpy as np
import pytest
from browser import Browser, find_browser


@pytest.fixture(scope="module")
def window(tmp_path_factory, page):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    with Browser(*found, tmp_path_factory.mktemp("profile")) as window:
        window.open(page)
        window.wait("Page.model.reference > 0")
        yield window


@pytest.fixture
def browser(window):
    """The page as it is at first: no choice, no list filter, the model."""
    window.run(
        """(() => {
          Page.model.stop();
          Page.model.setMeasuring(false);
          for (const [id, value] of [["size", 0], ["length", 2], ["error", 40], ["camera-size", 0]]) byId("model-" + id).value = value;
          for (const [id, on] of [["cameras", true], ["path", false], ["shading", true], ["far", false]]) byId("model-" + id).checked = on;
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
        })()"""
    )
    yield window
    assert window.errors() == [] and window.run("pageErrors") == []


def set_value(browser, name, value):
    """Move a slider or choose an entry, as a user's hand does."""
    browser.run(
        f"(byId('{name}').value = '{value}', byId('{name}').dispatchEvent(new Event('input')), "
        f"byId('{name}').dispatchEvent(new Event('change')))"
    )


DRAWN = """((canvas) => {
  Page.model.draw();
  if (Page.model.gl) Page.model.renderer.rest();
  const copy = make("canvas", { width: canvas.width, height: canvas.height });
  copy.getContext("2d").drawImage(canvas, 0, 0);
  const { data } = copy.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let other = 0;
  for (let k = 0; k < data.length; k += 4) other += data[k] !== data[0] || data[k + 1] !== data[1] || data[k + 3] !== data[3];
  return other;
})"""
POINTS = DRAWN + "(byId('model-points'))"
OVERLAY = DRAWN + "(byId('model-overlay'))"
"""Pixels of the points' canvas, and of what is above it, that differ from its corner."""


@pytest.mark.parametrize("seed", range(3))
def test_the_scene_is_fitted_wherever_cameras_are(browser, seed):
    """Cameras close before the viewer included: all are inside, nearly all points too, and they reach the edges."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, [1, 1, 0.2], (800, 3)).tolist()
    cameras = (rng.normal(0, [2, 2, 0.1], (40, 3)) + [0, 3, 0]).tolist()
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
    np.testing.assert_allclose(
        (both.max(axis=0) + both.min(axis=0)) / 2, (low + high) / 2, atol=0.08 * height
    )
