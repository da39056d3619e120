"""Keypoint detectors behind one signature: a grey image in, sigma-sized affine frames out, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..support.checks import check_options
from ..support.parts import check_part, find_part
from .aslant import views
from .frames import PatchPyramid, keypoints_to_lafs, laf_scales, scaled_lafs
from .multiscale import find_maxima
from .orientation import ORIENTATIONS
from .ranking import ranked
from .scalespace import Extrema, find_extrema

KORNIA_FRAME = 6.0
"""Half side, in sigmas, of the frame from which Kornia estimates the affine shape."""

SAME_PLACE = 0.5
"""Two detectors' keypoints nearer than this many sigmas..."""

SAME_SCALE = 1.25
"""...and with sigmas of at most this ratio are one keypoint, of which the better stays."""


ROBUSTNESS = 0.9
"""A neighbour suppresses only if this part of its contrast still exceeds (Brown et al. 2005)."""

INSIDE = 5.0
"""Keypoints of a view from aslant that are nearer to the photo's border than this, pixels, are left out."""

NEAREST = 64
"""Neighbours looked at for one that suppresses; who has none among them counts as alone."""


DETECTOR_RANGES: dict[str, tuple[float, float]] = {
    "max_keypoints": (1, 10_000_000),
    "views": (1, 100),
    "contrast_threshold": (0, 1),
    "edge_threshold": (0, 1e6),
}
"""What the options below may be, as check_options takes it."""


@dataclass(frozen=True)
class DetectorConfig:
    """Where keypoints are sought and how their frames are laid."""

    detector: str = "dog"
    """dog (difference of Gaussians), hessian (its determinant), dog+hessian (both in one budget),
    hessian-multiscale (its maxima at every scale, none chosen), another package's, or module:Class of your
    own."""

    max_keypoints: int = 8000
    """Frames kept per photo, those that rank highest."""

    orientation: Literal["upright", "dominant", "multi", "learned", "auto"] = "auto"
    """How a frame is turned: not at all, along the dominant gradient, once along each strong one, as a small
    network says, or (auto) by one angle a photo that is found by comparing the photos of the set; a photo
    alone then gets multi."""

    affine: bool = False
    """Shape each frame by the second moments of its gradients (Baumberg) rather than leave it square."""

    views: int = 1
    """1: keypoints are sought in the photo as it is. 5: also in copies as they would look from four sides
    aslant, for photos that show the same surface at very different slants; three times the time. Any other
    number N: from N - 1 sides, evenly spread."""

    contrast_threshold: float = 0.004
    """Least contrast of a keypoint, as a difference of Gaussians of an image in [0, 1]."""

    edge_threshold: float = 4.0
    """Largest ratio of principal curvatures of a keypoint; what exceeds it lies on an edge. 0 keeps edges.
    Lowe's is 10; 4 gave more points of smaller reprojection error. hessian-multiscale does without."""

    spread: bool = False
    """When there are more keypoints than the budget, keep those far from stronger ones, not the strongest."""

    ranking: Literal["matchability", "contrast"] = "matchability"
    """What the best keypoints are: those likely to be found again and matched right, as a small network says
    that was trained for it, or those of highest contrast. hessian-multiscale is ranked by contrast."""

    @property
    def compares_photos(self) -> bool:
        """Whether the photos of a set are compared to find which way up each stands."""
        return self.orientation == "auto"

    def __post_init__(self) -> None:
        check_options(self, **DETECTOR_RANGES)
        check_part("detectors", DETECTORS, self.detector)
        known = (*ORIENTATIONS, "auto")
        if self.orientation not in known:
            raise InputError(f"there is no orientation '{self.orientation}'; choose from {', '.join(known)}")


@dataclass(frozen=True)
class Detections:
    """Frames of one image in pixels of the grid they were found on, best first."""

    lafs: Tensor  # (N, 2, 3) float32, sqrt|det A| = sigma of the blob (see patches.py)
    scores: Tensor  # (N,) float32 probability to be matched, or contrast, as `ranking` says
    pyramid: PatchPyramid  # of the same image, to sample patches from

    def __len__(self) -> int:
        return len(self.lafs)


