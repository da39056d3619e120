"""Features and matches -> COLMAP database. The half pixel is added here and nowhere else.

Our keypoints have (0, 0) at the centre of the top-left pixel, COLMAP's have it at (0.5, 0.5). Image ids go
from 1 in the order of the sorted names. Everything is written in a fixed order, so that equal input gives an
equal database.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..conventions import to_colmap
from ..errors import InputError
from ..photos.cameras import CameraConfig, PhotoInfo, assign_cameras, read_photo_info
from ..photos.gps import read_positions, same_heights
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from ..support.files import Config, atomic_path, canonical_json, file_error
from ..support.names import check_names
from ..support.native import pycolmap
from .log import log_to
from .rigs import apply_rigs


def build_database(
    path: Path,
    images_dir: Path | None,
    features: FeatureFile,
    matches: MatchFile,
    pairs: Sequence[tuple[str, str]] | None = None,
    cameras: CameraConfig | None = None,
    config: Config | None = None,
    threads: int = 0,
) -> Path:
    """A COLMAP database of all images of `features` and the raw matches of `pairs`, written whole or not.

    images_dir: for EXIF; None: focal lengths are guessed and sizes are those of the features.
    pairs: None: all pairs of `matches`.
    config: kept in the database, see `database_config`.
    Raises InputError when files do not belong together (see the readers in store.py and cameras.py).
    """
    names = features.names()
    counts = features.counts()
    pairs = sorted(matches.pairs(names) if pairs is None else pairs)
    sizes = {name: features.image_size(name) for name in names}
    photos = read_photo_info(images_dir, sizes, threads or os.cpu_count() or 1)
    rigs, camera_of = assign_cameras(photos, cameras or CameraConfig())
    ids = {name: image_id for image_id, name in enumerate(names, start=1)}
    with _new_database(path, config or {}) as database:
        for camera in rigs:
            write_camera(database, camera)
        for name, image_id in ids.items():
            write_image(database, image_id, name, camera_of[name], rig_id=camera_of[name])
            database.write_keypoints(image_id, to_colmap(features.keypoints(name)))
        write_positions(database, images_dir, {name: (ids[name], camera_of[name]) for name in names})
        for name0, name1 in pairs:
            found = matches.get(name0, name1, counts).indices
            database.write_matches(ids[name0], ids[name1], found.astype(np.uint32))
        if cameras is not None and cameras.rig_config is not None:
            apply_rigs(database, Path(cameras.rig_config))
    return Path(path)


def write_camera(database: pycolmap.Database, camera: pycolmap.Camera) -> int:
    """A camera and the rig of this one camera that COLMAP 4 wants; returns the rig's id.

    In a new database the rigs have the ids of their cameras, and so have the frames those of their images.
    """
    database.write_camera(camera, use_camera_id=True)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(camera.sensor_id)
    return database.write_rig(rig)


def write_image(database: pycolmap.Database, image_id: int, name: str, camera_id: int, rig_id: int) -> None:
    """An image and its frame."""
    image = pycolmap.Image(image_id=image_id, name=name, camera_id=camera_id)
    database.write_image(image, use_image_id=True)
    frame = pycolmap.Frame(rig_id=rig_id)
    frame.add_data_id(image.data_id)
    database.write_frame(frame)


def write_positions(
    database: pycolmap.Database, images_dir: Path | None, ids: Mapping[str, tuple[int, int]]
) -> None:
    """GPS positions of photos as pose priors: `ids` are their image and camera ids by name."""
    positions = {} if images_dir is None else read_positions(images_dir, list(ids))
    for name, position in zip(positions, same_heights(list(positions.values())), strict=True):
        image_id, camera_id = ids[name]
        sensor = pycolmap.sensor_t(type=pycolmap.SensorType.CAMERA, id=camera_id)
        prior = pycolmap.PosePrior(
            corr_data_id=pycolmap.data_t(sensor_id=sensor, id=image_id),
            position=np.array([position.latitude, position.longitude, position.altitude]),
            coordinate_system=pycolmap.PosePriorCoordinateSystem.WGS84,
        )
        database.write_pose_prior(prior)


def add_images(
    database: pycolmap.Database,
    sizes: Mapping[str, tuple[int, int]],
    images_dir: Path | None,
    config: CameraConfig,
    old_folders: Sequence[Path] = (),
) -> dict[str, int]:
    """Give further images ids and cameras in an existing database; returns their ids by name.

    sizes: (width, height) of the new images. They share the camera of an image that is already there where
    `config` would have let them, had all been given cameras at once. old_folders: where images may be that
    are not below `images_dir`.
    """
    if not sizes:
        return {}
    known = {image.name: image.camera_id for image in database.read_all_images()}
    cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
    old_sizes = {
        name: (cameras[camera_id].width, cameras[camera_id].height) for name, camera_id in known.items()
    }
    photos: dict[str, PhotoInfo] = {}
    if images_dir is not None:
        photos |= read_photo_info(
            images_dir, {n: size for n, size in old_sizes.items() if (images_dir / n).is_file()}
        )
    for folder in old_folders:
        left = {name for name in old_sizes if name not in photos and (folder / name).is_file()}
        found = read_photo_info(folder, dict.fromkeys(sorted(left), (0, 0)))
        photos |= {n: info for n, info in found.items() if info.size == old_sizes[n]}  # not one changed since
    if images_dir is None or config.camera_mode != "auto":  # which goes by their EXIF
        photos |= read_photo_info(None, {n: size for n, size in old_sizes.items() if n not in photos})
    old = list(photos)
    photos |= read_photo_info(images_dir, sizes)
    wanted, group_of = assign_cameras(photos, config)
    rigs: dict[int, tuple[int, int]] = {}  # group -> camera id, rig id
    for name in old:
        rig = database.read_rig_with_sensor(cameras[known[name]].sensor_id)
        if rig is not None and not rig.non_ref_sensors:
            rigs.setdefault(group_of[name], (known[name], rig.rig_id))
    next_camera = max(cameras, default=0) + 1
    next_image = max((image.image_id for image in database.read_all_images()), default=0) + 1
    ids = {}
    for image_id, name in enumerate(sizes, start=next_image):
        group = group_of[name]
        if group not in rigs:
            camera = wanted[group - 1]
            camera.camera_id = next_camera
            rigs[group] = (next_camera, write_camera(database, camera))
            next_camera += 1
        write_image(database, image_id, name, *rigs[group])
        ids[name] = image_id
    write_positions(database, images_dir, {name: (ids[name], rigs[group_of[name]][0]) for name in sizes})
    return ids


@contextmanager
def _new_database(path: Path, config: Config) -> Iterator[pycolmap.Database]:
    """A database under a temporary name, which takes the place of `path` at the end."""
    path = Path(path)
    with atomic_path(path) as temporary:
        remove_database(temporary)
        try:
            with open_database(temporary, create=True) as database:
                yield database
            set_notes(temporary, {"config": canonical_json(config)})
            seal(temporary)
            # A database of another run must not leave its journal to this one.
            for journal in _journals(path):
                journal.unlink(missing_ok=True)
        except BaseException:
            remove_database(temporary)
            raise


@contextmanager
def open_database(path: Path, create: bool = False) -> Iterator[pycolmap.Database]:
    """An existing COLMAP database. Raises InputError when it is missing or damaged, or cannot be written.

    Write to it without pycolmap.DatabaseTransaction: where the disk is full, that ends the process.
    """
    if not create and not Path(path).is_file():
        raise InputError(f"{path} does not exist; `desdis-match map` makes it")
    if not create:
        _check_names(path, path)
    with _opened(path, path) as database:
        yield database


@contextmanager
def _opened(path: Path, named: Path) -> Iterator[pycolmap.Database]:
    """COLMAP's own words about a database become an InputError that names the file."""
    with log_to(None), _colmap_errors(named):
        database = pycolmap.Database.open(path)
    try:
        with _colmap_errors(named):
            yield database
    finally:
        with suppress(RuntimeError):  # the error that came before it, if any, is the one to tell
            database.close()


