"""The imports of the package point down, as docs/index.md draws it, and in no circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import desdis_match

PACKAGE = Path(desdis_match.__file__).parent

FLOORS = (
    ("errors", "types", "conventions", "support"),
    ("photos", "descriptors", "storage", "matching"),
    ("features",),
    ("colmap",),
    ("page", "viz", "synthetic"),
    ("pipeline",),
    ("exchange", "plugins", "patchsets"),
    ("distill", "evaluate"),
    ("commands",),
)
"""Families, lowest first. Those of one floor do not import each other but where BESIDE says so."""

BESIDE = {("support", "errors"), ("support", "types")}
FLOOR = {family: number for number, floor in enumerate(FLOORS) for family in floor}
DOORS = {"__init__", "__main__", "reconstruct", "public"}
"""At the top of the package: they may import anything, and nothing below imports them."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(name: str, top_level_only: bool = False):
    """Modules of this package that a module imports, also inside functions."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "desdis_match")
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        if source.split(".")[0] == "desdis_match":
            for alias in node.names:
                yield f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source


def family(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name):
    mine = family(name)
    if mine in DOORS or name.endswith(".__main__"):
        return
    assert mine in FLOOR, f"{name} belongs to no family that this test knows"
    for other in imports(name):
        theirs = family(other)
        if theirs == mine or (mine, theirs) in BESIDE or other == "desdis_match":
            continue
        assert theirs not in DOORS, f"{name} imports the door {other}"
        assert FLOOR[theirs] < FLOOR[mine], f"{name} imports {other}, which is not below it"


def test_no_two_modules_import_each_other():
    graph = {name: set(imports(name, top_level_only=True)) - {name} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_only_the_families_beside_colmap_know_pycolmap():
    for name in MODULES:
        text = MODULES[name].read_text(encoding="utf-8")
        assert name == "desdis_match.support.native" or "import pycolmap" not in text.replace(
            "native import pycolmap", ""
        ), f"{name} imports pycolmap itself; take it from support/native.py, which loads OpenCV first"


def test_no_module_is_longer_than_400_lines():
    long = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_bounds_of_libraries_that_were_tried():
    """pycolmap 4.0 to 4.1.0 match several times slower, 4.2.0's global mapper is broken; kornia 0.8.1 is what
    deep-image-matching needs; windows need a display, which servers have none of."""
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    bounds = dict(re.findall(r'"([a-z-]+)>=([0-9.]+)"', text))
    assert tuple(map(int, bounds["pycolmap"].split("."))) >= (4, 2, 1)
    assert tuple(map(int, bounds["kornia"].split("."))) <= (0, 8, 1)
    assert "opencv-python-headless" in bounds and "opencv-python" not in bounds
