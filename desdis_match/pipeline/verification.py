"""Stage verify: features.h5 and matches.h5 -> two_view.h5, pair by pair, which can be spread."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..colmap.still_matches import StillKeypoints, find_still_keypoints
from ..colmap.verification import PairVerifier, VerifyConfig
from ..conventions import to_colmap
from ..matching.pairs import Pair, reuse_order
from ..photos.cameras import CameraConfig, assign_cameras, read_photo_info
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from ..storage.two_view_file import MODELS, PairGeometry, write_two_view
from ..support.checkpoint import Arrays
from ..support.files import check_not_read
from ..support.native import pycolmap
from ..support.progress import track
from ..support.workers import available_cores, run_shards
from .matching import pair_key
from .resume import RunConfig, digest, fingerprint, is_current, still_to_do, unfinished
from .spread import Shard, spread

log = logging.getLogger(__name__)

PAIRS_A_PIECE = 256
"""Pairs that a worker of a cluster takes at a time: some seconds."""
HELD = 64
"""Images whose keypoints are kept in memory: 64 KB each at 8000 keypoints."""
HELD_PAIRS = 2000
"""Pairs whose matches are kept from the search for still keypoints on: 16 KB each at 2000 matches."""


def verify_pairs(
    images: Path | None,
    features: Path,
    matches: Path,
    output: Path,
    config: VerifyConfig | None = None,
    cameras: CameraConfig | None = None,
    *,
    seed: int = 0,
    run: RunConfig | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    shard: Shard | None = None,
    merge: bool = False,
) -> Path:
    """Two-view geometries of all pairs of matches.h5 -> two_view.h5 at `output`.

    images: for EXIF's focal lengths; None: they are guessed. A pair's random samples come from `seed` and its
    names, so the result does not depend on where or in which order the work is done. `executor`, `shard`
    and `merge` as in `extract`.
    """
    config, cameras, run = config or VerifyConfig(), cameras or CameraConfig(), run or RunConfig()
    check_not_read(output, features, matches)
    with FeatureFile(features) as feature_file, MatchFile(matches) as match_file:
        names = feature_file.names()
        made_by = {
            "verify": asdict(config),
            "cameras": asdict(cameras),
            "seed": seed,
            "features": fingerprint(features),
            "matches": fingerprint(matches),
        }
        if is_current(output, made_by, overwrite, "two-view geometries"):
            return output
        listed = sorted(match_file.pairs(names))
        sizes = {name: feature_file.image_size(name) for name in names}
        found, camera_of = assign_cameras(read_photo_info(images, sizes, available_cores()), cameras)
        by_id = {camera.camera_id: camera for camera in found}
        lenses = {name: by_id[camera_of[name]] for name in names}
        made_of = {**made_by, "lenses": digest({n: str(c.todict()) for n, c in lenses.items()})}
        with unfinished(output, made_of, shard) as shards, run.opened(executor) as executor:
            left, num_done = still_to_do(
                reuse_order(listed),
                pair_key,
                shards,
                shard,
                stage="verify",
                unit="pairs",
                merge_into=output if merge else None,
            )
            todo = reuse_order(left)
            verifier = PairVerifier(config, seed)
            source = _Source(feature_file, match_file)
            still = StillKeypoints()
            if config.drop_still:
                still = _still_keypoints(source, names, listed, sizes)
            jobs = [_job(pair, lenses, still, names) for pair in todo]
            if executor is None:
                done = _verified(source, verifier, jobs, run.workers or available_cores())
                for pair, geometry in track(done, "verify", len(todo), "pairs", num_done):
                    shards.save(pair_key(pair), geometry_to_arrays(geometry))
            else:
                task = _VerifyTask(
                    features.absolute(), matches.absolute(), verifier, digest([made_of["lenses"], made_by])
                )
                spread(
                    task,
                    jobs,
                    shards,
                    "verify",
                    "pairs",
                    piece_size=PAIRS_A_PIECE,
                    executor=executor,
                    name=lambda job: " with ".join(job.pair),
                    done=num_done,
                )
            shards.done()
            if shard is None:
                items = ((a, b, geometry_from_arrays(shards.load(pair_key((a, b))))) for a, b in listed)
                write_two_view(output, items, made_by, still.sentence())
    return output


class _Source:
    """Keypoints in COLMAP's pixels by image, and matches (M, 2) by pair; both are kept for a while."""

    def __init__(self, features: FeatureFile, matches: MatchFile) -> None:
        self.keypoints = lru_cache(maxsize=HELD)(lambda name: to_colmap(features.keypoints(name)))
        self.matches = lru_cache(maxsize=HELD_PAIRS)(lambda pair: matches.get(*pair).indices)

    def of(self, pair: Pair) -> tuple[tuple[NDArray[Any], NDArray[Any]], NDArray[np.int32]]:
        """Keypoints, in COLMAP's pixels, and matches of a pair."""
        return (self.keypoints(pair[0]), self.keypoints(pair[1])), self.matches(pair)


