"""Known poses: from a model, nerfstudio's transforms.json or a table, and triangulated with our matches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..photos.cameras import CameraConfig
from ..photos.known_cameras import has_intrinsics
from ..support.files import read_json, read_text
from ..support.names import by_ends
from ..support.native import pycolmap
from .database import open_database
from .mappers import Job, grow, incremental_options
from .view_graph import agreement, inlier_pairs

Poses = dict[str, pycolmap.Rigid3d]  # camera from world, by photo name

CONTRADICTED = 0.3
"""Share of a verified pair's matches that agree with the poses below which it speaks against them."""

EXPECTED = "they may be of other photos or another convention: camera from world, x right, y down, z forward"

LARGEST = 1e12
"""Largest coordinate that leaves digits for the points."""

NO_ROTATION = 1e-2
"""How far the product of a rotation and its transpose may be off the identity: files are rounded."""

OPENGL = np.diag([1.0, -1.0, -1.0])
"""nerfstudio's cameras look along -z with y up, COLMAP's along z with y down."""


def read_poses(path: Path, names: Sequence[str]) -> Poses:
    """Poses of those of the photos `names` that `path` has some for.

    path: the folder of a COLMAP model, a transforms.json, or a table with lines `NAME QW QX QY QZ TX TY TZ`,
    camera from world as in COLMAP's images.txt. Names may lie in other folders there (`images/a.jpg`), as
    long as their ends tell them apart. Raises InputError.
    """
    if path.is_dir():
        found = _of_model(path)
    elif path.suffix == ".json":
        found = _of_transforms(path)
    elif path.is_file():
        found = _of_table(path)
    else:
        raise InputError(f"{path} does not exist; give a COLMAP model, a transforms.json or a table of poses")
    for name, pose in found.items():
        _check_pose(pose, f"{path}: the pose of '{name}'")
    given = by_ends(found, names)
    if not given:
        raise InputError(
            f"{path} has {len(found)} poses and none is of a photo here; it names '{next(iter(found), '')}', "
            f"the photos are called like '{next(iter(names), '')}'"
        )
    return given


def _check_pose(pose: pycolmap.Rigid3d, whose: str) -> None:
    matrix = np.asarray(pose.matrix())
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > LARGEST:
        raise InputError(f"{whose} has numbers that are no place: {pose.translation.tolist()}")


def with_cameras_of_poses(cameras: CameraConfig, poses: Path | None) -> CameraConfig:
    """The cameras of the model or transforms.json that the poses come from, where none are given."""
    if poses is None or cameras.camera_params is not None or cameras.camera_file is not None:
        return cameras
    path = Path(poses)
    of_model = path.is_dir() and any((path / f"cameras.{end}").is_file() for end in ("bin", "txt"))
    if not of_model and not (path.suffix == ".json" and has_intrinsics(path)):
        return cameras  # reading the poses says what is wrong with a folder that is none
    return replace(cameras, camera_file=path)


def _of_model(folder: Path) -> Poses:
    from .mapping import read_model  # which imports this module

    model = read_model(folder)
    return {model.image(i).name: model.image(i).cam_from_world() for i in model.reg_image_ids()}


def _of_transforms(path: Path) -> Poses:
    try:
        frames = read_json(path)["frames"]
        found = [(_clean(frame["file_path"]), _of_matrix(frame["transform_matrix"])) for frame in frames]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} is not nerfstudio's transforms.json: {error!r}") from error
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise InputError(f"{path} has more than one pose of '{twice[0]}'")
    return dict(found)


def _of_matrix(rows: Any) -> pycolmap.Rigid3d:
    world_from_camera = np.asarray(rows, np.float64)
    turn = world_from_camera[:3, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=NO_ROTATION):
        raise ValueError(f"transform_matrix begins with {turn.tolist()}, which is no rotation")
    rotation = (world_from_camera[:3, :3] @ OPENGL).T
    return pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ world_from_camera[:3, 3])


def _clean(name: str) -> str:
    return PurePosixPath(name).as_posix()


