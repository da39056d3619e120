"""Photos placed by a part of their tracks, and the others set into the model after that.

Adjustment after each photo is what incremental mapping costs, and it grows with the points, while poses are
as exact with a part of them: the long tracks of each photo, and some of every pair of photos. Once all photos
are placed, all points are made from all matches and adjusted with the poses, so nothing of the model is
decided by the part but where the adjustment began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap
from .database import copy_database, open_database, remove_database
from .mappers import Job, incremental_options, map_incremental
from .view_graph import VerifiedPair, connected, inlier_pairs

Int = NDArray[np.int64]

TRACKS_OF_A_PHOTO = 500
"""Of each photo, the longest."""

TRACKS_OF_A_PAIR = 100
"""Of each pair of photos, the longest: as many as COLMAP wants of a first pair."""

CREATED_WITHIN = 8.0
"""Pixels from its place in a photo within which a ray may make a point where poses are known: twice what an
observation may be off in the end. COLMAP's 2 degrees are for poses that are not, and let 90 pixels pass."""

WORTHWHILE = 0.6
"""Share of the verified matches that may stay in: with more, little is saved."""

TOLERANCE_BEFORE_ALIGNMENT = 1e-2
"""Where the one adjustment ends of a model that alignment adjusts once more. Completing and filtering twice
after it leaves the points that COLMAP's five rounds of all three do, and poses are the same in the end."""

SELDOM = {"ba_global_frames_ratio": 1.3, "ba_global_points_ratio": 1.3, "ba_local_max_refinements": 1}
"""The part is adjusted as a whole when it has grown by 30 %, not by COLMAP's 10 %, and around a new photo
once: what that leaves, the adjustment of all points takes away."""

MOST_MATCHES = 50_000_000
"""Verified matches beyond which nothing is thinned: at 124 bytes each, measured with 5 million, 6 GB."""


def map_by_long_tracks(job: Job) -> list[pycolmap.Reconstruction]:
    """As `map_incremental`; no models where the part would be most of the tracks."""
    with open_database(job.database) as database:
        pairs = inlier_pairs(database, 1)
        if not 0 < sum(len(pair.matches) for pair in pairs) <= MOST_MATCHES:
            return []
        kept = kept_matches(pairs, job.config.seed)
    if sum(rows.sum() for rows in kept) > WORTHWHILE * sum(map(len, kept)):
        return []
    thin = job.folder() / "thinned.db"
    copy_database(job.database, thin)
    try:
        with open_database(thin) as database, pycolmap.DatabaseTransaction(database):
            for pair, rows in zip(pairs, kept, strict=True):
                ids = pair.image_id0, pair.image_id1
                geometry = database.read_two_view_geometry(*ids)
                geometry.inlier_matches = pair.matches[rows].astype(np.uint32)
                database.update_two_view_geometry(*ids, geometry)
        models = map_incremental(replace(job, database=thin), **SELDOM)
    finally:
        remove_database(thin)
    return [filled(job, model) for model in models]


def kept_matches(pairs: Sequence[VerifiedPair], seed: int) -> list[NDArray[np.bool_]]:
    """Of each pair, which matches belong to the longest tracks of one of its photos, or of the pair itself.

    A track is what matches join. One with two keypoints in a photo is doubtful and comes last; of tracks of
    one length the seed chooses, so that they lie all over the photo.
    """
    size = 1 + max(int(pair.matches.max()) for pair in pairs)
    photos = sorted({image_id for pair in pairs for image_id in pair.ids})
    row = {image_id: i for i, image_id in enumerate(photos)}
    ends = np.concatenate(
        [pair.matches + size * np.array([row[pair.image_id0], row[pair.image_id1]]) for pair in pairs]
    )
    keypoints, ends = np.unique(ends, return_inverse=True)
    ends = ends.reshape(-1, 2)
    track, photo = connected(ends, len(keypoints)), keypoints // size
    num = int(track.max()) + 1
    length = np.bincount(track, minlength=num)
    length[length > np.bincount(np.unique(track * len(photos) + photo) // len(photos), minlength=num)] = 0
    rank = np.empty(num, np.int64)  # of each track among all, the best first
    rank[np.lexsort((np.random.default_rng(seed).permutation(num), -length))] = np.arange(num)
    pair_of = np.repeat(np.arange(len(pairs)), [len(pair.matches) for pair in pairs])
    of_match = track[ends[:, 0]]
    kept = np.zeros(num, np.bool_)
    kept[track[_first(photo, rank[track], TRACKS_OF_A_PHOTO)]] = True
    kept[of_match[_first(pair_of, rank[of_match], TRACKS_OF_A_PAIR)]] = True
    starts = np.flatnonzero(np.diff(pair_of, prepend=-1))
    return np.split(kept[of_match], starts[1:])


def _first(group: Int, rank: Int, number: int) -> Int:
    """Rows of the `number` lowest ranks of each group."""
    order = np.lexsort((rank, group))
    ordered = group[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    place = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    return order[place < number]


def filled(job: Job, model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """`model` with points of all verified matches between its photos, all of it adjusted, in place."""
    options = incremental_options(job.config, job.threads)
    with open_database(job.database) as database:
        pipeline = pycolmap.IncrementalPipeline(options, database, pycolmap.ReconstructionManager())
    mapper = pycolmap.IncrementalMapper(pipeline.database_cache)
    mapper.begin_reconstruction(model)
    triangulation = options.get_triangulation()
    angle = min(triangulation.create_max_angle_error, _angle(model, CREATED_WITHIN))
    triangulation.create_max_angle_error = triangulation.continue_max_angle_error = angle
    for image_id in sorted(model.reg_image_ids()):
        mapper.triangulate_image(triangulation, image_id)
    adjustment, refinements = options.get_global_bundle_adjustment(), options.ba_global_max_refinements
    if job.config.align:
        adjustment.ceres.solver_options.function_tolerance = TOLERANCE_BEFORE_ALIGNMENT
        refinements = 1
    mapper.iterative_global_refinement(
        refinements,
        options.ba_global_max_refinement_change,
        options.get_mapper(),
        adjustment,
        triangulation,
    )
    if job.config.align:
        mapper.complete_and_merge_tracks(triangulation)
        mapper.filter_points(options.get_mapper())
    mapper.filter_frames(options.get_mapper())
    mapper.end_reconstruction(False)
    model.update_point_3d_errors()
    return model


def _angle(model: pycolmap.Reconstruction, pixels: float) -> float:
    """Degrees that so many pixels are in the photos of the widest lens."""
    lenses = [camera for camera in model.cameras.values() if len(camera.focal_length_idxs())]
    focal = min((camera.mean_focal_length() for camera in lenses), default=0.0)
    return float(np.degrees(np.arctan2(pixels, max(focal, 0.0))))
