"""Patches of 3-D points: `desdis-match build-patches --images DIR --model SPARSE --output FILE`.

A point of a COLMAP model is seen by keypoints of several photos; each observation gives a patch, at the
scale and angle that the detector found, cut wider than a network's. Observations whose size or direction,
brought to the point through the cameras, disagree with the others' are left out, as are badly triangulated
points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..colmap.alignment import AlignConfig
from ..conventions import from_colmap, from_colmap_columns, inside
from ..errors import InputError, NoModelError
from ..features.extract import ExtractConfig
from ..storage.run_folder import RunFolder
from ..support.checks import ABOVE_ZERO, check_options
from ..support.files import check_not_read
from ..support.progress import track
from .patchfile import write_patch_file
from .patchset import PatchSet, make_patch_set

Float = NDArray[np.float64]

SAME_PLACE = 0.15
"""Points nearer to each other than this share of their patches' radius may be one: never negatives."""
KEYPOINT_TOLERANCE = AlignConfig.max_shift + 0.01
"""How far, in pixels, a keypoint may lie from where the model has it: alignment of tracks moves it."""


@dataclass(frozen=True)
class BuildPatchesConfig:
    """Cut patches of the points of a reconstruction, to train descriptors on."""

    images: Path
    """Folder of the photos."""
    output: Path
    """Patch file to write (.h5)."""
    model: Path | None = None
    """Folder of the COLMAP model (cameras, images, points3D); without it the photos are reconstructed."""
    features: Path | None = None
    """The model's keypoints: features.h5 or a COLMAP database; looked for in the folders above the model."""
    side: int = 64
    """Side of the stored patches, pixels."""
    context: float = 1.5
    """Side of the stored patch / side of the network's patch."""
    max_views: int = 8
    """Patches of a point, at most; those of smallest reprojection error."""
    max_error: float = 2.0
    """Largest mean reprojection error of a point, pixels."""
    min_angle: float = 1.5
    """Smallest angle, degrees, between the outermost rays to a point."""
    scale_tolerance: float = 0.6
    """Largest difference of log2 size between two observations of a point."""
    angle_tolerance: float = 35.0
    """Largest difference of direction between two observations of a point, degrees."""
    licence: str = "that of the photos"
    """Recorded in the file and in the header of weights trained on it."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    """Keypoints, where the photos are reconstructed here."""

    def __post_init__(self) -> None:
        check_options(
            self,
            side=(32, 1024),
            context=(1, 8),
            max_views=(2, 100_000),
            max_error=ABOVE_ZERO,
            min_angle=(0, 180),
            scale_tolerance=(0, 100),
            angle_tolerance=(0, 180),
        )


@dataclass(frozen=True)
class PatchObservations:
    """Where points are seen, one row an observation, sorted by point."""

    points: NDArray[np.int64]  # (N,)
    images: NDArray[np.int64]  # (N,) COLMAP's image ids
    frames: Float  # (N, 3) place x, y (pixels, types.py's convention) and half side of the network's patch
    angles: Float  # (N,) radians as in types.Features
    sizes: Float  # (N,) half side of the patch in the world, at the point's depth
    directions: Float  # (N, 3) the patch's x axis in the world, unit
    errors: Float  # (N,) reprojection error, pixels

    def __len__(self) -> int:
        return len(self.points)

    def subset(self, rows: NDArray[Any]) -> PatchObservations:
        """Some of the observations, by index or mask."""
        return PatchObservations(**{name: column[rows] for name, column in vars(self).items()})


def build_patches(config: BuildPatchesConfig) -> PatchSet:
    """Cut the patches and write the patch file; returns what was written.

    InputError when photos, model or keypoints are missing or do not belong together, or no point is left;
    NoModelError when there is no model and none can be made.
    """
    from ..colmap.mapping import read_model

    model_folder, features = config.model, config.features
    check_not_read(config.output, features)
    if model_folder is None:
        model_folder, features = _reconstructed(config)
    model = read_model(model_folder)
    observations = observe(model, features or _beside(model_folder), config)
    kept = consistent(observations, model, config)
    patches, inside = cut(model, config, kept)
    kept, patches = kept.subset(inside), patches[inside]
    points, counts = np.unique(kept.points, return_counts=True)
    paired = np.isin(kept.points, points[counts >= 2])
    kept, patches = kept.subset(paired), patches[paired]
    if not len(kept):
        raise InputError(
            f"no point of {model_folder} has two patches that agree, of {len(observations)} observations; "
            "the model may be too small, or made from other photos"
        )
    made = make_patch_set(
        patches,
        kept.points,
        f"build-patches:{config.images.name}",
        config.licence,
        groups=same_places(kept, model),
        context=config.context,
    )
    settings = asdict(config) | {"images": config.images.name, "observations": len(observations)}
    write_patch_file(config.output, made, {name: str(value) for name, value in settings.items()})
    return made


def _reconstructed(config: BuildPatchesConfig) -> tuple[Path, Path]:
    """Model and features of a reconstruction made here, beside the patch file."""
    from ..pipeline.reconstruct import ReconstructConfig, reconstruct

    folder = config.output.with_name(config.output.stem + "-model")
    result = reconstruct(ReconstructConfig(images=config.images, output=folder, extract=config.extract))
    if not result.models:
        raise NoModelError(f"no model of {config.images} formed, so there are no points to cut patches of")
    made = RunFolder(folder)
    return made.model(), made.features


def _beside(model: Path) -> Path:
    for folder in (model, model.parent, model.parent.parent):
        run = RunFolder(folder)
        for path in (run.features, run.database):
            if path.is_file():
                return path
    raise InputError(f"there is no features.h5 or database.db beside {model}; say where with --features")


def read_frames(path: Path, names: Sequence[str]) -> dict[str, Float]:
    """Keypoints of photos by name, (N, 4): x, y, half side of the network's patch, angle.

    Conventions are those of types.py. Read from features.h5, or from a COLMAP database whose keypoints have
    scale and orientation.
    """
    from ..storage.features_file import FeatureFile

    if path.suffix != ".db":
        with FeatureFile(path) as file:
            features = {name: file.get(name) for name in names}
        return {
            name: np.column_stack([one.keypoints, one.scales, one.angles]).astype(np.float64)
            for name, one in features.items()
        }
    from ..colmap.database import readable_database

    frames = {}
    with readable_database(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        for name in names:
            if name not in ids:
                raise InputError(f"{path} has no photo '{name}', which the model has")
            table = np.asarray(database.read_keypoints(ids[name]), np.float64)
            if table.shape[1] < 4:
                raise InputError(f"{path} holds keypoints without scale; give --features FILE.h5")
            frames[name] = np.column_stack(from_colmap_columns(table))
    return frames


def observe(model: Any, features: Path, config: BuildPatchesConfig) -> PatchObservations:
    """All observations of well-triangulated points, one a photo and point.

    InputError when the keypoints are not those of the model.
    """
    names = {number: image.name for number, image in model.images.items() if image.has_pose}
    frames = read_frames(features, sorted(names.values()))
    poses = {number: model.images[number].cam_from_world() for number in names}
    centres = {number: model.images[number].projection_center() for number in names}
    rows: list[tuple[Any, ...]] = []
    for number, point in sorted(model.points3D.items()):
        if point.error > config.max_error:
            continue
        seen: dict[int, tuple[Any, ...]] = {}
        for element in point.track.elements:
            image = model.images[element.image_id]
            keypoint = from_colmap(image.points2D[element.point2D_idx].xy)
            table = frames[image.name]
            index = element.point2D_idx
            if index >= len(table) or np.abs(table[index, :2] - keypoint).max() > KEYPOINT_TOLERANCE:
                raise InputError(
                    f"{features} is not what the model was made from: keypoints of '{image.name}' differ"
                )
            camera = model.cameras[image.camera_id]
            pose = poses[element.image_id]
            in_camera = pose * point.xyz
            projected = camera.img_from_cam(in_camera)
            if in_camera[2] <= 0 or projected is None:
                continue
            x, y, radius, angle = table[index]
            rotation = pose.rotation.matrix()
            direction = rotation.T @ [np.cos(angle), -np.sin(angle), 0.0]
            size = radius * in_camera[2] / camera.mean_focal_length()
            error = float(np.linalg.norm(from_colmap(projected) - keypoint))
            row = (number, element.image_id, (x, y, radius), angle, size, direction, error)
            if element.image_id not in seen or error < seen[element.image_id][-1]:
                seen[element.image_id] = row
        rays = np.array([point.xyz - centres[image] for image in seen])
        if len(seen) >= 2 and _widest_angle(rays) >= np.deg2rad(config.min_angle):
            rows += seen.values()
    if not rows:
        raise InputError("the model has no well-triangulated point seen by two photos")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return PatchObservations(*columns)


def _widest_angle(rays: Float) -> float:
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return float(np.arccos(np.clip((unit @ unit.T).min(), -1, 1)))


def consistent(seen: PatchObservations, model: Any, config: BuildPatchesConfig) -> PatchObservations:
    """Of each point the observations that agree in size and direction with the one that most agree with."""
    keep: list[NDArray[np.int64]] = []
    rotations = {
        number: model.images[number].cam_from_world().rotation.matrix() for number in set(seen.images)
    }
    starts = np.flatnonzero(np.r_[True, seen.points[1:] != seen.points[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(seen)], strict=True):
        rows = np.arange(start, stop)
        size = np.log2(seen.sizes[rows])
        # Directions as the first photo's camera would see them, with the surface taken to face it.
        along = seen.directions[rows] @ rotations[seen.images[start]].T
        angle = np.arctan2(along[:, 1], along[:, 0])
        turned = np.abs((angle[:, None] - angle[None] + np.pi) % (2 * np.pi) - np.pi)
        agree = np.abs(size[:, None] - size[None]) <= config.scale_tolerance
        agree &= turned <= np.deg2rad(config.angle_tolerance)
        chosen = rows[agree[agree.sum(axis=1).argmax()]]
        if len(chosen) >= 2:
            keep.append(chosen[np.argsort(seen.errors[chosen], kind="stable")[: config.max_views]])
    return seen.subset(np.concatenate(keep) if keep else np.zeros(0, np.int64))


def cut(
    model: Any, config: BuildPatchesConfig, seen: PatchObservations
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Patches (N, side, side) of all observations, and which network's patches lie inside their photo."""
    import torch

    from ..features.frames import PatchPyramid, keypoints_to_lafs, scaled_lafs
    from ..photos.images import read_gray

    patches = np.zeros((len(seen), config.side, config.side), np.uint8)
    whole = np.zeros(len(seen), bool)
    for number in track(np.unique(seen.images).tolist(), "cutting"):
        rows = np.flatnonzero(seen.images == number)
        image = read_gray(config.images / model.images[number].name, None)
        camera = model.cameras[model.images[number].camera_id]
        if image.size != (camera.width, camera.height):
            raise InputError(
                f"{config.images / model.images[number].name} is {image.size[0]}x{image.size[1]}, but the "
                f"model's camera {camera.width}x{camera.height}: it was not made from these photos"
            )
        place, radius = seen.frames[rows, :2], seen.frames[rows, 2]
        lafs = keypoints_to_lafs(place, radius.astype(np.float32), seen.angles[rows].astype(np.float32))
        sampled = PatchPyramid(image.pixels).sample(scaled_lafs(lafs, config.context), config.side)[:, 0]
        patches[rows] = (sampled.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        reach = (lafs[:, :, :2].abs().sum(dim=2)).numpy()  # (n, 2) half extent of the turned square
        whole[rows] = inside(place, image.size, reach)
    return patches, whole


def same_places(seen: PatchObservations, model: Any) -> NDArray[np.int64]:
    """(N,) group of each observation: points so close that they may be one share theirs.

    Detectors give one place several keypoints (other angles, neighbouring scales), and a track may be torn in
    two: such points show the same thing and must not be negatives of each other.
    """
    from scipy.spatial import cKDTree

    from ..colmap.view_graph import connected

    points, rows, inverse = np.unique(seen.points, return_index=True, return_inverse=True)
    places = np.array([model.points3D[int(point)].xyz for point in points])
    radius = SAME_PLACE * seen.sizes[rows]
    near = cKDTree(places).query_ball_point(places, radius)
    one = np.repeat(np.arange(len(points)), [len(found) for found in near])
    two = np.concatenate([np.asarray(found, np.int64) for found in near])
    return connected(np.column_stack([one, two]), len(points))[inverse]
