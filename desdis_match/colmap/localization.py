"""Poses of new photos against a model: match each with photos of the model, lift the matches to 3-D, solve.

A query is matched with the photos of the model that share most descriptors with it; every match whose
keypoint in the model belongs to a 3-D point is a 2-D to 3-D match. Their pose comes from pycolmap's robust
absolute pose and its refinement. The model and its features.h5 must be of one run: keypoint i of an image in
the one is keypoint i in the other, which is checked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..conventions import to_colmap
from ..errors import InputError
from ..matching.match import (
    MatchConfig,
    Neighbours,
    find_matcher,
    match_features,
    match_prepared,
    prepare,
)
from ..matching.nearest import Prepared
from ..photos.cameras import CameraConfig, PhotoInfo, assign_cameras
from ..storage.features_file import FeatureFile
from ..support.checks import ABOVE_ZERO, check_options
from ..support.native import pycolmap
from ..types import Features
from .alignment import AlignConfig

log = logging.getLogger(__name__)

SAME_FOCAL = 0.05
"""A query whose EXIF focal length is this near a camera of the model, in parts, may share that camera."""
NUM_VOTING = 1000
"""Keypoints of an image, best first, that vote for the photos to match a query with."""
HELD_IMAGES = 32
"""Photos of the model whose descriptors are kept ready."""
HELD_VOTERS = 1000
"""Photos of the model whose voters are kept ready, 0.8 MB each."""
MAX_ALIGNMENT = AlignConfig.max_shift + 0.01
"""Pixels that aligning a model may have moved its keypoints from those of the features."""
MAX_MEDIAN_MOVE = 0.25
"""Pixels, x and y: a shift that all keypoints share is another pixel convention, not an alignment."""
CameraSource = Literal["given", "model", "EXIF", "guess"]


@dataclass(frozen=True)
class LocalizeConfig:
    """How queries are matched with a model, and what counts as a pose."""

    num_images: int = 20
    """Photos of the model that a query is matched with, those that share most descriptors; 0: all."""
    min_inliers: int = 20
    """2-D to 3-D matches that must agree with a pose."""
    max_error: float = 12.0
    """Greatest reprojection error of such a match, pixels of the query."""
    camera_model: str = "SIMPLE_RADIAL"
    """COLMAP's name of the queries' camera model, where no camera of the model serves."""
    camera_params: str | None = None
    """The queries' camera parameters, comma-separated in COLMAP's order; none: a camera of the model where
    the photo's size and EXIF fit, else EXIF's focal length, else a guess that the pose refines."""
    seed: int = 0
    """The same seed gives the same poses."""
    match: MatchConfig = field(default_factory=MatchConfig)

    def __post_init__(self) -> None:
        check_options(
            self, num_images=(0, 1_000_000), min_inliers=(4, 1_000_000), max_error=ABOVE_ZERO, seed=(0, None)
        )
        CameraConfig("per-image", self.camera_model, self.camera_params)  # which checks them


@dataclass(frozen=True)
class Localization:
    """What became of one query."""

    name: str
    cam_from_world: pycolmap.Rigid3d | None  # None: no pose, see `why`
    why: str = ""
    num_keypoints: int = 0
    num_matches: int = 0  # 2-D to 3-D
    num_inliers: int = 0
    camera: pycolmap.Camera | None = (
        None  # with refined focal length and distortion, where they were not known
    )
    camera_source: CameraSource = "guess"
    images: Mapping[str, int] = field(default_factory=dict)  # photo of the model -> its 2-D to 3-D matches


class Localizer:
    """`localizer(name, features, photo)` -> Localization, against a model and the features it was made of."""

    def __init__(
        self,
        model: pycolmap.Reconstruction,
        features: FeatureFile,
        config: LocalizeConfig | None = None,
        device: str = "auto",
    ) -> None:
        """Raises InputError where `features` are not those of the model."""
        self.model, self.features, self.config = model, features, config or LocalizeConfig()
        self.device = device
        self._points = {
            image.name: _point_ids(image, features)
            for image in map(model.image, sorted(model.reg_image_ids()))
        }
        if not self._points:
            raise InputError(
                "the model has no registered image; give the folder of a model, such as sparse/0"
            )
        self._prepared = lru_cache(HELD_IMAGES)(lambda name: prepare(features.get(name).descriptors, device))
        self._voters = lru_cache(HELD_VOTERS)(self._voting)

    def __call__(self, name: str, features: Features, photo: PhotoInfo) -> Localization:
        """Localize one photo. photo: its size and EXIF (cameras.read_photo_info)."""
        nearest = isinstance(find_matcher(self.config.match), Neighbours)
        query = prepare(features.descriptors, self.device) if nearest else None
        pairs, images = [np.empty((0, 2), np.int64)], {}
        for other in self._choose(features):
            matches = self._match(features, query, other)
            points = self._points[other][matches[:, 1]]
            seen = points >= 0
            pairs.append(np.stack([matches[seen, 0], points[seen]], axis=1))
            images[other] = int(seen.sum())
        lifted = np.unique(np.concatenate(pairs), axis=0)
        images = dict(sorted(((k, n) for k, n in images.items() if n), key=lambda item: (-item[1], item[0])))
        return self._solve(name, features, photo, lifted, images)

    def _match(self, features: Features, query: Prepared | None, other: str) -> NDArray[np.int64]:
        """(M, 2) keypoints of the query and of a photo of the model; `query` for matchers of descriptors."""
        if query is None:
            found = match_features(features, self.features.get(other), self.config.match, self.device)
        else:
            found = match_prepared(query, self._prepared(other), self.config.match)
        return found.indices.astype(np.int64)

    def _solve(
        self,
        name: str,
        features: Features,
        photo: PhotoInfo,
        lifted: NDArray[np.int64],
        images: Mapping[str, int],
    ) -> Localization:
        """The pose from (M, 2) pairs of keypoint and 3-D point id."""
        camera, source = self._camera(photo)
        estimation = pycolmap.AbsolutePoseEstimationOptions(estimate_focal_length=source == "guess")
        estimation.ransac.max_error = self.config.max_error
        estimation.ransac.random_seed = self.config.seed
        known = source in ("given", "model")
        refinement = pycolmap.AbsolutePoseRefinementOptions(
            refine_focal_length=not known, refine_extra_params=not known
        )
        found = None
        if len(lifted) >= self.config.min_inliers:
            found = pycolmap.estimate_and_refine_absolute_pose(
                to_colmap(features.keypoints)[lifted[:, 0]].astype(np.float64),
                np.array([self.model.point3D(point).xyz for point in lifted[:, 1]]),
                camera,
                estimation,
                refinement,
            )
        num_inliers = 0 if found is None else int(found["num_inliers"])
        pose, why = None, ""
        if found is not None and num_inliers >= self.config.min_inliers:
            pose = found["cam_from_world"]
        elif len(features) == 0:
            why = "it has no keypoints"
        else:
            why = (
                f"{num_inliers} of {len(lifted)} matches with 3-D points agree on a pose, "
                f"{self.config.min_inliers} must"
            )
        return Localization(name, pose, why, len(features), len(lifted), num_inliers, camera, source, images)

    def _camera(self, photo: PhotoInfo) -> tuple[pycolmap.Camera, CameraSource]:
        """The query's camera and where it is from."""
        config = self.config
        if config.camera_params is None:
            used = {self.model.image(image_id).camera_id for image_id in self.model.reg_image_ids()}
            alike = [
                camera
                for camera in map(self.model.camera, sorted(used))
                if (camera.width, camera.height) == photo.size
            ]
            if len(alike) == 1:
                focal = alike[0].mean_focal_length()
                if photo.exif_focal is None or abs(photo.exif_focal / focal - 1) < SAME_FOCAL:
                    return copy(alike[0]), "model"
        (camera,), _ = assign_cameras(
            {"query": photo}, CameraConfig("per-image", config.camera_model, config.camera_params)
        )
        if config.camera_params is not None:
            return camera, "given"
        return camera, "guess" if photo.exif_focal is None else "EXIF"

    def _choose(self, features: Features) -> list[str]:
        """Photos of the model to match a query with: those whose voters match most of the query's."""
        names = list(self._points)
        if not 0 < self.config.num_images < len(names):
            return names
        best = np.argsort(-features.scores, kind="stable")[:NUM_VOTING]
        query = prepare(features.descriptors[best], self.device)
        rule = self.config.match
        if not isinstance(find_matcher(rule), Neighbours):
            rule = replace(rule, matcher=MatchConfig.matcher)
        votes = {name: len(match_prepared(query, self._voters(name), rule)) for name in names}
        return sorted(names, key=lambda name: -votes[name])[: self.config.num_images]

    def _voting(self, name: str) -> Prepared:
        """Descriptors of the keypoints with 3-D points that scored best."""
        features = self.features.get(name)
        useful = np.flatnonzero(self._points[name] >= 0)
        best = useful[np.argsort(-features.scores[useful], kind="stable")[:NUM_VOTING]]
        return prepare(features.descriptors[best], self.device)


def _point_ids(image: pycolmap.Image, features: FeatureFile) -> NDArray[np.int64]:
    """(N,) the 3-D point of each keypoint, -1 = none. Raises InputError for keypoints that are others."""
    if image.name not in features:
        raise InputError(
            f"{features.path} has no image '{image.name}' of the model; give the features that made the model"
        )
    keypoints = to_colmap(features.keypoints(image.name))
    points = image.points2D
    if len(points) != len(keypoints):
        raise InputError(
            f"'{image.name}' has {len(points)} keypoints in the model and {len(keypoints)} in "
            f"{features.path}; give the features that made the model"
        )
    if len(points):
        places = np.array([point.xy for point in points])
        moves = places - keypoints
        # Alignment moves keypoints this way and that; those of other features lie elsewhere or to one side.
        if np.abs(moves).max() > MAX_ALIGNMENT or np.abs(np.median(moves, axis=0)).max() > MAX_MEDIAN_MOVE:
            raise InputError(
                f"the keypoints of '{image.name}' in {features.path} are not those of the model; "
                "give the features that made the model"
            )
    return np.array([point.point3D_id if point.has_point3D() else -1 for point in points], np.int64)
