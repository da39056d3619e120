"""The numbers of a run, and its end in the terminal."""

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
from pointcloud import make_point_cloud
from pointcloud_models import make_job
from rich.console import Console

from desdis_match.colmap.mapping import map_database
from desdis_match.matching.pairs import exhaustive_pairs, write_pairs
from desdis_match.pipeline.report import StageUsage, camera_reports, make_report, print_report, versions
from desdis_match.storage.report_file import Report
from desdis_match.storage.run_folder import RunFolder
from desdis_match.support import versions as installed
from desdis_match.types import ModelSummary


def printed_commands(images: Path, output: Path) -> list[str]:
    """The commands that look at the model."""
    report = Report(images_folder=str(images), models=(ModelSummary(1, 1, 1, 1.0, 1.0),))
    text = io.StringIO()
    print_report(report, output, Console(file=text, width=60))
    return [line.strip() for line in text.getvalue().split("make a splat of it:\n")[1].splitlines()]


def test_the_commands_name_the_photos_and_can_be_pasted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "xdg-open" else None)
    page, export = printed_commands(tmp_path / "my scene" / "images", Path("my scene/images-model"))
    assert page == "xdg-open 'my scene/images-model/report.html'"
    model, photos = "my scene/images-model", "my scene/images"
    options = ["--model", f"{model}/sparse/0", "--format", "3dgs", "--output", f"{model}-splat"]
    assert shlex.split(export) == ["desdis-match", "export", *options, "--images", photos]
    _, export = printed_commands(Path("/data/photos"), Path("out"))
    assert export.endswith("--output out-splat --images /data/photos")


def test_a_command_that_is_not_there_is_not_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert printed_commands(Path("/photos"), Path("out"))[0] == "out/report.html in a browser"
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "open" else None)
    assert printed_commands(Path("/photos"), Path("out"))[0] == "open out/report.html"


def test_a_package_that_is_not_found_does_not_cost_the_report(monkeypatch) -> None:
    def version(name: str) -> str:
        if name != "opencv-python-headless":
            raise installed.PackageNotFoundError(name)
        return "4.9"

    monkeypatch.setattr(installed, "version", version)
    monkeypatch.setattr(installed, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"]})
    assert versions()["opencv-python"] == "4.9"
    assert versions()["faiss-cpu"] == "unknown"


def test_matches_and_keypoints_are_counted_once(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=4, num_points=120)
    job = make_job(cloud, tmp_path)
    write_pairs(tmp_path / "pairs.txt", exhaustive_pairs(cloud.names))
    (tmp_path / "photos").mkdir()
    models = map_database(job.database, None, tmp_path / "sparse", job.config).models
    usage = StageUsage(tmp_path / ".usage.json")
    report = make_report(tmp_path / "photos", RunFolder(tmp_path), models, usage, {"a": tmp_path}, 15)
    counts = report.counts
    assert (counts.images, counts.usable, counts.keypoints) == (4, 4, 4 * 120)
    # Six pairs, each with a match a point: a photo has those with its three partners.
    assert (counts.pairs, counts.matched_pairs, counts.verified_pairs) == (6, 6, 6)
    assert (counts.matches, counts.verified_matches) == (6 * 120, 6 * 120)
    for image in report.images.values():
        assert (image.matches, image.verified_matches) == (3 * 120, 3 * 120)
        assert image.registered and image.why is None
    assert counts.models == len(report.models) == 1 and report.models[0].num_registered == 4
    assert report.configuration == {"a": str(tmp_path)}
    camera = report.cameras[0]
    assert camera == camera_reports(models[0])[0] and (camera.images, camera.params["f"]) == (4, 600)


def test_seconds_of_a_stage_add_up_over_runs_of_one_configuration(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"

    def spend(configuration: dict) -> float:
        usage = StageUsage(path)  # as in a process of its own
        with usage.of("match", configuration):
            pass
        return StageUsage(path).stages["match"].seconds

    assert spend({"ratio": 0.8}) > 0
    stored = json.loads(path.read_text())
    stored["match"]["seconds"] = 1000.0
    path.write_text(json.dumps(stored))
    assert spend({"ratio": 0.8}) > 1000
    # With other options the work of before was for something else.
    assert 0 < spend({"ratio": 0.7}) < 1000


def test_a_stage_that_fails_has_spent_its_seconds_and_peaks_are_the_highest(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    usage = StageUsage(path)
    with pytest.raises(RuntimeError), usage.of("map", {}):
        raise RuntimeError
    assert usage.stages["map"].seconds > 0
    stored = json.loads(path.read_text())
    stored["map"]["peak_bytes"] = 2**60
    path.write_text(json.dumps(stored))
    again = StageUsage(path)
    with again.of("map", {}):
        pass
    assert again.stages["map"].peak_bytes == 2**60
    path.write_text("no JSON")
    assert StageUsage(path).stages == {}
