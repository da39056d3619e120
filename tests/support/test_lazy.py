"""Modules that later stages need are loaded while others work, not before."""

import subprocess
import sys

from desdis_match.support.lazy import load_meanwhile


def test_modules_are_loaded_meanwhile_and_one_that_is_not_there_is_left_out():
    sys.modules.pop("colorsys", None)
    load_meanwhile(("no_such_module", "colorsys")).join()
    assert "colorsys" in sys.modules


def test_the_command_begins_without_what_is_loaded_meanwhile():
    code = """
import sys
import desdis_match.commands.reconstruct
from desdis_match.pipeline.reconstruct import FOR_MAPPING
print([name for name in (*FOR_MAPPING, "scipy.spatial") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
