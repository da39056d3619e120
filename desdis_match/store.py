"""features.h5 and matches.h5 in hloc's layout: written whole or not at all, equal content giving equal bytes.

features.h5 has a group per image name with `keypoints` (N, 2) float32, `descriptors` (D, N) float16 or
float32, `scores`, `scales`, `oris` (N,) float32 and `image_size` (2,) width, height; an image that could not
be used has an empty group with an attribute `left_out` that says why. matches.h5 has a group
`a.replace('/', '-')/b.replace('/', '-')` with `matches0` (N0,) int32, -1 = none, and `matching_scores0`
(N0,) float16. Files that hloc itself wrote (float16 keypoints, int16 matches, one-level `a_b` groups, missing
scales) are read as well; their `scales` are sigmas, ours the patch's radii. `oris` are hloc's: degrees,
clockwise on the photo, the negative of Kornia's angle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import Config
from .hdf5 import (
    FEATURES_FORMAT,
    MATCHES_FORMAT,
    H5Reader,
    file_config,
    groups_with,
    merge_h5,
    new_h5,
)
from .types import Features, Matches

__all__ = [
    "FeatureFile",
    "MatchFile",
    "check_pair_names",
    "file_config",
    "merge_features",
    "merge_matches",
    "pair_group",
    "read_features",
    "read_matches",
    "write_features",
    "write_matches",
]

DETECTION_NOISE = 1.0
"""hloc's `uncertainty` attribute of keypoints, pixels of the original image: its triangulation reads it."""

LEFT_OUT = "left_out"
"""Attribute of an image's group that says why the image could not be used."""

DescriptorType = Literal["float16", "float32"]


# Features


def write_features(
    path: Path,
    items: Iterable[tuple[str, Features]],
    config: Config,
    descriptor_type: DescriptorType = "float16",
    left_out: Mapping[str, str] | None = None,
) -> Path:
    """Write a whole features.h5; `path` appears only when the last item is in it.

    left_out: images that could not be used, and why: an empty group each, which other readers pass over.
    Keypoints are always float32. float16 descriptors halve the file: unit vectors lose 5e-4 of a component at
    most and are normalised again when read. Raises InputError for a name that comes twice or a path that
    cannot be written.
    """
    path = Path(path)
    with new_h5(path, FEATURES_FORMAT, config) as file:
        for name, features in items:
            if name in file:
                raise InputError(f"{path}: image name '{name}' occurs twice; names must differ")
            group = file.create_group(name)
            keypoints = group.create_dataset("keypoints", data=np.asarray(features.keypoints, np.float32))
            keypoints.attrs["uncertainty"] = DETECTION_NOISE
            group.create_dataset("descriptors", data=features.descriptors.T.astype(descriptor_type))
            group.create_dataset("scores", data=np.asarray(features.scores, np.float32))
            group.create_dataset("scales", data=np.asarray(features.scales, np.float32))
            group.create_dataset("oris", data=-np.rad2deg(features.angles).astype(np.float32))
            group.create_dataset("image_size", data=np.asarray(features.image_size, np.int64))
        for name, why in (left_out or {}).items():
            file.create_group(name).attrs[LEFT_OUT] = why
    return path


