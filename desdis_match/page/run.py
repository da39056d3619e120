"""What a reconstruction's page shows, gathered from its output folder.

Images, keypoints and matches come from COLMAP's database.db or, where mapping was not reached, from
features.h5 and matches.h5; poses and points from sparse/N; the photo folder and the reasons from report.json.
Keypoints are in the pixels of types.py here: COLMAP's half pixel is taken off where its files are read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..colmap.database import CHANGED, content_changed, database_config, readable_database
from ..colmap.mapping import model_folders
from ..conventions import from_colmap
from ..errors import InputError
from ..storage.features_file import FeatureFile
from ..storage.georeference import load_georeference
from ..storage.matches_file import MatchFile
from ..storage.report_file import Report
from ..storage.run_folder import RunFolder
from ..support.native import pycolmap
from ..types import Float32
from .models import Model, read_page_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairCounts:
    """Two images that were matched."""

    image0: int  # rows of the list of images
    image1: int
    matches: int  # never fewer than the verified ones, which guided matching may add to
    verified: int  # -1: verification was not reached
    kind: str  # two-view geometry in COLMAP's words: CALIBRATED, PLANAR, ...; empty when not verified


@dataclass(frozen=True)
class PairMatches:
    """Matches of a pair, the verified ones first."""

    indices: NDArray[np.int64]  # (M, 2) keypoints of image0 and image1
    verified: NDArray[np.bool_]  # (M,)


class Source(Protocol):
    """Where images, keypoints and matches are read."""

    names: list[str]
    sizes: list[tuple[int, int]]  # width, height; (0, 0) unknown
    num_keypoints: list[int]
    pairs: list[PairCounts]

    def keypoints(self, image: int) -> Float32:
        """(N, 2) pixels."""
        ...

    def matches(self, pair: PairCounts) -> PairMatches:
        """All matches of a pair."""
        ...

    def close(self) -> None:
        """Nothing is read any more."""
        ...


class DatabaseSource:
    """A COLMAP database, ours or anybody's."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            self._database = stack.enter_context(readable_database(path))
            self._read(path)
            self._opened = stack.pop_all()

    def _read(self, path: Path) -> None:
        try:
            images = sorted(self._database.read_all_images(), key=lambda image: image.name)
            cameras = {camera.camera_id: camera for camera in self._database.read_all_cameras()}
            geometry_ids, geometries = self._database.read_two_view_geometries()
            match_ids, match_counts = self._database.read_num_matches()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} is not a readable COLMAP database: {error}") from error
        self._ids = [image.image_id for image in images]
        rows = {image_id: row for row, image_id in enumerate(self._ids)}
        self.names = [image.name for image in images]
        sizes = [cameras[image.camera_id] for image in images]
        self.sizes = [(camera.width, camera.height) for camera in sizes]
        self.num_keypoints = [self._database.num_keypoints_for_image(image_id) for image_id in self._ids]
        found = dict(zip(geometry_ids, geometries, strict=True))
        counts = dict(zip(match_ids, match_counts, strict=True))
        self._inliers = {}
        self.pairs = []
        # Others' matches may have come in verified, without raw ones.
        for pair_id in sorted(counts.keys() | found.keys()):
            image_id0, image_id1 = pycolmap.pair_id_to_image_pair(pair_id)
            geometry = found.get(pair_id)
            inliers = 0 if geometry is None else len(geometry.inlier_matches)
            count = max(int(counts.get(pair_id, 0)), inliers)
            if not count or image_id0 not in rows or image_id1 not in rows:
                continue
            pair = PairCounts(
                rows[image_id0],
                rows[image_id1],
                count,
                # COLMAP leaves pairs with too few matches out of verification.
                inliers if found else -1,
                "" if geometry is None else pycolmap.TwoViewGeometryConfiguration(geometry.config).name,
            )
            self.pairs.append(pair)
            if geometry is not None:
                self._inliers[pair.image0, pair.image1] = np.asarray(geometry.inlier_matches, np.int64)

    def keypoints(self, image: int) -> Float32:
        """(N, 2) pixels, (0, 0) is the centre of the top-left pixel."""
        stored = np.asarray(self._database.read_keypoints(self._ids[image]), np.float32)
        return from_colmap(stored) if len(stored) else np.zeros((0, 2), np.float32)

    def matches(self, pair: PairCounts) -> PairMatches:
        """All matches of a pair, verified ones first."""
        found = self._database.read_matches(self._ids[pair.image0], self._ids[pair.image1])
        stored = np.asarray(found, np.int64).reshape(-1, 2)
        inliers = self._inliers.get((pair.image0, pair.image1), np.zeros((0, 2), np.int64)).reshape(-1, 2)
        rest = stored[~np.isin(stored @ [1 << 32, 1], inliers @ [1 << 32, 1])]
        return PairMatches(
            np.concatenate([inliers, rest]), np.repeat([True, False], [len(inliers), len(rest)])
        )

    def close(self) -> None:
        """Close the database, and remove the copy of one that is not ours."""
        self._opened.close()


