"""`desdis-match add`: new photos into the model of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..pipeline.addition import add_photos
from ..pipeline.resume import RunConfig
from .flags import parse


@dataclass(frozen=True)
class AddCommand:
    """New photos -> into the model of an earlier run, whose settings are used."""

    output: Path
    """Folder of the earlier reconstruct; it is brought up to date."""
    images: Path
    """Its folder of photos, grown, or a folder of new ones only; photos it knows by name are passed over."""
    masks: Path | None = None
    """Folder of masks, black = ignore: NAME.jpg.png (COLMAP's way) or NAME.png for NAME.jpg; or one mask
    for all photos."""
    fix_poses: bool = False
    """Leave the poses that are there exactly as they are."""
    run: RunConfig = field(default_factory=RunConfig)


def main(argv: Sequence[str]) -> int:
    """`desdis-match add`: exit code 0 also when a new photo is not registered; the reason is printed."""
    command = parse(AddCommand, argv, "add")
    result = add_photos(
        command.output, command.images, masks=command.masks, run=command.run, fix_poses=command.fix_poses
    )
    total = len(result.registered) + len(result.left_out)
    print(f"{len(result.registered)} of {total} new photos registered")
    for name, why in result.left_out.items():
        print(f"  {name}: {why}")
    for label, summary in (("before", result.before), ("now", result.after)):
        print(
            f"{label:<7}{summary.num_registered} images, {summary.num_points} points, mean reprojection "
            f"error {summary.mean_reprojection_error:.3f} px"
        )
    return 0
