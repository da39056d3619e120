"""`python -m desdis_match.reconstruct --images DIR`: photos in, a COLMAP model and a report out.

The stages of stages/ joined: extract, pairs, match, map. The output folder holds features.h5, matches.h5,
pairs.txt, database.db, sparse/0 (the largest model; 1, 2, ... the others by size), points.ply, report.json,
report.html and colmap.log. The same command again goes on where a killed run was, or returns at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2  # noqa: F401 - before pycolmap, see cameras.py
import pycolmap
from rich.console import Console

from .colmap import MapConfig, model_summary, read_models
from .diagnose import starvation
from .errors import NoModelError
from .extract import ExtractConfig
from .images import list_images
from .match import MatchConfig
from .options import parse
from .progress import set_verbosity
from .report import ImageReport, Report, StageUsage, print_report, versions
from .stages import (
    PairsConfig,
    RunConfig,
    alone_in,
    extract,
    make_folder,
    map_images,
    match,
    pairs,
    unusable_images,
)
from .view import write_report_page


@dataclass(frozen=True)
class ReconstructConfig:
    """Photos in, a COLMAP model out."""

    images: Path
    """Folder of photos; its sub-folders are searched too."""
    output: Path | None = None
    """Folder for the results; by default DIR-model beside the photos."""
    masks: Path | None = None
    """Folder of masks in COLMAP's convention: NAME.png for image NAME, black = ignore."""
    keypoints: Path | None = None
    """Describe these keypoints instead of detecting: features.h5, or a folder of COLMAP's NAME.txt."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    map: MapConfig = field(default_factory=MapConfig)
    run: RunConfig = field(default_factory=RunConfig)
    verbose: bool = False
    """Say what each stage does and why."""
    quiet: bool = False
    """Print errors only."""
    json: bool = False
    """Print the report as JSON instead of a table."""


@dataclass(frozen=True)
class ReconstructResult:
    """What a run made."""

    output: Path
    models: list[pycolmap.Reconstruction]  # by registered images, largest first
    report: Report


def reconstruct(config: ReconstructConfig) -> ReconstructResult:
    """Run all stages, or what of them is not done yet.

    Raises InputError for wrong input or an output folder in which another run is at work, and NoModelError
    when no model forms: the report is written all the same, and the message says which stage starved.
    """
    list_images(config.images)  # a wrong folder is an error before anything is written
    output = config.output or default_output(config.images)
    make_folder(output)
    with alone_in(output):
        return _reconstruct(config, output)


def _reconstruct(config: ReconstructConfig, output: Path) -> ReconstructResult:
    features, listed, matches = output / "features.h5", output / "pairs.txt", output / "matches.h5"
    usage = StageUsage(output / ".usage.json")
    so_far: dict[str, object] = {}

    def stage(name: str, **settings: object) -> AbstractContextManager[None]:
        so_far.update(settings)
        return usage.of(name, so_far)

    inputs = {"masks": config.masks, "keypoints": config.keypoints}
    with stage("extract", extract=asdict(config.extract), **inputs):
        extract(
            config.images,
            features,
            config.extract,
            masks=config.masks,
            keypoints=config.keypoints,
            run=config.run,
            overwrite=True,
        )
    with stage("pairs", pairs=asdict(config.pairs)):
        pairs(features, listed, config.pairs)
    with stage("match", match=asdict(config.match)):
        match(features, listed, matches, config.match, run=config.run, overwrite=True)
    with stage("map", map=asdict(config.map)):
        sparse = map_images(config.images, features, matches, output, config.map, overwrite=True)
    models = read_models(sparse)
    report = make_report(config, output, models, usage)
    report.save(output / "report.json")
    write_report_page(output, images=config.images)
    if report.diagnosis is not None:
        raise NoModelError(
            f"no model formed: {report.diagnosis} The numbers are in {output / 'report.html'}."
        )
    return ReconstructResult(output, models, report)


def default_output(images: Path) -> Path:
    """DIR-model beside the photos' folder DIR."""
    if images.name in ("", ".."):
        images = images.resolve()
    return images.with_name(f"{images.name}-model")


def make_report(
    config: ReconstructConfig, output: Path, models: list[pycolmap.Reconstruction], usage: StageUsage
) -> Report:
    """Gather what the stages left behind in `output`."""
    diagnosis = starvation(output / "database.db", models, config.map.verify.min_num_inliers)
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
    unusable = unusable_images(config.images, output / "features.h5")
    images |= {name: ImageReport(0, 0, 0, False, f"it {why}") for name, why in unusable.items()}
    return Report(
        images_folder=str(config.images.resolve()),
        configuration=asdict(config),
        versions=versions(),
        stages=usage.stages,
        counts={
            "images": len(images),
            "usable": len(diagnosis.images),
            "keypoints": sum(image.keypoints for image in images.values()),
            "pairs": diagnosis.num_pairs,
            "matched_pairs": diagnosis.num_matched_pairs,
            "matches": sum(image.matches for image in images.values()) // 2,
            "verified_pairs": diagnosis.num_verified_pairs,
            "verified_matches": sum(image.verified_matches for image in images.values()) // 2,
            "components": len(diagnosis.components),
            "models": len(models),
        },
        models=tuple(asdict(model_summary(model)) for model in models),
        images=dict(sorted(images.items())),
        diagnosis=None if models else diagnosis.explanation,
    )


def main(argv: Sequence[str]) -> int:
    """`desdis-match reconstruct`: exit code 2 for wrong input, 3 when no model forms."""
    config = parse(ReconstructConfig, argv, "reconstruct")
    set_verbosity(config.verbose, config.quiet)
    if config.output is None and not config.quiet and not config.json:
        print(f"results go to {default_output(config.images)}")
    result = reconstruct(config)
    if config.json:
        print((result.output / "report.json").read_text(encoding="utf-8"))
    elif not config.quiet:
        print_report(result.report, result.output, Console())
    return 0


if __name__ == "__main__":
    from .cli import run

    sys.exit(run(main, sys.argv[1:]))
