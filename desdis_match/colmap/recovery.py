"""Matches that verification left out of a pair and that the poses of the model bear out.

Of uncalibrated photos of a facade COLMAP keeps what lies on one homography, if that is most, and of any pair
what one geometry of that pair alone explains. Once a model is there, its poses and lenses say better which
matches agree: of entry-P10's 95,603 verification leaves out 7,902, and 4,996 of them are borne out.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..support.native import pycolmap
from .database import notes, open_database
from .mappers import MapConfig, incremental_options
from .ranking import leave_out_misfits
from .still_matches import StillKeypoints
from .thinning import MOST_MATCHES
from .verification import still_keypoints
from .view_graph import VerifiedPair, agreeing, agreement, inlier_pairs

log = logging.getLogger(__name__)

AGREES = 0.5
"""Share of a pair's verified matches that must agree with the model before it is asked about others; of pairs
that it contradicts, such as those of two places that look alike, nothing is believed."""

Rows = NDArray[np.int64]


def recover(model: pycolmap.Reconstruction, database_path: Path, config: MapConfig) -> int:
    """Give a model the points and observations of matches between its photos that agree with its poses but
    were not verified, in place, poses as they are; returns how many such matches there are.

    What does not fit leaves the model again. The database is only read.
    """
    with open_database(database_path) as database:
        pairs = inlier_pairs(database, config.verify.min_num_inliers)
        if sum(len(pair.matches) for pair in pairs) > MOST_MATCHES:
            return 0
        still = StillKeypoints()
        if notes(database_path).get("still matches"):
            still = still_keypoints(database, cache(database.read_keypoints))
        shares = agreement(model, pairs, database)
        trusted = [pair for pair in pairs if shares.get(pair.ids, 0.0) >= AGREES]
        left = [_left_out(pair, database, still) for pair in trusted]
        agree = agreeing(model, left, database, config.verify.max_epipolar_error)
    found = [pair.matches[agree[pair.ids]] for pair in left]
    num = sum(map(len, found))
    if num:
        _triangulate(model, trusted, found, config)
        log.info("%d matches that were not verified agree with the model", num)
    return num


def _left_out(pair: VerifiedPair, database: pycolmap.Database, still: StillKeypoints) -> VerifiedPair:
    """The matches of a pair that are not verified, without those that stay where they are."""
    ids = pair.image_id0, pair.image_id1
    matches = np.asarray(database.read_matches(*ids), np.int64).reshape(-1, 2)
    if still.of_photo:
        keypoints0, keypoints1 = (database.read_keypoints(image_id) for image_id in ids)
        matches = np.asarray(still.moving(ids, keypoints0, keypoints1, matches), np.int64)
    width = 1 + max(int(matches.max(initial=0)), int(pair.matches.max(initial=0)))
    known = np.isin(matches @ [width, 1], pair.matches @ [width, 1])
    return VerifiedPair(*ids, matches[~known])


def _triangulate(
    model: pycolmap.Reconstruction, pairs: list[VerifiedPair], found: list[Rows], config: MapConfig
) -> None:
    graph = pycolmap.CorrespondenceGraph()
    for image_id in sorted(model.reg_image_ids()):
        graph.add_image(image_id, model.image(image_id).num_points2D())
    for pair, more in zip(pairs, found, strict=True):
        geometry = pycolmap.TwoViewGeometry(config=pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED)
        geometry.inlier_matches = np.concatenate([pair.matches, more]).astype(np.uint32)
        graph.add_two_view_geometry(pair.image_id0, pair.image_id1, geometry)
    graph.finalize()
    observed = pycolmap.ObservationManager(model, graph)
    triangulator = pycolmap.IncrementalTriangulator(graph, model, observed)
    options = incremental_options(config, 1).get_triangulation()
    for image_id in sorted(model.reg_image_ids()):
        triangulator.triangulate_image(options, image_id)
    triangulator.merge_all_tracks(options)
    leave_out_misfits(model)