def _of_table(path: Path) -> Poses:
    poses = {}
    for number, line in enumerate(read_text(path, "a table of poses").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            values = np.array(list(map(float, words[-7:])))
            length = float(np.linalg.norm(values[:4])) if len(values) == 7 and len(words) > 7 else 0.0
            if not abs(length - 1) < 0.01:
                raise ValueError("a name and seven numbers, the first four a unit quaternion, are expected")
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: '{line[:80]}' is not `NAME QW QX QY QZ TX TY TZ` ({error})"
            ) from error
        w, x, y, z = values[:4] / length
        rotation = pycolmap.Rotation3d(np.array([x, y, z, w]))
        name = " ".join(words[:-7])
        if name in poses:
            raise InputError(f"{path}, line {number}: '{name}' has a pose already, further up")
        poses[name] = pycolmap.Rigid3d(rotation, values[4:])
    return poses


def triangulated(job: Job, poses: Mapping[str, pycolmap.Rigid3d], refine: bool) -> pycolmap.Reconstruction:
    """A model of the photos with poses, whose points are triangulated; photos without are registered to it.

    refine: adjust the poses to the points; else they stay exactly as given. Raises InputError where nothing
    can be triangulated.
    """
    model = _posed(job, poses)
    if model.num_reg_images() < 2:
        raise InputError("only one of the photos has a known pose; points need two or more")
    if not refine:
        _check_agreement(job, model)
    output = job.folder()
    options = incremental_options(job.config, job.threads)
    try:
        model = pycolmap.triangulate_points(
            model,
            job.database,
            output,
            output,
            True,
            options,
            refine and not job.config.fix_intrinsics,
        )
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"the photos could not be triangulated with the given poses: {error}") from error
    if model.num_points3D() == 0:
        raise InputError(f"no point could be triangulated with the given poses; {EXPECTED}")
    if refine:
        _refine(model, job)
    if len(poses) < len(model.images) or _left_out(job, poses):
        model = grow(job, model, fix_existing_frames=True)
    return model


def _check_agreement(job: Job, model: pycolmap.Reconstruction) -> None:
    """Raise InputError where the verified pairs contradict the poses: nothing good would come of them."""
    with open_database(job.database) as database:
        shares = agreement(model, inlier_pairs(database, job.config.verify.min_num_inliers), database)
    wrong = sum(share < CONTRADICTED for share in shares.values())
    if 2 * wrong > len(shares):
        raise InputError(
            f"{wrong} of {len(shares)} verified pairs contradict the given poses; {EXPECTED}; of poses "
            "that are only rough, --refine-poses makes better ones"
        )


def _left_out(job: Job, poses: Mapping[str, pycolmap.Rigid3d]) -> bool:
    with open_database(job.database) as database:
        return any(image.name not in poses for image in database.read_all_images())


def _posed(job: Job, poses: Mapping[str, pycolmap.Rigid3d]) -> pycolmap.Reconstruction:
    """The database's photos with poses, without points."""
    model = pycolmap.Reconstruction()
    with open_database(job.database) as database:
        images = [image for image in database.read_all_images() if image.name in poses]
        used = {image.camera_id for image in images}
        for camera in database.read_all_cameras():
            if camera.camera_id in used:
                model.add_camera_with_trivial_rig(camera)
        for image in images:
            keypoints = database.read_keypoints(image.image_id)[:, :2].astype(np.float64)
            posed = pycolmap.Image(
                name=image.name, keypoints=keypoints, camera_id=image.camera_id, image_id=image.image_id
            )
            model.add_image_with_trivial_frame(posed, poses[image.name])
    return model


def _refine(model: pycolmap.Reconstruction, job: Job) -> None:
    """Adjust poses and points, in place, and bring the model back to where the poses had it."""
    given = _centres(model)
    options = pycolmap.BundleAdjustmentOptions()
    options.ceres.solver_options.num_threads = job.threads
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = not job.config.fix_intrinsics
    pycolmap.bundle_adjustment(model, options)
    if len(given) >= 3:
        back = pycolmap.estimate_sim3d(_centres(model), given)
        if back is not None:
            model.transform(back)
    model.update_point_3d_errors()


def _centres(model: pycolmap.Reconstruction) -> NDArray[np.float64]:
    """(N, 3) of the registered photos, by id."""
    return np.array([model.image(i).projection_center() for i in sorted(model.reg_image_ids())])
