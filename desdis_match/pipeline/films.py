"""Films among the photos of a run: their frames become photos in the output folder."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

from ..matching.pairs import PairsConfig
from ..photos.listing import look_through
from ..photos.video import VideoConfig, is_film, write_frames

log = logging.getLogger(__name__)

AS_A_SEQUENCE = "sequential+retrieval"
"""Each frame with those around it, and with others that look like it: where a loop closes."""


def photos_of(images: Path, output: Path, config: VideoConfig) -> Path:
    """The folder of photos that stands for `images`: itself where it holds no film.

    Otherwise `output`/frames with a folder of frames for each film, and with the photos beside the films.
    """
    if is_film(images):
        folder = output / "frames"
        write_frames(images, folder / images.stem, config)
        return folder
    listing = look_through(images)
    if not listing.films:
        return images
    folder = output / "frames"
    for film in listing.films:
        write_frames(images / film, folder / Path(film).with_suffix(""), config)
    for name in listing.names:
        _bring(images / name, folder / name)
    return folder


def pairs_of(images: Path, photos: Path, config: PairsConfig) -> PairsConfig:
    """What `auto` means where there are frames of films and nothing else."""
    if photos == images or config.pairs != "auto" or config.pairs_file is not None:
        return config
    if images.is_dir() and look_through(images).names:
        return config
    return replace(config, pairs=AS_A_SEQUENCE)


def _bring(photo: Path, target: Path) -> None:
    """A link where the file system can, a copy where it cannot; what is there stays."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(photo.resolve(), target)
    except OSError:
        shutil.copy2(photo, target)