class FeatureFile(H5Reader):
    """Reads features.h5, ours or hloc's; usable as a context manager and from several processes."""

    kind = FEATURES_FORMAT
    _names: list[str] | None = None

    def names(self) -> list[str]:
        """Image names, sorted."""
        if self._names is None:
            self._names = sorted(groups_with(self.file(), "keypoints"))
        return list(self._names)

    def left_out(self) -> dict[str, str]:
        """Images that could not be used and why, by name; empty where the file does not say."""
        found: dict[str, str] = {}

        def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if LEFT_OUT in item.attrs:
                found[name] = str(item.attrs[LEFT_OUT])

        self.file().visititems(look)
        return found

    def __contains__(self, name: str) -> bool:
        return f"{name}/keypoints" in self.file()

    def _group(self, name: str) -> h5py.Group:
        if name not in self:
            raise InputError(f"{self.path} has no image '{name}'; it holds {len(self.names())} images")
        return self.file()[name]

    def num_keypoints(self, name: str) -> int:
        """Number of keypoints without reading them."""
        return int(self._group(name)["keypoints"].shape[0])

    def counts(self) -> dict[str, int]:
        """Number of keypoints of every image, by name."""
        return {name: self.num_keypoints(name) for name in self.names()}

    def image_size(self, name: str) -> tuple[int, int]:
        """Width and height of the original image; (0, 0) where an older file does not say."""
        group = self._group(name)
        if "image_size" not in group:
            return (0, 0)
        width, height = (int(v) for v in np.ravel(self._array(group, "image_size"))[:2])
        return (width, height)

    def keypoints(self, name: str) -> NDArray[np.float32]:
        """(N, 2) float32, pixels of the original image, (0, 0) is the centre of the top-left pixel."""
        group = self._group(name)
        keypoints = self._array(group, "keypoints")
        if keypoints.ndim != 2 or keypoints.shape[1] < 2:
            raise InputError(f"{self.path}: {group.name}/keypoints is {keypoints.shape}, expected (N, 2)")
        return np.ascontiguousarray(keypoints[:, :2], dtype=np.float32)

    def angles(self, name: str) -> NDArray[np.float32]:
        """(N,) radians, as Kornia's; 0 where the file has none."""
        return -np.deg2rad(self._column(self._group(name), "oris", self.num_keypoints(name), 0.0))

    def get(self, name: str) -> Features:
        """The features of one image.

        What hloc's files may lack is filled in: scores 1, sigmas given.DEFAULT_SIGMA, angles 0, descriptors
        (N, 0).
        Raises InputError naming file and group when arrays are missing, damaged or of different length.
        """
        group = self._group(name)
        keypoints = self.keypoints(name)
        num = len(keypoints)
        descriptors = np.zeros((num, 0), np.float32)
        if "descriptors" in group:
            stored = self._array(group, "descriptors")
            if stored.ndim != 2 or stored.shape[1] != num:
                raise InputError(
                    f"{self.path}: {group.name}/descriptors is {stored.shape}, expected (D, {num}) "
                    f"for {num} keypoints"
                )
            descriptors = np.ascontiguousarray(stored.T, dtype=np.float32)
            if stored.dtype != np.float32 and num:
                descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
        return Features(
            keypoints=keypoints,
            descriptors=descriptors,
            scores=self._column(group, "scores", num, 1.0),
            scales=self._scales(group, num),
            angles=self.angles(name),
            image_size=self.image_size(name),
        )

    def _scales(self, group: h5py.Group, num: int) -> NDArray[np.float32]:
        """The patch's radii (N,); files that are not ours, hloc's for one, hold sigmas."""
        if "format" in self.file().attrs:
            return self._column(group, "scales", num, 1.0)
        from .given import DEFAULT_SIGMA  # here, because torch comes with them
        from .patches import FRAME_SCALE

        return self._column(group, "scales", num, DEFAULT_SIGMA) * np.float32(FRAME_SCALE)

    def _column(self, group: h5py.Group, key: str, num: int, missing: float) -> NDArray[np.float32]:
        if key not in group:
            return np.full(num, missing, np.float32)
        values = np.ravel(self._array(group, key)).astype(np.float32)
        if len(values) != num:
            raise InputError(f"{self.path}: {group.name}/{key} has {len(values)} values for {num} keypoints")
        return values


def merge_features(path: Path, sources: Sequence[FeatureFile], config: Config) -> Path:
    """All images of several features files in one, arrays copied as stored; `path` may be one of them.

    An image that one of them left out and another has is there. Raises InputError for a file that is not
    ours: its scales mean something else.
    """
    for source in sources:
        if "format" not in source.file().attrs:
            raise InputError(f"{source.path} was not written by desdis-match, so it cannot be merged")
    items = [(name, i) for i, source in enumerate(sources) for name in source.names()]
    left_out = {name: i for i, source in enumerate(sources) for name in source.left_out()}
    items += [(name, i) for name, i in left_out.items() if not any(name in source for source in sources)]
    return merge_h5(Path(path), FEATURES_FORMAT, sorted(items), sources, config)


