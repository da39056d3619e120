"""The main job on small rendered photos: what it makes, going on after a kill, changed options, bad input."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from desdis_match.colmap.mapping import MapConfig
from desdis_match.commands import cli
from desdis_match.errors import InputError, NoModelError
from desdis_match.features.extract import ExtractConfig
from desdis_match.matching.match import MatchConfig
from desdis_match.pipeline import RunConfig, alone_in, mapping
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.run_folder import RunFolder

OPTIONS = ["--max-keypoints", "800", "--workers", "1", "--descriptor", "rootsift"]
FILES = [
    "features.h5",
    "matches.h5",
    "two_view.h5",
    "pairs.txt",
    "database.db",
    "points.ply",
    "sparse/0/cameras.bin",
    "sparse/0/images.bin",
    "sparse/0/points3D.bin",
]

KILLS = [
    ("desdis_match.pipeline.extraction", "first_pass_to_arrays", 2),  # while photos are extracted
    ("desdis_match.pipeline.extraction", "features_from_arrays", 3),  # while features.h5 is written
    ("desdis_match.pipeline.matching", "matches_to_arrays", 9),  # while pairs are matched
    ("desdis_match.pipeline.matching", "matches_from_arrays", 4),  # while matches.h5 is written
    ("desdis_match.colmap.verification", "_pair_seed", 7),  # while pairs are verified
    ("desdis_match.pipeline.verification", "geometry_from_arrays", 4),  # while two_view.h5 is written
    ("desdis_match.colmap.database", "write_image", 3),  # while the database is filled
    ("desdis_match.colmap.verification", "_to_colmap", 4),  # while it goes into the database
    ("desdis_match.pipeline.mapping", "find_models", 0),  # before mapping
    ("desdis_match.pipeline.mapping", "write_points", 0),  # when only the models are there
]

KILLER = """
import importlib, json, os, signal, sys
from desdis_match.commands.reconstruct import main

def dying(owner, name, count):
    original = getattr(owner, name)
    def until_killed(*args, **kwargs):
        nonlocal count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(owner, name, until_killed)

