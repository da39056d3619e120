"""A prediction's key changes with the code that makes it, wherever that code lies, and with nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import desdis_match
from desdis_match.evaluate import cache
from desdis_match.evaluate.patches import hpatches_scores
from desdis_match.evaluate.planes import baselines, scores
from desdis_match.matching import match

PACKAGE = Path(desdis_match.__file__).parent


def test_a_prediction_is_made_once_a_key_and_again_where_its_file_is_damaged_or_anothers(tmp_path, caplog):
    found, made = cache.PredictionCache(tmp_path), []

    def get(**key) -> list[int]:
        made.append(key)
        arrays = found.get({"task": "t", **key}, lambda: {"x": np.full(2, len(made))})
        return arrays["x"].tolist()

    assert [get(a=1), get(a=1), get(a=2), get(b=1), get(a=1)] == [[1, 1], [1, 1], [3, 3], [4, 4], [1, 1]]
    assert (found.hits, found.misses) == (2, 3)
    assert found.get({"a": 1, "task": "t"}, dict)["x"].tolist() == [1, 1]  # the same in another order
    first, second, _ = sorted(tmp_path.rglob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    assert first.relative_to(tmp_path).parts[0] == "t"
    first.write_bytes(second.read_bytes())  # whole, but of another key
    assert get(a=1) == [6, 6]
    assert "damaged" not in caplog.text
    second.write_bytes(second.read_bytes()[:-30])
    assert get(a=2) == [7, 7] and get(a=2) == [7, 7]
    assert "is damaged; it is computed again" in caplog.text


def test_without_a_folder_every_prediction_is_made():
    found = cache.PredictionCache(None)
    assert [found.get({}, lambda k=k: {"k": k})["k"] for k in (1, 2)] == [1, 2] and found.misses == 2


@pytest.fixture
def copy(tmp_path) -> Path:
    """A folder with a copy of the package, which a test may change."""
    shutil.copytree(PACKAGE, tmp_path / "desdis_match", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fresh_hash(root: Path, *modules) -> str:
    cache._code_hash.cache_clear()  # as in the next run, which reads the files anew
    return cache.code_hash(*modules, root=root)


DESCRIBING = ("desdis_match.evaluate.shared", "desdis_match.descriptors", "desdis_match.weights")


@pytest.mark.parametrize(
    ("modules", "file"),
    [
        *(
            (DESCRIBING, file)
            for file in (
                "conventions.py",
                "descriptors/desdis.py",
                "descriptors/engine.py",
                "descriptors/rootsift.py",
                "evaluate/shared.py",
                "features/detectors.py",
                "features/frames.py",
                "features/orientation.py",
                "features/orientation_learned.py",
                "features/orientation_of_set.py",
                "features/orientation_policy.py",
                "features/scalespace.py",
                "photos/images.py",
                "support/devices.py",
                "weights/desdis-8.safetensors",
                "weights/orientation.safetensors",
            )
        ),
        ((match,), "matching/match.py"),
        ((match,), "matching/nearest.py"),
        ((scores,), "evaluate/planes/scores.py"),
        ((baselines,), "evaluate/planes/baselines.py"),
        ((baselines,), "photos/images.py"),
        ((hpatches_scores,), "evaluate/patches/hpatches_scores.py"),
        (("desdis_match.evaluate.patches.phototour",), "patchsets/patchset.py"),
    ],
)
def test_a_change_in_what_a_prediction_depends_on_changes_its_key(copy, modules, file):
    before = fresh_hash(copy, *modules)
    with (copy / "desdis_match" / file).open("ab") as stream:
        stream.write(b"\n")
    assert fresh_hash(copy, *modules) != before


@pytest.mark.parametrize(
    "file", ["colmap/mapping.py", "pipeline/reconstruct.py", "page/run.py", "__init__.py"]
)
def test_a_change_elsewhere_leaves_it(copy, file):
    before = fresh_hash(copy, *DESCRIBING)
    with (copy / "desdis_match" / file).open("ab") as stream:
        stream.write(b"\n")
    assert fresh_hash(copy, *DESCRIBING) == before


def test_predictions_of_descriptors_ask_for_just_that(monkeypatch):
    asked = []
    monkeypatch.setattr(cache, "code_hash", lambda *modules: asked.append(modules) or "hash")
    assert cache.describing_code() == "hash" and asked == [DESCRIBING]


@pytest.mark.parametrize("name", ["desdis_match.patches", "desdis_match.nothing.at_all", "match*.py"])
def test_a_module_that_is_not_there_is_an_error(name):
    with pytest.raises(ValueError, match="no module"):
        cache.code_hash(match, name)


def test_a_folder_without_files_is_no_package(tmp_path):
    (tmp_path / "empty" / "__pycache__").mkdir(parents=True)
    (tmp_path / "empty" / "__pycache__" / "old.pyc").touch()
    with pytest.raises(ValueError, match="no module empty"):
        cache.code_hash("empty", root=tmp_path)
