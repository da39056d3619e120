"""Everything that a training run depends on, as one frozen dataclass; the command line is made from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..support.checks import ABOVE_ZERO, check_options
from .augment import AugmentConfig
from .objective import LossConfig


@dataclass(frozen=True)
class DataConfig:
    """Where patches come from."""

    sources: tuple[str, ...] = ("textures:24",)
    """KIND:WHERE[,option=value]: phototour:DIR, hpatches:DIR, patches:FILE, photos:DIR, textures:NUMBER."""
    held_back: float = 0.2
    """Share of each source's points (the last ones) that is not trained on but scored on."""
    scored: tuple[str, ...] = ()
    """Further sources, none of which is trained on: they join what is held back."""
    stretch: int = 0
    """Draw a batch from stretches of so many consecutive points, which lie in one photo or one part of a
    scene and are harder to tell apart; 0: from all points alike."""
    galleries: int = 4
    """Sets of held-back pairs that a validation scores, at most."""
    gallery_size: int = 1000
    """Pairs in each: a patch's match is sought among so many."""

    def __post_init__(self) -> None:
        check_options(
            self, held_back=(0, 0.9), stretch=(0, None), galleries=(1, 10_000), gallery_size=(2, 1_000_000)
        )


@dataclass(frozen=True)
class StudentConfig:
    """The network to train."""

    kind: str = "desdis"
    """desdis, desdis-fast, or the architecture of a teacher: hardnet, sosnet, hynet, tfeat, hardtfeat."""
    width: int = 16
    """desdis, desdis-fast: channels of the first layer."""
    dim: int = 128
    """desdis, desdis-fast: descriptor size."""
    dropout: float = 0.1
    """desdis, desdis-fast: dropout before the last layer."""
    start: str = "scratch"
    """scratch, teacher (its architecture and weights, whatever the options above) or a weight file."""

    def __post_init__(self) -> None:
        check_options(self, width=(1, 1024), dim=(1, 4096), dropout=(0, 0.95))


@dataclass(frozen=True)
class TeacherConfig:
    """What the student is compared with."""

    names: tuple[str, ...] = ()
    """Descriptor names, weight files or package.module:name of a torch module; several are averaged."""
    sees: Literal["augmented", "plain"] = "augmented"
    """What the teacher describes: the student's own patches, or the unaugmented ones, once, kept on disk."""
    cache: Path | None = None
    """Folder for the descriptors of unaugmented patches; the output folder when missing."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and its schedule."""

    kind: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    """The learning rate of muon is the angle by which a step turns a kernel, radians; try 0.05."""
    lr: float = 5e-3
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Not for muon, which keeps the length of the weights."""
    momentum: float = 0.9
    """sgd and muon."""
    warm_up: float = 0.05
    """Share of the run in which the learning rate grows to its peak."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """How it goes to zero afterwards, if it does."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then what is scored and kept; 0: none."""

    def __post_init__(self) -> None:
        check_options(
            self,
            lr=ABOVE_ZERO,
            weight_decay=(0, None),
            momentum=(0, 0.9999),
            warm_up=(0, 1),
            clip=(0, None),
            ema=(0, 0.999999),
        )


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch: int = 1024
    """Pairs a step (on each device)."""
    steps: int = 1000
    """Length of the run."""
    minutes: float = 0.0
    """Length in minutes instead of steps; such a run cannot be repeated to the bit. 0: steps count."""
    seed: int = 0
    validate_every: int = 250
    """Steps between validations; 0: one at the end."""
    log_every: int = 25
    """Steps between lines of the log; 0: one at the end."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints; there is one at the end in any case."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    """How many of them."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0
    """Threads on a CPU; 0 leaves torch's choice."""
    tensorboard: bool = True
    """Write curves, histograms and patches for TensorBoard beside the log; --no-tensorboard does not."""

    def __post_init__(self) -> None:
        check_options(
            self,
            batch=(2, 1 << 20),
            steps=(1, None),
            minutes=(0, None),
            seed=(0, None),
            validate_every=(0, None),
            log_every=(0, None),
            checkpoint_minutes=(0, None),
            devices=(1, 4096),
            threads=(0, 4096),
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self), default=str)))


FREE_TO_CHANGE = (
    "checkpoint_minutes",
    "log_every",
    "device",
    "devices",
    "threads",
    "tensorboard",
    "teacher.cache",
)
"""Fields that may differ when a run is resumed."""


def with_defaults(stored: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """A stored configuration with the defaults of the options that it is older than."""
    defaults = TrainConfig().as_dict() if defaults is None else defaults
    nested = {
        key: with_defaults(stored[key], value)
        for key, value in defaults.items()
        if isinstance(value, dict) and isinstance(stored.get(key), dict)
    }
    return {**defaults, **stored, **nested}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Fields, `a.b`, in which two configurations differ and which a resumed run may not change."""
    found = []
    for key in sorted(set(old) | set(new)):
        name = prefix + key
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            found += differences(old[key], new[key], name + ".")
        elif old.get(key) != new.get(key) and name not in FREE_TO_CHANGE:
            found.append(name)
    return found
