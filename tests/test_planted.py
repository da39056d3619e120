"""The faults of planted.py can be planted: what each changes is in the code, and its tests are there."""

from pathlib import Path

import pytest
from planted import FAULTS, Fault, plant
from planting import ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: Fault, tmp_path: Path) -> None:
    copy = tmp_path / fault.file
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / "desdis_match" / fault.file).read_bytes())
    before = plant(fault, tmp_path)
    after = copy.read_text(encoding="utf-8")
    assert after != before
    compile(after, fault.file, "exec")
    for test in fault.tests:
        assert (ROOT / "tests" / test.partition("::")[0]).is_file()


def test_a_fault_whose_text_has_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("y", "x = 1"):
        with pytest.raises(LookupError, match=r"a\.py holds"):
            plant(Fault("f", "a.py", old, "z", ()), tmp_path)
