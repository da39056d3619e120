"""Features and matches out of an existing COLMAP database, and into one.

Going in, images that the database knows by name keep their ids and cameras; new ones get a camera as in
`build_database`. The database is changed as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..colmap.database import (
    CHANGED,
    add_images,
    build_database,
    connect,
    content_changed,
    copy_database,
    drop_notes,
    open_database,
    replaced_database,
)
from ..colmap.verification import VerifyConfig, verify
from ..conventions import from_colmap_columns, to_colmap
from ..errors import InputError
from ..photos.cameras import CameraConfig
from ..storage.features_file import FeatureFile, write_features
from ..storage.matches_file import MatchFile, write_matches
from ..support.files import check_not_read
from ..support.native import pycolmap
from ..support.scratch import folder_beside
from ..types import Features, Matches
from .colmap3 import is_colmap3, write_colmap3

log = logging.getLogger(__name__)

DEFAULT_VERIFICATION = VerifyConfig()

ColmapVersion = Literal["same", "3", "4"]
"""Whose tables a database gets: of COLMAP 3.8, of COLMAP 4, or of the COLMAP that it came from."""


@dataclass(frozen=True)
class Imported:
    """What came out of a database."""

    num_images: int
    num_keypoints: int
    num_pairs: int
    num_matches: int


def import_database(
    database_path: Path, features_path: Path, matches_path: Path, overwrite: bool = False
) -> Imported:
    """Keypoints, descriptors and raw matches of a COLMAP database -> features.h5 and matches.h5.

    Pairs that have only a two-view geometry give its inliers. Byte descriptors become unit vectors.
    Raises InputError for a damaged database, one without keypoints, and outputs that exist already
    without `overwrite`.
    """
    check_not_read(features_path, database_path, matches_path)
    if Path(features_path).resolve() == Path(matches_path).resolve():
        raise InputError(f"{features_path} cannot hold features and matches; give two names")
    check_not_read(matches_path, database_path)
    for path in (features_path, matches_path):
        if Path(path).exists() and not overwrite:
            raise InputError(f"{path} exists; give --overwrite to replace it, or another name")
    if not Path(database_path).is_file():
        raise InputError(f"{database_path} does not exist; give COLMAP's database.db")
    _warn_of_damage(database_path)
    # COLMAP brings a database up to date and into another journal mode when it opens it: not the user's.
    with folder_beside(features_path) as scratch:
        copy = scratch / "database.db"
        copy_database(database_path, copy)
        # Of the content: stages must see that another database came in under the same name.
        content = hashlib.sha256(np.memmap(copy, mode="r").data).hexdigest()
        source = {"database": Path(database_path).name, "sha256": content}
        return _import(copy, database_path, features_path, matches_path, source)


def _warn_of_damage(database_path: Path) -> None:
    if content_changed(database_path):
        log.warning("%s %s", database_path, CHANGED)


def _import(
    copy: Path, database_path: Path, features_path: Path, matches_path: Path, source: dict[str, str]
) -> Imported:
    with open_database(copy) as database:
        images = {image.image_id: image for image in database.read_all_images()}
        cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
        named = sorted(images.values(), key=lambda image: image.name)
        present = [image for image in named if database.exists_keypoints(image.image_id)]
        if not present:
            raise InputError(f"{database_path} holds no keypoints; extract features into it first")
        write_features(
            features_path,
            ((i.name, _read_features(database, i, cameras[i.camera_id])) for i in present),
            source,
        )
        with FeatureFile(features_path) as features:
            counts = features.counts()
        # Others leave rows of images that they have removed.
        known = (pair for pair in _matched_pairs(copy) if images.keys() >= set(pair))
        pairs = sorted(known, key=lambda p: (images[p[0]].name, images[p[1]].name))
        write_matches(matches_path, _read_matches(database, images, pairs), source, counts)
    with MatchFile(matches_path) as file:
        found = [len(file.get(*pair)) for pair in file.pairs(counts)]
    return Imported(len(counts), sum(counts.values()), len(found), sum(found))


def _read_features(database: pycolmap.Database, image: pycolmap.Image, camera: pycolmap.Camera) -> Features:
    stored = database.read_keypoints(image.image_id)
    xy, scales, angles = from_colmap_columns(np.asarray(stored, np.float32))
    descriptors = np.zeros((len(xy), 0), np.float32)
    if database.exists_descriptors(image.image_id):
        values = _descriptor_values(database.read_descriptors(image.image_id))
        descriptors = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return Features(
        keypoints=xy,
        descriptors=descriptors.astype(np.float32),
        scores=np.ones(len(xy), np.float32),
        scales=scales,
        angles=angles,
        image_size=(camera.width, camera.height),
    )


def _descriptor_values(stored: pycolmap.FeatureDescriptors) -> NDArray[np.float32]:
    """(N, D): SIFT's are bytes, those of networks floats of four bytes each; only the type tells."""
    if stored.type in (pycolmap.FeatureExtractorType.SIFT, pycolmap.FeatureExtractorType.UNDEFINED):
        return np.asarray(stored.data, np.float32)
    return np.asarray(stored.to_float().data, np.float32)