@contextmanager
def _colmap_errors(named: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, IndexError, OverflowError) as error:
        if str(error).startswith("["):  # COLMAP's place in its source
            raise database_error(error, named) from error
        if "database factory" in str(error):
            raise InputError(
                f"{named} is not a readable COLMAP database, or its disk is full or must not be written"
            ) from error
        raise


def database_error(error: Exception, named: Path) -> InputError:
    """What SQLite said, through COLMAP or not, as a sentence."""
    text = str(error)
    if "disk is full" in text or "disk I/O error" in text:
        return file_error(OSError(errno.ENOSPC, "the disk is full"), Path(named))
    if "locked" in text:
        return InputError(f"{named} is being used by another program; close it and run again")
    if "readonly" in text or "unable to open" in text:
        return InputError(
            f"{named} cannot be opened or written ({text}); change its rights or those of its folder"
        )
    return InputError(f"{named} is not a readable COLMAP database: {text.splitlines()[0]}")


def _check_names(path: Path, named: Path) -> None:
    """Refuse photos outside the folder of photos; what SQLite cannot read is said here, too."""
    with connect(path, named) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM images")]
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None:
        raise InputError(f"{named} is damaged: {wrong!r} is no photo's name")
    check_names(names, named)


@contextmanager
def readable_database(path: Path) -> Iterator[pycolmap.Database]:
    """A COLMAP database to read; another program's stays as it is. Raises InputError as open_database."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; give COLMAP's database.db")
    with ExitStack() as stack:
        opened = Path(path)
        if database_config(path) is None:
            # COLMAP brings a database up to date and into another journal mode when it opens it.
            opened = Path(stack.enter_context(TemporaryDirectory())) / "database.db"
            copy_database(path, opened)
        _check_names(opened, path)
        yield stack.enter_context(_opened(opened, path))


@contextmanager
def replaced_database(path: Path) -> Iterator[Path]:
    """A copy of a database to change; it takes the place of `path` when the block ends well."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; `desdis-match map` makes it")
    with atomic_path(path) as temporary:
        try:
            copy_database(path, temporary)
            yield temporary
            for journal in _journals(path):
                journal.unlink(missing_ok=True)
        except BaseException:
            remove_database(temporary)
            raise


