"""What a reconstruct run made, in numbers: report.json for machines, a table for people."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import __version__
from ..colmap.diagnosis import already_tried, starvation
from ..colmap.mapping import model_summary
from ..colmap.remarks import remarks
from ..colmap.verification import verified_pairs
from ..matching.pairs import pairs_from_file
from ..storage.features_file import FeatureFile
from ..storage.georeference import load_georeference
from ..storage.placing_file import Attempt, PlacingRecord
from ..storage.report_file import CameraReport, Counts, ImageReport, Report, StageReport, WayReport
from ..storage.run_folder import RunFolder
from ..support.files import Config, atomic_path, canonical_json
from ..support.native import pycolmap
from ..support.resources import measured
from ..support.versions import installed_versions
from .extraction import unusable_images
from .pairing import pairs_by_way

OPENERS = ("xdg-open", "open")
"""Commands that show a file: of Linux desktops and of macOS."""


class StageUsage:
    """Seconds and peak memory of the stages, added up over the runs that a killed or repeated run took."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stages: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there yet, or not ours: only times are lost
            self._stages = {}

    @contextmanager
    def of(self, stage: str, configuration: Config) -> Iterator[None]:
        """Measure a block as work of `stage`; what a stage spent before it failed counts too.

        With another configuration than last time the count begins anew.
        """
        made_by = canonical_json(configuration)
        before = self._stages.get(stage, {})
        if before.get("configuration") != made_by:
            before = {}
        watch = measured()
        usage = watch.__enter__()
        try:
            yield
        finally:
            watch.__exit__()
            peaks = [peak for peak in (before.get("peak_bytes"), usage.peak_bytes) if peak is not None]
            self._stages[stage] = {
                "configuration": made_by,
                "seconds": before.get("seconds", 0.0) + usage.seconds,
                "peak_bytes": max(peaks, default=None),
            }
            with atomic_path(self.path) as temporary:
                temporary.write_text(json.dumps(self._stages), encoding="utf-8")

    @property
    def stages(self) -> dict[str, StageReport]:
        """What the stages cost, in the order they ran."""
        return {
            name: StageReport(stage["seconds"], stage["peak_bytes"]) for name, stage in self._stages.items()
        }


def versions() -> dict[str, str]:
    """Of this package, Python and what it stands on."""
    return {"desdis-match": __version__, **installed_versions()}


def print_report(report: Report, output: Path, console: Console) -> None:
    """The table at the end of a run, and the commands that look at the model."""
    counts, folder = report.counts, RunFolder(output)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    usable = "" if counts.usable == counts.images else f"  ({counts.usable} usable)"
    registered = report.models[0].num_registered if report.models else 0
    left_out = [(name, image.why) for name, image in report.images.items() if not image.registered]
    missing = f"; {len(left_out)} are left out, see below" if report.models and left_out else ""
    table.add_row("images registered", f"{registered} of {counts.images}{usable}{missing}")
    if report.models:
        model = report.models[0]
        table.add_row("points", f"{model.num_points:,}")
        table.add_row("observations", f"{model.num_observations:,}")
        table.add_row("mean track length", f"{model.mean_track_length:.2f} images")
        table.add_row("mean reprojection error", f"{model.mean_reprojection_error:.3f} px")
    if report.georeference is not None:
        table.add_row("georeferenced", report.georeference.sentence())
    if len(report.models) > 1:
        others = ", ".join(str(model.num_registered) for model in report.models[1:])
        table.add_row("further models", f"{len(report.models) - 1}, of {others} images")
    table.add_row(
        "verified pairs",
        f"{counts.verified_pairs:,} of {counts.pairs:,}, {counts.verified_matches:,} matches",
    )
    if len(report.ways) > 1:
        brought = (f"{way} {found.verified:,} of {found.pairs:,}" for way, found in report.ways.items())
        table.add_row("brought by", ", ".join(brought))
    seconds = ", ".join(f"{name} {stage.seconds:.1f}" for name, stage in report.stages.items())
    total = sum(stage.seconds for stage in report.stages.values())
    table.add_row("seconds", f"{total:.1f}: {seconds}")
    peaks = [stage.peak_bytes for stage in report.stages.values() if stage.peak_bytes]
    if peaks:
        table.add_row("peak memory", f"{max(peaks) / 2**30:.2f} GiB")
    if len(report.attempts) > 1:
        table.add_row("ways of mapping", "\n".join(map(attempt_line, report.attempts)))
    console.print(table, highlight=False)
    for name, why in left_out[:10]:
        console.print(f"not registered: {name}: {why}", style="yellow", markup=False, highlight=False)
    if len(left_out) > 10:
        console.print(f"... and {len(left_out) - 10} more, see report.json", style="yellow", highlight=False)
    for sentence in ([report.diagnosis] if report.models and report.diagnosis else []) + [*report.notes]:
        console.print(sentence, style="yellow", markup=False, highlight=False)
    if report.models and report.images_folder:
        splat = output.with_name(f"{output.name}-splat")
        console.print("\nlook at it, or make a splat of it:", highlight=False)
        for command in (
            _opened(folder.page),
            f"desdis-match export --model {_typed(folder.model())} --format 3dgs "
            f"--output {_typed(splat)} --images {_typed(Path(report.images_folder))}",
        ):
            console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _opened(page: Path) -> str:
    """The command that opens a page, or words where there is none."""
    opener = next((name for name in OPENERS if shutil.which(name)), None)
    return f"{opener} {_typed(page)}" if opener else f"{_typed(page)} in a browser"


