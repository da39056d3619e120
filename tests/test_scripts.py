"""Scripts of eval/ and training/ have one kind of interface, and call functions, not command lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*(ROOT / "eval").glob("*.py"), *(ROOT / "training").glob("*.py")])
QUIET = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
ALLOWED = {"desdis_match.commands.cli", "desdis_match.commands.flags"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_is_main_of_its_arguments(path: Path) -> None:
    *body, last = ast.parse(path.read_text(encoding="utf-8")).body
    assert ast.unparse(last).splitlines() == [
        "if __name__ == '__main__':",
        "    sys.exit(run(main, sys.argv[1:]))",
    ]
    if path.name == "train.py":  # is `desdis-match train`
        return
    (main,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert ast.unparse(main.args) == "argv: list[str]" and ast.unparse(main.returns) == "int"
    assert f"parse(Arguments, argv, 'python {path.parent.name}/{path.name}')" in ast.unparse(main)
    modules = {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
    assert {module for module in modules if module.startswith("desdis_match.commands")} == ALLOWED


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_happens_when_a_script_is_imported(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body[:-1]:
        text = ast.unparse(node)
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, QUIET) or is_text or text.startswith("matplotlib.use("), text
