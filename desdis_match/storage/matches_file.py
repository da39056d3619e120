"""matches.h5 in hloc's layout: written whole or not at all, read pair by pair.

A group `a.replace('/', '-')/b.replace('/', '-')` holds `matches0` (N0,) int32, -1 = none, and
`matching_scores0` (N0,) float16. Files that hloc itself wrote (int16 matches, one-level `a_b` groups) are
read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.files import Config
from ..types import Matches
from .hdf5 import (
    MATCHES_FORMAT,
    H5Reader,
    groups_with,
    merge_h5,
    new_h5,
    reading,
    still_writable,
    write_array,
)


def merge_matches(path: Path, sources: Sequence[MatchFile], config: Config) -> Path:
    """All pairs of several matches files in one, arrays copied as stored; `path` may be one of them."""
    items = sorted((group, i) for i, source in enumerate(sources) for group in source.groups())
    return merge_h5(Path(path), MATCHES_FORMAT, items, sources, config)


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
            write_array(group, "matches0", matches0, pack=True)
            write_array(group, "matching_scores0", scores0, pack=True)
            still_writable(file)
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
            with reading(self.path, key):
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
        if matches0.dtype.kind not in "iu":
            raise InputError(
                f"{self.path}: {group.name}/matches0 is {matches0.dtype}, expected whole numbers"
            )
        found = np.flatnonzero(matches0 != -1)
        partners = matches0[found].astype(np.int64)
        if matches0.dtype == np.int16:
            partners[partners < 0] += 1 << 16
        if (partners < 0).any():
            raise InputError(
                f"{self.path}: {group.name}/matches0 holds {partners.min()}, which is no keypoint"
            )
        scores = np.ones(len(found), np.float32)
        if "matching_scores0" in group or self.is_ours:
            scores0 = np.ravel(self._array(group, "matching_scores0"))
            if len(scores0) != len(matches0):
                raise InputError(
                    f"{self.path}: {group.name}/matching_scores0 has {len(scores0)} values for "
                    f"{len(matches0)} keypoints"
                )
            scores = scores0[found].astype(np.float32)
            if not np.isfinite(scores).all():
                raise InputError(f"{self.path}: {group.name}/matching_scores0 holds NaN or infinity")
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
