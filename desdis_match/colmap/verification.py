"""Geometric verification of matched pairs: the two-view geometries of a COLMAP database.

The estimator is COLMAP's, called pair by pair, because COLMAP's own loop neither goes on after a kill nor
draws a pair's random samples from a seed of its own.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..storage.two_view_file import PairGeometry
from ..support.checks import ABOVE_ZERO, check_options
from ..support.files import canonical_json
from ..support.native import pycolmap
from ..support.progress import track
from ..types import Float32
from .database import connect, notes, open_database, replaced_database, seal, set_notes
from .still_matches import StillKeypoints, find_still_keypoints

T = TypeVar("T")

PAIRS_PER_COMMIT = 50
"""Verified pairs that a kill can lose at most; a commit takes milliseconds."""


@dataclass(frozen=True)
class VerifyConfig:
    """Geometric verification of pairs."""

    max_epipolar_error: float = 4.0
    """Largest error of an inlier, pixels of the original photos."""
    min_num_inliers: int = 15
    """A pair with fewer inliers is not verified."""
    drop_still: bool = True
    """Leave out matches that stay at the same pixels over many photos: captions, dirt, a still background
    behind a turntable. --no-drop-still keeps them."""

    def __post_init__(self) -> None:
        check_options(self, max_epipolar_error=ABOVE_ZERO, min_num_inliers=(1, 1_000_000))


@dataclass(frozen=True)
class Verification:
    """What geometric verification found."""

    num_pairs: int
    num_verified: int
    num_inliers: int


def verify(
    database_path: Path, config: VerifyConfig | None = None, seed: int = 0, threads: int = 0
) -> Verification:
    """Estimate a two-view geometry for every matched pair of a database, in place.

    Goes on where a killed run stopped. The seed of a pair comes from `seed` and its names, so the result does
    not depend on threads or on what was done before. With another seed or configuration than last time all
    pairs are done again; two-view geometries that another program found are kept.
    """
    config = config or VerifyConfig()
    setting = verification_setting(config, seed)
    known = notes(database_path)
    if known.get("verification") != setting:
        set_notes(database_path, {"content": ""})
        if "verification" in known:
            with open_database(database_path) as database:
                database.clear_two_view_geometries()
        set_notes(database_path, {"verification": setting, "verified": "no"})
    if notes(database_path)["verified"] != "yes":
        sentence = _verify_rest(database_path, config, seed, threads or os.cpu_count() or 1)
        with replaced_database(database_path) as packed:
            set_notes(packed, {"verified": "yes", "still matches": sentence})
            seal(packed)
    with connect(database_path) as connection:
        rows = [rows for (rows,) in connection.execute("SELECT rows FROM two_view_geometries")]
    verified = [num for num in rows if num >= config.min_num_inliers]
    return Verification(len(rows), len(verified), sum(verified))


def verified_pairs(database_path: Path, min_num_inliers: int) -> set[frozenset[str]]:
    """Names of the pairs of a database whose two-view geometry has enough inliers."""
    with connect(database_path) as connection:
        names = dict(connection.execute("SELECT image_id, name FROM images"))
        query = "SELECT pair_id FROM two_view_geometries WHERE rows >= ?"
        found = [pycolmap.pair_id_to_image_pair(i) for (i,) in connection.execute(query, (min_num_inliers,))]
    return {frozenset((names[image_id0], names[image_id1])) for image_id0, image_id1 in found}


@dataclass(frozen=True)
class PairVerifier:
    """Pairs of images -> their two-view geometries, one after the other; picklable."""

    config: VerifyConfig
    seed: int

    def __call__(
        self,
        pair: tuple[str, str],
        cameras: tuple[pycolmap.Camera, pycolmap.Camera],
        keypoints: tuple[Float32, Float32],
        matches: NDArray[np.integer],
    ) -> PairGeometry:
        """keypoints: (N, 2) in COLMAP's pixels; matches: (M, 2) rows of them."""
        geometry = pycolmap.estimate_two_view_geometry(
            cameras[0],
            keypoints[0],
            cameras[1],
            keypoints[1],
            matches.astype(np.uint32),
            _options(self.config, _pair_seed(self.seed, *pair)),
        )
        models = {name: getattr(geometry, name) for name in ("F", "E", "H")}
        pose = geometry.cam2_from_cam1
        models["pose"] = None if pose is None else np.r_[pose.rotation.quat, pose.translation]
        models["camera0"] = _camera_to_array(geometry.camera1)
        models["camera1"] = _camera_to_array(geometry.camera2)
        return PairGeometry(
            int(geometry.config),
            np.asarray(geometry.inlier_matches, np.int32),
            {name: np.asarray(model, np.float64) for name, model in models.items() if model is not None},
            float(geometry.tri_angle),
        )


def write_geometries(
    database_path: Path, geometries: Iterable[tuple[str, str, PairGeometry]], setting: str, still: str = ""
) -> None:
    """Put two-view geometries into a database in place of those that it has.

    setting: what made them. still: a sentence on matches that were left out.
    """
    with replaced_database(database_path) as packed:
        with open_database(packed) as database:
            database.clear_two_view_geometries()
            ids = {image.name: image.image_id for image in database.read_all_images()}
            with pycolmap.DatabaseTransaction(database):
                for name0, name1, geometry in geometries:
                    database.write_two_view_geometry(ids[name0], ids[name1], _to_colmap(geometry))
        set_notes(packed, {"verification": setting, "verified": "yes", "still matches": still})
        seal(packed)


