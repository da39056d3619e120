"""Subpixel alignment of a model's tracks: each observation against the patch of its track's reference.

A detector places a keypoint in every photo on its own, to a third of a pixel or so. Once a model is there, it
tells how a small patch around a 3-D point looks from one photo to another: an affine map through the tangent
plane of the point cloud. Under that map every observation is moved by a few Gauss-Newton steps until it
agrees with the reference patch up to gain and offset (inverse compositional, Baker & Matthews, IJCV 2004),
and the model is adjusted to the new places. One reference a track keeps the track consistent, which pairwise
alignment would not.
Pixels are those of the original photos, (0, 0) the centre of the top-left one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..conventions import sigma_from_scale, to_colmap
from ..features.frames import PatchPyramid, resized_lafs, scaled_lafs
from ..photos.images import read_gray
from ..storage.features_file import FeatureFile
from ..support.progress import track
from ..support.workers import each_on_one_thread, run_shards
from .observations import Observations, Views, observations, references, views_of

log = logging.getLogger(__name__)

ENOUGH_OF_PHOTO = 30
"""Observations of a photo whose median correlation says how far its patches can agree at all."""

HELD_BYTES = 512 * 2**20
"""Photos kept for the second pass: 60 of 1600 pixels, 15 of 3000."""

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Pyramid = tuple[PatchPyramid, tuple[float, float]]  # with its size over that of the photo, x and y
Result = TypeVar("Result")


@dataclass(frozen=True)
class AlignConfig:
    """How the observations of a model are aligned."""

    max_size: int = 0
    """Photos are shrunk to this long side first; 0 takes them as they are."""
    window: float = 4.0
    """Half side of the aligned patch in sigmas of the reference keypoint."""
    min_radius: float = 5.0
    """Smallest half side in pixels of the photo."""
    max_radius: float = 24.0
    """Largest half side."""
    size: int = 16
    """Samples along a side of the patch."""
    steps: int = 3
    """Gauss-Newton steps."""
    min_correlation: float = 0.8
    """Observations whose patch agrees less with the reference stay where they were."""
    least_correlation: float = 0.7
    """Observations whose patch agrees less than that are of another place and leave the model, as do those
    that agree further away than `max_shift`. On a rendered scene 98 of 100 with a correlation below 0.3 are
    wrong by more than 2 pixels, 57 between 0.6 and 0.7, 2 of those that moved."""
    share_of_median: float = 0.8
    """In photos where most agree less, by night for example, less is asked: this share of the median, ..."""
    floor_correlation: float = 0.5
    """...but never less than this, or than `least_correlation`."""
    max_shift: float = 2.0
    """Longest move that is believed, pixels of a photo of MEASURED_SIDE; it grows with larger ones."""
    loss_scale: float = 0.5
    """Residuals beyond this many pixels lose weight in the adjustment that follows (Cauchy's loss). Squared
    residuals let the few wrong observations among thousands turn the cameras."""
    tolerance: float = 3e-3
    """That adjustment ends where an iteration lowers its cost by less than this share."""


@dataclass(frozen=True)
class Aligned:
    """What alignment found."""

    xy: Float  # (M, 2) places, moved or not
    moved: NDArray[np.bool_]  # (M,)
    wrong: NDArray[np.bool_]  # (M,) of another place than the reference, so that they leave the model
    before: Float  # (M,) correlation with the reference before...
    after: Float  # (M,) ...and after
    least: Float  # (photos,) correlation below which an observation of the photo is wrong


def align(
    seen: Observations,
    images: Path,
    config: AlignConfig,
    photos: Photos | None = None,
    least: Float | None = None,
) -> Aligned:
    """Move the observations, a photo a core, first those of references, then the rest.

    photos: those of `images` that are read already. least: as of Aligned, where it is known.
    """
    count, size = len(seen.photo), config.size
    is_reference = seen.reference == np.arange(count)
    frames = torch.from_numpy(seen.frames).float()
    # Reference patches with a margin of one sample for the slopes; half precision, as there may be a million.
    wide = size + 2
    patches = torch.zeros(int(is_reference.sum()), wide * wide, dtype=torch.float16)
    place = np.cumsum(is_reference) - 1  # row of `patches` of a reference

    def sample(pyramid: PatchPyramid, scale: tuple[float, float], rows: Int) -> Tensor:
        around = resized_lafs(scaled_lafs(frames[rows], wide / size), scale)
        return pyramid.sample(around, wide).flatten(1).half()

    def move(pyramid: PatchPyramid, scale: tuple[float, float], rows: Int) -> tuple[Tensor, Tensor, Tensor]:
        wanted = patches[place[seen.reference[rows]]].float().view(-1, wide, wide)
        return _gauss_newton(pyramid, scale, frames[rows], wanted, config)

    photos = photos or Photos(images, config)
    again = "" if least is None else " again"
    for rows, sampled in _by_photo(sample, seen, photos, is_reference, "references" + again):
        patches[place[rows]] = sampled
    at = frames.clone()
    before, after = torch.ones(count), torch.ones(count)
    for rows, found in _by_photo(move, seen, photos, ~is_reference, "align" + again):
        at[rows], before[rows], after[rows] = found
    shift = (at[:, :, 2] - frames[:, :, 2]).norm(dim=1) / torch.from_numpy(seen.pixel).float()[seen.photo]
    good = (after >= config.min_correlation) & (shift <= config.max_shift) & at.isfinite().flatten(1).all(1)
    moved = good.numpy() & ~is_reference
    xy = seen.frames[:, :, 2].copy()
    xy[moved] = at[moved][:, :, 2].double().numpy()
    agree = after.double().numpy()
    least = _least(seen, agree, is_reference, config) if least is None else least
    elsewhere = agree >= config.min_correlation  # where they did not move: they agree, but too far away
    wrong = (elsewhere | (agree < least[seen.photo])) & ~moved & ~is_reference
    return Aligned(xy, moved, wrong, before.double().numpy(), agree, least)


def _least(seen: Observations, agree: Float, is_reference: NDArray[np.bool_], config: AlignConfig) -> Float:
    """(photos,) the correlation that an observation of each photo must have."""
    least = np.full(len(seen.names), config.least_correlation)
    for row in range(len(seen.names)):
        some = agree[(seen.photo == row) & ~is_reference]
        if len(some) >= ENOUGH_OF_PHOTO:
            less = max(config.floor_correlation, config.share_of_median * float(np.median(some)))
            least[row] = min(config.least_correlation, less)
    return least


def align_tracks(views: Views, images: Path, config: AlignConfig, photos: Photos | None = None) -> Aligned:
    """`align` of a model's views.

    Where most of a track are unlike its reference, that may be the wrong one: another is tried, and counts if
    more are like it.
    """
    radius, reference = radii(views, config), references(views)
    aligned = align(observations(views, reference, radius), images, config, photos)
    right = _num_right(reference, aligned.wrong)
    others = np.bincount(reference, minlength=len(reference)) - 1
    rows = np.flatnonzero(((others > 1) & (2 * right < others))[reference])
    if not len(rows):
        return aligned
    again = observations(views, references(views, aligned.wrong), radius).of(rows)
    second = align(again, images, config, photos, aligned.least)
    better = _num_right(again.reference, second.wrong)[again.reference] > right[reference[rows]]
    for column in ("xy", "moved", "wrong", "before", "after"):
        getattr(aligned, column)[rows[better]] = getattr(second, column)[better]
    return aligned


def radii(views: Views, config: AlignConfig) -> Float:
    """(M,) half sides in pixels of the patches around observations that are references."""
    return np.clip(config.window * views.sigma, config.min_radius, config.max_radius)


def _num_right(reference: Int, wrong: NDArray[np.bool_]) -> Int:
    """(M,) at the row of each reference, how many others of its track are right."""
    others = (reference != np.arange(len(reference))) & ~wrong
    return np.bincount(reference[others], minlength=len(reference))


def align_model(
    model: Any,
    images: Path,
    features: FeatureFile,
    config: AlignConfig | None = None,
    *,
    fix_intrinsics: bool = False,
) -> Aligned:
    """Align a `pycolmap.Reconstruction`'s observations and adjust it to them, in place.

    `images` holds its photos, `features` its keypoints. The same model gives the same result.
    """
    aligned = align_observations(model, images, features, config)
    adjust(model, config, fix_intrinsics=fix_intrinsics)
    return aligned


def align_observations(
    model: Any,
    images: Path,
    features: FeatureFile,
    config: AlignConfig | None = None,
    photos: Photos | None = None,
) -> Aligned:
    """The first half of `align_model`: a core a photo. photos: as of `align`."""
    config = config or AlignConfig()
    names = [image.name for image in model.images.values() if image.has_pose]
    sigmas = {name: sigma_from_scale(features.scales(name)) for name in names}
    seen = views_of(model, sigmas)
    aligned = align_tracks(seen, images, config, photos)
    places = to_colmap(aligned.xy)
    points = {image.name: image.points2D for image in model.images.values()}
    of_photo = [points[name] for name in seen.names]
    for row in np.flatnonzero(aligned.moved).tolist():
        of_photo[seen.photo[row]][int(seen.keypoint[row])].xy = places[row]
    ids = {image.name: image.image_id for image in model.images.values()}
    for row in np.flatnonzero(aligned.wrong).tolist():
        photo, keypoint = seen.photo[row], int(seen.keypoint[row])
        if of_photo[photo][keypoint].has_point3D():  # a point goes with the last but one of its observations
            model.delete_observation(ids[seen.names[photo]], keypoint)
    others = max(1, len(seen.photo) - len(np.unique(seen.point)))
    log.info("alignment moved %d %% of the observations", 100 * int(aligned.moved.sum()) // others)
    return aligned


def adjust(model: Any, config: AlignConfig | None = None, *, fix_intrinsics: bool = False) -> None:
    """The second half of `align_model`, on one thread, whose sums have one order; what does not fit goes."""
    from ..support.native import pycolmap
    from .ranking import leave_out_misfits

    config = config or AlignConfig()
    options = pycolmap.BundleAdjustmentOptions()
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.function_tolerance = config.tolerance
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = config.loss_scale
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = not fix_intrinsics
    pycolmap.bundle_adjustment(model, options)
    leave_out_misfits(model)


class Photos:
    """Pyramids of the photos with their scales, by name; those that fit HELD_BYTES are read once."""

    def __init__(self, images: Path, config: AlignConfig | None = None) -> None:
        self.images, self.max_size = images, (config or AlignConfig()).max_size or None
        self.held: dict[str, Pyramid] = {}
        self.left, self.full = HELD_BYTES, False
        self.ahead: dict[str, Future[None]] = {}

    def __getitem__(self, name: str) -> Pyramid:
        reading = self.ahead.get(name)
        if reading is not None and not reading.cancel():
            reading.exception()  # a photo that cannot be read fails again below
        return self.held.get(name) or self._read(name)

    def read_ahead(self, name: str) -> None:
        """Read a photo unless there is no more room."""
        if not self.full:
            self._read(name)

    def _read(self, name: str) -> Pyramid:
        gray = read_gray(self.images / name, self.max_size, judged=True)
        photo = PatchPyramid(gray.pixels), gray.scale_xy
        size = sum(level.nbytes for level in photo[0].levels)
        if size <= self.left:
            self.left -= size
            self.held[name] = photo
        else:
            self.full = True
        return photo


@contextmanager
def photos_ahead(images: Path, names: Sequence[str]) -> Iterator[Photos]:
    """Photos to be aligned, which a thread of its own reads in the block, as many as there is room for."""
    photos = Photos(images)
    with ThreadPoolExecutor(1) as pool:
        photos.ahead = {name: pool.submit(photos.read_ahead, name) for name in names}
        try:
            yield photos
        finally:
            pool.shutdown(cancel_futures=True)


def _by_photo(
    work: Callable[[PatchPyramid, tuple[float, float], Int], Result],
    seen: Observations,
    photos: Photos,
    chosen: NDArray[np.bool_],
    what: str,
) -> Iterator[tuple[Int, Result]]:
    """Rows of the chosen observations of each photo that has some, and what `work` made of them."""
    rows_of = [np.flatnonzero(chosen & (seen.photo == row)) for row in range(len(seen.names))]

    def one(row: int) -> Result:
        return work(*photos[seen.names[row]], rows_of[row])

    with each_on_one_thread() as pool:
        some = [row for row, rows in enumerate(rows_of) if len(rows)]
        results = run_shards(one, some, pool, name=lambda row: seen.names[row])
        for row, result in track(results, what, len(some), "photos"):
            yield rows_of[row], result


def _gauss_newton(
    pyramid: PatchPyramid, scale: tuple[float, float], frames: Tensor, wanted: Tensor, config: AlignConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (N, 2, 3) moved to agree with `wanted` (N, S + 2, S + 2); correlation (N,) before and after."""
    size = config.size
    root = _root_window(size)
    across = wanted[:, 1:-1, 2:] - wanted[:, 1:-1, :-2]
    down = wanted[:, 2:, 1:-1] - wanted[:, :-2, 1:-1]
    basis = torch.stack([wanted[:, 1:-1, 1:-1], across, down]).flatten(2)  # (3, N, S * S)
    target, slopes = basis[0], basis[1:]
    gain = _centred(target, root)
    target /= gain[:, None]
    # Gain and offset are free: their directions are projected out of the slopes.
    for slope in slopes:
        _centred(slope, root)
        slope *= (size / 4 / gain)[:, None]  # a sample is 2 / size wide
        slope.addcmul_(target, _products(slope, target)[:, None], value=-1)
    hessian = torch.stack([_products(slopes, slope) for slope in slopes]).permute(2, 0, 1)
    trace = hessian.diagonal(dim1=1, dim2=2).sum(1)
    hessian = hessian + (1e-6 * trace + 1e-9)[:, None, None] * torch.eye(2)
    at, best_at = frames, frames
    first = best = torch.full((len(frames),), -1.0)
    for step in range(config.steps + 1):
        patch = pyramid.sample(resized_lafs(at, scale), size).flatten(1)
        gain = _centred(patch, root)
        along = _products(basis, patch) / gain  # (3, N)
        correlation = along[0]
        first = correlation if step == 0 else first
        better = correlation > best
        best = torch.where(better, correlation, best)
        best_at = torch.where(better[:, None, None], at, best_at)
        at = _shifted(at, -torch.linalg.solve(hessian, along[1:].T).clamp(-0.5, 0.5))
    return best_at, first, best


def _shifted(frames: Tensor, shift: Tensor) -> Tensor:
    """Frames (N, 2, 3) moved by `shift` (2,) or (N, 2) in their own patch coordinates."""
    moved = frames[:, :, 2] + (frames[:, :, :2] * shift.expand(len(frames), 2)[:, None, :]).sum(2)
    return torch.cat([frames[:, :, :2], moved[:, :, None]], 2)


def _centred(patches: Tensor, root: Tensor) -> Tensor:
    """Weight patches (N, S) and take their mean off, in place; returns their lengths (N,) after that."""
    patches *= root
    patches.addr_(patches @ root, root, alpha=-1)
    lengths: Tensor = torch.linalg.vector_norm(patches, dim=1)
    return lengths.clamp_min(1e-7)


def _products(rows: Tensor, others: Tensor) -> Tensor:
    """(..., N) products of each row of (..., N, S) with that of (N, S); torch makes a copy of both first."""
    return torch.from_numpy(np.einsum("...s,...s", rows.numpy(), others.numpy()))


def _root_window(size: int) -> Tensor:
    """(size * size,) of length 1: roots of Gaussian weights, a tenth at the middle of the sides."""
    place = (2 * torch.arange(size) + 1) / size - 1
    one = torch.exp(-1.15 * place**2)
    return torch.nn.functional.normalize(torch.outer(one, one).flatten(), dim=0)
