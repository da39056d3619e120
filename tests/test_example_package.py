"""Another package's parts, found by their entry points: a run with one of each."""

import importlib
import json
import sys
from pathlib import Path

import pytest

import desdis_match as dm
from desdis_match.commands.cli import main as cli

PACKAGE = Path(__file__).parent / "example_package"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the path, as an installed package is: its metadata with it."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))  # of worker processes
    importlib.invalidate_caches()


def test_a_run_with_one_part_of_each_kind(scene_folder: Path, tmp_path: Path):
    def run() -> dm.ReconstructResult:
        return dm.reconstruct(
            scene_folder / "images",
            tmp_path / "model",
            detector="example-hessian",
            descriptor="example-pixels",
            matcher="example-nearby",
            pairs="example-alike+sequential",
            mapper="example-best",
            align=False,
            workers=1,
        )

    result = run()
    assert result.models[0].num_reg_images() >= 4
    ways = json.loads((tmp_path / "model" / "pairs.json").read_text())["ways"]
    assert ways == {"example-alike": 15, "sequential": 0}  # six photos, all of about as many keypoints
    made = (tmp_path / "model" / "features.h5").stat().st_mtime_ns
    assert run().models[0].num_points3D() == result.models[0].num_points3D()
    assert (tmp_path / "model" / "features.h5").stat().st_mtime_ns == made  # nothing is done twice


def test_a_whole_local_feature_by_the_command_line(scene_folder: Path, tmp_path: Path):
    output = tmp_path / "features.h5"
    words = ["extract", "--images", str(scene_folder / "images"), "--output", str(output)]
    assert cli([*words, "--local-feature", "example-sift", "--workers", "1", "--quiet"]) == 0
    names = sorted(path.name for path in (scene_folder / "images").iterdir())
    stored = dm.read_features(output, names[0])
    direct = dm.extract(scene_folder / "images" / names[0], local_feature="example-sift")
    assert len(stored) == len(direct) > 100
    assert (stored.keypoints == direct.keypoints).all()
    assert stored.scales.min() > 1.5


def test_an_unknown_part_is_a_sentence_with_what_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for option, kind, names in (
        ("--detector", "detectors", "dog, hessian, dog+hessian, hessian-multiscale, example-hessian"),
        ("--local-feature", "features", "sift, aliked, example-sift"),
        ("--matcher", "matchers", "mnn, ratio, mnn+ratio, example-nearby"),
        ("--mapper", "mappers", "auto, incremental, global, hierarchical, example-best"),
    ):
        assert cli(["reconstruct", "--images", str(tmp_path), option, "nothing"]) == 2
        said = capsys.readouterr().err
        assert f"there is no 'nothing' among {kind}; choose from {names}" in said


def test_a_module_of_the_current_folder(scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "my_detectors.py").write_text(
        "from desdis_match.features.detectors import DETECTORS\n\n\n"
        "class Fine:\n    def __call__(self, image, config):\n"
        "        return DETECTORS['dog'](image, config)\n"
    )
    photo = next((scene_folder / "images").iterdir())
    own = dm.extract(photo, detector="my_detectors:Fine", max_keypoints=200)
    assert (own.keypoints == dm.extract(photo, detector="dog", max_keypoints=200).keypoints).all()
