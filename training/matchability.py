"""Recipe of desdis_match/weights/matchability.safetensors, the heads behind `--ranking matchability`.

About five minutes on one core:  python training/matchability.py ../shared/data/photos/single_photos OUTPUT
Every fourth photo is held back, and the scores on those are printed and kept in the file's header. Oxford,
HPatches and Strecha's scenes are left out: they are what it is measured on.
"""

import json
import sys
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.distill.matchability import MatchabilityConfig, compare_rankings, make_examples, train_head
from desdis_match.features.ranking import save_heads
from desdis_match.photos.images import list_images


@dataclass(frozen=True)
class Arguments:
    """Train the heads."""

    photos: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    num_photos: int | None = None
    """All of them by default."""


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/matchability.py")
    torch.set_num_threads(1)
    config = MatchabilityConfig()
    photos = [arguments.photos / name for name in list_images(arguments.photos)][: arguments.num_photos]
    heads, scores = {}, {}
    for response in ("dog", "hessian"):
        made = make_examples(photos, response, config)
        heads[response] = train_head(chain(*(one for i, one in enumerate(made) if i % 4)), config)
        scores[response] = compare_rankings(heads[response], list(chain(*made[::4])))
    about = {
        "photos": len(photos),
        "source": arguments.photos.name,
        "config": asdict(config),
        "held_back": scores,
    }
    save_heads(arguments.output, heads, about)
    print(json.dumps(scores, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