class FileSource:
    """features.h5 and, if it is there, matches.h5: a run that did not reach mapping."""

    def __init__(self, features: Path, matches: Path) -> None:
        self._features = FeatureFile(features)
        self._matches = MatchFile(matches) if matches.is_file() else None
        self.names = self._features.names()
        self.sizes = [self._features.image_size(name) for name in self.names]
        self.num_keypoints = [self._features.num_keypoints(name) for name in self.names]
        rows = {name: row for row, name in enumerate(self.names)}
        self.pairs = []
        for name0, name1 in self._matches.pairs(self.names) if self._matches is not None else ():
            count = len(self._matches.get(name0, name1)) if self._matches is not None else 0
            if count:
                self.pairs.append(PairCounts(rows[name0], rows[name1], count, -1, ""))

    def keypoints(self, image: int) -> Float32:
        """(N, 2) pixels."""
        return self._features.keypoints(self.names[image])

    def matches(self, pair: PairCounts) -> PairMatches:
        """All matches of a pair, none of them verified."""
        assert self._matches is not None  # there are pairs only with it
        indices = self._matches.get(self.names[pair.image0], self.names[pair.image1]).indices.astype(np.int64)
        return PairMatches(indices, np.zeros(len(indices), bool))

    def close(self) -> None:
        """Close the files."""
        self._features.close()
        if self._matches is not None:
            self._matches.close()


@dataclass(frozen=True)
class Shown:
    """What an output folder holds."""

    source: Source
    models: tuple[Model, ...]
    report: Report  # an empty one where there is none
    first: int = 0  # the model that is shown at first
    left_out: str = ""  # why models that are there are not shown
    metres: tuple[bool, ...] = ()  # whether each model's unit is the metre
    numbers: tuple[int, ...] = ()  # of the models in sparse/; 0, 1, ... where there are none

    def model_of(self, name: str) -> int:
        """The first model that has the image, -1 where none has."""
        return next((k for k, model in enumerate(self.models) if name in model.poses), -1)

    def points_of(self, name: str, num_keypoints: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """By keypoint: its point (N,), -1 for none, and the length of its track (N,), 0 for none.

        Points are counted through all models: the image's first one decides.
        """
        k = self.model_of(name)
        if k < 0:
            return np.full(num_keypoints, -1, np.int64), np.zeros(num_keypoints, np.int64)
        model = self.models[k]
        rows = model.point_rows(name, num_keypoints)
        before = sum(len(earlier.points) for earlier in self.models[:k])
        return np.where(rows < 0, -1, rows + before), model.track_lengths(name, num_keypoints)


def read_run(out: Path, model: int = 0, report: Report | None = None) -> Shown:
    """Read the output folder of a run, finished or not; `model` is the one of sparse/N to show first.

    report: what report.json holds, where the caller has it.

    Close the folder's `source` at the end.
    Models of ours that were made from other features or matches than the database are left out.
    A damaged model, or one that does not fit the keypoints, is left out and named where there are others.
    Raises InputError for a folder that holds neither a database nor features, a model that is not there, and
    where no model is whole.
    """
    if not out.is_dir():
        raise InputError(f"{out} is not a folder; give the output folder of `desdis-match reconstruct`")
    place = RunFolder(out)
    database, features = place.database, place.features
    if not database.is_file() and not features.is_file():
        raise InputError(f"{out} holds neither database.db nor features.h5; nothing was extracted there")
    folders = [
        folder
        for folder in model_folders(place.sparse)
        if any((folder / f"images.{end}").is_file() for end in ("bin", "txt"))
    ]
    if model != 0 and not 0 <= model < len(folders):
        raise InputError(f"{place.sparse} holds {len(folders)} models, there is no model {model}")
    report = report or Report.load(place.report)
    left_out = ""
    if folders and database.is_file() and _are_stale(place):
        folders = []
        left_out = (
            f"The models in {place.sparse} were made from other features or matches than {database} has "
            "now, so they are not shown; reconstruct again to make new ones."
        )
    with ExitStack() as stack:
        source: Source = (
            DatabaseSource(_warned(database)) if database.is_file() else FileSource(features, place.matches)
        )
        stack.callback(source.close)
        models, damage = _read_models(folders, source)
        if damage and (not models or (model != 0 and model in damage)):
            raise damage.get(model) or next(iter(damage.values()))
        stack.pop_all()
    left_out = " ".join([left_out, *(f"Not shown: {error}." for error in damage.values())]).strip()
    metres = tuple(load_georeference(folders[number]) is not None for number in models)
    shown = list(models).index(model) if model in models else 0
    return Shown(source, tuple(models.values()), report, shown, left_out, metres, tuple(models))


def _read_models(folders: Sequence[Path], source: Source) -> tuple[dict[int, Model], dict[int, InputError]]:
    """By their numbers: the models, and what is wrong with those that cannot be shown."""
    models, damage = {}, {}
    for number, folder in enumerate(folders):
        try:
            found = read_page_model(folder)
            _check_fits(found, folder, source)
            models[number] = found
        except InputError as error:
            damage[number] = error
    return models, damage


def _warned(database: Path) -> Path:
    if content_changed(database):
        log.warning("%s %s", database, CHANGED)
    return database


def _are_stale(place: RunFolder) -> bool:
    """Whether models of ours are of another database: a run with new settings was killed before mapping."""
    made_by = _read_json(place.stamp)
    now = database_config(place.database) or {}  # nothing where others' features or matches came in
    return any(made_by[key] != now.get(key) for key in ("features", "matches") if key in made_by)


def _check_fits(model: Model, folder: Path, source: Source) -> None:
    """Raises InputError for a model, read from `folder`, that uses keypoints which are not there."""
    for name, num in zip(source.names, source.num_keypoints, strict=True):
        used, _ = model.observations.get(name, (np.zeros(0, np.int64),) * 2)
        if used.max(initial=-1) >= num:
            raise InputError(
                f"{folder} uses keypoint {used.max()} of '{name}', which has {num} keypoints now; "
                "make the model again, or bring back what it was made from"
            )


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    return content if isinstance(content, dict) else {}
