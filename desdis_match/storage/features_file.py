"""features.h5 in hloc's layout: written whole or not at all, equal content giving equal bytes.

A group per image name holds `keypoints` (N, 2) float32, `descriptors` (D, N) float16 or float32, `scores`,
`scales`, `oris` (N,) float32 and `image_size` (2,) width, height; an image that could not be used has an
empty group with an attribute `left_out` that says why. Files that hloc itself wrote (float16 keypoints,
missing scales) are read as well; their `scales` are sigmas, ours the patch's radii. `oris` are hloc's:
degrees, clockwise on the photo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from ..conventions import DEFAULT_SIGMA, from_degrees, scale_from_sigma, to_degrees
from ..errors import InputError
from ..support.files import Config
from ..support.names import check_names
from ..types import Features
from .hdf5 import (
    FEATURES_FORMAT,
    H5Reader,
    groups_with,
    merge_h5,
    new_h5,
    reading,
    still_writable,
    write_array,
)

DETECTION_NOISE = 1.0
"""hloc's `uncertainty` attribute of keypoints, pixels of the original image: its triangulation reads it."""

MAX_SIDE = 1 << 20
"""Pixels of a photo's side; more is damage."""

BEYOND = 0.05
"""Share of a photo's long side by which keypoints may lie outside of it, as some detectors' do."""
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
            keypoints = write_array(group, "keypoints", np.asarray(features.keypoints, np.float32))
            keypoints.attrs["uncertainty"] = DETECTION_NOISE
            write_array(group, "descriptors", features.descriptors.T.astype(descriptor_type, copy=False))
            write_array(group, "scores", np.asarray(features.scores, np.float32))
            write_array(group, "scales", np.asarray(features.scales, np.float32))
            write_array(group, "oris", to_degrees(features.angles).astype(np.float32))
            write_array(group, "image_size", np.asarray(features.image_size, np.int64))
            still_writable(file)
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
            self._names = sorted(check_names(groups_with(self.file(), "keypoints"), self.path))
        return list(self._names)

    def left_out(self) -> dict[str, str]:
        """Images that could not be used and why, by name; empty where the file does not say."""
        found: dict[str, str] = {}

        def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if LEFT_OUT in item.attrs:
                found[name] = str(item.attrs[LEFT_OUT])

        with reading(self.path, "its list of images"):
            self.file().visititems(look)
        check_names(found, self.path)
        return found

    def __contains__(self, name: str) -> bool:
        with reading(self.path, name):
            return f"{name}/keypoints" in self.file()

    def _group(self, name: str) -> h5py.Group:
        if name not in self:
            raise InputError(f"{self.path} has no image '{name}'; it holds {len(self.names())} images")
        with reading(self.path, name):
            return self.file()[name]

    def num_keypoints(self, name: str) -> int:
        """Number of keypoints without reading them."""
        return int(self._dataset(self._group(name), "keypoints").shape[0])

    def counts(self) -> dict[str, int]:
        """Number of keypoints of every image, by name."""
        return {name: self.num_keypoints(name) for name in self.names()}

    def image_size(self, name: str) -> tuple[int, int]:
        """Width and height of the original image; (0, 0) where an older file does not say."""
        group = self._group(name)
        if "image_size" not in group and not self.is_ours:
            return (0, 0)
        size = np.ravel(self._array(group, "image_size"))
        if len(size) < 2 or not all(0 <= side <= MAX_SIDE for side in size[:2]):
            raise InputError(f"{self.path}: {group.name}/image_size is {size}, which is no size of a photo")
        return (int(size[0]), int(size[1]))

    def keypoints(self, name: str) -> NDArray[np.float32]:
        """(N, 2) float32, pixels of the original image, (0, 0) is the centre of the top-left pixel."""
        group = self._group(name)
        keypoints = self._array(group, "keypoints")
        if keypoints.ndim != 2 or keypoints.shape[1] < 2:
            raise InputError(f"{self.path}: {group.name}/keypoints is {keypoints.shape}, expected (N, 2)")
        if not np.isfinite(keypoints).all():
            raise InputError(f"{self.path}: {group.name}/keypoints holds NaN or infinity; extract again")
        width, height = self.image_size(name)
        beyond = BEYOND * max(width, height)
        places = keypoints[:, :2]
        if width and ((places < -beyond) | (places > [width + beyond, height + beyond])).any():
            raise InputError(
                f"{self.path}: {group.name}/keypoints holds places outside of its photo of {width}x{height}; "
                "damaged, or of another photo: extract again"
            )
        return np.ascontiguousarray(places, dtype=np.float32)

    def angles(self, name: str) -> NDArray[np.float32]:
        """(N,) radians, as Kornia's; 0 where the file has none."""
        return from_degrees(self._column(self._group(name), "oris", self.num_keypoints(name), 0.0))

    def scales(self, name: str) -> NDArray[np.float32]:
        """The patch's radii (N,), pixels of the photo."""
        return self._scales(self._group(name), self.num_keypoints(name))

    def get(self, name: str) -> Features:
        """The features of one image.

        What hloc's files may lack is filled in: scores 1, sigmas DEFAULT_SIGMA, angles 0, descriptors
        (N, 0).
        Raises InputError naming file and group when arrays are missing, damaged or of different length.
        """
        group = self._group(name)
        keypoints = self.keypoints(name)
        num = len(keypoints)
        descriptors = np.zeros((num, 0), np.float32)
        if "descriptors" in group or self.is_ours:
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

    def best_descriptors(self, name: str, num: int) -> NDArray[np.float32]:
        """(<= num, D) of the keypoints with the highest scores, best first, without reading the others."""
        group = self._group(name)
        if "descriptors" not in group:
            raise InputError(f"{self.path}: {group.name} has no descriptors; extract features first")
        scores = self._column(group, "scores", self.num_keypoints(name), 1.0)
        rows = np.argsort(-scores, kind="stable")[:num]
        stored = self._dataset(group, "descriptors")
        if len(rows) and (np.diff(rows) == 1).all():  # ours are in this order
            part = stored[:, rows[0] : rows[-1] + 1]
        else:
            part = self._array(group, "descriptors")[:, rows]
        found = np.ascontiguousarray(part.T, dtype=np.float32)
        result: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return result

    def _scales(self, group: h5py.Group, num: int) -> NDArray[np.float32]:
        """The patch's radii (N,); files that are not ours, hloc's for one, hold sigmas."""
        if self.is_ours:
            return self._column(group, "scales", num, 1.0)
        return scale_from_sigma(self._column(group, "scales", num, DEFAULT_SIGMA))

    def _column(self, group: h5py.Group, key: str, num: int, missing: float) -> NDArray[np.float32]:
        if key not in group and not self.is_ours:
            return np.full(num, missing, np.float32)
        values = np.ravel(self._array(group, key)).astype(np.float32)
        if len(values) != num:
            raise InputError(f"{self.path}: {group.name}/{key} has {len(values)} values for {num} keypoints")
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: {group.name}/{key} holds NaN or infinity; extract again")
        return values


def merge_features(path: Path, sources: Sequence[FeatureFile], config: Config) -> Path:
    """All images of several features files in one, arrays copied as stored; `path` may be one of them.

    An image that one of them left out and another has is there. Raises InputError for a file that is not
    ours: its scales mean something else.
    """
    for source in sources:
        if not source.is_ours:
            raise InputError(f"{source.path} was not written by desdis-match, so it cannot be merged")
    items = [(name, i) for i, source in enumerate(sources) for name in source.names()]
    left_out = {name: i for i, source in enumerate(sources) for name in source.left_out()}
    items += [(name, i) for name, i in left_out.items() if not any(name in source for source in sources)]
    return merge_h5(Path(path), FEATURES_FORMAT, sorted(items), sources, config)


def read_features(path: Path, name: str) -> Features:
    """Features of one image; see FeatureFile.get."""
    with FeatureFile(path) as file:
        return file.get(name)


# Matches