for module, name, count in json.loads(sys.argv[1]):
    owner = importlib.import_module(module)
    child = os.fork()
    if not child:
        dying(owner, name, count)
        os._exit(main(sys.argv[2:]))
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
sys.exit(main(sys.argv[2:]))
"""
"""Runs the command until a function has been called so many times, then kill -9; then for the next; then to
its end. Each is a fork of a process that has done nothing but load the package."""


def run_command(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m desdis_match.reconstruct ...` as a person would run it."""
    command = [sys.executable, "-m", "desdis_match.reconstruct", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def sql(database: Path) -> list[str]:
    """All a database holds, as text."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def config(images: Path, output: Path, **extract) -> ReconstructConfig:
    return ReconstructConfig(
        images=images,
        output=output,
        extract=ExtractConfig(**{"max_keypoints": 800, "descriptor": "rootsift", **extract}),
        run=RunConfig(workers=1),
    )


@pytest.fixture(scope="module")
def undisturbed(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run from start to end."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    done = run_command("--images", scene_folder / "images", "--output", output, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "images registered" in done.stdout
    assert "6 of 6" in done.stdout
    assert "\x1b" not in done.stdout, "colours belong on terminals only"
    return output


def test_the_output_folder_holds_what_is_promised(undisturbed: Path):
    for name in (*FILES, "report.json", "report.html", "colmap.log"):
        assert (undisturbed / name).stat().st_size > 0, name
    report = json.loads((undisturbed / "report.json").read_text())
    assert set(report["stages"]) == {"extract", "pairs", "match", "verify", "map"}
    assert all(stage["seconds"] > 0 for stage in report["stages"].values())
    assert report["counts"]["images"] == 6
    assert report["counts"]["pairs"] == 15
    assert report["models"][0]["num_registered"] == 6
    assert all(image["registered"] and image["why"] is None for image in report["images"].values())
    assert report["configuration"]["extract"]["max_keypoints"] == 800
    with FeatureFile(undisturbed / "features.h5") as features:
        assert sum(features.counts().values()) == report["counts"]["keypoints"]


def test_live_shows_the_run_after_every_stage(
    undisturbed: Path, scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Photos and keypoints, then matches, each page loading itself again, and at the end the model."""
    from desdis_match.pipeline import reconstruct as module

    for name in ("features.h5", "pairs.txt", "matches.h5"):
        shutil.copy(undisturbed / name, tmp_path)
    real, pages = module.write_report_page, []

    def written(*args, **options):
        path = real(*args, **options)
        text = path.read_text()
        meta = json.loads(re.search(r'id="data-meta">(.*?)</script>', text, re.S)[1])
        num = [len(part) for part in (meta["images"], meta["pairs"]["image0"], meta["models"])]
        pages.append((meta["refresh"], *num))
        return path

    monkeypatch.setattr(module, "write_report_page", written)
    live = replace(config(scene_folder / "images", tmp_path), live=True)
    (tmp_path / "matches.h5").rename(tmp_path / "later.h5")
    module.show(RunFolder(tmp_path), live)
    (tmp_path / "later.h5").rename(tmp_path / "matches.h5")
    module.show(RunFolder(tmp_path), replace(live, live=False))  # nothing
    module.reconstruct(live)
    module.show(RunFolder(tmp_path), live)  # the page of a whole model stays
    after_features, after_extract, after_match, end = pages
    assert after_features == (module.REFRESH, 6, 0, 0) and module.REFRESH > 0
    assert after_extract == after_match == (module.REFRESH, 6, 15, 0)
    assert end == (0, 6, 15, 1)


def test_a_run_killed_in_every_stage_ends_with_the_same_files(
    undisturbed: Path, scene_folder: Path, tmp_path: Path
):
    output = tmp_path / "out"
    arguments = ["--images", scene_folder / "images", "--output", output, "--verbose", *OPTIONS]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, json.dumps(KILLS), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stdout.splitlines() if line.endswith(f" {-signal.SIGKILL}")]
    assert ends == [f"{name} {-signal.SIGKILL}" for _, name, _ in KILLS], done.stderr
    assert "extract goes on: 2 of 6 images are done" in done.stderr
    assert "match goes on: 9 of 15 pairs are done" in done.stderr
    for name in FILES:
        if name != "database.db":
            assert (output / name).read_bytes() == (undisturbed / name).read_bytes(), name
    # SQLite counts a file's transactions in its header; everything else is the same.
    assert sql(output / "database.db") == sql(undisturbed / "database.db")
    hidden = {path.name for path in output.iterdir() if path.name.startswith(".")}
    assert hidden == {".usage.json", ".lock"}, "nothing half-written is left"


def test_a_changed_option_redoes_only_what_depends_on_it(
    undisturbed: Path, scene_folder: Path, tmp_path: Path, capfd
):
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    before = {name: (output / name).stat().st_mtime_ns for name in FILES}
    places = [f"--images={scene_folder / 'images'}", f"--output={output}"]
    assert cli.main(["reconstruct", *places, *OPTIONS, "--ratio=0.7", "--verbose"]) == 0
    assert "matches.h5 is made again (match.ratio: " in capfd.readouterr().err
    after = {name: (output / name).stat().st_mtime_ns for name in FILES}
    assert after["features.h5"] == before["features.h5"]
    assert after["matches.h5"] != before["matches.h5"]
    assert after["sparse/0/images.bin"] != before["sparse/0/images.bin"]


def test_the_same_command_again_changes_nothing(undisturbed: Path, scene_folder: Path):
    # pairs.txt is always written; pycolmap touches a database when it opens it.
    kept = [name for name in FILES if name not in ("pairs.txt", "database.db")]
    before = {name: (undisturbed / name).stat().st_mtime_ns for name in kept}
    reconstruct(config(scene_folder / "images", undisturbed))
    assert {name: (undisturbed / name).stat().st_mtime_ns for name in before} == before


