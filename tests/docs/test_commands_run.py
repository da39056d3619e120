"""Every command block of README, CONTRIBUTING and docs/ runs as it stands, on a few small rendered photos.

Blocks are those in ```bash. One that cannot run offline, on one machine and in seconds says so in a comment
on the line above it, `<!-- not run: why -->`; installation and tests (`<!-- ci: ... -->`) are run by .ci/run.
Commands run in this process, in a folder that has what the pages name (`LINKS`); `SHORTER` cuts some work.
"""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from desdis_match.commands.cli import main as cli
from desdis_match.features.extract import ExtractConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.synthetic.courtyard import SyntheticConfig, read_scene, render_scene
from desdis_match.synthetic.walls import render_walls

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (not run|ci): ([^\n]+) -->\n)?```bash\n(.*?)```", re.DOTALL)
SHORTER = {
    "synthetic": ["--views", "4", "--size", "320", "240"],
    "train": ["--steps", "2", "--batch", "16", "--validate-every", "0"],
    "homographies": ["--max-keypoints", "200"],
    "reconstruct": ["--max-keypoints", "500"],
    "extract": ["--max-keypoints", "500"],
}
"""Command -> options at its end; the last of two counts."""
METRE = 1 / 111_195.0
"""Of latitude, degrees."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Photos with GPS, a finished run of them, and what else the pages name."""
    here = tmp_path_factory.mktemp("pages")
    scene = render_scene(here / "rendered", SyntheticConfig(views=6, size=(320, 240)))
    _, views, _ = read_scene(scene)
    (here / "photos").mkdir()
    control = ["frame, local"]
    (here / "later").mkdir()
    (scene / "images" / views[3].name).rename(here / "later" / "later.jpg")
    for view in views[:3] + views[4:]:
        photo = Image.open(scene / "images" / view.name)
        exif = photo.getexif()
        x, y, z = view.center
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N", (60 + y * METRE, 0.0, 0.0)
        gps[3], gps[4] = "E", (10 + x * METRE * 2, 0.0, 0.0)
        gps[5], gps[6] = b"\0", 500.0 + z
        photo.save(here / "photos" / view.name, exif=exif, quality=95)
        control.append(f"camera, {view.name}, {x}, {y}, {z}")
    (here / "control.csv").write_text("\n".join(control) + "\n")
    few = ExtractConfig(max_keypoints=500)
    reconstruct(ReconstructConfig(here / "photos", here / "photos-model", extract=few))
    render_walls(here / "hpatches-sequences", 1, (200, 150))
    np.save(here / "PATCHES.npy", np.random.default_rng(0).random((8, 32, 32), np.float32))
    shutil.rmtree(here / "rendered")
    return here


LINKS = {
    "PHOTOS": "photos",
    "NEW_PHOTOS": "later",
    "MORE_PHOTOS": "later",
    "OUT": "photos-model",
    "COLMAP_FOLDER": "photos-model",
    "model": "photos-model",
    "survey": "photos-model",
    "constraints.txt": str(ROOT / "constraints.txt"),
    "desdis_match": str(ROOT / "desdis_match"),
    "training": str(ROOT / "training"),
    "pipelines": str(ROOT / "pipelines"),
}
"""Names on the pages -> what they are here, copied."""


MADE = ("features.h5", "matches.h5")
"""Files of the run that lie in the folder, too, where a page does not make them."""


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here"), *sys.path])
    for name, target in LINKS.items():
        if target.startswith("/"):
            Path(name).symlink_to(target)
        elif Path(target).is_dir():
            shutil.copytree(target, name)
        else:
            shutil.copy(target, name)
    return tmp_path / "here"


def blocks(page):
    """(mark, why, text) of every command block."""
    return [(mark, why, text) for mark, why, text in BLOCK.findall(page.read_text())]


def run(line, monkeypatch):
    words = shlex.split(line, comments=True)
    if not words or words[:2] == ["pip", "install"]:
        return
    if words[0] == "desdis-match":
        words = words[1:]
    elif words[:2] == ["python", "-m"] and words[2].startswith("desdis_match."):
        words = [words[2].removeprefix("desdis_match."), *words[3:]]
    else:
        assert words[0] == "python", f"{line}: mark the block `<!-- not run: why -->`"
        more = SHORTER["train"] if words[1] == "training/train.py" else []
        monkeypatch.setattr(sys, "argv", [*words[1:], *more])
        with pytest.raises(SystemExit) if words[1] == "training/train.py" else _nothing() as stop:
            runpy.run_path(words[1], run_name="__main__")
        assert stop is None or not stop.value.code, line
        return
    more = next((SHORTER[word] for word in words[:2] if word in SHORTER and "--help" not in words), [])
    try:
        assert cli([*words, *more]) == 0, line
    except SystemExit as stop:  # --help
        assert not stop.code, line


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return False


SHOWN = [page for page in PAGES if any(mark == "" for mark, _, _ in blocks(page))]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_the_commands_run(page, here, monkeypatch, capsys):
    for block in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", page.read_text(), re.DOTALL):
        Path(block[1]).write_text(block[0])
    for name in MADE:
        if f"--output {name}" not in page.read_text():
            shutil.copy(f"photos-model/{name}", name)
    for mark, _, text in blocks(page):
        for line in text.replace("\\\n", " ").splitlines() if not mark else ():
            for command in line.split("#")[0].split("&&"):
                run(command, monkeypatch)


def test_what_is_not_run_says_why_and_is_little():
    marked = [(page.name, why) for page in PAGES for mark, why, _ in blocks(page) if mark == "not run"]
    assert all(len(why) > 2 for _, why in marked)
    run_here = sum(mark == "" for page in PAGES for mark, _, _ in blocks(page))
    assert run_here >= 2 * len(marked) - 4, marked
    for page in PAGES:  # commands stand in blocks that are run
        for text in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL):
            assert not re.match(r"\s*(desdis-match|python) ", text), f"{page.name}: {text}"
