"""Points as binary PLY and as LAS or LAZ, with what says how good each is: error and track length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, missing_extra
from ..storage.georeference import Georeference
from ..support.files import atomic_path
from ..support.native import pycolmap

PointTable = NDArray[np.void]

LAS_SCALE = 0.001
"""Metres that a step of LAS's integers is."""
PROJECTED_CS = 3072
"""GeoTIFF 1.0's key ProjectedCSTypeGeoKey."""


def point_table(model: pycolmap.Reconstruction) -> PointTable:
    """x, y, z, nx, ny, nz (0: not known), red, green, blue, error (pixels), track (photos) a row."""
    fields = [(name, "<f8") for name in "xyz"] + [(f"n{name}", "<f4") for name in "xyz"]
    fields += [(name, "u1") for name in ("red", "green", "blue")] + [("error", "<f4"), ("track", "<i4")]
    points = [model.point3D(i) for i in sorted(model.point3D_ids())]
    table = np.zeros(len(points), fields)
    if points:
        for column, name in enumerate("xyz"):
            table[name] = [point.xyz[column] for point in points]
        for column, name in enumerate(("red", "green", "blue")):
            table[name] = [point.color[column] for point in points]
        table["error"] = [point.error if point.has_error() else 0.0 for point in points]
        table["track"] = [point.track.length() for point in points]
    return table


def write_cloud(model: pycolmap.Reconstruction, path: Path, normals: bool = False) -> Path:
    """Binary PLY, numbers as float, as COLMAP's and others' readers want them.

    normals: with nx, ny, nz, which splat trainers ask for, and without error and track.
    """
    table = point_table(model)
    names = ["x", "y", "z", *(("nx", "ny", "nz") if normals else ()), "red", "green", "blue"]
    names += [] if normals else ["error", "track"]
    kinds = {"red": "uchar", "green": "uchar", "blue": "uchar"}
    stored = {"uchar": "u1", "float": "<f4"}
    record = np.zeros(len(table), [(name, stored[kinds.get(name, "float")]) for name in names])
    for name in names:
        record[name] = table[name]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    header += [f"property {kinds.get(name, 'float')} {name}" for name in names]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + record.tobytes())
    return Path(path)


def write_las(model: pycolmap.Reconstruction, path: Path, where: Georeference | None = None) -> Path:
    """LAS 1.4, or LAZ by the name's ending; error and track are extra dimensions.

    where: of the model; with an origin the points are in UTM, metres, with the zone's EPSG code. Raises
    MissingExtra without the extra `formats`.
    """
    try:
        import laspy
    except ImportError as error:
        raise missing_extra("LAS and LAZ need", "formats") from error
    if path.suffix.lower() not in (".las", ".laz"):
        raise InputError(f"{path}: give a name that ends in .las or .laz")
    if path.suffix.lower() == ".laz" and not laspy.LazBackend.detect_available():
        raise missing_extra("LAZ needs", "formats")
    table = point_table(model)
    xyz = np.stack([table[name] for name in "xyz"], axis=1)
    header = laspy.LasHeader(point_format=2, version="1.4")
    header.add_extra_dims([laspy.ExtraBytesParams("error", "f4"), laspy.ExtraBytesParams("track", "i4")])
    if where is not None and where.origin is not None and len(xyz):
        xyz, code = to_utm(xyz, where)
        header.vlrs.append(_projection(code))
    header.scales = np.full(3, LAS_SCALE)
    header.offsets = np.floor(xyz.min(0)) if len(xyz) else np.zeros(3)
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = xyz.T
    for name in ("red", "green", "blue"):
        setattr(cloud, name, table[name].astype(np.uint16) * 257)
    cloud.error, cloud.track = table["error"], table["track"]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        cloud.write(file, do_compress=path.suffix.lower() == ".laz")
    return Path(path)


def to_utm(xyz: NDArray[np.float64], where: Georeference) -> tuple[NDArray[np.float64], int]:
    """East-north-up (N, 3) of a georeferenced model -> UTM easting, northing, height, and the EPSG code."""
    if where.origin is None:
        raise InputError("the model is not georeferenced")
    transform = pycolmap.GPSTransform(pycolmap.GPSTransformEllipsoid.WGS84)
    utm, zone = transform.ellipsoid_to_utm(transform.enu_to_ellipsoid(xyz, *where.origin))
    return np.asarray(utm), (32600 if where.origin[0] >= 0 else 32700) + int(zone)


def _projection(code: int) -> object:
    from laspy.vlrs.known import GeoKeyDirectoryVlr, GeoKeyEntryStruct

    vlr = GeoKeyDirectoryVlr()
    keys = [(1024, 1), (PROJECTED_CS, code)]  # a projected system, and which
    vlr.geo_keys_header.key_direction_version = 1
    vlr.geo_keys_header.key_revision = 1
    vlr.geo_keys_header.minor_revision = 0
    vlr.geo_keys_header.number_of_keys = len(keys)
    vlr.geo_keys = [
        GeoKeyEntryStruct(id=key, tiff_tag_location=0, count=1, value_offset=value) for key, value in keys
    ]
    return vlr