def test_damaged_images_are_named_counted_and_left_out(scene_folder: Path, tmp_path: Path):
    images = tmp_path / "photos"
    shutil.copytree(scene_folder / "images", images)
    photo = sorted(images.iterdir())[0]
    (images / "empty.jpg").write_bytes(b"")
    (images / "noise.png").write_bytes(b"this is no picture")
    (images / "cut.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    cv2.imwrite(str(images / "tiny.png"), np.zeros((1, 1), np.uint8))
    cv2.imwrite(str(images / "black.png"), np.zeros((300, 400), np.uint8))
    result = reconstruct(config(images, tmp_path / "out", orientation="upright"))
    assert result.report.counts.images == 11
    assert result.report.counts.usable == 6
    assert len(result.models[0].reg_image_ids()) == 6
    reasons = {name: image.why for name, image in result.report.images.items() if image.why}
    assert set(reasons) == {"empty.jpg", "noise.png", "cut.jpg", "tiny.png", "black.png"}
    assert "empty file" in reasons["empty.jpg"]
    assert "truncated" in reasons["cut.jpg"]
    assert "1x1" in reasons["tiny.png"]
    assert "same value" in reasons["black.png"]


def test_names_with_blanks_and_other_letters(scene_folder: Path, tmp_path: Path):
    images = tmp_path / "mes photos"
    for number, photo in enumerate(sorted((scene_folder / "images").iterdir())):
        folder = images / ("été à Köln" if number % 2 else "a b")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / f"photo nº {number}.jpg")
    result = reconstruct(config(images, tmp_path / "out put", orientation="upright"))
    assert {image.name for image in result.models[0].images.values()} >= {"a b/photo nº 0.jpg"}
    assert len(result.models[0].reg_image_ids()) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "nowhere does not exist; give the folder of photos, or a film"),
        (["--images", "nowhere.mp4"], "nowhere.mp4 does not exist; give the folder of photos, or a film"),
        (["--images", "a_file"], "a_file is neither a film nor a folder"),
        (["--images", "empty"], "holds no images"),
        (["--images", "one"], "needs two usable images or more"),
        (["--images", "bad"], "none of the 2 images"),
        (["--images", "two", "--output", "a_file"], "cannot be written"),
        (["--images", "two", "--ratio", "1.5"], "ratio is 1.5"),
        (["--images", "two", "--descriptor", "sift2"], "unknown descriptor 'sift2'"),
        (["--images", "two", "--camera-model", "FISHY"], "FISHY"),
        (["--images", "two", "--keypoints", "nowhere.h5"], "nowhere.h5"),
        (["--images", "two", "--masks", "nowhere"], "nowhere"),
        (["--images", "two", "--pairs-file", "nowhere.txt"], "nowhere.txt"),
        (
            ["--images", "two", "--pairs-file", "a_file"],
            "a_file, line 1: 'in the way' is not two names of images",
        ),
        (["--images", "two", "--pairs", "file"], "give it with --pairs-file"),
        (["--images", "two", "--pairs", "exhaustve"], "there is no 'exhaustve' among pairs"),
        (["--images", "two", "--pairs", "frusta"], "give them with --poses"),
        (["--images", "two", "--poses", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--images", "two", "--camera-params", "1,2"], "camera parameters '1,2' do not fit SIMPLE_RADIAL"),
        (["--images", "two", "--camera-file", "nowhere.txt"], "nowhere.txt"),
        (["--images", "two", "--rig-config", "nowhere.json"], "nowhere.json does not exist"),
        (["--images", "two", "--control", "nowhere.txt"], "nowhere.txt"),
        (["--images", "two", "--control", "a_file"], "a_file, line 1: 'in the way' is no row of a control"),
        (["--images", "two", "--georeference"], "0 of the 2 photos have a GPS position"),
        (["--images", "two", "--device", "gpu"], "unknown device 'gpu'"),
        (["--images", "two", "--detector", "fast"], "there is no 'fast' among detectors"),
        (["--images", "two", "--matcher", "best"], "there is no 'best' among matchers"),
        (["--images", "two", "--mapper", "best"], "there is no 'best' among mappers"),
        (["--images", "two", "--local-feature", "surf"], "there is no 'surf' among features"),
        (["--images", "two", "--output", "two"], "two is what is read"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
):
    from desdis_match.commands.cli import main

    monkeypatch.chdir(tmp_path)
    texture = np.random.default_rng(0).integers(0, 255, (120, 160), np.uint8)
    for folder in ("empty", "one", "two", "bad"):
        (tmp_path / folder).mkdir()
    for path in ("one/a.png", "two/a.png", "two/b.png"):
        cv2.imwrite(path, texture)
    for path in ("bad/a.png", "bad/b.png"):
        Path(path).write_bytes(b"")
    Path("a_file").write_text("in the way")
    before = sorted(path.name for path in Path().rglob("*"))
    assert main(["reconstruct", "--workers", "1", *arguments]) == 2
    said = capfd.readouterr()
    error = said.err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    if not message.startswith(("needs two usable", "none of the 2", "cannot be written")):  # those take work
        assert sorted(path.name for path in Path().rglob("*")) == before
        assert said.out == ""


def test_a_second_run_into_the_same_folder_is_refused(scene_folder: Path, tmp_path: Path):
    with alone_in(tmp_path):
        with pytest.raises(InputError, match=r"another run is at work in .*; wait until it has ended, or"):
            reconstruct(ReconstructConfig(scene_folder / "images", tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with alone_in(tmp_path):
        pass  # the first has ended


def test_an_unknown_flag_exits_with_2(capfd):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reconstruct", "--images", ".", "--detecter", "dog"])
    assert stop.value.code == 2
    error = capfd.readouterr().err
    assert "--detecter" in error and "Traceback" not in error


@pytest.mark.parametrize("filter", ["none", "consensus"])
def test_when_no_model_forms_the_report_says_which_stage_starved(tmp_path: Path, capsys, filter):
    images = tmp_path / "photos"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":  # pictures of different things
        coarse = rng.integers(0, 255, (30, 40), np.uint8)
        cv2.imwrite(
            str(images / f"{name}.png"), cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        )
    with pytest.raises(NoModelError) as error:
        reconstruct(replace(config(images, tmp_path / "out"), match=MatchConfig(filter=filter)))
    assert error.value.exit_code == 3
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["diagnosis"] in str(error.value)
    assert report["counts"]["verified_pairs"] == 0
    assert "verified" in report["diagnosis"] or "match" in report["diagnosis"]
    assert ("--filter consensus" in report["diagnosis"]) == (filter == "none")  # not what was tried
    assert (tmp_path / "out" / "report.html").is_file()
    # The stage alone says the same.
    files = [f"--{name}={tmp_path / 'out' / name}.h5" for name in ("features", "matches")]
    assert cli.main(["map", f"--images={images}", f"--output={tmp_path / 'model'}", *files]) == 3
    assert f"no model formed: {report['diagnosis']}" in capsys.readouterr().err


@pytest.mark.parametrize("align", [True, False])
def test_what_alignment_leaves_hardly_a_point_of_is_no_model(
    undisturbed: Path, scene_folder: Path, tmp_path: Path, monkeypatch, align
):
    monkeypatch.setattr(mapping, "MIN_SOLID_POINTS", 10**6)
    files = (undisturbed / "features.h5", undisturbed / "matches.h5")
    models = mapping.map_models(scene_folder / "images", *files, tmp_path / "out", MapConfig(align=align))
    assert len(models) == (0 if align else 1)


def test_a_photo_that_alignment_leaves_nothing_of_has_no_pose(
    undisturbed: Path, scene_folder: Path, tmp_path: Path, monkeypatch
):
    def blinded(model, *given, **named):
        image = min(model.images.values(), key=lambda one: one.name)
        for row, point in enumerate(image.points2D):
            if point.has_point3D():
                model.delete_observation(image.image_id, row)

    monkeypatch.setattr(mapping, "align_observations", blinded)
    files = (undisturbed / "features.h5", undisturbed / "matches.h5")
    model, *_ = mapping.map_models(scene_folder / "images", *files, tmp_path / "out", MapConfig())
    names = sorted(image.name for image in model.images.values())
    assert sorted(model.image(i).name for i in model.reg_image_ids()) == names[1:]
    assert all(model.image(i).num_points3D for i in model.reg_image_ids())


def test_worker_processes_give_the_same_features(undisturbed: Path, scene_folder: Path, tmp_path: Path):
    from desdis_match.pipeline import extract

    path = extract(
        scene_folder / "images",
        tmp_path / "features.h5",
        ExtractConfig(max_keypoints=800, descriptor="rootsift"),
        run=RunConfig(workers=2),
    )
    assert path.read_bytes() == (undisturbed / "features.h5").read_bytes()


def test_a_stage_alone_refuses_to_replace_what_other_options_made(undisturbed: Path, scene_folder: Path):
    from desdis_match.pipeline import extract

    with pytest.raises(InputError, match=r"extract\.max_keypoints: 800 -> 700.*--overwrite"):
        extract(
            scene_folder / "images",
            undisturbed / "features.h5",
            ExtractConfig(max_keypoints=700, descriptor="rootsift"),
        )


def test_given_keypoints_are_described_in_their_order(undisturbed: Path, scene_folder: Path, tmp_path: Path):
    from desdis_match.pipeline import extract

    path = extract(
        scene_folder / "images",
        tmp_path / "again.h5",
        ExtractConfig(descriptor="rootsift"),
        keypoints=undisturbed / "features.h5",
        run=RunConfig(workers=1),
    )
    with FeatureFile(path) as again, FeatureFile(undisturbed / "features.h5") as first:
        for name in first.names():
            assert np.array_equal(again.keypoints(name), first.keypoints(name))
            similar = (again.get(name).descriptors * first.get(name).descriptors).sum(1)
            assert np.median(similar) > 0.999


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"affine": True}, "--affine"),
        ({"views": 5}, "--views"),
        ({"detector": "hessian"}, "--detector"),
        ({"ranking": "contrast"}, "--ranking"),
        ({"max_keypoints": 500}, "--max-keypoints"),
        ({"spread": True}, "--spread"),
        ({"contrast_threshold": 0.01}, "--contrast-threshold"),
        ({"edge_threshold": 10.0}, "--edge-threshold"),
    ],
)
def test_given_keypoints_are_not_sought_chosen_or_shaped(
    undisturbed: Path, scene_folder: Path, tmp_path: Path, options, named
):
    from desdis_match.pipeline import extract

    given = undisturbed / "features.h5"
    with pytest.raises(InputError, match=f"leave out {named} or --keypoints"):
        extract(scene_folder / "images", tmp_path / "f.h5", ExtractConfig(**options), keypoints=given)
    with pytest.raises(InputError, match="leave out --masks or --keypoints"):
        extract(scene_folder / "images", tmp_path / "f.h5", masks=tmp_path, keypoints=given)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--detector", "hessian"], "--detector"),
        (["--views", "5"], "--views"),
        (["--affine"], "--affine"),
        (["--orientation", "upright"], "--orientation"),
        (["--descriptor", "rootsift"], "--descriptor"),
    ],
)
def test_a_whole_local_feature_goes_its_own_way(scene_folder: Path, tmp_path: Path, capsys, options, named):
    images = str(scene_folder / "images")
    arguments = ["--images", images, "--output", str(tmp_path / "out"), "--local-feature", "sift", *options]
    for command in ("extract", "reconstruct"):
        assert cli.main([command, *arguments]) == 2
        assert f"leave out {named} or --local-feature" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_masked_places_have_no_keypoints(undisturbed: Path, scene_folder: Path, tmp_path: Path):
    from desdis_match.pipeline import extract

    name = sorted(os.listdir(scene_folder / "images"))[0]
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.full((300, 400), 255, np.uint8)
    mask[:, :200] = 0
    cv2.imwrite(str(masks / f"{name}.png"), mask)
    path = extract(
        scene_folder / "images",
        tmp_path / "features.h5",
        ExtractConfig(max_keypoints=800, descriptor="rootsift"),
        masks=masks,
        run=RunConfig(workers=1),
    )
    with FeatureFile(path) as masked, FeatureFile(undisturbed / "features.h5") as first:
        assert first.keypoints(name)[:, 0].min() < 150
        assert masked.keypoints(name)[:, 0].min() >= 199.5
        assert len(masked.keypoints(name)) > 50
