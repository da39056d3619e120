"""`desdis-match extract | pairs | match | map`: flags of each stage, and a line that says what came out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..colmap.diagnosis import already_tried, starvation
from ..colmap.mapping import MapConfig
from ..colmap.remarks import remarks
from ..colmap.verification import VerifyConfig
from ..errors import NoModelError
from ..features.extract import ExtractConfig
from ..matching.match import MatchConfig
from ..photos.cameras import CameraConfig
from ..pipeline import PairsConfig, RunConfig, extract, make_folder, match, pairs, run_in
from ..pipeline.inputs import check_cameras, check_extraction, check_mapping
from ..pipeline.mapping import map_models
from ..pipeline.pairing import pairs_by_way
from ..pipeline.report import attempt_line
from ..pipeline.spread import Shard
from ..pipeline.verification import verify_pairs
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from ..storage.placing_file import PlacingRecord
from ..storage.run_folder import RunFolder
from ..storage.two_view_file import TwoViewFile
from ..support.files import check_not_read
from ..support.progress import set_verbosity
from .flags import parse


@dataclass(frozen=True)
class Talk:
    """How much is said."""

    verbose: bool = False
    """Say what the stage does and why."""
    quiet: bool = False
    """Print errors only."""

    def say(self, text: str) -> None:
        """Print a result unless quiet."""
        if not self.quiet:
            print(text)

    def part(self, shard: str, path: Path) -> int:
        """Print that a part is done; the exit code."""
        self.say(f"part {shard} of {path} is done; `desdis-match merge-shards` joins the parts")
        return 0


@dataclass(frozen=True)
class Parts:
    """Over what is written, and how much at once."""

    overwrite: bool = False
    """Replace an output that was made with other options."""
    shard: str | None = None
    """Only this part of the photos or pairs: i/n, from 1/n to n/n; `merge-shards` joins the parts."""

    def options(self, merge: bool) -> dict[str, Any]:
        """As a stage takes them."""
        shard = None if self.shard is None else Shard.parse(self.shard)
        return {"overwrite": self.overwrite, "shard": shard, "merge": merge}


@dataclass(frozen=True)
class ExtractCommand:
    """Photos -> features.h5: detect keypoints, cut their patches, describe them."""

    images: Path
    """Folder of photos; its sub-folders are searched too."""
    output: Path = Path("features.h5")
    """The file to write, in hloc's layout."""
    masks: Path | None = None
    """Folder of masks, black = ignore: NAME.jpg.png (COLMAP's way) or NAME.png for NAME.jpg; or one mask
    for all photos."""
    keypoints: Path | None = None
    """Describe these keypoints instead of detecting: features.h5, or a folder of COLMAP's NAME.txt."""
    config: ExtractConfig = field(default_factory=ExtractConfig)
    run: RunConfig = field(default_factory=RunConfig)
    parts: Parts = field(default_factory=Parts)
    talk: Talk = field(default_factory=Talk)


def main_extract(argv: Sequence[str], merge: bool = False) -> int:
    """`desdis-match extract`."""
    command = parse(ExtractCommand, argv, "extract")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    check_extraction(command.config, command.masks, command.keypoints, command.run.device)
    path = extract(
        command.images,
        command.output,
        command.config,
        masks=command.masks,
        keypoints=command.keypoints,
        run=command.run,
        **command.parts.options(merge),
    )
    if command.parts.shard is not None:
        return command.talk.part(command.parts.shard, path)
    with FeatureFile(path) as file:
        counts = file.counts()
    command.talk.say(f"{path}: {sum(counts.values())} keypoints of {len(counts)} images")
    return 0


@dataclass(frozen=True)
class PairsCommand:
    """features.h5 -> pairs.txt: choose which images are matched with which."""

    features: Path = Path("features.h5")
    """Its images are paired."""
    output: Path = Path("pairs.txt")
    """The file to write: `a b` a line."""
    images: Path | None = None
    """Folder of the photos: for GPS positions, and for `auto` to look at."""
    poses: Path | None = None
    """Known poses, for pairs by view frusta: as of `map`."""
    config: PairsConfig = field(default_factory=PairsConfig)
    cameras: CameraConfig = field(default_factory=CameraConfig)
    talk: Talk = field(default_factory=Talk)


def main_pairs(argv: Sequence[str]) -> int:
    """`desdis-match pairs`."""
    command = parse(PairsCommand, argv, "pairs")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    path = pairs(
        command.features,
        command.output,
        command.config,
        images=command.images,
        poses=command.poses,
        cameras=command.cameras,
    )
    counts = pairs_by_way(path)
    brought = ", ".join(f"{way} {num}" for way, num in counts.items())
    command.talk.say(f"{path}: {sum(counts.values())} pairs ({brought})")
    return 0


@dataclass(frozen=True)
class MatchCommand:
    """features.h5 and pairs.txt -> matches.h5."""

    features: Path = Path("features.h5")
    """Descriptors, in hloc's layout (ours or hloc's own)."""
    pairs: Path = Path("pairs.txt")
    """`a b` a line."""
    output: Path = Path("matches.h5")
    """The file to write, in hloc's layout."""
    config: MatchConfig = field(default_factory=MatchConfig)
    run: RunConfig = field(default_factory=RunConfig)
    parts: Parts = field(default_factory=Parts)
    talk: Talk = field(default_factory=Talk)


