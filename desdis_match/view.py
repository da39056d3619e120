"""`desdis-match view OUT`: a reconstruction as one HTML page that needs no server and no network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from .errors import InputError
from .files import atomic_path
from .options import parse
from .viewdata import read_run
from .viewpage import build_page


@dataclass(frozen=True)
class ViewConfig:
    """One HTML page of a reconstruction: model, view graph, photos with keypoints and matches."""

    out: tyro.conf.Positional[Path]
    """Output folder of a run, finished or not; any folder with COLMAP's database.db and sparse/0 will do."""
    output: Path | None = None
    """The page to write; OUT/report.html by default."""
    images: Path | None = None
    """Folder of the photos, if it is no longer where the run found it."""
    model: int = 0
    """Which of the models sparse/0, sparse/1, ... to show."""


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


def main(argv: Sequence[str]) -> int:
    """`desdis-match view OUT`."""
    config = parse(ViewConfig, argv, "view")
    page = write_report_page(config.out, config.output, config.images, config.model)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0


if __name__ == "__main__":
    from .cli import run

    sys.exit(run(main, sys.argv[1:]))
