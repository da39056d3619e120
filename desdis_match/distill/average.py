"""One network from weights and runs that went on from them: the average of what all ended with.

They lie in one valley of the loss, and its middle is lower than they are, on what none of them has seen
(Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018; Wortsman et al., "Model soups", ICML
2022). It costs nothing when describing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from .. import __version__
from ..descriptors import read_weights, save_weights
from ..errors import InputError
from ..patchsets.patchset import PatchSet
from .batches import Batches
from .config import TrainConfig
from .validate import HeldBackScores, galleries, score

BATCHES = 50
"""Augmented batches from which the average's BatchNorm statistics are taken."""


def average_runs(
    weights: Sequence[Path], config: TrainConfig, data: tuple[PatchSet, PatchSet], output: Path
) -> HeldBackScores:
    """Write the mean of the networks of several weight files to `output`, with the last one's header.

    The statistics of its BatchNorm layers are those of BATCHES batches of `data`'s first part, drawn and
    augmented as `config` says. Returns the scores on its second part; they are in the header, as are the
    steps of each file. InputError when the files are of different architectures or of no training run.
    """
    read = [read_weights(path) for path in weights]
    networks, headers = [network for network, _ in read], [header for _, header in read]
    names = ", ".join(map(str, weights))
    if any(header["architecture"] != headers[0]["architecture"] for header in headers):
        raise InputError(f"networks of different architecture have no average: {names}")
    if any(not {"steps", "scores"} <= set(header) for header in headers):
        raise InputError(f"to average are weights that `desdis-match train` wrote, not {names}")
    training, held = data
    device = torch.device("cpu")
    average = AveragedModel(networks[0])
    for network in networks:
        average.update_parameters(network)
    batches = Batches(training, config, device, rank=0)
    steps = range(config.steps, config.steps + BATCHES)  # beyond those of a run
    update_bn((batches.patches(batches.rows(batches.pairs(step)), step) for step in steps), average)
    network = average.module.eval()
    scores = score(network, held, galleries(held, config.data.galleries, config.data.gallery_size), device)
    changes = {
        "average_of_steps": [header["steps"] for header in headers],
        "scores": {**headers[-1]["scores"], **asdict(scores)},
        "version": __version__,
    }
    save_weights(output, network, {**headers[-1], **changes})
    return scores