def main_match(argv: Sequence[str], merge: bool = False) -> int:
    """`desdis-match match`."""
    command = parse(MatchCommand, argv, "match")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    path = match(
        command.features,
        command.pairs,
        command.output,
        command.config,
        run=command.run,
        **command.parts.options(merge),
    )
    if command.parts.shard is not None:
        return command.talk.part(command.parts.shard, path)
    with MatchFile(path) as file:
        command.talk.say(f"{path}: {len(file.groups())} pairs")
    return 0


@dataclass(frozen=True)
class VerifyCommand:
    """features.h5 and matches.h5 -> two_view.h5: the geometry of every matched pair."""

    images: Path
    """Folder of photos; sizes and EXIF are read from them."""
    features: Path = Path("features.h5")
    """Keypoints, in hloc's layout."""
    matches: Path = Path("matches.h5")
    """Matches, in hloc's layout."""
    output: Path = Path("model/two_view.h5")
    """The file to write; `map` takes the one in its own output folder."""
    config: VerifyConfig = field(default_factory=VerifyConfig)
    cameras: CameraConfig = field(default_factory=CameraConfig)
    seed: int = 0
    """The same seed gives the same geometries."""
    run: RunConfig = field(default_factory=RunConfig)
    parts: Parts = field(default_factory=Parts)
    talk: Talk = field(default_factory=Talk)


def main_verify(argv: Sequence[str], merge: bool = False) -> int:
    """`desdis-match verify`."""
    command = parse(VerifyCommand, argv, "verify")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    with FeatureFile(command.features) as file, MatchFile(command.matches):
        check_cameras(command.cameras, file.names())
    make_folder(command.output.parent)
    path = verify_pairs(
        command.images,
        command.features,
        command.matches,
        command.output,
        command.config,
        command.cameras,
        seed=command.seed,
        run=command.run,
        **command.parts.options(merge),
    )
    if command.parts.shard is not None:
        return command.talk.part(command.parts.shard, path)
    with TwoViewFile(path) as file:
        inliers = list(file.num_inliers())
    verified = sum(num >= command.config.min_num_inliers for num in inliers)
    command.talk.say(f"{path}: {verified} of {len(inliers)} pairs verified")
    return 0


MERGED = {"extract": main_extract, "match": main_match, "verify": main_verify}
"""Stages that can be run in parts."""


def main_merge_shards(argv: Sequence[str]) -> int:
    """`desdis-match merge-shards STAGE [the stage's own options]`."""
    if not argv or argv[0] not in MERGED:
        print(
            f"usage: desdis-match merge-shards {{{','.join(MERGED)}}} [options of that command]\n\n"
            "Join what `--shard 1/n` to `n/n` of a command made. The options are those of the parts, without "
            "--shard; it is an error where anything is missing.",
            file=sys.stdout if argv and argv[0] in ("-h", "--help") else sys.stderr,
        )
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    return MERGED[argv[0]](argv[1:], merge=True)


@dataclass(frozen=True)
class MapCommand:
    """features.h5 and matches.h5 -> COLMAP database, geometric verification, model."""

    images: Path
    """Folder of photos; sizes, EXIF and colours are read from them."""
    features: Path = Path("features.h5")
    """Keypoints, in hloc's layout."""
    matches: Path = Path("matches.h5")
    """Matches, in hloc's layout."""
    output: Path = Path("model")
    """Folder for database.db, sparse/0, 1, ..., points.ply and colmap.log."""
    config: MapConfig = field(default_factory=MapConfig)
    run: RunConfig = field(default_factory=RunConfig)
    overwrite: bool = False
    """Replace a model that was made with other options."""
    talk: Talk = field(default_factory=Talk)


def main_map(argv: Sequence[str]) -> int:
    """`desdis-match map`; exit code 3 when no model forms."""
    command = parse(MapCommand, argv, "map")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    with FeatureFile(command.features) as file, MatchFile(command.matches):
        names = file.names()
    check_not_read(command.output, command.images)
    check_mapping(command.config, command.images, names)
    make_folder(command.output)
    with run_in(command.output):
        models = map_models(
            command.images,
            command.features,
            command.matches,
            command.output,
            command.config,
            run=command.run,
            overwrite=command.overwrite,
        )
    folder = RunFolder(command.output)
    diagnosis = starvation(
        folder.database,
        models,
        command.config.verify.min_num_inliers,
        already_tried(command.features, command.matches),
    )
    if not models:
        raise NoModelError(
            f"no model formed: {diagnosis.explanation.rstrip('.')}. COLMAP's own lines are in {folder.log}."
        )
    command.talk.say(
        f"{folder.sparse}: {models[0].num_reg_images()} of {len(diagnosis.images)} photos, "
        f"{models[0].num_points3D()} points"
    )
    placing = PlacingRecord.load(folder.placing)
    for attempt in placing.attempts if len(placing.attempts) > 1 else ():
        command.talk.say(f"  tried {attempt_line(attempt)}")
    for image in diagnosis.images:
        if image.model != 0:
            command.talk.say(f"  left out: {image.name}: {image.reason or f'it is in model {image.model}'}")
    for sentence in filter(None, (diagnosis.explanation, *placing.notes, *remarks(models))):
        command.talk.say(sentence)
    return 0