def detect(
    pixels: NDArray[np.float32] | Tensor,
    config: DetectorConfig,
    mask: NDArray[np.bool_] | None = None,
    device: str | torch.device = "cpu",
) -> Detections:
    """Detect, select, shape and orient frames in `pixels` (h, w) float32 in [0, 1].

    mask: (h, w), False where no keypoint may lie (its centre decides). Results lie on `device`.
    """
    with torch.inference_mode():
        image = torch.as_tensor(pixels, dtype=torch.float32, device=device).contiguous()
        find = find_part("detectors", DETECTORS, config.detector)
        if config.views > 1:
            found, lafs = _seen_in_views(image, config, find)
        else:
            found = find(image, config)
            lafs = keypoints_to_lafs(found.xy, found.sigma)
        rows = _outside_mask(found.xy, mask).nonzero()[:, 0]
        rows = rows[strongest_rows(_take(found, rows), config.max_keypoints, config.spread)]
        scores, pyramid = found.contrast[rows], PatchPyramid(image)
        lafs, rows = oriented(lafs[rows], pyramid, config)
        return Detections(lafs[: config.max_keypoints], scores[rows][: config.max_keypoints], pyramid)


def _seen_in_views(image: Tensor, config: DetectorConfig, find: Detector) -> tuple[Extrema, Tensor]:
    """Extrema of all views of a photo, in its pixels, and their frames (N, 2, 3)."""
    seen, frames = [], []
    size = image.new_tensor([image.shape[1], image.shape[0]])
    for picture, to_view in views(image.cpu().numpy(), config.views):
        found = find(torch.from_numpy(picture).to(image.device), config)
        back = torch.from_numpy(np.linalg.inv(to_view[:, :2])).to(found.xy)
        xy = (found.xy - torch.from_numpy(to_view[:, 2]).to(found.xy)) @ back.T
        lafs = torch.cat([back * found.sigma[:, None, None], xy[:, :, None]], 2)
        inside = ((xy >= INSIDE) & (xy <= size - 1 - INSIDE)).all(1)
        seen.append(Extrema(xy[inside], laf_scales(lafs[inside]), found.contrast[inside]))
        frames.append(lafs[inside])
    xy, sigma, contrast = (torch.cat(column) for column in zip(*(one[:3] for one in seen), strict=True))
    return Extrema(xy, sigma, contrast), torch.cat(frames)


def oriented(lafs: Tensor, pyramid: PatchPyramid, config: DetectorConfig) -> tuple[Tensor, Tensor]:
    """Give upright frames (N, 2, 3) the shape and orientation of `config`: (M, 2, 3), and their rows (M,)."""
    if config.affine:
        lafs = affine_shaped(lafs, pyramid)
    if config.orientation == "auto":
        raise InputError(
            "orientation auto compares the photos of a set: `extract` does, or choose with OrientationPolicy"
        )
    return ORIENTATIONS[config.orientation](pyramid, lafs)


def affine_shaped(lafs: Tensor, pyramid: PatchPyramid) -> Tensor:
    """Frames (N, 2, 3) of the same area whose gradients' second moments are round (Kornia's estimator)."""
    from kornia.feature import LAFAffineShapeEstimator

    if len(lafs) == 0:
        return lafs
    estimate = LAFAffineShapeEstimator(19).to(lafs.device)
    shaped = estimate(scaled_lafs(lafs, KORNIA_FRAME)[None], pyramid.levels[0][None, None])
    return scaled_lafs(shaped[0], 1.0 / KORNIA_FRAME)


def _dog(image: Tensor, config: DetectorConfig) -> Extrema:
    found = find_extrema(image, "dog", -1, config.contrast_threshold, config.edge_threshold)
    return ranked(found, "dog", config.ranking)


def _hessian(image: Tensor, config: DetectorConfig) -> Extrema:
    found = find_extrema(image, "hessian", 0, config.contrast_threshold, config.edge_threshold)
    return ranked(found, "hessian", config.ranking)


def _both(image: Tensor, config: DetectorConfig) -> Extrema:
    columns = zip(_dog(image, config)[:3], _hessian(image, config)[:3], strict=True)
    xy, sigma, contrast = (torch.cat(column) for column in columns)
    return without_duplicates(Extrema(xy, sigma, contrast))


def _multiscale(image: Tensor, config: DetectorConfig) -> Extrema:
    return find_maxima(image, config.contrast_threshold)


