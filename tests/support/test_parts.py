"""Parts by name: the table's, other packages', and module:Class of the current folder."""

import sys
from pathlib import Path

import pytest

from desdis_match.errors import InputError
from desdis_match.support.parts import check_part, find_part, is_import_path, outside_code, part_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which `python -m` would find modules and a console script would not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    return tmp_path


def test_a_class_of_the_current_folder_is_made_once(folder: Path):
    (folder / "my_parts_a.py").write_text("class Corners:\n    def __call__(self):\n        return 7\n")
    found = find_part("detectors", {}, "my_parts_a:Corners")
    assert found() == 7
    assert find_part("detectors", {}, "my_parts_a:Corners") is found


def test_a_function_is_the_part_itself(folder: Path):
    (folder / "my_parts_b.py").write_text("def corners():\n    return 7\n")
    assert find_part("detectors", {}, "my_parts_b:corners")() == 7


def test_the_table_comes_first_and_an_error_lists_all(folder: Path):
    assert find_part("detectors", {"dog": 1, "hessian": 2}, "hessian") == 2
    with pytest.raises(InputError, match="no 'cat' among detectors; choose from auto, dog, hessian, or give"):
        check_part("detectors", {"dog": 1, "hessian": 2}, "cat", also=("auto",))
    check_part("detectors", {"dog": 1}, "auto", also=("auto",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:Class", "No module named"),
        ("json:Nothing", "cannot be loaded"),
        ("fractions:Fraction.no", "cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(name: str, message: str):
    with pytest.raises(InputError, match=message):
        find_part("matchers", {}, name)


def test_a_class_with_arguments_is_a_sentence(folder: Path):
    (folder / "my_parts_c.py").write_text("class Needs:\n    def __init__(self, size):\n        pass\n")
    with pytest.raises(InputError, match="'my_parts_c:Needs' of pairs cannot be made without arguments"):
        find_part("pairs", {}, "my_parts_c:Needs")


def test_paths_of_files_are_no_import_paths():
    assert is_import_path("package.module:Class.member")
    for name in ("desdis-16", "C:\\weights.pth", "a/b.py:Class", "module:", ":Class", "dog"):
        assert not is_import_path(name)


def test_own_code_is_noted_and_a_change_shows(folder: Path):
    module = folder / "my_parts_d.py"
    module.write_text("def rule():\n    return 1\n")
    assert outside_code([("matchers", {"mnn": 1}, "mnn")]) == {}
    before = outside_code([("matchers", {"mnn": 1}, "my_parts_d:rule")])
    assert list(before["parts"]) == ["my_parts_d:rule"]
    module.write_text("def rule():\n    return 2\n")
    assert outside_code([("matchers", {"mnn": 1}, "my_parts_d:rule")]) != before


def test_names_of_the_table_come_first():
    assert part_names("no such group", ["b", "a"]) == ["b", "a"]
