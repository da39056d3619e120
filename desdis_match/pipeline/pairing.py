"""Stage pairs: images of a features.h5 -> pairs.txt, and beside it pairs.json: what each way brought."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..colmap.poses import read_poses, with_cameras_of_poses
from ..colmap.views import read_views
from ..errors import InputError
from ..matching.pairs import (
    PAIRS,
    Pair,
    PairsConfig,
    PhotoSet,
    View,
    check_ways,
    choose_way,
    joined_pairs,
    write_pairs,
)
from ..photos.cameras import CameraConfig, assign_cameras, read_photo_info
from ..photos.gps import earth_centred, read_positions
from ..photos.images import list_images, read_header
from ..storage.features_file import FeatureFile
from ..support.files import Config, atomic_path, canonical_json, check_not_read
from ..support.parts import outside_code
from ..support.workers import available_cores
from .resume import check_no_run, digest, fingerprint

log = logging.getLogger(__name__)

SIZES_READ = 50
"""Photos whose sizes say whether all are one camera's."""


@dataclass(frozen=True)
class ChosenWay:
    """What will be matched with what, settled before any feature is extracted."""

    config: PairsConfig  # never auto
    why: str  # in words; empty where the user chose


def settle_pairs(images: Path, config: PairsConfig, poses: Path | None = None) -> ChosenWay:
    """Look at the photos below `images` for what `auto` means there; what the user chose stays as it is.

    poses: of read_poses, where they are known. Raises InputError for a way that there is not, and for poses
    that cannot be read or are of none of the photos.
    """
    check_ways(config)
    if "frusta" in config.ways:
        check_posed(poses)
    posed = {} if poses is None else read_poses(poses, list_images(images))
    if config.ways != ("auto",):
        return ChosenWay(config, "")
    names = list_images(images)
    some = [names[i] for i in np.linspace(0, len(names) - 1, min(SIZES_READ, len(names))).astype(int)]
    headers = [read_header(images / name) for name in some]
    one_size = len({header.size for header in headers if header is not None}) <= 1
    pairs, why = choose_way(names, read_positions(images, names, available_cores()), one_size, posed)
    return ChosenWay(replace(config, pairs=pairs), why)


def pairs(
    features: Path,
    output: Path,
    config: PairsConfig | None = None,
    *,
    images: Path | None = None,
    poses: Path | None = None,
    cameras: CameraConfig | None = None,
) -> Path:
    """Images of a features.h5 -> pairs.txt at `output`.

    images: the folder of photos, for GPS positions and for what `auto` looks at; without it there are none.
    poses, cameras: what is known of them, for pairs by view frusta. The file is kept where it was made by
    just this.
    """
    config = config or PairsConfig()
    check_not_read(output, features, config.pairs_file)
    if images is not None:
        config = settle_pairs(images, config, poses).config
    with FeatureFile(features) as file:
        names = file.names()
        placed = _positions(images, names) if "spatial" in config.ways else {}
        views = _views(file, names, images, poses, cameras) if "frusta" in config.ways else {}
        made_by = {
            "pairs": asdict(config),
            "features": fingerprint(features),
            "positions": digest({name: list(place) for name, place in placed.items()}),
            "file": None if config.pairs_file is None else digest(_text(config.pairs_file)),
        }
        if views:
            made_by["views"] = digest({name: _numbers(view) for name, view in views.items()})
        made_by |= outside_code(("pairs", PAIRS, way) for way in config.ways if way != "auto")
        beside = _beside(output)
        if _is_made_by(beside, output, made_by):
            return output
        check_no_run(output)
        photos = PhotoSet(
            names, file.best_descriptors, placed, file.left_out(), output.parent, file.get, views
        )
        by_way = _choose(photos, config)
        beside.unlink(missing_ok=True)
        write_pairs(output, [pair for found in by_way.values() for pair in found])
    counts = {way: len(found) for way, found in by_way.items()}
    with atomic_path(beside) as temporary:
        record = {"made_by": made_by, "ways": counts, "written": digest(_text(output))}
        temporary.write_text(canonical_json(record), encoding="utf-8")
    return output


def choose_pairs(names: Sequence[str], config: PairsConfig, left_out: Iterable[str] = ()) -> list[Pair]:
    """Pairs of `names` by a way that needs no more than names. Raises InputError for fewer than two images.

    left_out: images that could not be used; pairs of a file that name one are left out too, with a warning.
    """
    by_way = _choose(PhotoSet(names, left_out=left_out), config)
    return [pair for found in by_way.values() for pair in found]


def _choose(photos: PhotoSet, config: PairsConfig) -> dict[str, list[Pair]]:
    check_ways(config)
    if config.ways == ("auto",):
        way, why = choose_way(photos.names, (), False)
        log.info("pairs: %s (%s)", way, why)
        config = replace(config, pairs=way)
    if len(photos.names) < 2 and config.ways != ("file",):
        raise InputError(
            f"a reconstruction needs two usable images or more; there is {len(photos.names)}: "
            f"{', '.join(photos.names)}"
        )
    return joined_pairs(photos, config)


def pairs_by_way(pairs_path: Path) -> dict[str, int]:
    """How many pairs each way brought, in the order of pairs.txt; empty where nothing says so."""
    beside = _beside(pairs_path)
    return json.loads(beside.read_text(encoding="utf-8"))["ways"] if beside.is_file() else {}


def _positions(images: Path | None, names: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """(3,) metres of the photos that have a GPS position; heights count where all of these have one."""
    if images is None:
        raise InputError("pairs by GPS need the photos; give their folder with --images")
    found = read_positions(images, names, available_cores())
    if any(place.altitude is None for place in found.values()):
        found = {name: replace(place, altitude=None) for name, place in found.items()}
    return dict(zip(found, earth_centred(found.values()), strict=True))


def _views(
    file: FeatureFile,
    names: Sequence[str],
    images: Path | None,
    poses: Path | None,
    cameras: CameraConfig | None,
) -> dict[str, View]:
    poses = check_posed(poses)
    sizes = {name: file.image_size(name) for name in names}
    config = with_cameras_of_poses(cameras or CameraConfig(), poses)
    found, camera_of = assign_cameras(read_photo_info(images, sizes, available_cores()), config)
    by_id = {camera.camera_id: camera for camera in found}
    return read_views(poses, names, {name: by_id[camera_of[name]] for name in names})


def check_posed(poses: Path | None) -> Path:
    """`poses`, if there are some; else InputError."""
    if poses is None:
        raise InputError("pairs by view frusta need known poses; give them with --poses")
    return poses


def _numbers(view: View) -> list[float | str]:
    return [*view.cam_from_world.ravel().tolist(), *map(str, view.field), view.focal, *(view.depths or ())]


def _beside(output: Path) -> Path:
    return output.with_suffix(".json")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # reading it says what is wrong
        return ""


def _is_made_by(beside: Path, output: Path, made_by: Config) -> bool:
    """Whether pairs.txt is what this stage wrote, by the same choice from the same photos."""
    if not beside.is_file() or not output.is_file():
        return False
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        return (
            canonical_json(record["made_by"]) == canonical_json(made_by)
            and digest(_text(output)) == record["written"]
        )
    except (ValueError, KeyError, TypeError):
        return False
