"""A photo as Kornia, hloc and glue-factory hand it over, its size and how many keypoints are asked for."""

from pathlib import Path

import torch

from desdis_match.photos.images import read_gray

NUM = 300
SIZE = (400, 300)


def tensor(photo: Path) -> torch.Tensor:
    """(1, 1, H, W) float32 in [0, 1]."""
    return torch.from_numpy(read_gray(photo, None).pixels)[None, None]
