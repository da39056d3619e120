"""`desdis-match build-patches`: photos and a model -> patches to train on."""

from __future__ import annotations

from collections.abc import Sequence

from ..patchsets.from_model import BuildPatchesConfig, build_patches
from .flags import parse


def main(argv: Sequence[str]) -> int:
    """`desdis-match build-patches`."""
    config = parse(BuildPatchesConfig, argv, "build-patches")
    made = build_patches(config)
    print(f"{len(made)} patches of {made.num_points} points in {config.output}")
    return 0
