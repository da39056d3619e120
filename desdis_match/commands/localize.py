"""`desdis-match localize`: poses of new photos against a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..colmap.localization import LocalizeConfig
from ..errors import NoModelError
from ..pipeline.localization import localize
from ..pipeline.resume import RunConfig
from .flags import parse


@dataclass(frozen=True)
class LocalizeCommand:
    """Poses of new photos against a model, which stays as it is."""

    model: Path
    """Folder of a COLMAP model, such as OUT/sparse/0."""
    features: Path
    """The features.h5 that the model was made of, such as OUT/features.h5."""
    queries: Path
    """Folder of the photos to localize; its sub-folders are searched too."""
    output: Path = Path("localized")
    """Folder for poses.txt (`name qw qx qy qz tx ty tz`, camera from world), poses.json and features.h5."""
    config: LocalizeConfig = field(default_factory=LocalizeConfig)
    run: RunConfig = field(default_factory=RunConfig)


def main(argv: Sequence[str]) -> int:
    """`desdis-match localize`; exit code 3 when no photo is localized."""
    command = parse(LocalizeCommand, argv, "localize")
    results = localize(
        command.model, command.features, command.queries, command.output, command.config, run=command.run
    )
    width = max(len(result.name) for result in results)
    print(f"{'photo':<{width}}  keypoints  matches  inliers")
    for result in results:
        print(
            f"{result.name:<{width}}  {result.num_keypoints:9}  {result.num_matches:7}  "
            f"{result.num_inliers:7}" + ("" if result.cam_from_world else f"  no pose: {result.why}")
        )
    num_localized = sum(result.cam_from_world is not None for result in results)
    if not num_localized:
        raise NoModelError(
            f"none of {len(results)} photos was localized; see {command.output / 'poses.json'} for the "
            "matches of each, and check that they show the scene of the model"
        )
    print(f"{num_localized} of {len(results)} photos localized: {command.output / 'poses.txt'}")
    return 0
