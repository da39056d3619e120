"""Known camera parameters, and what they are for a photo of another size or one that was turned.

Parameters belong to a size of photo: the principal point tells which. A smaller copy has all lengths in
proportion; of one that was stored sideways width and height change places. Where that cannot be told from
the parameters, a sentence says so instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import InputError
from ..support.files import read_json
from ..support.native import pycolmap

Size = tuple[int, int]

OFF_CENTRE = 0.1
"""Share of a side that a principal point may lie off the middle of its own photo."""

OFF_CENTRE_OF_CROPS = 0.25
"""The same where all photos have one size, so that they may be cropped from larger ones."""

SAME_SHAPE = 0.01
"""Relative difference of two sizes' proportions that rounding to whole pixels explains."""

SAME_LENGTH = 0.02
"""Relative difference of lengths from which on parameters are of another size."""

TURNS_ALIKE = 0.003
"""Share of the long side that the principal point of a turned photo may lie off the middle, whichever way
the photo was turned."""


@dataclass(frozen=True)
class KnownCamera:
    """A camera whose parameters are given."""

    model: str  # COLMAP's name
    params: tuple[float, ...]  # in COLMAP's order
    size: Size  # width, height of the photos that they are for

    def for_size(self, size: Size, whose: str) -> pycolmap.Camera:
        """The camera, without an id, of photos of `size`. Raises InputError; `whose` names them."""
        scale = _ratio(size, self.size)
        turned = scale is None
        if scale is None:
            scale = _ratio(size[::-1], self.size)
        if scale is None:
            raise InputError(
                f"{whose} is {size[0]} x {size[1]} pixels and the camera parameters are of photos of "
                f"{self.size[0]} x {self.size[1]}, which has other proportions: it was cropped or taken with "
                "another camera; give its own parameters with --camera-file"
            )
        camera = _camera(self.model, self.params, self.size)
        if turned:
            camera = self._turned(camera, whose)
        params = np.array(camera.params)
        for index in (*camera.focal_length_idxs(), *camera.principal_point_idxs()):
            params[index] *= scale
        return _camera(self.model, tuple(params), size)

    def _turned(self, camera: pycolmap.Camera, whose: str) -> pycolmap.Camera:
        """By a quarter, no matter to which side: refused where that matters."""
        params = np.array(camera.params)
        across, down = camera.principal_point_idxs()
        off = np.array([params[across] - self.size[0] / 2, params[down] - self.size[1] / 2])
        names = [name.strip() for name in camera.params_info.split(",")]
        sided = [params[names.index(name)] for name in names if name[0] in "ps" and name[1:].isdigit()]
        if np.abs(off).max() > TURNS_ALIKE * max(self.size) or np.any(sided):
            raise InputError(
                f"{whose} is stored upright and the camera parameters are of photos of {self.size[0]} x "
                f"{self.size[1]}: their principal point is off the middle, or they have tangential "
                "distortion, and nothing says to which side the photo was turned; give its own parameters "
                "with --camera-file, or store it as it was taken"
            )
        params[across], params[down] = self.size[1] / 2, self.size[0] / 2
        focal = list(camera.focal_length_idxs())
        params[focal] = params[focal[::-1]]
        return _camera(self.model, tuple(params), self.size[::-1])


def _camera(model: str, params: Iterable[float], size: Size) -> pycolmap.Camera:
    return pycolmap.Camera(model=model, width=size[0], height=size[1], params=list(params))


def _ratio(size: Size, reference: Size) -> float | None:
    """How much larger `size` is; None where it has other proportions."""
    ratios = size[0] / reference[0], size[1] / reference[1]
    rounding = max(SAME_SHAPE, 1.0 / min(*size, *reference))
    return float(np.mean(ratios)) if abs(ratios[0] / ratios[1] - 1) <= rounding else None


def check_params(model: str, text: str | None) -> None:
    """Raise InputError for parameters, where there are any, that are not as many as the model's."""
    if text is not None:
        _with_params(model, text, (1, 1))


def _with_params(model: str, text: str, size: Size) -> pycolmap.Camera:
    camera = pycolmap.Camera.create_from_model_name(1, model, 1.0, *size)
    if not camera.set_params_from_string(text):
        raise InputError(f"camera parameters '{text}' do not fit {model}, which takes {camera.params_info}")
    return camera


