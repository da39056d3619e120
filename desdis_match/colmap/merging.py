"""Two models of overlapping photos become one.

The similarity between them comes from points that both have - seen by the same keypoint of a photo that is in
both, or by keypoints that a verified pair matches across them - or, where the models were made of different
keypoints, from the poses of the photos they share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.native import pycolmap
from .database import open_database
from .mappers import Job
from .ranking import best_first, leave_out_misfits, leave_out_unseeing, registered_names
from .view_graph import VerifiedPair, inlier_pairs

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

MIN_SHARED_POINTS = 15
"""Points that must agree on the similarity: as many as a verified pair needs matches."""

MIN_SHARED_SHARE = 0.4
"""Share of the shared points that must agree, so that a repeated structure does not join what lies apart."""

MAX_SHIFT = 1e-2
"""How far such a point may be off, as a share of the model's size."""


def join_models(
    job: Job, model: pycolmap.Reconstruction, others: Sequence[pycolmap.Reconstruction]
) -> pycolmap.Reconstruction | None:
    """`model` with the photos of those models of the same database that fit to it; None where none does."""
    with open_database(job.database) as database:
        pairs = inlier_pairs(database, job.config.verify.min_num_inliers)
    joined = None
    for other in others:
        try:
            joined = merged(joined or model, other, pairs, fix_intrinsics=job.config.fix_intrinsics)
        except InputError as error:
            log.info("models not joined: %s", error)
    return joined


def merged(
    model: pycolmap.Reconstruction,
    other: pycolmap.Reconstruction,
    pairs: Sequence[VerifiedPair] = (),
    *,
    fix_intrinsics: bool = False,
) -> pycolmap.Reconstruction:
    """A new model in the coordinates of `model` that has the photos and points of both, adjusted.

    pairs: of the database of both. A photo that is in both keeps the pose that `model` gives it. Raises
    InputError where nothing tells how the models lie to each other, and for rigs of several cameras.
    """
    if any(rig.num_sensors() > 1 for found in (model, other) for rig in found.rigs.values()):
        raise InputError("models with rigs of several cameras cannot be joined")
    shared = _shared_points(model, other, pairs)
    moved = pycolmap.Reconstruction(other)
    moved.transform(_similarity(model, other, shared))
    result = pycolmap.Reconstruction(model)
    _unite(result, shared, _add(result, moved, _add_photos(result, moved)), _reach(model))
    _adjust(result, fix_intrinsics)
    return result


def merge_models(
    models: Sequence[pycolmap.Reconstruction], *, fix_intrinsics: bool = False
) -> pycolmap.Reconstruction:
    """All in one, in the coordinates of the best of them. Raises InputError where one does not fit."""
    best, *left = best_first(models)
    while left:
        failed: list[pycolmap.Reconstruction] = []
        why = None
        for other in left:
            try:
                best = merged(best, other, fix_intrinsics=fix_intrinsics)
            except InputError as error:
                why = error
                failed.append(other)
        if len(failed) == len(left) and why is not None:
            raise why
        left = failed
    return best


def _similarity(
    model: pycolmap.Reconstruction, other: pycolmap.Reconstruction, shared: Sequence[tuple[int, int]]
) -> pycolmap.Sim3d:
    """model_from_other."""
    target = np.array([model.point3D(p).xyz for p, _ in shared]).reshape(-1, 3)
    source = np.array([other.point3D(q).xyz for _, q in shared]).reshape(-1, 3)
    if len(target) >= MIN_SHARED_POINTS:
        options = pycolmap.RANSACOptions(max_error=_reach(model), random_seed=0)
        # A dict with "tgt_from_src", whatever pycolmap 4.2's signature says.
        found: Any = pycolmap.estimate_sim3d_robust(source, target, options)
        enough = max(MIN_SHARED_POINTS, MIN_SHARED_SHARE * len(target))
        if found is not None and found["num_inliers"] >= enough:
            result: pycolmap.Sim3d = found["tgt_from_src"]
            return result
    names = registered_names(model) & registered_names(other)
    if len(names) >= 2 and len(target) < MIN_SHARED_POINTS:
        by_poses = pycolmap.align_reconstructions_via_reprojections(other, model)
        if by_poses is not None:
            return by_poses
    raise InputError(
        f"the models share {len(names)} photos and {len(target)} points, and those do not agree on how the "
        "models lie to each other; give models of photos that overlap more"
    )


