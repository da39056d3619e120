"""COLMAP databases of version 3: the tables of 3.8, which every later COLMAP brings up to date by itself.

COLMAP 3.8 cannot read a database that COLMAP 4 (or this package) wrote: images have no prior pose there, two
view geometries have more columns. Rigs, frames, pose priors and descriptors' types have no place in the old
tables; every image stands alone in them.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..colmap.database import connect, remove_database
from ..errors import InputError
from ..support.files import atomic_path
from ..support.native import pycolmap

USER_VERSION = 3800
"""What COLMAP 3.8 writes as SQLite's user_version."""
LAST_MODEL = 10
"""Camera models up to this id (THIN_PRISM_FISHEYE) are in COLMAP 3.8."""

_BLOBS = "rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB"
_OF_IMAGE = (
    f"image_id INTEGER PRIMARY KEY NOT NULL, {_BLOBS}, FOREIGN KEY(image_id) REFERENCES images(image_id)"
)
_OF_PAIR = f"pair_id INTEGER PRIMARY KEY NOT NULL, {_BLOBS}"
SCHEMA = {
    "cameras": "camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL, "
    "width INTEGER NOT NULL, height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL",
    "images": "image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, "
    "camera_id INTEGER NOT NULL, prior_qw REAL, prior_qx REAL, prior_qy REAL, prior_qz REAL, prior_tx REAL, "
    "prior_ty REAL, prior_tz REAL, CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < 2147483647), "
    "FOREIGN KEY(camera_id) REFERENCES cameras(camera_id)",
    "keypoints": f"{_OF_IMAGE} ON DELETE CASCADE",
    "descriptors": f"{_OF_IMAGE} ON DELETE CASCADE",
    "matches": _OF_PAIR,
    "two_view_geometries": f"{_OF_PAIR}, config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB, qvec BLOB, "
    "tvec BLOB",
}
"""Its tables."""

SIFT = 0
"""The type of descriptors that the old tables mean."""


def is_colmap3(path: Path) -> bool:
    """Whether a database has the old tables: images with prior poses, and no rigs."""
    with connect(path) as connection:
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        columns = {row[1] for row in connection.execute("PRAGMA table_info(images)")}
    return "rigs" not in names and "prior_qw" in columns


def write_colmap3(source: Path, path: Path) -> Path:
    """The content of database `source`, of this COLMAP, as one of COLMAP 3 at `path`; they may be the same.

    Raises InputError for cameras that COLMAP 3 does not know.
    """
    with connect(source) as connection:
        for (model,) in connection.execute("SELECT DISTINCT model FROM cameras ORDER BY model"):
            if model > LAST_MODEL:
                name = pycolmap.CameraModelId(model).name
                raise InputError(
                    f"COLMAP 3 has no camera model {name}; use another --camera-model, OPENCV say"
                )
    with atomic_path(path) as temporary:
        remove_database(temporary)
        with connect(temporary) as connection:
            for table, columns in SCHEMA.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute("CREATE UNIQUE INDEX index_name ON images(name)")
            connection.execute("ATTACH DATABASE ? AS source", (str(source),))
            for table in SCHEMA:
                _copy(connection, table)
            connection.commit()
            connection.execute("DETACH DATABASE source")
            connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    return path


def _copy(connection: sqlite3.Connection, table: str) -> None:
    """All rows of a table, in the order of their ids; columns that the source lacks stay empty."""
    known = {row[1] for row in connection.execute(f"PRAGMA source.table_info({table})")}
    columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})") if row[1] in known]
    named = ", ".join(columns)
    where = f"WHERE type = {SIFT}" if table == "descriptors" and "type" in known else ""
    connection.execute(
        f"INSERT INTO main.{table} ({named}) SELECT {named} FROM source.{table} {where} ORDER BY {columns[0]}"
    )