def camera_of_params(model: str, text: str, sizes: Iterable[Size]) -> KnownCamera:
    """The camera of parameters that come without a size: it follows from the photos' and the principal point.

    text: comma-separated in COLMAP's order. Raises InputError where they do not fit the model or no photo.
    """
    found = sorted(set(sizes), reverse=True)
    camera = _with_params(model, text, found[0])
    params = tuple(float(value) for value in camera.params)
    if len(camera.principal_point_idxs()) == 0:
        return KnownCamera(model, params, found[0])
    middle = (2 * camera.principal_point_x, 2 * camera.principal_point_y)
    return KnownCamera(model, params, _size_of(middle, found, text))


def _size_of(middle: tuple[float, float], sizes: list[Size], text: str) -> Size:
    """Size of the photos whose middle is near `middle` / 2."""
    if min(middle) > 0:
        nearest = min(sizes, key=lambda size: _off(middle, size))
        of_other = [_other_size(middle, size) for size in sizes]
        if _off(middle, nearest) <= SAME_LENGTH / 2 or not any(of_other):
            limit = OFF_CENTRE_OF_CROPS if len(sizes) == 1 else OFF_CENTRE
            if _off(middle, nearest) <= limit:
                return nearest
        elif any(of_other):
            return round(middle[0]), round(middle[1])
    seen = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
    raise InputError(
        f"camera parameters '{text}' cannot be those of these photos: the principal point lies in the middle "
        f"of photos of about {middle[0]:.0f} x {middle[1]:.0f} pixels, these are {seen}; scale them, or give "
        "them with their size in --camera-file"
    )


def _off(middle: tuple[float, float], size: Size) -> float:
    """How far, as a share of the sides, the principal point lies off the middle of a photo."""
    return max(abs(middle[0] / size[0] - 1), abs(middle[1] / size[1] - 1)) / 2


def _other_size(middle: tuple[float, float], size: Size) -> bool:
    """Whether the principal point is the middle of a photo that differs from `size` in scale or by a turn."""
    for width, height in (size, size[::-1]):
        across, down = middle[0] / width, middle[1] / height
        if abs(across / down - 1) < SAME_SHAPE / 2:
            return True
    return False


def read_known_cameras(path: Path) -> dict[str, KnownCamera]:
    """Cameras by photo name, by folder (`sub/`) or for all (`*`).

    path: COLMAP's cameras.txt or .bin with the images file beside it, the folder of such a model, a
    database, nerfstudio's transforms.json, or a table with lines `NAME MODEL WIDTH HEIGHT PARAMS...`. Raises
    InputError.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give cameras.txt, a model's folder, a database or a table")
    if path.is_dir() or path.name in ("cameras.txt", "cameras.bin"):
        return _of_model(path if path.is_dir() else path.parent)
    if path.suffix == ".json":
        return _of_transforms(path)
    with open(path, "rb") as file:
        if file.read(15) == b"SQLite format 3":
            return _of_database(path)
    return _of_table(path)


def _of_model(folder: Path) -> dict[str, KnownCamera]:
    ends = [end for end in ("txt", "bin") if (folder / f"cameras.{end}").is_file()]
    if not ends:
        raise InputError(f"{folder} has no cameras.txt or cameras.bin; give the folder of a COLMAP model")
    if not (folder / f"images.{ends[0]}").is_file():
        if ends[0] == "txt":
            return _of_cameras_alone(folder / "cameras.txt")
        raise InputError(f"{folder} has no images.bin, which says whose the cameras are")
    try:
        model = pycolmap.Reconstruction(folder)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{folder} holds no readable COLMAP model: {error}") from error
    return {
        image.name: _known(model.camera(image.camera_id))
        for image in sorted(model.images.values(), key=lambda image: image.name)
    }


def _known(camera: pycolmap.Camera) -> KnownCamera:
    return KnownCamera(camera.model_name, tuple(map(float, camera.params)), (camera.width, camera.height))


def _of_cameras_alone(path: Path) -> dict[str, KnownCamera]:
    """cameras.txt without images.txt: its one camera is everybody's."""
    lines = [line.split(None, 1)[1] for line in _lines(path) if len(line.split()) > 1]
    if len(lines) != 1:
        raise InputError(f"{path} has {len(lines)} cameras and no images.txt beside it says whose they are")
    return {"*": _entry(f"* {lines[0]}", path, 1)[1]}


