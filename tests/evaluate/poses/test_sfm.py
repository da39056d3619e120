"""Where runs of `evaluate sfm` lie: those of other code are not taken for today's."""

import shutil
from pathlib import Path

import pytest

from desdis_match.evaluate import cache
from desdis_match.evaluate.poses import sfm

PACKAGE = Path(cache.PACKAGE)


@pytest.mark.parametrize(
    "changed", ["matching/consensus.py", "colmap/alignment.py", "features/detectors.py", "pipeline/report.py"]
)
def test_runs_of_other_code_lie_elsewhere(tmp_path, monkeypatch, changed):
    asked = []
    monkeypatch.setattr(sfm, "default_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(sfm, "code_hash", lambda *modules: asked.append(modules) or 64 * "a")
    assert sfm.sfm_folder() == tmp_path / "cache" / "sfm" / (16 * "a")
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.onnx")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignored)
    before = cache.code_hash(*asked[0], root=tmp_path)
    with (tmp_path / PACKAGE.name / changed).open("a") as file:
        file.write("\n")
    cache._code_hash.cache_clear()
    assert cache.code_hash(*asked[0], root=tmp_path) != before
