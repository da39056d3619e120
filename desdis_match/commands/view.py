"""`desdis-match view OUT`: the page of a reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..page.write import write_report_page
from ..storage.run_folder import RunFolder
from ..support.files import check_not_read
from .flags import parse


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
    """Which of the models sparse/0, sparse/1, ... to show first; the page has them all."""


def main(argv: Sequence[str]) -> int:
    """`desdis-match view OUT`."""
    config = parse(ViewConfig, argv, "view")
    if config.output is not None:
        run = RunFolder(config.out)
        read = (run.database, run.features, run.matches, run.two_view, run.report, run.placing, run.pairs)
        check_not_read(config.output, *read, *run.sparse.glob("*/*"))
    page = write_report_page(config.out, config.output, config.images, config.model)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0
