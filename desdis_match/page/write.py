"""`desdis-match view OUT`: a reconstruction as one HTML page that needs no server and no network."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..errors import InputError
from ..storage.report_file import Report
from ..storage.run_folder import RunFolder
from ..support.files import atomic_path
from .build import build_page
from .photos import Pictures
from .run import read_run


def write_report_page(
    out: Path,
    output: Path | None = None,
    images: Path | None = None,
    model: int = 0,
    report: Report | None = None,
    refresh: float = 0,
    pictures: Pictures | None = None,
) -> Path:
    """Write the page of the run in `out` to `output` (`out`/report.html by default); returns its path.

    images: folder of the photos; by default the one that report.json names. Without photos the page shows all
    the rest and says that they are missing. model: the one of sparse/N that is shown first.
    report: what report.json holds, where the caller has it. pictures: of photos, where some are made already.
    refresh: seconds after which the page loads itself again, for a run at work; 0 never.
    Raises InputError for a folder that is no run or damaged files.
    """
    output = output or RunFolder(out).page
    if images is not None and not images.is_dir():
        raise InputError(f"{images} is not a folder; give the folder of the photos with --images")
    if output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a file with --output")
    run = read_run(out, model, report)
    with closing(run.source):
        told = run.report.images_folder
        folder = images or (Path(told) if told else None)
        page = build_page(run, folder, out.resolve().name, refresh, pictures)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output
