"""The page's pictures in the documents, made by Chromium: docs/page-model.png, docs/page-pair.png.

python tools/page/pictures.py                # renders a scene and reconstructs it first, a minute
python tools/page/pictures.py --run OUT      # of a run that is there, with its photos
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
from PIL import Image

from desdis_match.page.write import write_report_page
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.synthetic.courtyard import SyntheticConfig, render_scene

ROOT = Path(__file__).parents[2]
SIZE = (1400, 900)
COLOURS = 256
"""Of a stored PNG."""
MARKS = ["accent", "picked", "good", "bad", "camera", "point", "fair", "miss"]
"""The style's colours of what covers few pixels, which the stored picture has as they are."""
VIEWS = {
    "page-model.png": "Page.open('model')",
    "page-pair.png": "Page.list('pairs'), Page.openPair(4)",
}
"""What is shown in each."""


def fewer_colours(image: Image.Image, marks: list[list[int]]) -> Image.Image:
    """With COLOURS of them, `marks` as they are."""
    num = COLOURS - len(marks)
    found = (image.quantize(num, Image.Quantize.MEDIANCUT).getpalette() or [])[: 3 * num]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found, *(value for mark in marks for value in mark)])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def main(run: Path | None, work: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser, find_browser

    if run is None:
        run = work / "courtyard"
        reconstruct(ReconstructConfig(render_scene(work / "scene", SyntheticConfig()) / "images", run))
    page = write_report_page(run, work / "page.html")
    found = find_browser()
    if found is None:
        raise SystemExit(
            "Chromium and chromedriver are not on this machine (apt-get install chromium-driver)"
        )
    with Browser(*found, work / "profile", SIZE) as browser:
        browser.open(page)
        browser.wait("Page.model.reference > 0")
        for name, script in VIEWS.items():
            browser.run(f"({script}, 1)")
            time.sleep(2)  # photos are decoded, points drawn
            path = browser.screenshot(ROOT / "docs" / name)
            marks = browser.run(f"{MARKS}.map((name) => rgb(name).map((share) => Math.round(255 * share)))")
            fewer_colours(Image.open(path).convert("RGB"), marks).save(path, optimize=True)
            print(f"{path}: {cv2.imread(str(path)).shape[1::-1]}, {path.stat().st_size:,} bytes")
        faults = browser.errors() + browser.run("pageErrors")
    if faults:
        raise SystemExit(f"the page has faults: {faults}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a finished run; rendered and reconstructed if missing")
    with tempfile.TemporaryDirectory() as folder:
        main(parser.parse_args().run, Path(folder))