def merge_matches(path: Path, sources: Sequence[MatchFile], config: Config) -> Path:
    """All pairs of several matches files in one, arrays copied as stored; `path` may be one of them."""
    items = sorted((group, i) for i, source in enumerate(sources) for group in source.groups())
    return merge_h5(Path(path), MATCHES_FORMAT, items, sources, config)


def read_features(path: Path, name: str) -> Features:
    """Features of one image; see FeatureFile.get."""
    with FeatureFile(path) as file:
        return file.get(name)


# Matches


def pair_group(name0: str, name1: str) -> str:
    """hloc's group of a pair in matches.h5."""
    return f"{_flat(name0)}/{_flat(name1)}"


def _flat(name: str) -> str:
    return name.replace("/", "-")


def check_pair_names(names: Iterable[str]) -> None:
    """Raise InputError when two names become one in matches.h5: `a/b.jpg` and `a-b.jpg`."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_flat(name), name)
        if other != name:
            raise InputError(
                f"image names '{other}' and '{name}' are both '{_flat(name)}' in matches.h5; "
                "rename one of them"
            )


def write_matches(
    path: Path,
    items: Iterable[tuple[str, str, Matches]],
    config: Config,
    num_keypoints: Mapping[str, int] | None = None,
) -> Path:
    """Write a whole matches.h5; `path` appears only when the last pair is in it.

    num_keypoints: by image name (`FeatureFile.counts()`): gives `matches0` its full length and checks the
        indices. Without it `matches0` ends at the last matched keypoint, which hloc's readers accept too.
    Raises InputError for colliding names, a pair that comes twice (in either order), indices out of range.
    """
    path = Path(path)
    seen: dict[str, str] = {}
    with new_h5(path, MATCHES_FORMAT, config) as file:
        for name0, name1, matches in items:
            for name in (name0, name1):
                if seen.setdefault(_flat(name), name) != name:
                    check_pair_names((seen[_flat(name)], name))
            if pair_group(name0, name1) in file or pair_group(name1, name0) in file:
                raise InputError(f"{path}: pair '{name0}', '{name1}' occurs twice; list it once")
            indices = np.asarray(matches.indices, np.int64).reshape(-1, 2)
            num = int(indices[:, 0].max(initial=-1)) + 1
            if num_keypoints is not None:
                _check_range(f"matches of '{name0}' and '{name1}'", indices, name0, name1, num_keypoints)
                num = num_keypoints[name0]
            if len(np.unique(indices[:, 0])) != len(indices):
                raise ValueError(
                    f"'{name0}', '{name1}': a keypoint of image 0 has two matches; one fits the file"
                )
            matches0 = np.full(num, -1, np.int32)
            matches0[indices[:, 0]] = indices[:, 1]
            scores0 = np.zeros(num, np.float16)
            scores0[indices[:, 0]] = matches.scores
            group = file.create_group(pair_group(name0, name1))
            # Mostly -1 and 0: deflate makes them a few per cent, and every HDF5 reads it.
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if num else {}
            group.create_dataset("matches0", data=matches0, **packed)
            group.create_dataset("matching_scores0", data=scores0, **packed)
    return path


def _check_range(
    where: str, indices: NDArray[Any], name0: str, name1: str, num_keypoints: Mapping[str, int]
) -> None:
    for column, name in enumerate((name0, name1)):
        if name not in num_keypoints:
            raise InputError(
                f"{where}: there is no image '{name}' in the features; extract it or match again"
            )
        largest = int(indices[:, column].max(initial=-1))
        if largest >= num_keypoints[name]:
            raise InputError(
                f"{where}: keypoint {largest} of '{name}' is used, but it has "
                f"{num_keypoints[name]} keypoints; the features were made again since, so match again"
            )


class MatchFile(H5Reader):
    """Reads matches.h5, ours or hloc's; usable as a context manager and from several processes."""

    kind = MATCHES_FORMAT
    _groups: dict[str, None] | None = None

    def groups(self) -> list[str]:
        """Pair groups as stored, e.g. `a.jpg/b.jpg`, sorted."""
        if self._groups is None:
            self._groups = dict.fromkeys(sorted(groups_with(self.file(), "matches0")))
        return list(self._groups)

    def pairs(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """The stored pairs with their real names, which are looked up among `names`.

        Raises InputError for a group that points to an image that is not among them.
        """
        names = list(names)
        check_pair_names(names)
        flat = {_flat(name): name for name in names}
        result = []
        for group in self.groups():
            pair = _split_group(group, flat)
            if pair is None:
                raise InputError(
                    f"{self.path}: group '{group}' points to an image that is not among the "
                    f"{len(names)} images of the features; are the two files of the same run?"
                )
            result.append(pair)
        return result

    def _find(self, name0: str, name1: str) -> tuple[h5py.Group | None, bool]:
        """The pair's group and whether it is stored the other way round."""
        file = self.file()
        a, b = _flat(name0), _flat(name1)
        for key, reverse in (
            (f"{a}/{b}", False),
            (f"{b}/{a}", True),
            (f"{a}_{b}", False),
            (f"{b}_{a}", True),
        ):
            if f"{key}/matches0" in file:
                return file[key], reverse
        return None, False

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return self._find(*pair)[0] is not None

    def get(self, name0: str, name1: str, num_keypoints: Mapping[str, int] | None = None) -> Matches:
        """Matches of a pair, stored in either order; rows ordered by the index in image 0.

        num_keypoints: when given, indices are checked against it. int16 indices beyond 32767, which hloc
        stores wrapped to negative numbers, are unwrapped (exact up to 65534 keypoints).
        Raises InputError when the pair is not there or its arrays are damaged.
        """
        group, reverse = self._find(name0, name1)
        if group is None:
            raise InputError(f"{self.path} has no pair '{name0}', '{name1}'; match it first")
        matches0 = np.ravel(self._array(group, "matches0"))
        found = np.flatnonzero(matches0 != -1)
        partners = matches0[found].astype(np.int64)
        if matches0.dtype == np.int16:
            partners[partners < 0] += 1 << 16
        if (partners < 0).any():
            raise InputError(
                f"{self.path}: {group.name}/matches0 holds {partners.min()}, which is no keypoint"
            )
        scores = np.ones(len(found), np.float32)
        if "matching_scores0" in group:
            scores0 = np.ravel(self._array(group, "matching_scores0"))
            if len(scores0) != len(matches0):
                raise InputError(
                    f"{self.path}: {group.name}/matching_scores0 has {len(scores0)} values for "
                    f"{len(matches0)} keypoints"
                )
            scores = scores0[found].astype(np.float32)
        indices = np.stack([found, partners], axis=1)
        if reverse:
            order = np.argsort(partners, kind="stable")
            indices, scores = indices[order, ::-1], scores[order]
        if num_keypoints is not None:
            _check_range(f"{self.path}: group '{group.name}'", indices, name0, name1, num_keypoints)
        return Matches(np.ascontiguousarray(indices, dtype=np.int32), scores)


def _split_group(group: str, flat: Mapping[str, str]) -> tuple[str, str] | None:
    """Real names of a group `a/b`, or of the older `a_b`, where names may hold underscores themselves."""
    if "/" in group:
        a, b = group.split("/", 1)
        return (flat[a], flat[b]) if a in flat and b in flat else None
    cuts = [i for i, letter in enumerate(group) if letter == "_"]
    for i in cuts:
        if group[:i] in flat and group[i + 1 :] in flat:
            return flat[group[:i]], flat[group[i + 1 :]]
    return None


def read_matches(path: Path, name0: str, name1: str) -> Matches:
    """Matches of one pair; see MatchFile.get."""
    with MatchFile(path) as file:
        return file.get(name0, name1)
