"""How long a page of 5,000 photos and a million points takes: to be written, and to open in Chromium.

    python tools/page/opening.py    # on a quiet machine; without a GPU Chromium draws by software

Opening: from the start of loading until the page's script begins (the file is read and parsed), until the
page is built, until its first picture is drawn (read back from the GPU), until all points are drawn.
"""

import sys
import tempfile
import time
from pathlib import Path

from desdis_match.page.build import build_page

ROOT = Path(__file__).parents[2]
ROUNDS = 3
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


def main(work: Path) -> None:
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "page")]
    from browser import Browser, find_browser
    from largerun import large_run

    found = find_browser()
    if found is None:
        raise SystemExit(
            "Chromium and chromedriver are not on this machine (apt-get install chromium-driver)"
        )
    run = large_run(5000, 1_000_000)
    started, worked = time.perf_counter(), time.process_time()
    text = build_page(run, None, "large")
    wall, cpu = time.perf_counter() - started, time.process_time() - worked
    print(f"written in {wall:.1f} s ({cpu:.1f} s of CPU), {len(text) / 1e6:.0f} MB")
    for old, new in MARKS:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    page = work / "large.html"
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
            print(f"opened, seconds: {told}; CPU of all processes {browser.cpu_seconds() - before:.1f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
