"""`desdis-match merge A B ...`: models of overlapping photos -> one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ..colmap.log import log_to
from ..colmap.mapping import new_folder, read_model
from ..colmap.merging import merge_models
from ..colmap.model_files import write_model
from ..errors import InputError
from ..support.progress import set_verbosity
from ..support.scratch import scratch_in
from .flags import parse
from .stages import Talk

MODEL_FILES = frozenset(
    f"{name}.{suffix}"
    for name in ("cameras", "rigs", "frames", "images", "points3D")
    for suffix in ("bin", "txt", "ply")
)


@dataclass(frozen=True)
class MergeCommand:
    """Models that share photos, or points of the same keypoints -> one, in the coordinates of the best."""

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of COLMAP models, two or more."""
    output: Path
    """Folder for the model that they make."""
    fix_intrinsics: bool = False
    """Keep focal lengths and distortion as they are."""
    overwrite: bool = False
    """Replace an output that is there."""
    talk: Talk = field(default_factory=Talk)


def main(argv: Sequence[str]) -> int:
    """`desdis-match merge`; exit code 2 where the models do not fit together."""
    command = parse(MergeCommand, argv, "merge")
    set_verbosity(command.talk.verbose, command.talk.quiet)
    if len(command.models) < 2:
        raise InputError("give two models or more")
    if command.output.exists() and not command.overwrite:
        raise InputError(f"{command.output} exists; give another --output or --overwrite")
    _check_replaced(command.output, command.models)
    models = [read_model(folder) for folder in command.models]
    with new_folder(command.output) as folder:
        with log_to(None), scratch_in(folder):
            merged = merge_models(models, fix_intrinsics=command.fix_intrinsics)
        write_model(merged, folder)
    from_each = " + ".join(str(model.num_reg_images()) for model in models)
    command.talk.say(
        f"{command.output}: {merged.num_reg_images()} photos (of {from_each}), {merged.num_points3D()} "
        f"points, mean reprojection error {merged.compute_mean_reprojection_error():.3f} px"
    )
    return 0


def _check_replaced(output: Path, models: Sequence[Path]) -> None:
    """Raise InputError where the new model would take the place of more than an old one."""
    found = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if other := [name for name in found if name not in MODEL_FILES]:
        raise InputError(f"{output} holds {other[0]}, which is no part of a model; give another --output")
    if output.resolve() in [model.resolve() for model in models]:
        raise InputError(f"{output} is one of the models; give another --output")