def attempt_line(attempt: Attempt) -> str:
    """What a way of mapping brought."""
    return f"{attempt.what}: {attempt.num_photos} photos, {attempt.num_points:,} points, {attempt.seconds} s"


def _typed(path: Path) -> str:
    """A path as one would type it into a shell: relative where it lies below the current folder."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def make_report(
    images_dir: Path,
    folder: RunFolder,
    models: Sequence[pycolmap.Reconstruction],
    usage: StageUsage,
    configuration: Config,
    min_num_inliers: int,
) -> Report:
    """Gather what the stages left behind in `folder`.

    models: largest first. configuration: of the whole run, kept as it is. min_num_inliers: of a verified
    pair.
    """
    diagnosis = starvation(
        folder.database, models, min_num_inliers, already_tried(folder.features, folder.matches)
    )
    images = {
        record.name: ImageReport(
            keypoints=record.num_keypoints,
            matches=record.num_matches,
            verified_matches=record.num_inliers,
            registered=record.model == 0,
            why=None if record.model == 0 else record.reason or f"it is in model {record.model}",
        )
        for record in diagnosis.images
    }
    images |= unusable_reports(images_dir, folder)
    placing = PlacingRecord.load(folder.placing)
    return Report(
        images_folder=str(images_dir.resolve()),
        configuration=json.loads(json.dumps(configuration, default=str)),  # paths become text
        versions=versions(),
        stages=usage.stages,
        counts=Counts(
            images=len(images),
            usable=len(diagnosis.images),
            keypoints=sum(image.keypoints for image in images.values()),
            pairs=diagnosis.num_pairs,
            matched_pairs=diagnosis.num_matched_pairs,
            matches=sum(image.matches for image in images.values()) // 2,
            verified_pairs=diagnosis.num_verified_pairs,
            verified_matches=sum(image.verified_matches for image in images.values()) // 2,
            components=len(diagnosis.components),
            models=len(models),
        ),
        ways=_way_reports(folder, min_num_inliers),
        models=tuple(model_summary(model) for model in models),
        cameras=camera_reports(models[0]) if models else (),
        images=dict(sorted(images.items())),
        diagnosis=diagnosis.explanation or None,
        attempts=placing.attempts,
        georeference=load_georeference(folder.model()) if models else None,
        notes=(*placing.notes, *remarks(models)),
    )


def unusable_reports(images_dir: Path, folder: RunFolder) -> dict[str, ImageReport]:
    """Photos below `images_dir` that features could not be taken of, by name."""
    unusable = unusable_images(images_dir, folder.features)
    return {name: ImageReport(why=f"it {why}") for name, why in unusable.items()}


def _way_reports(folder: RunFolder, min_num_inliers: int) -> dict[str, WayReport]:
    counts = pairs_by_way(folder.pairs)
    if not counts:
        return {}
    verified = verified_pairs(folder.database, min_num_inliers)
    with FeatureFile(folder.features) as features:
        listed = iter(pairs_from_file(folder.pairs, features.names()))
    return {
        way: WayReport(num, sum(frozenset(pair) in verified for pair in islice(listed, num)))
        for way, num in counts.items()
    }


def camera_reports(model: pycolmap.Reconstruction) -> tuple[CameraReport, ...]:
    """The cameras of a model, that of most photos first."""
    taken = Counter(image.camera_id for image in model.images.values() if image.has_pose)
    return tuple(_camera(model.cameras[camera_id], count) for camera_id, count in taken.most_common())


def _camera(camera: pycolmap.Camera, count: int) -> CameraReport:
    names = [name.strip() for name in camera.params_info.split(",")] if camera.params_info else []
    params = dict(zip(names, map(float, camera.params), strict=True))
    return CameraReport(camera.model.name, camera.width, camera.height, params, count)