def _of_database(path: Path) -> dict[str, KnownCamera]:
    names = {int(number): name for name, number in pycolmap.CameraModelId.__members__.items()}
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as connection:
            rows = connection.execute(
                "SELECT images.name, model, width, height, params FROM images JOIN cameras USING (camera_id)"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a readable COLMAP database: {error}") from error
    return {
        name: KnownCamera(names[model], tuple(np.frombuffer(params, np.float64).tolist()), (width, height))
        for name, model, width, height, params in sorted(rows)
    }


NERFSTUDIO = {
    "OPENCV": "fl_x fl_y cx cy k1 k2 p1 p2",
    "OPENCV_FISHEYE": "fl_x fl_y cx cy k1 k2 k3 k4",
    "EQUIRECTANGULAR": "w h",
}
"""Fields of transforms.json by camera model, in COLMAP's order; what is not there is 0. Others of
nerfstudio's models, such as PINHOLE, are OPENCV's with fewer numbers."""


def has_intrinsics(path: Path) -> bool:
    """Whether a transforms.json says what its photos' cameras are."""
    try:
        content = read_json(path)
        return all({"fl_x", "w", "h"} <= {**content, **frame}.keys() for frame in content["frames"])
    except (InputError, KeyError, TypeError):
        return False


def _of_transforms(path: Path) -> dict[str, KnownCamera]:
    try:
        content = read_json(path)
        return {frame["file_path"]: _of_fields({**content, **frame}) for frame in content["frames"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not say what its photos' cameras are: {error!r}") from error


def _of_fields(fields: Mapping[str, Any]) -> KnownCamera:
    """Raises KeyError for what is not there."""
    model = fields.get("camera_model", "OPENCV")
    model = model if model in NERFSTUDIO else "OPENCV"
    needed = {"fl_y": fields["fl_x"], "cx": fields["w"] / 2, "cy": fields["h"] / 2, **fields}
    params = tuple(float(needed.get(name, 0.0)) for name in NERFSTUDIO[model].split())
    return KnownCamera(model, params, (int(fields["w"]), int(fields["h"])))


def _of_table(path: Path) -> dict[str, KnownCamera]:
    entries = [_entry(line, path, number) for number, line in enumerate(_lines(path), start=1)]
    if not entries:
        raise InputError(f"{path} names no camera; a line is `NAME MODEL WIDTH HEIGHT PARAMS...`")
    return dict(entries)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file of cameras") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _entry(line: str, path: Path, number: int) -> tuple[str, KnownCamera]:
    """A line of a table; the name, which may have blanks, ends where a camera model begins."""
    words = line.replace(",", " ").split()
    at = next((i for i, word in enumerate(words) if i and word in pycolmap.CameraModelId.__members__), None)
    try:
        if at is None:
            raise ValueError("no camera model of COLMAP's in it")
        model, (width, height), params = words[at], map(int, words[at + 1 : at + 3]), words[at + 3 :]
        known = KnownCamera(model, tuple(map(float, params)), (width, height))
        if not _camera(known.model, known.params, known.size).verify_params():
            raise ValueError(f"{len(params)} parameters do not fit {model}")
    except ValueError as error:
        raise InputError(
            f"{path}, camera {number}: '{line[:80]}' is not `NAME MODEL WIDTH HEIGHT PARAMS...` ({error})"
        ) from error
    return line[: line.index(model)].strip(), known


def known_camera(cameras: Mapping[str, KnownCamera], name: str) -> KnownCamera | None:
    """That of a photo: its own, that of the nearest folder that has one, or everybody's."""
    if name in cameras:
        return cameras[name]
    for folder in PurePosixPath(name).parents:
        for key in (f"{folder}/", str(folder)):
            if key in cameras and key != ".":
                return cameras[key]
    return cameras.get("*")
