"""`desdis-match synthetic`, `python -m desdis_match.synthetic`: a rendered scene with its true cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from ..synthetic.courtyard import SyntheticConfig, render_scene
from .flags import parse


@dataclass(frozen=True)
class Arguments:
    """Render a textured scene as photos, with the true cameras beside them."""

    output: Path
    """Folder to write: images/ and ground_truth/."""
    config: Annotated[SyntheticConfig, tyro.conf.arg(name="")] = field(default_factory=SyntheticConfig)


def main(argv: Sequence[str]) -> int:
    """`desdis-match synthetic --output DIR`."""
    arguments = parse(Arguments, argv, "synthetic")
    output = render_scene(arguments.output, arguments.config)
    print(
        f"{arguments.config.views} photos in {output / 'images'}, true cameras in {output / 'ground_truth'}"
    )
    return 0
