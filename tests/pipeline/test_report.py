"""The end of a run in the terminal."""

import io
import shlex
from pathlib import Path

from rich.console import Console

from desdis_match.pipeline.report import print_report, versions
from desdis_match.storage.report_file import Report
from desdis_match.support import versions as installed
from desdis_match.types import ModelSummary


def printed_commands(images: Path, output: Path) -> list[str]:
    """The commands that look at the model."""
    report = Report(images_folder=str(images), models=(ModelSummary(1, 1, 1, 1.0, 1.0),))
    text = io.StringIO()
    print_report(report, output, Console(file=text, width=60))
    return [line.strip() for line in text.getvalue().split("look at it:\n")[1].splitlines()]


def test_the_commands_name_the_photos_and_can_be_pasted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page, export = printed_commands(tmp_path / "my scene" / "images", Path("my scene/images-model"))
    assert page == "xdg-open 'my scene/images-model/report.html'"
    model, photos = "my scene/images-model", "my scene/images"
    options = ["--model", f"{model}/sparse/0", "--format", "nerfstudio", "--output", model]
    assert shlex.split(export) == ["desdis-match", "export", *options, "--images", photos]
    _, export = printed_commands(Path("/data/photos"), Path("out"))
    assert export.endswith("--output out --images /data/photos")


def test_a_package_that_is_not_found_does_not_cost_the_report(monkeypatch) -> None:
    def version(name: str) -> str:
        if name != "opencv-python-headless":
            raise installed.PackageNotFoundError(name)
        return "4.9"

    monkeypatch.setattr(installed, "version", version)
    monkeypatch.setattr(installed, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"]})
    assert versions()["opencv-python"] == "4.9"
    assert versions()["faiss-cpu"] == "unknown"