def copy_database(path: Path, copy: Path) -> None:
    """A packed copy, with what lies in the journal of a killed process; an existing `copy` is replaced.

    The bytes of the copy depend on the content alone, not on how it came to be.
    """
    remove_database(copy)
    with connect(path) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))


def part_of_database(path: Path, part: Path, names: Sequence[str]) -> Path:
    """A copy with the keypoints and the verified pairs of the images `names` alone, and no raw matches.

    All cameras and images are in it; ids are the same.
    """
    with _new_database(part, {}):
        pass
    whole = ("rigs", "rig_sensors", "cameras", "frames", "frame_data", "images", "pose_priors")
    pair_ends = " AND ".join(f"{end} IN chosen" for end in ("pair_id / 2147483647", "pair_id % 2147483647"))
    with connect(part, path) as connection:
        connection.execute("ATTACH DATABASE ? AS source", (str(path),))
        for table in whole:
            connection.execute(f"INSERT INTO {table} SELECT * FROM source.{table}")
        connection.execute("CREATE TEMPORARY TABLE chosen (image_id INTEGER PRIMARY KEY)")
        for name in names:
            connection.execute("INSERT INTO chosen SELECT image_id FROM images WHERE name = ?", (name,))
        for table, rows in (("keypoints", "image_id IN chosen"), ("two_view_geometries", pair_ends)):
            connection.execute(f"INSERT INTO {table} SELECT * FROM source.{table} WHERE {rows}")
    return part


def remove_database(path: Path) -> None:
    """Delete a database with its journals."""
    for file in (Path(path), *_journals(path)):
        file.unlink(missing_ok=True)


def _journals(path: Path) -> tuple[Path, Path]:
    return Path(f"{path}-wal"), Path(f"{path}-shm")


# Notes of our own lie in a table that COLMAP does not look at.


def database_config(path: Path) -> dict[str, Any] | None:
    """The `config` that build_database was given; None for a database of others or none at all."""
    text = notes(path).get("config")
    try:
        return None if text is None else dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: its note of what made it is no JSON") from error


@contextmanager
def connect(path: Path, named: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The database as plain SQLite, for what COLMAP's own interface lacks; commits at the end.

    named: what errors call it, where `path` is a copy.
    """
    connection = None
    try:
        connection = sqlite3.connect(path)
        with connection:
            yield connection
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise database_error(error, named or path) from error
    finally:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def notes(path: Path) -> dict[str, str]:
    """Everything noted; empty for a database of others or none at all."""
    if not Path(path).is_file():
        return {}
    with connect(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'desdis_match'").fetchall():
            return {}
        return dict(connection.execute("SELECT key, value FROM desdis_match"))


def set_notes(path: Path, notes: Mapping[str, str]) -> None:
    """Note more, or something else under a key that is there."""
    with connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS desdis_match (key TEXT PRIMARY KEY, value TEXT)")
        connection.executemany("INSERT OR REPLACE INTO desdis_match VALUES (?, ?)", sorted(notes.items()))


CHANGED = "is not as desdis-match wrote it: damaged, or changed by another program"


def seal(path: Path) -> None:
    """Note a checksum of what models come from: SQLite has none. An empty note: it is being changed."""
    set_notes(path, {"content": _content_crc(path)})


def content_changed(path: Path) -> bool:
    """Whether a database of ours has other content than was noted."""
    known = notes(path).get("content")
    return bool(known) and known != _content_crc(path)


def _content_crc(path: Path) -> str:
    crc = 0
    with connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        for table in sorted({name for (name,) in tables} - {"desdis_match", "sqlite_sequence"}):
            for row in connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid'):
                for value in row:
                    crc = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode(), crc)
    return f"{crc:08x}"


def drop_notes(path: Path) -> None:
    """Forget what a database was made from, when others' content comes in."""
    if notes(path):
        with connect(path) as connection:
            connection.execute("DELETE FROM desdis_match")
