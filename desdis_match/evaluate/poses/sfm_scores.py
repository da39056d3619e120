"""A reconstruction in numbers: the columns of the ETH benchmark (Schönberger et al., CVPR 2017), and its
errors against true cameras. `pycolmap.Reconstruction` in, plain records out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ...support.metrics import area_under_recall
from . import geometry
from .geometry import Pose
from .ground_truth import Truth

AUC_DEGREES = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True)
class ModelScore:
    """One reconstruction of a scene. Counts are 0 and errors infinite where no model formed."""

    scene: str
    label: str
    intrinsics: str  # self, given
    num_images: int
    num_registered: int
    num_keypoints: float  # mean a photo
    num_verified: int  # verified matches of all pairs
    num_points: int = 0
    num_observations: int = 0
    track_length: float = float("nan")
    reprojection_error: float = float("nan")  # pixels of the photos
    unregistered: tuple[str, ...] = ()
    rotation_errors: tuple[float, ...] = ()  # degrees over all pairs of true cameras
    translation_errors: tuple[float, ...] = ()
    pose_errors: tuple[float, ...] = ()
    center_errors: dict[str, float] = field(default_factory=dict)  # data's unit, by image
    focal_error: float = float("nan")  # share, mean over images, signed
    unit: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def areas(self) -> dict[str, list[float]]:
        """AUC at AUC_DEGREES of rotation, of direction and of the larger of both; empty without truth."""
        if not self.pose_errors:
            return {}
        directed = [e for e in self.translation_errors if not np.isnan(e)]
        return {
            "rotation": area_under_recall(self.rotation_errors, AUC_DEGREES),
            "translation": area_under_recall(directed, AUC_DEGREES) if directed else [],
            "pose": area_under_recall(self.pose_errors, AUC_DEGREES),
        }


def poses_of(model: Any) -> dict[str, Pose]:
    """Registered images of a `pycolmap.Reconstruction`."""
    poses = {}
    for image in model.images.values():
        if image.has_pose:
            moved = image.cam_from_world()
            rotation = np.asarray(moved.rotation.matrix(), np.float64)
            poses[image.name] = Pose(rotation, -rotation.T @ np.asarray(moved.translation, np.float64))
    return poses


def focal_errors(model: Any, truth: Truth) -> list[float]:
    """(estimated - true) / true focal length of each registered image with a published one.

    The mean of both axes; published for another image size, it is scaled by the width.
    """
    errors = []
    for image in model.images.values():
        true = truth.cameras.get(image.name)
        if not image.has_pose or true is None or true.intrinsics is None:
            continue
        camera = model.cameras[image.camera_id]
        grown = camera.width / true.size[0] if true.size else 1.0
        focal = float(np.mean([true.intrinsics[0, 0], true.intrinsics[1, 1]])) * grown
        errors.append(float(camera.mean_focal_length()) / focal - 1)
    return errors


def score_model(
    model: Any | None,
    truth: Truth | None,
    names: list[str],
    scene: str,
    label: str,
    intrinsics: str,
    **measured: Any,
) -> ModelScore:
    """Score one model (None: none formed) of the photos `names`; `measured` fills further fields."""
    poses = poses_of(model) if model is not None else {}
    notes = list(measured.pop("notes", ()))
    columns: dict[str, Any] = {}
    if model is not None and model.num_points3D():
        columns = {
            "num_points": model.num_points3D(),
            "num_observations": model.compute_num_observations(),
            "track_length": float(model.compute_mean_track_length()),
            "reprojection_error": float(model.compute_mean_reprojection_error()),
        }
    if truth is not None:
        errors = geometry.pair_errors(poses, truth.poses())
        columns |= {
            "rotation_errors": tuple(errors.rotation.tolist()),
            "translation_errors": tuple(errors.translation.tolist()),
            "pose_errors": tuple(errors.pose().tolist()),
            "unit": truth.unit,
        }
        try:
            columns["center_errors"] = geometry.center_errors(poses, truth.poses())
        except InputError as error:
            notes.append(f"no camera centres compared: {error}")
        if model is not None and (focal := focal_errors(model, truth)):
            columns["focal_error"] = float(np.mean(focal))
    return ModelScore(
        scene=scene,
        label=label,
        intrinsics=intrinsics,
        num_images=len(names),
        num_registered=len(poses),
        unregistered=tuple(sorted(set(names) - set(poses))),
        notes=tuple(notes),
        **columns,
        **measured,
    )
