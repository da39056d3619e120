"""What `import desdis_match as dm` offers; desdis_match/__init__.py loads it at first use.

Pictures are paths, arrays (H, W) or (H, W, 3), red first, uint8 or float in [0, 1], or torch tensors (H, W),
(1, H, W) or (3, H, W) of the same. Pixels are those of types.py. Options are those of the command line, with
_ for -. Wrong input raises InputError: one sentence that says what was expected and what came.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray

from .colmap.localization import Localization, LocalizeConfig
from .colmap.two_view import Kind, TwoViewConfig, verify_pair
from .descriptors import DEFAULT_DESCRIPTOR, Descriptor
from .descriptors import load_descriptor as load_by_name
from .descriptors.registry import output_size
from .descriptors.weights import weights_fingerprint
from .errors import InputError
from .features.extract import ExtractConfig, extract_image, read_photo
from .features.extract_set import extract_together
from .matching.match import MatchConfig, match_features, match_image_pairs
from .matching.pairs import exhaustive_pairs
from .photos.images import read_rgb
from .photos.pictures import CheckedPicture, Picture, as_picture, checked_pixels
from .pipeline.localization import localize as localize_photos
from .pipeline.reconstruct import ReconstructConfig, ReconstructResult
from .pipeline.reconstruct import reconstruct as reconstruct_photos
from .storage.run_folder import RunFolder
from .support.devices import pick_device
from .support.options import configured
from .types import Features, Matches, TwoView
from .viz import images as viz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .support.native import pycolmap

Name = TypeVar("Name", int, str)


def load_descriptor(
    descriptor: str | Path | torch.nn.Module = DEFAULT_DESCRIPTOR, device: str = "auto"
) -> Descriptor:
    """Patches (N, 1, 32, 32) in [0, 1] -> (N, D) unit vectors: by name, file, module:Class or module."""
    if isinstance(descriptor, Descriptor):
        return descriptor
    if isinstance(descriptor, torch.nn.Module):
        name, dim = type(descriptor).__name__, output_size(descriptor.eval())
        return Descriptor(descriptor, name, dim, weights_fingerprint(descriptor), pick_device(device))
    return load_by_name(descriptor, device)


@overload
def extract(
    images: Picture,
    *,
    descriptor: str | Path | torch.nn.Module = DEFAULT_DESCRIPTOR,
    device: str = "auto",
    **options: Any,
) -> Features: ...


@overload
def extract(
    images: Sequence[Picture],
    *,
    descriptor: str | Path | torch.nn.Module = DEFAULT_DESCRIPTOR,
    device: str = "auto",
    **options: Any,
) -> list[Features]: ...


def extract(
    images: Picture | Sequence[Picture],
    *,
    descriptor: str | Path | torch.nn.Module = DEFAULT_DESCRIPTOR,
    device: str = "auto",
    **options: Any,
) -> Features | list[Features]:
    """Keypoints and descriptors of one picture, or of a list of them, which is a set.

    A set's photos are compared to find which way up each stands (orientation auto); a picture alone gets one
    frame for each strong direction instead. options: those of `desdis-match extract`, such as max_keypoints,
    max_size, detector, orientation, local_feature.
    """
    config = configured(ExtractConfig(), options, "extract")
    described_by, place = load_descriptor(descriptor, device), pick_device(device)

    def checked(image: Picture) -> CheckedPicture:
        return as_picture(image, config.max_size, lambda path: read_photo(path, config))

    if isinstance(images, str | Path | np.ndarray | torch.Tensor):
        photo = checked(images)
        return extract_image(photo.gray, config, described_by, device=place, colour=photo.colour())
    if not isinstance(images, Sequence):
        raise InputError(f"images must be a path, an array, a tensor or a list of them, not {_kind(images)}")
    photos = [checked(image) for image in images]
    if config.local_feature is None:
        return extract_together([photo.gray for photo in photos], config, described_by, place)
    return [
        extract_image(photo.gray, config, described_by, device=place, colour=photo.colour())
        for photo in photos
    ]


@overload
def match(features0: Features, features1: Features, *, device: str = "auto", **options: Any) -> Matches: ...


@overload
def match(
    features0: Features, features1: Sequence[Features], *, device: str = "auto", **options: Any
) -> list[Matches]: ...


def match(
    features0: Features, features1: Features | Sequence[Features], *, device: str = "auto", **options: Any
) -> Matches | list[Matches]:
    """Match two pictures' features, or one's with each of a list. options: matcher, ratio, max_distance."""
    config = configured(MatchConfig(), options, "match")
    _check_features(features0, "features0")
    if isinstance(features1, Features):
        return match_features(features0, features1, config, device)
    others = _checked_list(features1, "features1")
    known = {"query": features0, **{str(number): other for number, other in enumerate(others)}}
    pairs = [("query", str(number)) for number in range(len(others))]
    return [found for _, found in match_image_pairs(known.__getitem__, pairs, config, device)]


def match_many(
    features: Sequence[Features] | Mapping[str, Features],
    pairs: Iterable[tuple[Name, Name]] | None = None,
    *,
    device: str = "auto",
    **options: Any,
) -> dict[tuple[Name, Name], Matches]:
    """Matches of pairs of indices into a list of features, or of names of a mapping; by default of all."""
    config = configured(MatchConfig(), options, "match_many")
    if isinstance(features, Mapping):
        known: dict[Any, Features] = dict(features)
    else:
        known = dict(enumerate(_checked_list(features, "features")))
    for name, one in known.items():
        _check_features(one, f"features[{name!r}]")
    chosen: list[Any] = list(exhaustive_pairs(list(known)) if pairs is None else pairs)
    for pair in chosen:
        if len(pair) != 2 or any(name not in known for name in pair):
            raise InputError(f"there is no pair {pair!r} among these {len(known)} features")
    text = {str(name): one for name, one in known.items()}
    named = [(str(pair[0]), str(pair[1])) for pair in chosen]
    found = match_image_pairs(text.__getitem__, named, config, device)
    return {tuple(pair): matches for pair, (_, matches) in zip(chosen, found, strict=True)}


def verify(
    features0: Features,
    features1: Features,
    matches: Matches,
    kind: Kind = "auto",
    camera0: pycolmap.Camera | NDArray[Any] | None = None,
    camera1: pycolmap.Camera | NDArray[Any] | None = None,
    **options: Any,
) -> TwoView:
    """Matches that agree with one model, and the model: F, H, or E with the pose.

    camera0, camera1: pycolmap.Camera or (3, 3) intrinsics. options: max_error, min_num_inliers, seed.
    """
    config = configured(TwoViewConfig(), {"kind": kind, **options}, "verify")
    _check_features(features0, "features0")
    _check_features(features1, "features1")
    return verify_pair(features0, features1, matches, config, camera0, camera1)


def reconstruct(images: str | Path, output: str | Path | None = None, **options: Any) -> ReconstructResult:
    """A folder of photos -> models, report and files in `output` (by default IMAGES-model beside it).

    options: those of `desdis-match reconstruct`. Raises NoModelError when no model forms.
    """
    if not isinstance(images, str | Path):
        raise InputError(f"images must be the folder of photos, not {_kind(images)}")
    place = {"images": Path(images), "output": None if output is None else Path(output)}
    config = ReconstructConfig(**place)  # type: ignore[arg-type]
    return reconstruct_photos(configured(config, options, "reconstruct"))


def localize(
    model: str | Path | ReconstructResult,
    photos: str | Path,
    output: str | Path | None = None,
    **options: Any,
) -> list[Localization]:
    """Poses of a photo, or of the photos of a folder, against the model of an earlier `reconstruct`.

    model: its result or its output folder. output: a folder for features.h5, poses.txt and poses.json of the
    photos; without it nothing is kept. options: those of `desdis-match localize`.
    """
    run = RunFolder(model.output if isinstance(model, ReconstructResult) else Path(model))
    config = configured(LocalizeConfig(), options, "localize")
    photos = Path(photos)
    if not photos.exists():
        raise InputError(f"{photos} does not exist; give a photo or a folder of photos")
    with tempfile.TemporaryDirectory() as scratch:
        folder = photos
        if photos.is_file():
            folder = Path(scratch) / "photo"
            folder.mkdir()
            (folder / photos.name).symlink_to(photos.resolve())
        place = Path(scratch) / "output" if output is None else Path(output)
        return localize_photos(run.sparse / "0", run.features, folder, place, config)


def plot_matches(
    image0: Picture,
    image1: Picture,
    features0: Features,
    features1: Features,
    matches: Matches | TwoView,
    **style: Any,
) -> Figure:
    """Two pictures side by side with lines between matched keypoints; `style` is that of viz.plot_matches."""
    found = matches.matches if isinstance(matches, TwoView) else matches
    figure = viz.plot_images([_pixels(image0), _pixels(image1)])
    rows0, rows1 = found.indices.T
    viz.plot_matches(features0.keypoints[rows0], features1.keypoints[rows1], **{"lw": 0.6, **style})
    return figure


def _pixels(image: Picture) -> NDArray[Any]:
    return read_rgb(image) if isinstance(image, str | Path) else checked_pixels(image)


def _check_features(features: object, name: str) -> None:
    if not isinstance(features, Features):
        raise InputError(f"{name} must be Features, as `extract` gives them, not {_kind(features)}")


def _checked_list(features: Any, name: str) -> list[Features]:
    if isinstance(features, str | bytes) or not isinstance(features, Sequence):
        raise InputError(f"{name} must be Features or a list of them, not {_kind(features)}")
    for number, one in enumerate(features):
        _check_features(one, f"{name}[{number}]")
    return list(features)


def _kind(value: object) -> str:
    return type(value).__name__