def _reach(model: pycolmap.Reconstruction) -> float:
    """How far apart the same point may be in two models."""
    return MAX_SHIFT * float(np.linalg.norm(model.compute_bounding_box(0.05, 0.95).diagonal()))


def _shared_points(
    model: pycolmap.Reconstruction, other: pycolmap.Reconstruction, pairs: Iterable[VerifiedPair]
) -> list[tuple[int, int]]:
    """Ids of a point in `model` and the same in `other`, each two once."""
    found: set[tuple[int, int]] = set()
    ids = {other.image(i).name: i for i in other.reg_image_ids()}
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        if image.name in ids:
            twin = other.image(ids[image.name])
            if _same_keypoints(image, twin):
                points, twins = _points_of(image), _points_of(twin)
                both = (points >= 0) & (twins >= 0)
                found |= set(zip(points[both].tolist(), twins[both].tolist(), strict=True))
    registered, further = set(model.reg_image_ids()), set(other.reg_image_ids())
    for pair in pairs:
        ends = (pair.image_id0, pair.image_id1)
        for a, b, order in ((*ends, 1), (*ends[::-1], -1)):
            if a in registered and b in further:
                here, there = pair.matches[:, ::order].T
                points, twins = _points_of(model.image(a))[here], _points_of(other.image(b))[there]
                both = (points >= 0) & (twins >= 0)
                found |= set(zip(points[both].tolist(), twins[both].tolist(), strict=True))
    return sorted(found)


def _points_of(image: pycolmap.Image) -> NDArray[np.int64]:
    """(N,) the 3-D point of each keypoint, -1 = none."""
    points = np.full(image.num_points2D(), -1, np.int64)
    for index in image.get_observation_point2D_idxs():
        points[index] = image.point2D(index).point3D_id
    return points


def _same_keypoints(image: pycolmap.Image, twin: pycolmap.Image) -> bool:
    """Whether both models list the same keypoints of a photo; alignment moves those with points a little."""
    if image.num_points2D() != twin.num_points2D():
        return False
    apart = np.array([p.xy for p in image.points2D]) - np.array([p.xy for p in twin.points2D])
    return bool(np.median(np.abs(apart)) < 1.0)


def _add_photos(result: pycolmap.Reconstruction, moved: pycolmap.Reconstruction) -> dict[int, int]:
    """Photos of `moved` that `result` lacks, with their cameras; returns image ids of `result` by those of
    `moved`. Ids stay where they are free, so that models of one database keep its ids."""
    known = {image.name: image.image_id for image in result.images.values()}
    cameras: dict[int, int] = {}
    ids: dict[int, int] = {}
    for image_id in sorted(moved.reg_image_ids()):
        image = moved.image(image_id)
        if image.name in known and result.image(known[image.name]).has_pose:
            ids[image_id] = known[image.name]
            if _same_keypoints(result.image(known[image.name]), image):
                cameras.setdefault(image.camera_id, result.image(known[image.name]).camera_id)
    for image_id in sorted(set(moved.reg_image_ids()) - set(ids)):
        image = moved.image(image_id)
        if image.camera_id not in cameras:
            cameras[image.camera_id] = _add_camera(result, moved.camera(image.camera_id))
        ids[image_id] = _add_photo(result, image, cameras[image.camera_id], known.get(image.name))
    return ids


