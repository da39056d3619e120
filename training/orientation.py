"""Recipe of desdis_match/weights/orientation.safetensors, the network behind `--orientation learned`.

About twenty minutes on one core:  python training/orientation.py ../shared/data orientation.safetensors
DATA holds patches_notredame (PhotoTour with reconstructed ids), photos/SET and the authors' weights/desdis.
Oxford, HPatches and Strecha's scenes are left out: they are what it is measured on.
"""

import json
import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_network
from desdis_match.distill.orientation import (
    OrientationConfig,
    angle_agreement,
    photo_patches,
    save_orientation,
    train_orientation,
)
from desdis_match.patchsets.patchset import join_sets, split
from desdis_match.patchsets.phototour import read_phototour

PHOTO_SETS = [
    "single_photos",
    "reichstag",
    "lund",
    "monstree",
    "stitch",
    "chair",
    "square",
    "statue",
    "banana",
]


@dataclass(frozen=True)
class Arguments:
    """Train the network."""

    data: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/orientation.py")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    config = OrientationConfig()
    descriptor = load_network(arguments.data / "weights" / "desdis" / "DesDis-16.pth")
    # Ids closer than 4 may be one point. Two thirds of a stored patch are used, so that it can be turned.
    notredame = read_phototour(arguments.data / "patches_notredame", doubt=3)
    notredame = replace(notredame, context=np.full(len(notredame), 1.5, np.float32))
    photos = [photo_patches(arguments.data / "photos" / name) for name in PHOTO_SETS]
    parts = [split(notredame, 0.05)] + [split(one, 0.05) for one in photos]
    training, held = join_sets([part[0] for part in parts]), [part[1] for part in parts]
    network = train_orientation(training, config, descriptor, arguments.output.with_suffix(".checkpoint"))
    scores = {one.sources[0]: asdict(angle_agreement(network, one, descriptor)) for one in held}
    save_orientation(
        arguments.output,
        network,
        training,
        config,
        {"teacher": "DesDis-16 of the authors (MIT)", "held_back": scores},
    )
    print(json.dumps(scores, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
