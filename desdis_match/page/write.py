"""`desdis-match view OUT`: a reconstruction as one HTML page that needs no server and no network."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..support.files import atomic_path
from .build import build_page
from .run import read_run


def write_report_page(
    out: Path, output: Path | None = None, images: Path | None = None, model: int = 0
) -> Path:
    """Write the page of the run in `out` to `output` (`out`/report.html by default); returns its path.

    images: folder of the photos; by default the one that report.json names. Without photos the page shows all
    the rest and says that they are missing. Raises InputError for a folder that is no run or damaged files.
    """
    output = output or out / "report.html"
    if images is not None and not images.is_dir():
        raise InputError(f"{images} is not a folder; give the folder of the photos with --images")
    if output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a file with --output")
    run = read_run(out, model)
    with closing(run.source):
        page = build_page(run, images or _photo_folder(run.report), title=out.resolve().name)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output


def _photo_folder(report: dict[str, Any]) -> Path | None:
    """The folder of photos that report.json names."""
    folder = report.get("images_folder")
    return Path(folder) if isinstance(folder, str) else None
