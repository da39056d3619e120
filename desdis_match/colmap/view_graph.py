"""The verified pairs of a database: which photos they join, and whether a model agrees with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.native import pycolmap
from .database import open_database

Float = NDArray[np.float64]

AGREES_WITHIN = 8.0
"""Pixels from its epipolar line within which a match agrees with a model: twice the error of verification."""

MATCHES_ASKED = 200
"""About as many matches of a pair, spread over all, tell the share that agrees: to 3 % or so."""


@dataclass(frozen=True)
class VerifiedPair:
    """Two photos and their matches that agree with one geometry."""

    image_id0: int
    image_id1: int
    matches: NDArray[np.int64]  # (M, 2) keypoints of image 0 and 1

    @property
    def ids(self) -> tuple[int, int]:
        """Both, the smaller first."""
        return min(self.image_id0, self.image_id1), max(self.image_id0, self.image_id1)


def inlier_pairs(database: pycolmap.Database, min_inliers: int) -> list[VerifiedPair]:
    """By ids of the pairs."""
    pair_ids, geometries = database.read_two_view_geometries()
    pairs = []
    for pair_id, geometry in sorted(zip(pair_ids, geometries, strict=True), key=lambda item: item[0]):
        matches = np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)
        if len(matches) >= min_inliers:
            pairs.append(VerifiedPair(*pycolmap.pair_id_to_image_pair(pair_id), matches))
    return pairs


def connected(ends: NDArray[np.integer], num: int) -> NDArray[np.int64]:
    """(num,) the component, from 0 on, of each of `num` nodes; ends (E, 2): the nodes of each edge."""
    from scipy.sparse import coo_array  # a third of a second, which others need not wait for
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(ends), np.bool_), ends.T), shape=(num, num))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def components(image_ids: Sequence[int], edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Connected components with an edge in them, largest first."""
    row = {image_id: i for i, image_id in enumerate(image_ids)}
    ends = np.array([[row[a], row[b]] for a, b in edges], int).reshape(-1, 2)
    labels = connected(ends, len(row))
    members: dict[int, list[int]] = {}
    for image_id, label in zip(image_ids, labels, strict=True):
        members.setdefault(int(label), []).append(image_id)
    return sorted((m for m in members.values() if len(m) > 1), key=len, reverse=True)


def verified_edges(
    database_path: Path, min_inliers: int
) -> tuple[dict[int, str], list[tuple[int, int, int]]]:
    """Names of the photos by id, and of each verified pair both ids and the number of its inliers."""
    with open_database(database_path) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        pair_ids, counts = database.read_two_view_geometry_num_inliers()
    edges = [
        (*pycolmap.pair_id_to_image_pair(pair_id), count)
        for pair_id, count in zip(pair_ids, counts, strict=True)
        if count >= min_inliers
    ]
    return names, edges


def joined_photos(database_path: Path, min_inliers: int) -> list[frozenset[str]]:
    """Names of the photos of each connected component of verified pairs, largest first."""
    names, edges = verified_edges(database_path, min_inliers)
    joined = components(sorted(names), ((a, b) for a, b, _ in edges))
    return [frozenset(names[i] for i in members) for members in joined]


def agreement(
    model: pycolmap.Reconstruction, pairs: Sequence[VerifiedPair], database: pycolmap.Database
) -> dict[tuple[int, int], float]:
    """Of each pair whose photos are both in the model, the share of matches that agree with its poses."""
    asked = [replace(p, matches=p.matches[:: max(1, len(p.matches) // MATCHES_ASKED)]) for p in pairs]
    return {
        ids: float(agree.mean())
        for ids, agree in agreeing(model, asked, database, AGREES_WITHIN).items()
        if len(agree)
    }


def agreeing(
    model: pycolmap.Reconstruction, pairs: Sequence[VerifiedPair], database: pycolmap.Database, within: float
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Of each pair whose photos are both in the model, the matches (M,) that lie `within` pixels of the
    epipolar lines of its poses. Panoramas have no such lines, and no entry."""
    registered = set(model.reg_image_ids())
    keypoints = cache(database.read_keypoints)
    found = {}
    for pair in pairs:
        if pair.image_id0 not in registered or pair.image_id1 not in registered:
            continue
        image0, image1 = model.image(pair.image_id0), model.image(pair.image_id1)
        camera0, camera1 = model.camera(image0.camera_id), model.camera(image1.camera_id)
        focal = min(camera0.mean_focal_length(), camera1.mean_focal_length())
        if focal <= 0:  # panoramas have no plane z = 1
            continue
        points0, points1 = (
            _on_plane(keypoints(image.image_id), rows, image, camera)
            for image, camera, rows in zip((image0, image1), (camera0, camera1), pair.matches.T, strict=True)
        )
        from0 = image1.cam_from_world() * image0.cam_from_world().inverse()
        found[pair.ids] = epipolar_distance(from0, points0, points1) * focal < within
    return found


def _on_plane(
    keypoints: NDArray[np.floating], rows: NDArray[np.int64], image: pycolmap.Image, camera: pycolmap.Camera
) -> Float:
    """(M, 2) where keypoints of an image lie on the plane z = 1. Raises InputError for rows beyond them."""
    if rows.max(initial=-1) >= len(keypoints):
        raise InputError(
            f"the database has matches of keypoint {rows.max()} of {image.name}, which has {len(keypoints)}; "
            "make the database again"
        )
    places = camera.cam_from_img(keypoints[rows, :2].astype(np.float64))
    return np.asarray(places, np.float64).reshape(-1, 2)


def epipolar_distance(cam1_from_cam0: pycolmap.Rigid3d, points0: Float, points1: Float) -> Float:
    """(M,) Sampson distances of matches (M, 2) on the planes z = 1."""
    length = float(np.linalg.norm(cam1_from_cam0.translation))
    x, y, z = cam1_from_cam0.translation / max(length, 1e-12)
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ cam1_from_cam0.rotation.matrix()
    rays0, rays1 = (np.column_stack([points, np.ones(len(points))]) for points in (points0, points1))
    lines1, lines0 = rays0 @ essential.T, rays1 @ essential
    error = np.abs((rays1 * lines1).sum(1))
    slopes = (lines1[:, :2] ** 2).sum(1) + (lines0[:, :2] ** 2).sum(1)
    result: Float = error / np.sqrt(np.maximum(slopes, 1e-24))
    return result
