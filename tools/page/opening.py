"""How long a page of 5,000 photos and a million points takes: to be written, and to open in Chromium.

    python tools/page/opening.py            # on a quiet machine; without a GPU Chromium draws by software
    python tools/page/opening.py --disk     # of a run that is on disk, by `desdis-match view`

Opening: from the start of loading until the page's script begins (the file is read and parsed), until the
page is built, until its first picture is drawn (read back from the GPU), until all points are drawn.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pycolmap

from desdis_match.page.build import build_page

ROOT = Path(__file__).parents[2]
ROUNDS = 3
PHOTOS, POINTS = 5000, 1_000_000
MARKS = (
    ('"use strict";\n', '"use strict";\nperformance.mark("script runs");\n'),
    (
        "\nPage.start();\n",
        """
Page.start();
performance.mark("page is built");
requestAnimationFrame(function wait() {
  const { renderer, reference } = Page.model;
  if (reference === undefined) return requestAnimationFrame(wait);
  const { gl } = renderer;
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  performance.mark("first picture");
  requestAnimationFrame(function rest() {
    if (renderer.numDrawn < renderer.numPoints) return requestAnimationFrame(rest);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    performance.mark("all points");
  });
});
""",
    ),
)
"""What is put into the page to time it: text of its scripts, and what stands there instead."""


def write_run(out: Path) -> None:
    """The same run as database.db and sparse/0; each point is seen by two photos that lie far apart."""
    from largerun import large_run

    run = large_run(PHOTOS, POINTS)
    (model,), source = run.models, run.source
    stored = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", 3333.0, 4000, 3000)
    stored.add_camera_with_trivial_rig(camera)
    database = pycolmap.Database.open(out / "database.db")
    database.write_camera(camera, use_camera_id=True)
    with pycolmap.DatabaseTransaction(database):
        for i, name in enumerate(source.names):
            pose, xy = model.poses[name], source.keypoints(i)
            rotation = np.array(pose.rotation).reshape(3, 3)
            image = pycolmap.Image(name=name, camera_id=1, image_id=i + 1, keypoints=xy.astype(float))
            placed = pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ pose.center)
            stored.add_image_with_trivial_frame(image, placed)
            stored.register_frame(i + 1)
            plain = pycolmap.Image(name=name, camera_id=1, image_id=i + 1)
            database.write_image(plain, use_image_id=True)
            database.write_keypoints(i + 1, xy)
        for pair in source.pairs:
            found = source.matches(pair)
            indices = found.indices.astype(np.uint32)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = indices[found.verified]
            database.write_matches(pair.image0 + 1, pair.image1 + 1, indices)
            database.write_two_view_geometry(pair.image0 + 1, pair.image1 + 1, geometry)
    database.close()
    each = source.keypoints_each
    for point in range(POINTS):
        track = pycolmap.Track()
        for keypoint in range(point, PHOTOS * each, POINTS):
            track.add_element(keypoint // each + 1, keypoint % each)
        stored.add_point3D(model.points[point].astype(float), track, model.colors[point])
    (out / "sparse" / "0").mkdir(parents=True)
    stored.write_binary(out / "sparse" / "0")


def view(run: Path, page: Path) -> str:
    """Run `desdis-match view`; what it took, in words."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "desdis_match", "view", str(run), "--output", str(page)]
    _, status, used = os.wait4(os.posix_spawn(sys.executable, command, os.environ), 0)
    if status:
        raise SystemExit("view failed")
    wall, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
    return f"view: {wall:.1f} s ({cpu:.1f} s of CPU), at most {used.ru_maxrss / 2**10:,.0f} MiB"


def main(work: Path, disk: bool) -> None:
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "page")]
    from browser import Browser, find_browser
    from largerun import large_run

    found = find_browser()
    if found is None:
        raise SystemExit(
            "Chromium and chromedriver are not on this machine (apt-get install chromium-driver)"
        )
    page = work / "large.html"
    if disk:
        (work / "large").mkdir()
        write_run(work / "large")
        print(view(work / "large", page))
        text = page.read_text(encoding="utf-8")
    else:
        run = large_run(PHOTOS, POINTS)
        started, worked = time.perf_counter(), time.process_time()
        text = build_page(run, None, "large")
        wall, cpu = time.perf_counter() - started, time.process_time() - worked
        print(f"written in {wall:.1f} s ({cpu:.1f} s of CPU)")
    print(f"{len(text) / 1e6:.0f} MB")
    for old, new in MARKS:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    page.write_text(text, encoding="utf-8")
    with Browser(*found, work / "profile") as browser:
        for _ in range(ROUNDS):
            before = browser.cpu_seconds()
            browser.open(page)
            browser.wait("performance.getEntriesByName('all points').length", 120)
            marks = browser.run(
                "performance.getEntriesByType('mark').map((m) => [m.name, m.startTime / 1000])"
            )
            told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in marks)
            print(
                f"opened, seconds: {told}; CPU of all processes {browser.cpu_seconds() - before:.1f}; "
                f"memory of the page's process {browser.page_bytes() / 2**20:,.0f} MiB"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disk", action="store_true", help="write the run to disk and read it from there")
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder), parser.parse_args().disk)
