"""Named training configurations; every option can be overridden on the command line."""

from __future__ import annotations

from dataclasses import replace

from .augment import AugmentConfig
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
    augment=AugmentConfig(
        rotation=0.15,
        zoom=0.15,
        shift=0.04,
        shear=0.1,
        light_share=0.1,
        blur_share=0.1,
        noise_share=0.1,
        jpeg_share=0.05,
    ),
    student=StudentConfig(width=16),
    teacher=TeacherConfig(names=("desdis-32",)),
    batch=512,
    steps=3600,
    optim=OptimConfig(lr=1e-2),
    validate_every=900,
)
"""desdis-16 from scratch, a quarter of an hour on two cores; --data.sources says where the patches are."""

RELEASE = TrainConfig(
    data=DataConfig(sources=(), held_back=0.05, stretch=1000),
    augment=replace(
        SHORT.augment,
        shear=0.0,
        tilt=0.22,
        turns="batch",
        dominant=0.5,
        clip_share=0.2,
        light_share=0.2,
        blur_share=0.2,
        noise_share=0.2,
        jpeg_share=0.1,
    ),
    student=StudentConfig(width=32, dropout=0.0),
    teacher=TeacherConfig(names=("authors-desdis-32",), sees="plain"),
    loss=LossConfig(kind="sosnet", regularizer_weight=30.0),
    batch=512,
    steps=16000,
    optim=OptimConfig(kind="muon", lr=5e-2),
    validate_every=500,
    threads=1,
)
"""What our own weights are trained with; training/release.py says on which data."""

PRESETS: dict[str, tuple[str, TrainConfig]] = {
    "quick": ("desdis-8 on generated textures, no data needed, a minute", QUICK),
    "short": ("desdis-16 by a teacher on your patches, a quarter of an hour on two cores", SHORT),
    "release": ("the recipe of the weights in the package, with a teacher of plain patches", RELEASE),
}
"""Name -> what it is, configuration."""