Detector = Callable[[Tensor, DetectorConfig], Extrema]
"""(h, w) float32 in [0, 1] on its device -> all extrema found, in any order; those of largest `contrast` are
kept, which is what the detector ranks them by."""

DETECTORS: dict[str, Detector] = {
    "dog": _dog,
    "hessian": _hessian,
    "dog+hessian": _both,
    "hessian-multiscale": _multiscale,
}


def strongest(found: Extrema, count: int, spread: bool) -> Extrema:
    """At most `count` extrema, those that rank highest first; `spread`: chosen by adaptive suppression."""
    return _take(found, strongest_rows(found, count, spread))


def strongest_rows(found: Extrema, count: int, spread: bool) -> Tensor:
    """Rows of `strongest`.

    Adaptive non-maximal suppression (Brown, Szeliski & Winder, CVPR 2005): those whose next clearly stronger
    neighbour is furthest away.
    """
    order = found.contrast.argsort(descending=True, stable=True)
    if not spread or len(order) <= count:
        return order[:count]
    radius = torch.from_numpy(_suppression_radii(_take(found, order))).to(found.xy.device)
    return order[radius.argsort(descending=True, stable=True)[:count].sort().values]


def _suppression_radii(found: Extrema) -> NDArray[np.float64]:
    """Distance (N,) in pixels to the nearest extremum that is stronger by ROBUSTNESS, among NEAREST."""
    from scipy.spatial import cKDTree

    xy, contrast = found.xy.cpu().numpy(), found.contrast.cpu().numpy()
    distance, index = cKDTree(xy).query(xy, k=min(NEAREST, len(xy)))
    stronger = contrast[index] * ROBUSTNESS > contrast[:, None]
    result: NDArray[np.float64] = np.where(stronger, distance, np.inf).min(1)
    return result


def without_duplicates(found: Extrema) -> Extrema:
    """Of extrema at the same place and scale (SAME_PLACE, SAME_SCALE) keep the one that ranks higher."""
    order = found.contrast.argsort(descending=True, stable=True)
    found = _take(found, order)
    xy, sigma = found.xy.cpu().double().numpy(), found.sigma.cpu().double().numpy()
    keep = np.ones(len(xy), bool)
    for near in _near_pairs(xy, sigma):
        distance = np.linalg.norm(xy[near[:, 0]] - xy[near[:, 1]], axis=1)
        small, large = sigma[near].min(1), sigma[near].max(1)
        near = near[(distance < SAME_PLACE * small) & (large < SAME_SCALE * small)]
        keep[near.max(1)] = False  # of each pair the one further down; both rows are in order of contrast
    return _take(found, torch.from_numpy(keep).to(found.xy.device))


def _near_pairs(xy: NDArray[np.float64], sigma: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """Pairs of rows (M, 2) with all that are within SAME_PLACE and SAME_SCALE, and some more; some twice.

    By bands of sigma, each with the next: in the radius of the largest blob lie thousands of the small ones.
    """
    from scipy.spatial import cKDTree

    if len(xy) == 0:
        return
    band = np.floor(np.log(sigma / sigma.min()) / np.log(SAME_SCALE)).astype(np.int64)
    for number in np.unique(band):
        rows = np.flatnonzero((band == number) | (band == number + 1))
        # The smaller sigma of a pair that counts is in this band; the little more is for rounding.
        radius = SAME_PLACE * float(sigma[band == number].max()) * (1 + 1e-9)
        yield rows[cKDTree(xy[rows]).query_pairs(radius, output_type="ndarray")]


def _take(found: Extrema, rows: Tensor) -> Extrema:
    around = None if found.around is None else found.around[rows]
    return Extrema(found.xy[rows], found.sigma[rows], found.contrast[rows], around)


def _outside_mask(xy: Tensor, mask: NDArray[np.bool_] | None) -> Tensor:
    """Which of `xy` (N, 2) lie on a pixel that the mask keeps."""
    if mask is None:
        return torch.ones(len(xy), dtype=torch.bool, device=xy.device)
    keep = torch.as_tensor(mask, device=xy.device)
    column, row = xy.round().long().unbind(1)
    return keep[row.clamp(0, keep.shape[0] - 1), column.clamp(0, keep.shape[1] - 1)]
