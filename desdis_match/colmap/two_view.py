"""One geometric model of two photos' matches, by pycolmap's robust estimators: F, E or H.

Models are of this package's pixels ((0, 0) is the centre of the top-left one): x1 F x0 = 0, x1 ~ H x0. E is
of the cameras' normalised rays and comes with the pose. Cameras are COLMAP's, or intrinsics (3, 3) for our
pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ..conventions import PIXEL_CENTRE, to_colmap
from ..errors import InputError
from ..support.checks import check_options
from ..support.native import pycolmap
from ..types import Features, Matches, TwoView

Kind = Literal["auto", "F", "E", "H"]
Float = NDArray[np.float64]

SHIFT: Float = np.array([[1, 0, PIXEL_CENTRE], [0, 1, PIXEL_CENTRE], [0, 0, 1]])
"""COLMAP's pixels from ours."""


@dataclass(frozen=True)
class TwoViewConfig:
    """How a model of two photos' matches is estimated."""

    kind: Kind = "auto"
    """F: fundamental matrix; E: essential matrix, with cameras; H: homography; auto: as COLMAP decides, E, F
    or H where both cameras are given, else F or H."""
    max_error: float = 4.0
    """Largest error of an inlier, pixels of the photos."""
    min_num_inliers: int = 15
    """With fewer there is no model."""
    seed: int = 0
    """The same seed gives the same inliers."""

    def __post_init__(self) -> None:
        check_options(self, max_error="above 0", min_num_inliers=(4, None), seed=(0, None))


def verify_pair(
    features0: Features,
    features1: Features,
    matches: Matches,
    config: TwoViewConfig | None = None,
    camera0: pycolmap.Camera | NDArray[Any] | None = None,
    camera1: pycolmap.Camera | NDArray[Any] | None = None,
) -> TwoView:
    """The model that most matches agree with, and those matches; none of them and zeros where there is none.

    camera0, camera1: pycolmap.Camera, or (3, 3) intrinsics for our pixels. Raises InputError for kind E
    without cameras and for matches of other features.
    """
    config = config or TwoViewConfig()
    rows = matches.indices
    if len(rows) and (rows.min() < 0 or (rows.max(axis=0) >= (len(features0), len(features1))).any()):
        raise InputError("the matches are not of these features: they name keypoints that are not there")
    if (camera0 is None) != (camera1 is None):
        raise InputError("give both cameras or none")
    if config.kind == "E" and (camera0 is None or camera1 is None):
        raise InputError("kind E needs camera0 and camera1: pycolmap.Camera, or (3, 3) intrinsics")
    # COLMAP's own pixels throughout; models are put into ours at the end.
    points0 = to_colmap(features0.keypoints.astype(np.float64))[rows[:, 0]]
    points1 = to_colmap(features1.keypoints.astype(np.float64))[rows[:, 1]]
    cameras = (_camera(camera0, features0.image_size), _camera(camera1, features1.image_size))
    if len(rows) < config.min_num_inliers:
        return _nothing(config.kind, camera0 is not None)
    if config.kind == "auto":
        return _decided(points0, points1, matches, cameras, config)
    return _of_kind(config.kind, points0, points1, matches, cameras, config)


def _of_kind(
    kind: Literal["F", "E", "H"],
    points0: Float,
    points1: Float,
    matches: Matches,
    cameras: tuple[pycolmap.Camera, pycolmap.Camera],
    config: TwoViewConfig,
) -> TwoView:
    options = pycolmap.RANSACOptions(max_error=config.max_error, random_seed=config.seed)
    if kind == "E":
        found = pycolmap.estimate_essential_matrix(points0, points1, *cameras, options)
    elif kind == "F":
        found = pycolmap.estimate_fundamental_matrix(points0, points1, options)
    else:
        found = pycolmap.estimate_homography_matrix(points0, points1, options)
    if found is None or int(np.sum(found["inlier_mask"])) < config.min_num_inliers:
        return _nothing(kind, kind == "E")
    keep = np.asarray(found["inlier_mask"], bool)
    pose = found["cam2_from_cam1"].matrix() if kind == "E" else None
    return TwoView(_rows(matches, keep), _in_our_pixels(kind, found[kind]), kind, pose)


def _decided(
    points0: Float,
    points1: Float,
    matches: Matches,
    cameras: tuple[pycolmap.Camera, pycolmap.Camera],
    config: TwoViewConfig,
) -> TwoView:
    """By COLMAP's comparison of the models' inliers."""
    options = pycolmap.TwoViewGeometryOptions(min_num_inliers=config.min_num_inliers)
    options.ransac.max_error = config.max_error
    options.ransac.random_seed = config.seed
    options.compute_relative_pose = True
    pairs = np.column_stack([np.arange(len(points0))] * 2).astype(np.uint32)
    found = pycolmap.estimate_two_view_geometry(cameras[0], points0, cameras[1], points1, pairs, options)
    kinds = pycolmap.TwoViewGeometryConfiguration
    kind: Literal["F", "E", "H"]
    if found.config == kinds.CALIBRATED:
        kind = "E"
    elif found.config == kinds.UNCALIBRATED:
        kind = "F"
    elif found.config in (kinds.PLANAR, kinds.PANORAMIC, kinds.PLANAR_OR_PANORAMIC):
        kind = "H"
    else:
        return _nothing("auto", cameras[0].has_prior_focal_length)
    keep = np.zeros(len(points0), bool)
    keep[found.inlier_matches[:, 0]] = True
    pose = found.cam2_from_cam1 if kind == "E" else None
    model = _in_our_pixels(kind, getattr(found, kind))
    return TwoView(_rows(matches, keep), model, kind, None if pose is None else pose.matrix())


def _camera(camera: pycolmap.Camera | NDArray[Any] | None, size: tuple[int, int]) -> pycolmap.Camera:
    """A camera of COLMAP's; without one it is a guess that says so."""
    if camera is None:
        return pycolmap.Camera.create_from_model_name(0, "SIMPLE_PINHOLE", 1.2 * max(size), *size)
    if isinstance(camera, pycolmap.Camera):
        given = pycolmap.Camera(camera.todict())
    else:
        k = np.asarray(camera, np.float64)
        if k.shape != (3, 3) or not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise InputError("a camera must be a pycolmap.Camera or finite (3, 3) intrinsics")
        k = SHIFT @ k
        given = pycolmap.Camera(
            model="PINHOLE", width=size[0], height=size[1], params=[k[0, 0], k[1, 1], k[0, 2], k[1, 2]]
        )
    given.has_prior_focal_length = True
    return given


def _in_our_pixels(kind: Literal["F", "E", "H"], model: Float) -> Float:
    model = np.asarray(model, np.float64)
    if kind == "F":
        return cast(Float, SHIFT.T @ model @ SHIFT)
    if kind == "H":
        model = np.linalg.inv(SHIFT) @ model @ SHIFT
        return cast(Float, model / model[2, 2])
    return model


def _rows(matches: Matches, keep: NDArray[np.bool_]) -> Matches:
    return Matches(matches.indices[keep], matches.scores[keep])


def _nothing(kind: Kind, calibrated: bool) -> TwoView:
    none = Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
    named: Literal["F", "E", "H"] = ("E" if calibrated else "F") if kind == "auto" else kind
    return TwoView(none, np.zeros((3, 3)), named)
