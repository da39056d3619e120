"""Every notebook runs from top to bottom, and is committed with small outputs and without code of its own."""

import ast
import base64
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 100_000
"""Bytes of a picture."""
TOGETHER = 1_500_000
"""Bytes of a notebook."""

SMALLER = {
    "03_distill": {"steps=120": "steps=40", "range(3)": "range(1)"},
    "05_retrieval": {"each = 40": "each = 8"},
}
"""What a notebook does less of in the tests than where its outputs are made."""


def cells_of(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def outputs_of(path):
    return [output for cell in cells_of(path) for output in cell["outputs"]]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{k:02d}" for k in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_small_outputs(path):
    pictures = [o["data"]["image/png"] for o in outputs_of(path) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    for picture in pictures:
        png = base64.b64decode("".join(picture))
        assert png.startswith(b"\x89PNG") and len(png) < LARGEST
    assert path.stat().st_size < TOGETHER
    assert all(output["output_type"] != "error" for output in outputs_of(path))
    text = json.dumps([o for o in outputs_of(path) if "image/png" not in o.get("data", {})])
    assert not re.search(r"(?:^|[\s\"'])/(?:tmp|home|root|work|Users|var)/", text), (
        "a path of somebody's machine"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_begins_with_the_readers_own_folder(path):
    first = "".join(cells_of(path)[0]["source"])
    assert re.fullmatch(r"mine = None  # .*", first)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_holds_no_code_of_its_own(path):
    for cell in cells_of(path):
        tree = ast.parse("".join(cell["source"]))
        defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert not defined, "a notebook uses the package; functions belong there"


def run(path, folder, monkeypatch, mine=None):
    """The notebook's outputs, run in `folder`."""
    nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebooks` is not installed")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    if mine is not None:
        (cell, *_) = (cell for cell in notebook.cells if cell.cell_type == "code")
        cell.source = f"mine = {str(mine)!r}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for much, little in SMALLER.get(path.stem, {}).items():
        assert any(much in cell.source for cell in code)
        for cell in code:
            cell.source = cell.source.replace(much, little)
    for cell in code:
        cell.outputs = []
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs") or []]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    outputs = run(path, tmp_path, monkeypatch)
    assert not [o for o in outputs if o["output_type"] == "error"]
    committed = sum("image/png" in o.get("data", {}) for o in outputs_of(path))
    assert sum("image/png" in o.get("data", {}) for o in outputs) == committed


def test_takes_ones_own_photos(scene_folder, tmp_path, monkeypatch):
    outputs = run(NOTEBOOKS[0], tmp_path, monkeypatch, mine=scene_folder / "images")
    said = "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == "stdout")
    assert re.search(r"rootsift +mnn\+ratio +\d+ +\d+\n", said)
