"""A stage alone says what is wrong before it makes anything."""

import cv2
import numpy as np
import pytest

from desdis_match.commands.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos of noise with their features and matches."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "photos").mkdir()
    for name in "ab":
        noise = np.random.default_rng(0).integers(0, 255, (120, 160), np.uint8)
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), noise)
    before = pytest.MonkeyPatch()
    before.chdir(folder)
    assert main(["extract", "--images", "photos", "--workers", "1", "--descriptor", "rootsift"]) == 0
    assert main(["pairs"]) == 0 and main(["match"]) == 0
    before.undo()
    return folder


def test_why_no_model_formed_ends_before_the_next_sentence(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    few = ["--images", "photos", "--workers", "1", "--descriptor", "rootsift", "--max-keypoints", "1"]
    assert main(["reconstruct", "--output", str(tmp_path / "run"), *few]) == 3
    assert ". The numbers are in " in capsys.readouterr().err
    files = ["--features", str(tmp_path / "run/features.h5"), "--matches", str(tmp_path / "run/matches.h5")]
    assert main(["map", "--images", "photos", "--output", str(tmp_path / "mapped"), *files]) == 3
    assert ". COLMAP's own lines are in " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("extract --images photos --output new.h5 --device gpu", "unknown device 'gpu'"),
        ("extract --images photos --output new.h5 --descriptor sift2", "unknown descriptor 'sift2'"),
        ("extract --images photos --output new.h5 --masks nowhere", "nowhere does not exist"),
        ("extract --images photos --output new.h5 --keypoints nowhere.h5", "nowhere.h5"),
        ("extract --images nowhere --output new.h5", "nowhere does not exist"),
        ("match --output new.h5 --device gpu", "unknown device 'gpu'"),
        ("verify --images photos --output new/t.h5 --camera-model FISHY", "camera model 'FISHY' is unknown"),
        ("verify --images photos --output new/t.h5 --camera-file nowhere", "nowhere"),
        ("verify --images photos --output new/t.h5 --matches nowhere.h5", "nowhere.h5"),
        ("map --images photos --output new --camera-model FISHY", "camera model 'FISHY' is unknown"),
        ("map --images photos --output new --camera-file nowhere", "nowhere"),
        ("map --images photos --output new --control nowhere", "nowhere"),
        ("map --images photos --output new --poses nowhere", "nowhere does not exist"),
        ("map --images photos --output new --rig-config nowhere", "nowhere does not exist"),
        ("map --images photos --output new --georeference", "0 of the 2 photos have a GPS position"),
        ("map --images photos --output new --features nowhere.h5", "nowhere.h5"),
        ("map --images photos --output photos", "photos is what is read"),
        (
            "map --images photos --output new --georeference --no-georeference",
            "leave out it or --georeference",
        ),
        ("map --images photos --output new --no-georeference --control c.csv", "leave out it or --control"),
        ("map --images photos --output new --refine-poses", "give them with --poses"),
        ("align --model nowhere --output new", "give the photos with --images, for their GPS, or --control"),
        ("extract --images photos --output new.h5 --max-keypoints 20000000", "from 1 to 10,000,000"),
        ("extract --images photos --output new.h5 --max-keypoints 99999999999", "from 1 to 10,000,000"),
        ("extract --images photos --output new.h5 --workers -99999999999", "from 0 to 4,096"),
        ("map --images photos --output new --seed 99999999999", "a number below 2147483647"),
        (
            "localize --model . --features features.h5 --queries nowhere --output new",
            "nowhere does not exist",
        ),
        (
            "localize --model . --features features.h5 --queries photos --output photos",
            "photos is what is read",
        ),
        (
            "localize --model . --features features.h5 --queries photos --camera-model FISHY",
            "'FISHY' is unknown",
        ),
    ],
)
def test_nothing_is_made(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert message in said.err and said.out == ""
    assert sorted(folder.rglob("*")) == before