@dataclass(frozen=True)
class _Job:
    """A pair to verify."""

    pair: Pair
    cameras: tuple[Any, Any]
    still: StillKeypoints  # of photos 0 and 1, the pair's

    def geometry(self, source: _Source, verifier: PairVerifier) -> PairGeometry:
        """Of the pair, from the matches that move."""
        keypoints, matches = source.of(self.pair)
        return verifier(self.pair, self.cameras, keypoints, self.still.moving((0, 1), *keypoints, matches))


def _job(
    pair: Pair, lenses: Mapping[str, pycolmap.Camera], still: StillKeypoints, names: Sequence[str]
) -> _Job:
    rows = [bisect_left(names, name) for name in pair] if still.of_photo else []
    own = StillKeypoints({i: still.of_photo[row] for i, row in enumerate(rows)})
    return _Job(pair, (lenses[pair[0]], lenses[pair[1]]), own)


def _still_keypoints(
    source: _Source, names: Sequence[str], pairs: Sequence[Pair], sizes: Mapping[str, tuple[int, int]]
) -> StillKeypoints:
    """Keypoints that stay at the same pixels, by the photos' places among the sorted names."""
    place = {name: i for i, name in enumerate(names)}
    matched = [pair for pair in reuse_order(pairs) if len(source.matches(pair))]
    return find_still_keypoints(
        [(place[a], place[b]) for a, b in matched],
        {place[name]: size for name, size in sizes.items()},
        lambda photo: source.keypoints(names[photo]),
        lambda photo0, photo1: source.matches((names[photo0], names[photo1])),
    )


def _verified(
    source: _Source, verifier: PairVerifier, jobs: Iterable[_Job], threads: int
) -> Iterator[tuple[Pair, PairGeometry]]:
    """In the order of the jobs, by threads: the estimator works outside Python."""

    def work(job: _Job) -> PairGeometry:
        return job.geometry(source, verifier)

    with ThreadPoolExecutor(threads) as pool:
        for job, geometry in run_shards(work, jobs, pool, name=lambda job: " with ".join(job.pair)):
            yield job.pair, geometry


@lru_cache(maxsize=1)
def _source(features: Path, matches: Path, made_of: str) -> _Source:
    """Kept from piece to piece; `made_of` because the files may be others by the next run."""
    return _Source(FeatureFile(features), MatchFile(matches))


@dataclass(frozen=True)
class _VerifyTask:
    """Jobs -> the geometries of their pairs, by one thread."""

    features: Path
    matches: Path
    verifier: PairVerifier
    made_of: str

    def __call__(self, items: Sequence[_Job]) -> Iterator[tuple[str, Arrays]]:
        source = _source(self.features, self.matches, self.made_of)
        for job in items:
            yield pair_key(job.pair), geometry_to_arrays(job.geometry(source, self.verifier))


def geometry_to_arrays(geometry: PairGeometry) -> Arrays:
    """As the arrays of a shard."""
    return {
        "kind": np.asarray(geometry.kind),
        "inliers": geometry.inliers,
        "tri_angle": np.asarray(geometry.tri_angle),
        **geometry.models,
    }


def geometry_from_arrays(arrays: Arrays) -> PairGeometry:
    """Inverse of geometry_to_arrays."""
    models = {name: arrays[name] for name in MODELS if name in arrays}
    return PairGeometry(int(arrays["kind"]), arrays["inliers"], models, float(arrays["tri_angle"]))
