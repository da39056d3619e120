"""The examples of docs/api.md and of the README, run as they stand, beside a rendered scene."""

import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
README = (ROOT / "README.md").read_text().partition("## From Python")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def here(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(scene_folder / "images", folder / "scene" / "images")
    return folder


def test_the_page_runs_from_top_to_bottom(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    # Six small photos are done before other processes have started.
    monkeypatch.setattr("desdis_match.pipeline.resume.available_cores", lambda: 1)
    importlib.invalidate_caches()
    names: dict = {}
    for block in BLOCKS:
        if block.startswith("# my_parts.py"):
            (here / "my_parts.py").write_text(block)
        else:
            exec(compile(block, "docs/api.md", "exec"), names)
    said = capsys.readouterr().out
    found = re.search(r"(\d+) matches, (\d+) agree with one [FH]", said)
    assert found and int(found[1]) >= int(found[2]) > 100
    assert names["view"].kind == "E" and names["view"].cam1_from_cam0.shape == (3, 4)
    assert re.search(r"^view_00[1-5]\.jpg \d{3,}$", said, re.MULTILINE)
    assert re.search(r"^[3-6] photos, \d{2,} points", said, re.MULTILINE)


def test_two_photos_to_inliers_take_six_lines():
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 6


def test_the_readme_runs_and_is_short(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(here)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert re.search(r"\d+ matches, \d+ inliers", capsys.readouterr().out)
    lines = [line for line in example.splitlines() if line.strip()]
    assert lines[0].startswith("import") and len(lines) <= 8