def _matched_pairs(database_path: Path) -> Iterator[tuple[int, int]]:
    query = "SELECT pair_id FROM matches UNION SELECT pair_id FROM two_view_geometries WHERE rows > 0"
    with connect(database_path) as connection:
        for (pair_id,) in connection.execute(query):
            image_id0, image_id1 = pycolmap.pair_id_to_image_pair(pair_id)
            yield image_id0, image_id1


def _read_matches(
    database: pycolmap.Database, images: dict[int, pycolmap.Image], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, str, Matches]]:
    for pair in pairs:
        rows = database.read_matches(*pair)  # empty where there are none
        if not len(rows) and database.exists_two_view_geometry(*pair):
            rows = database.read_two_view_geometry(*pair).inlier_matches
        # The file holds one partner a keypoint; COLMAP's guided matches may hold more.
        _, first = np.unique(rows[:, 0], return_index=True)
        indices = rows[first].astype(np.int32)
        yield images[pair[0]].name, images[pair[1]].name, Matches(indices, np.ones(len(indices), np.float32))


def export_database(
    features: FeatureFile,
    matches: MatchFile,
    database_path: Path,
    images_dir: Path | None = None,
    cameras: CameraConfig | None = None,
    overwrite: bool = False,
    verification: VerifyConfig | None = DEFAULT_VERIFICATION,
    colmap: ColmapVersion = "same",
) -> int:
    """Put all features and matches into a COLMAP database; returns how many images were new to it.

    A database that does not exist is made. verification: of the pairs that have no two-view geometry, so that
    COLMAP can map at once; None leaves them out. colmap: whose tables are written.
    overwrite: replace keypoints, descriptors and matches of images that have some (their two-view geometries
    go too); without it that is an error. Raises InputError, and leaves the database as it was, when it is
    damaged, has keypoints that would be lost, or gives an image another size than the features do.
    """
    database_path = Path(database_path)
    if not database_path.exists():
        build_database(database_path, images_dir, features, matches, cameras=cameras)
        num_new, as_3 = len(features.names()), colmap == "3"
        with replaced_database(database_path) as copy:
            _finish(copy, verification, as_3)
        return num_new
    _warn_of_damage(database_path)
    as_3 = colmap == "3" or (colmap == "same" and is_colmap3(database_path))
    with replaced_database(database_path) as copy:
        num_new = _fill(copy, database_path, features, matches, images_dir, cameras, overwrite)
        _finish(copy, verification, as_3)
    return num_new


def _finish(copy: Path, verification: VerifyConfig | None, as_3: bool) -> None:
    drop_notes(copy)
    if verification is not None:
        verify(copy, verification)
        drop_notes(copy)
    if as_3:
        write_colmap3(copy, copy)


def _fill(
    copy: Path,
    database_path: Path,
    features: FeatureFile,
    matches: MatchFile,
    images_dir: Path | None,
    cameras: CameraConfig | None,
    overwrite: bool,
) -> int:
    """Features and matches into `copy` of `database_path`."""
    names = features.names()
    counts = features.counts()
    pairs = matches.pairs(names)
    with open_database(copy) as database:
        known = {image.name: image for image in database.read_all_images()}
        sizes = {camera.camera_id: (camera.width, camera.height) for camera in database.read_all_cameras()}
        for name in names:
            if name in known:
                size, theirs = features.image_size(name), sizes[known[name].camera_id]
                if size not in (theirs, (0, 0)):
                    raise InputError(
                        f"{database_path}: '{name}' has a camera of {theirs[0]} x {theirs[1]} pixels, the "
                        f"features are of {size[0]} x {size[1]}; are these other photos?"
                    )
        taken = [name for name in names if name in known and database.exists_keypoints(known[name].image_id)]
        if taken and not overwrite:
            raise InputError(
                f"{database_path} has keypoints of {len(taken)} of these images, '{taken[0]}' for one; give "
                "--overwrite to replace them and their matches"
            )
        _forget_features(copy, [known[name].image_id for name in taken])
        ids = {name: image.image_id for name, image in known.items()}
        new = [name for name in names if name not in known]
        new_sizes = {name: features.image_size(name) for name in new}
        ids |= add_images(database, new_sizes, images_dir, cameras or CameraConfig())
        for name in names:
            database.write_keypoints(ids[name], to_colmap(features.keypoints(name)))
        for name0, name1 in sorted(pairs):
            found = matches.get(name0, name1, counts).indices
            database.write_matches(ids[name0], ids[name1], found.astype(np.uint32))
    return len(new)


def _forget_features(database_path: Path, image_ids: Sequence[int]) -> None:
    gone = set(image_ids)
    with connect(database_path) as connection:
        for table in ("keypoints", "descriptors"):
            connection.executemany(f"DELETE FROM {table} WHERE image_id = ?", [(i,) for i in image_ids])
        for table in ("matches", "two_view_geometries"):
            rows = connection.execute(f"SELECT pair_id FROM {table}").fetchall()
            lost = [row for row in rows if gone & set(pycolmap.pair_id_to_image_pair(row[0]))]
            connection.executemany(f"DELETE FROM {table} WHERE pair_id = ?", lost)
