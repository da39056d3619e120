"""Named training configurations; every option can be overridden on the command line."""

from __future__ import annotations

from .config import DataConfig, OptimConfig, StudentConfig, TeacherConfig, TrainConfig
from .objective import LossConfig

QUICK = TrainConfig(
    data=DataConfig(sources=("textures:20",), galleries=2, gallery_size=300),
    student=StudentConfig(width=8),
    batch=128,
    steps=300,
    validate_every=100,
)
"""A small network on generated textures, without a teacher: a minute on two cores, to see that it works."""

SHORT = TrainConfig(
    data=DataConfig(sources=()),
    student=StudentConfig(width=16),
    teacher=TeacherConfig(names=("desdis-32",), sees="plain"),
    loss=LossConfig(regularizer_weight=10.0),
    batch=512,
    steps=5000,
    optim=OptimConfig(lr=5e-3, ema=0.99),
    validate_every=500,
)
"""desdis-16 from scratch in about twenty minutes on two cores; say where the patches are (--data.sources)."""

RELEASE = TrainConfig(
    data=DataConfig(sources=(), held_back=0.05),
    student=StudentConfig(width=32),
    teacher=TeacherConfig(names=("desdis-32",)),
    loss=LossConfig(regularizer_weight=10.0),
    batch=1024,
    steps=60000,
    optim=OptimConfig(lr=5e-3, ema=0.999),
    validate_every=1000,
)
"""What our own weights are trained with; training/release.py says on which data."""

PRESETS: dict[str, tuple[str, TrainConfig]] = {
    "quick": ("desdis-8 on generated textures, no data needed, a minute", QUICK),
    "short": ("desdis-16 by a teacher on your patches, twenty minutes on two cores", SHORT),
    "release": ("long training with a live teacher, for weights to keep", RELEASE),
}
"""Name -> what it is, configuration."""
