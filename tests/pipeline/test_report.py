"""The end of a run in the terminal."""

import io
import shlex
from pathlib import Path

from rich.console import Console

from desdis_match.pipeline.report import Report, print_report, versions
from desdis_match.support import versions as installed


def printed_commands(images: Path, output: Path) -> list[str]:
    """The commands that look at the model."""
    names = ("num_registered", "num_points", "num_observations", "mean_track_length")
    model = dict.fromkeys((*names, "mean_reprojection_error"), 1.0)
    counts = dict.fromkeys(("images", "usable", "pairs", "verified_pairs", "verified_matches"), 1)
    report = Report(str(images), {}, {}, {}, counts, (model,), {}, None)
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
