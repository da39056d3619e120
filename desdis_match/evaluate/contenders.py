"""The descriptors of a run, side by side: loaded by name or weight file, each under a label of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.checks import check_options
from .cache import PredictionCache, default_folder


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, where it runs, and where predictions are kept."""

    descriptors: tuple[str, ...] = ("rootsift",)
    """Names (desdis-32, rootsift, ...), weight files, or module:Class of your own."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    engine: str = "auto"
    """How networks run on a CPU: auto, torch or onnxruntime."""
    cache: Path | None = None
    """Folder of predictions; by default below the user's cache folder."""
    no_cache: bool = False
    """Keep no predictions and use none."""

    def __post_init__(self) -> None:
        check_options(self)

    def predictions(self) -> PredictionCache:
        """The cache that these options ask for."""
        return PredictionCache(None if self.no_cache else self.cache or default_folder())


@dataclass(frozen=True)
class Contender:
    """One descriptor of a run."""

    label: str
    descriptor: Any  # patches (N, 1, 32, 32) in [0, 1] -> (N, D) unit vectors
    fingerprint: str  # sha256 of its weights

    def describe(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 1, 32, 32) -> (N, D) float32."""
        import torch

        with torch.inference_mode():
            found = self.descriptor(torch.from_numpy(np.ascontiguousarray(patches)))
        return np.asarray(found.detach().cpu().float().numpy())


def check_distinct(names: Iterable[str], what: str) -> None:
    """Raise `InputError` where two of the inputs that results are kept by share a name."""
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                f"{count} {what} are called '{name}', so their results would be mixed up; "
                "give each once, under a name of its own"
            )


def load_contenders(config: CompareConfig) -> list[Contender]:
    """Load every descriptor of `config`; equal weights given twice are an error."""
    from ..descriptors import load_descriptor

    if not config.descriptors:
        raise InputError("no descriptor to evaluate; give --descriptors NAME ...")
    loaded = [
        load_descriptor(name, device=config.device, engine=config.engine) for name in config.descriptors
    ]
    fingerprints = [str(d.fingerprint) for d in loaded]
    for i, fingerprint in enumerate(fingerprints):
        if fingerprint in fingerprints[:i]:
            first = config.descriptors[fingerprints.index(fingerprint)]
            raise InputError(f"{first} and {config.descriptors[i]} are the same weights; give each once")
    labels = unique_labels(config.descriptors, [str(d.name) for d in loaded], fingerprints)
    return [Contender(*x) for x in zip(labels, loaded, fingerprints, strict=True)]


def unique_labels(given: Sequence[str], names: Sequence[str], fingerprints: Sequence[str]) -> list[str]:
    """A label each: its name; where two share that, the file's name; else with part of the weights' hash."""
    labels = list(names)
    for candidates in (
        [Path(g).stem for g in given],
        [f"{n}-{f[:6]}" for n, f in zip(names, fingerprints, strict=True)],
    ):
        shared = {label for label in labels if labels.count(label) > 1}
        labels = [c if label in shared else label for c, label in zip(candidates, labels, strict=True)]
    return labels