def verification_setting(config: VerifyConfig, seed: int) -> str:
    """What decides on the two-view geometries of given matches."""
    return canonical_json({**asdict(config), "seed": seed})


def _to_colmap(geometry: PairGeometry) -> pycolmap.TwoViewGeometry:
    found = pycolmap.TwoViewGeometry(config=geometry.kind, tri_angle=geometry.tri_angle)
    found.inlier_matches = geometry.inliers.astype(np.uint32)
    for name in ("F", "E", "H"):
        if name in geometry.models:
            setattr(found, name, geometry.models[name])
    if "pose" in geometry.models:
        pose = geometry.models["pose"]
        found.cam2_from_cam1 = pycolmap.Rigid3d(pycolmap.Rotation3d(pose[:4]), pose[4:])
    if "camera0" in geometry.models:
        found.camera1 = _camera_from_array(geometry.models["camera0"])
    if "camera1" in geometry.models:
        found.camera2 = _camera_from_array(geometry.models["camera1"])
    return found


def _camera_to_array(camera: pycolmap.Camera | None) -> NDArray[np.float64] | None:
    if camera is None:
        return None
    numbers = camera.camera_id, camera.model.value, camera.width, camera.height
    return np.array([*numbers, camera.has_prior_focal_length, *camera.params], np.float64)


def _camera_from_array(numbers: NDArray[np.float64]) -> pycolmap.Camera:
    camera_id, model, width, height, known = (int(number) for number in numbers[:5])
    return pycolmap.Camera(
        camera_id=camera_id,
        model=pycolmap.CameraModelId(model),
        width=width,
        height=height,
        params=numbers[5:],
        has_prior_focal_length=bool(known),
    )


def _verify_rest(database_path: Path, config: VerifyConfig, seed: int, workers: int) -> str:
    """Verify the pairs that have matches and no two-view geometry yet, in the order of their ids.

    Returns a sentence on matches that were left out, or nothing.
    """
    with connect(database_path) as connection:
        query = "SELECT pair_id FROM matches EXCEPT SELECT pair_id FROM two_view_geometries ORDER BY pair_id"
        todo = [pycolmap.pair_id_to_image_pair(pair_id) for (pair_id,) in connection.execute(query)]
        done = connection.execute("SELECT COUNT(*) FROM two_view_geometries").fetchone()[0]
    with open_database(database_path) as database, ThreadPoolExecutor(workers) as pool:
        images = {image.image_id: image for image in database.read_all_images()}
        cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
        keypoints = lru_cache(maxsize=2000)(database.read_keypoints)
        still = StillKeypoints()
        if config.drop_still:
            still = still_keypoints(database, keypoints)

        def start(pair: tuple[int, int]) -> tuple[tuple[int, int], Future[pycolmap.TwoViewGeometry]]:
            image0, image1 = images[pair[0]], images[pair[1]]
            work = pool.submit(
                pycolmap.estimate_two_view_geometry,
                cameras[image0.camera_id],
                keypoints(pair[0])[:, :2],
                cameras[image1.camera_id],
                keypoints(pair[1])[:, :2],
                still.moving(pair, keypoints(pair[0]), keypoints(pair[1]), database.read_matches(*pair)),
                _options(config, _pair_seed(seed, image0.name, image1.name)),
            )
            return pair, work

        results = _ahead(map(start, todo), num=4 * workers)
        progress = iter(track(results, "verify", total=len(todo), unit="pairs", done=done))
        while chunk := [(pair, work.result()) for pair, work in itertools.islice(progress, PAIRS_PER_COMMIT)]:
            for (image_id0, image_id1), geometry in chunk:
                database.write_two_view_geometry(image_id0, image_id1, geometry)
    return still.sentence()


def still_keypoints(
    database: pycolmap.Database, keypoints_of: Callable[[int], NDArray[np.float32]]
) -> StillKeypoints:
    """What stays at the same pixels in the matches of a database. keypoints_of: reads them by image id."""
    cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
    of_photo = {image.image_id: cameras[image.camera_id] for image in database.read_all_images()}
    sizes = {image_id: (camera.width, camera.height) for image_id, camera in of_photo.items()}
    numbers = sorted(zip(*database.read_num_matches(), strict=True))
    matched = [pycolmap.pair_id_to_image_pair(pair_id) for pair_id, num in numbers if num]
    return find_still_keypoints(matched, sizes, keypoints_of, database.read_matches)


def _ahead(items: Iterator[T], num: int) -> Iterator[T]:
    """The same items in the same order, taken up to `num` ahead of their use."""
    queue: deque[T] = deque()
    for item in items:
        queue.append(item)
        if len(queue) > num:
            yield queue.popleft()
    yield from queue


def _options(config: VerifyConfig, seed: int) -> pycolmap.TwoViewGeometryOptions:
    options = pycolmap.TwoViewGeometryOptions(min_num_inliers=config.min_num_inliers)
    options.ransac.max_error = config.max_epipolar_error
    options.ransac.random_seed = seed
    return options


def _pair_seed(seed: int, name0: str, name1: str) -> int:
    """A positive 31-bit seed: COLMAP takes -1 for random."""
    return zlib.crc32(f"{seed}\n{name0}\n{name1}".encode()) & 0x7FFFFFFF
