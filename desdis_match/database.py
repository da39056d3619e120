"""Features and matches -> COLMAP database. The half pixel is added here and nowhere else.

Our keypoints have (0, 0) at the centre of the top-left pixel, COLMAP's have it at (0.5, 0.5). Image ids go
from 1 in the order of the sorted names. Everything is written in a fixed order, so that equal input gives an
equal database.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2  # noqa: F401 - before pycolmap, see cameras.py
import numpy as np
import pycolmap
from numpy.typing import NDArray

from .cameras import CameraConfig, assign_cameras, read_photo_info
from .errors import InputError
from .files import Config, atomic_path, canonical_json
from .store import FeatureFile, MatchFile

PIXEL_CENTRE = 0.5
"""COLMAP's coordinate of the centre of the top-left pixel."""


def to_colmap(keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
    """Our pixel frame to COLMAP's, (N, 2)."""
    return np.ascontiguousarray(np.asarray(keypoints, np.float32) + np.float32(PIXEL_CENTRE))


def from_colmap(keypoints: NDArray[np.floating]) -> NDArray[np.float32]:
    """COLMAP's pixel frame to ours; further columns (scale, orientation or affine shape) are left out."""
    return np.ascontiguousarray(np.asarray(keypoints, np.float32)[:, :2] - np.float32(PIXEL_CENTRE))


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
            write_image(database, image_id, name, camera_of[name])
            database.write_keypoints(image_id, to_colmap(features.keypoints(name)))
        for name0, name1 in pairs:
            found = matches.get(name0, name1, counts).indices
            database.write_matches(ids[name0], ids[name1], found.astype(np.uint32))
    return Path(path)


def write_camera(database: pycolmap.Database, camera: pycolmap.Camera) -> None:
    """A camera and the rig of this one camera that COLMAP 4 wants."""
    database.write_camera(camera, use_camera_id=True)
    rig = pycolmap.Rig(rig_id=camera.camera_id)
    rig.add_ref_sensor(camera.sensor_id)
    database.write_rig(rig, use_rig_id=True)


def write_image(database: pycolmap.Database, image_id: int, name: str, camera_id: int) -> None:
    """An image and its frame; the camera's rig has the camera's id."""
    image = pycolmap.Image(image_id=image_id, name=name, camera_id=camera_id)
    database.write_image(image, use_image_id=True)
    frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_id)
    frame.add_data_id(image.data_id)
    database.write_frame(frame, use_frame_id=True)


@contextmanager
def _new_database(path: Path, config: Config) -> Iterator[pycolmap.Database]:
    """A database under a temporary name, in one transaction; it takes the place of `path` at the end."""
    path = Path(path)
    with atomic_path(path) as temporary:
        remove_database(temporary)
        try:
            with open_database(temporary, create=True) as database, pycolmap.DatabaseTransaction(database):
                yield database
            set_notes(temporary, {"config": canonical_json(config)})
            # A database of another run must not leave its journal to this one.
            for journal in _journals(path):
                journal.unlink(missing_ok=True)
        except BaseException:
            remove_database(temporary)
            raise


@contextmanager
def open_database(path: Path, create: bool = False) -> Iterator[pycolmap.Database]:
    """An existing COLMAP database. Raises InputError when it is missing or damaged."""
    if not create and not Path(path).is_file():
        raise InputError(f"{path} does not exist; `desdis-match map` makes it")
    try:
        database = pycolmap.Database.open(path)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not a readable COLMAP database: {error}") from error
    try:
        yield database
    finally:
        database.close()


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
    return None if text is None else json.loads(text)


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as plain SQLite, for what COLMAP's own interface lacks; commits at the end."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a readable COLMAP database: {error}") from error
    finally:
        connection.close()


def notes(path: Path) -> dict[str, str]:
    if not Path(path).is_file():
        return {}
    with connect(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'desdis_match'").fetchall():
            return {}
        return dict(connection.execute("SELECT key, value FROM desdis_match"))


def set_notes(path: Path, notes: dict[str, str]) -> None:
    with connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS desdis_match (key TEXT PRIMARY KEY, value TEXT)")
        connection.executemany("INSERT OR REPLACE INTO desdis_match VALUES (?, ?)", sorted(notes.items()))


def pack(path: Path, new_notes: dict[str, str]) -> None:
    """Rewrite a database without gaps and journals: its content decides its bytes, not how it got there."""
    with atomic_path(path) as temporary:
        remove_database(temporary)
        with connect(path) as connection:
            connection.execute("VACUUM INTO ?", (str(temporary),))
        set_notes(temporary, new_notes)
        for journal in _journals(path):
            journal.unlink(missing_ok=True)
