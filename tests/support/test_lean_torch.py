"""torch in half the time: what waits is there when it is asked for, and before other packages' code runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from desdis_match.support import lean_torch

LEAN = """
import sys
from desdis_match.support import lean_torch
lean_torch.load()
import torch
assert not any(name in sys.modules for name in ("torch.export.exported_program", "torch._prims"))
"""


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", LEAN + code], check=True, capture_output=True, text=True, timeout=300
    ).stdout


def test_the_release_of_the_constraints_is_tried():
    listed = (Path(__file__).parents[2] / "constraints.txt").read_text()
    assert re.search(r"^torch==(.*)$", listed, re.M)[1].startswith(lean_torch.TRIED)


def test_what_computes_does_without():
    code = """
x = torch.arange(12.0).view(3, 4).requires_grad_()
torch.nn.functional.conv2d(x.view(1, 1, 3, 4), torch.ones(1, 1, 2, 2)).sum().backward()
assert "torch._prims" not in sys.modules
print(float(x.grad.sum()))
"""
    assert float(run(code)) == 24


def test_random_numbers_and_loaders_do_without():
    code = """
first = torch.rand(3, generator=torch.Generator().manual_seed(5))
items = sorted(torch.utils.data.DataLoader([1, 2, 3], shuffle=True, batch_size=None))
assert "torch._prims" not in sys.modules
lean_torch.complete()
assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(5)))
print(items)
"""
    assert run(code).strip() == "[1, 2, 3]"


def test_an_import_that_failed_leaves_no_stand_in():
    code = """
import builtins, sys
from desdis_match.support import lean_torch
real = builtins.__import__
def failing(name, *rest):
    if name == "torch":
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = failing
try:
    lean_torch.load()
except KeyboardInterrupt:
    print([name for name in lean_torch.LATER if name in sys.modules], "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True"


@pytest.mark.parametrize(
    "ask",
    [
        "torch.export.export",
        "__import__('torch.export').export.export",
        "__import__('torch.export.exported_program').export.exported_program.ExportedProgram",
        "__import__('torch._dynamo')._dynamo.optimize",
    ],
)
def test_a_part_loads_when_something_of_it_is_asked_for(ask):
    code = f"""
assert callable({ask})
class Twice(torch.nn.Module):
    def forward(self, x): return x + x
print(torch.export.export(Twice(), (torch.ones(2),)).module()(torch.ones(2)).tolist())
"""
    assert run(code).strip() == "[2.0, 2.0]"


def test_other_packages_code_has_all_of_torch():
    """A kernel that is only registered for tensors without data."""
    code = """
from desdis_match.support.parts import loaded
loaded("detectors", "collections:OrderedDict")
assert "torch._prims" in sys.modules and "torch.export.exported_program" in sys.modules
square = torch.compile(lambda x: torch.linalg.eigvalsh(x).sum(), backend="aot_eager")
print(float(square(torch.eye(3))))
"""
    assert float(run(code)) == 3


def test_a_release_that_was_not_tried_is_loaded_whole():
    whole = """
import sys
from desdis_match.support import lean_torch
lean_torch.TRIED = "0.0."
lean_torch.load()
assert not any(isinstance(sys.modules.get(name), lean_torch._StandIn) for name in lean_torch.LATER)
import torch
assert "torch._prims" in sys.modules
"""
    subprocess.run([sys.executable, "-c", whole], check=True, timeout=300)


def test_torch_that_is_there_stays_as_it_is():
    import torch

    lean_torch.load()
    assert not isinstance(sys.modules["torch.export"], lean_torch._StandIn) and torch.export.export
