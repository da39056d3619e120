"""Records that pass between stages.

Arrays are NumPy, on the CPU, and never edited in place once a record holds them. Pixels are those of the
original image: x right, y down, (0, 0) is the centre of the top-left pixel. Empty is normal: (0, 2), (0, D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Keypoints of one image and their descriptors; row i of every array is keypoint i."""

    keypoints: Float32  # (N, 2) x, y in pixels of the original image
    descriptors: Float32  # (N, D) unit vectors
    scores: Float32  # (N,) detector response, larger is better
    scales: Float32  # (N,) radius (half side) of the described patch, original pixels
    angles: Float32  # (N,) radians; atan2(A01, A00) of the patch frame, as Kornia's get_laf_orientation
    image_size: tuple[int, int]  # width, height of the original image

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True)
class Matches:
    """Matched keypoints of two images, best first is not promised; rows are ordered by image-0 index."""

    indices: NDArray[np.int32]  # (M, 2) rows of features0 and features1
    scores: Float32  # (M,) in [0, 1], larger is better

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class TwoView:
    """Matches that agree with one geometric model; no match and zeros where none was found."""

    matches: Matches
    model: NDArray[np.float64]  # (3, 3) F and H of pixels, E of normalised rays
    kind: Literal["F", "E", "H"]
    cam1_from_cam0: NDArray[np.float64] | None = None  # (3, 4) for E; its translation has length 1

    def __len__(self) -> int:
        return len(self.matches)


@dataclass(frozen=True)
class ModelSummary:
    """A model in numbers."""

    num_registered: int
    num_points: int
    num_observations: int
    mean_track_length: float
    mean_reprojection_error: float  # pixels of the original photos
