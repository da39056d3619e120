"""`python tests/mutants.py MODULE TEST...`: which small changes of a module the tests notice.

MODULE is below desdis_match/, each TEST (file or node id) below tests/. One change at a time is made in a
copy: a comparison, an operator, a number, a condition, a call or a keyword argument left out; `--most` are
drawn. Not every one that survives is a gap: some change nothing that anybody could notice. What is a gap
gets a test, and an entry in planted.py where it is a fault one could make.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planting import ROOT, copied, failing, write_module

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """Text from `start` to `stop` of a module becomes `new`."""

    line: int
    start: int
    stop: int
    old: str
    new: str


def mutants(text: str) -> list[Mutant]:
    """All small changes of a module."""
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data, found = text.encode(), []
    for node, new in _changes(ast.parse(text)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        old = data[start:stop].decode()
        found.append(Mutant(node.lineno, start, stop, old, new))
    return found


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """(node, text in its place); annotations, docstrings and messages of errors stay as they are."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise):
            continue
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list"):
                waiting += [
                    one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST)
                ]
        yield from _changes_of(node)


def _changes_of(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield (
            node,
            _said(ast.Compare(node.left, [COMPARED[type(node.ops[0])](), *node.ops[1:]], node.comparators)),
        )
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATED:
        yield node, _said(ast.BinOp(node.left, OPERATED[type(node.op)](), node.right))
    elif isinstance(node, ast.BoolOp):
        yield node, _said(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node, _said(node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        new = not node.value if isinstance(node.value, bool) else node.value + 1
        yield node, f"({new})"
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node.test, _said(ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield node, "pass"
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in OTHER_NAMES:
            yield node.func, OTHER_NAMES[node.func.id]
        for keyword in node.keywords:
            others = [other for other in node.keywords if other is not keyword]
            yield node, _said(ast.Call(node.func, node.args, others))


def _said(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def main() -> int:
    """Plant each and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    text = (ROOT / "desdis_match" / chosen.module).read_text(encoding="utf-8")
    found = mutants(text)
    drawn = random.Random(chosen.seed).sample(found, min(chosen.most, len(found)))
    tests, survived = tuple(chosen.tests), 0
    with copied() as folder:
        start = time.monotonic()
        if failing(folder, tests):
            print("the tests fail without a change; mend that first")
            return 1
        limit = 20 + 5 * (time.monotonic() - start)
        path = folder / "desdis_match" / Path(chosen.module)
        for mutant in sorted(drawn, key=lambda one: one.start):
            data = text.encode()
            write_module(path, (data[: mutant.start] + mutant.new.encode() + data[mutant.stop :]).decode())
            if not failing(folder, tests, limit):
                survived += 1
                print(f"{chosen.module}:{mutant.line}: {mutant.old}  ->  {mutant.new}", flush=True)
    print(f"{chosen.module}: {len(drawn) - survived} of {len(drawn)} of {len(found)} changes are noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