def _add_camera(result: pycolmap.Reconstruction, camera: pycolmap.Camera) -> int:
    """The id of the same camera in `result`, or of a copy that it gets."""
    new = pycolmap.Camera(camera.todict())
    if result.exists_camera(camera.camera_id):
        there = result.camera(camera.camera_id)
        if (there.model, there.width, there.height) == (new.model, new.width, new.height) and np.allclose(
            there.params, new.params, rtol=0.02
        ):
            return there.camera_id
        new.camera_id = max((*result.cameras, *result.rigs)) + 1
    if result.exists_rig(new.camera_id):
        result.add_camera(new)
    else:
        result.add_camera_with_trivial_rig(new)
    return new.camera_id


def _add_photo(
    result: pycolmap.Reconstruction, image: pycolmap.Image, camera_id: int, listed: int | None
) -> int:
    """Register a copy of an image; `listed`: its id where `result` lists it without a pose."""
    pose = image.cam_from_world()
    if listed is not None:
        frame = result.image(listed).frame_id
        result.frame(frame).set_cam_from_world(result.image(listed).camera_id, pose)
        result.register_frame(frame)
        return listed
    taken = result.exists_image(image.image_id) or result.exists_frame(image.image_id)
    image_id = max((*result.images, *result.frames)) + 1 if taken else image.image_id
    points = np.array([point.xy for point in image.points2D]).reshape(-1, 2)
    new = pycolmap.Image(name=image.name, keypoints=points, camera_id=camera_id, image_id=image_id)
    result.add_image_with_trivial_frame(new, pose)
    return image_id


def _add(
    result: pycolmap.Reconstruction, moved: pycolmap.Reconstruction, ids: dict[int, int]
) -> dict[int, int]:
    """Points of `moved`, or what of their tracks `result` lacks; `ids` as of _add_photos.

    Returns ids of points of `result` by those of `moved`.
    """
    points: dict[int, int] = {}
    same = {
        image_id: _same_keypoints(result.image(new_id), moved.image(image_id))
        for image_id, new_id in ids.items()
    }
    for point_id, point in sorted(moved.points3D.items()):
        there, free = [], []
        for element in point.track.elements:
            if same.get(element.image_id):
                keypoint = result.image(ids[element.image_id]).point2D(element.point2D_idx)
                new = pycolmap.TrackElement(ids[element.image_id], element.point2D_idx)
                if keypoint.has_point3D():
                    there.append(keypoint.point3D_id)
                else:
                    free.append(new)
        if there:
            points[point_id] = there[0]
            seen = {element.image_id for element in result.point3D(there[0]).track.elements}
            for element in free:
                if element.image_id not in seen:
                    result.add_observation(there[0], element)
        elif len(free) > 1:
            track = pycolmap.Track()
            track.add_elements(free)
            points[point_id] = result.add_point3D(point.xyz, track, point.color)
    return points


def _unite(
    result: pycolmap.Reconstruction,
    shared: Sequence[tuple[int, int]],
    points: dict[int, int],
    reach: float,
) -> None:
    """Make one of the points that are the same, in place: their photos may have none in common.

    shared: of _shared_points; points: of _add.
    """
    united: dict[int, int] = {}

    def now(point_id: int) -> int:
        while point_id in united:
            point_id = united[point_id]
        return point_id

    for p, q in shared:
        if q not in points:
            continue
        a, b = now(p), now(points[q])
        if a == b or not (result.exists_point3D(a) and result.exists_point3D(b)):
            continue
        one, two = result.point3D(a), result.point3D(b)
        photos = {element.image_id for element in one.track.elements}
        apart = float(np.linalg.norm(one.xyz - two.xyz))
        if apart <= reach and photos.isdisjoint(element.image_id for element in two.track.elements):
            united[a] = united[b] = result.merge_points3D(a, b)


def _adjust(result: pycolmap.Reconstruction, fix_intrinsics: bool) -> None:
    """Bundle adjustment before and after what does not fit is left out, in place."""
    options = pycolmap.BundleAdjustmentOptions()
    options.ceres.solver_options.num_threads = 1
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = not fix_intrinsics
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    for _ in range(2):
        pycolmap.bundle_adjustment(result, options)
        leave_out_misfits(result)
    leave_out_unseeing(result)
