"""True cameras from the formats in which data sets publish them.

`read_truth(path)` tells the format from what lies there: Strecha's `.camera` files, a COLMAP model (also
ETH3D, whose calibration is one), nerfstudio's `transforms.json`, Middlebury's `*_par.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ...conventions import OURS_FROM_COLMAP, resized_intrinsics
from ...errors import InputError
from ...support.files import read_text
from .geometry import Pose

Float = NDArray[np.float64]

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
"""nerfstudio's cameras look along -z with y up; ours look along z with y down."""

OURS_FROM_PUBLISHED = OURS_FROM_COLMAP
"""nerfstudio's pixels are COLMAP's; Strecha's and Middlebury's files do not say and are read as COLMAP's."""


@dataclass(frozen=True)
class TrueCamera:
    """A published camera.

    intrinsics: (3, 3) to pixels of a photo of `size`, whatever the format; (0, 0) is the centre of the
    top-left pixel. None when not published.
    """

    pose: Pose
    intrinsics: Float | None
    size: tuple[int, int] | None  # width, height; None when not published
    distorted: bool = False  # the photos have lens distortion beyond `intrinsics`

    def resized(self, size: tuple[int, int]) -> TrueCamera:
        """The camera when its photo is resized to `size`; unchanged where none was published."""
        if self.intrinsics is None or self.size is None:
            return self
        scaled = resized_intrinsics((size[0] / self.size[0], size[1] / self.size[1]))
        return replace(self, intrinsics=scaled @ self.intrinsics, size=size)


@dataclass(frozen=True)
class Truth:
    """Cameras by image name."""

    cameras: dict[str, TrueCamera]
    source: str  # which format, where from
    unit: str  # metres, or unknown

    def poses(self) -> dict[str, Pose]:
        """Poses by image name."""
        return {name: camera.pose for name, camera in self.cameras.items()}

    def named_as(self, names: Iterable[str]) -> Truth:
        """The same under the names that the photos have here; cameras without a photo are left out.

        Names are equal, or else equal in their last part when only one photo and one other camera end so.
        """
        known = list(names)
        by_last: dict[str, list[str]] = {}
        for name in known:
            by_last.setdefault(PurePosixPath(name).name, []).append(name)
            if (stem := PurePosixPath(name).stem) != PurePosixPath(name).name:
                by_last.setdefault(stem, []).append(name)
        photos = set(known)
        found = {name: camera for name, camera in self.cameras.items() if name in photos}
        claims: dict[str, list[TrueCamera]] = {}
        for name, camera in self.cameras.items():
            here = by_last.get(PurePosixPath(name).name, [])
            if name not in found and len(here) == 1 and here[0] not in found:
                claims.setdefault(here[0], []).append(camera)
        found |= {name: cameras[0] for name, cameras in claims.items() if len(cameras) == 1}
        if not found:
            example = next(iter(self.cameras), "-")
            raise InputError(
                f"{self.source} names no photo that is here (it has {example}; the first photo is "
                f"{known[0] if known else 'missing'})"
            )
        return Truth(found, self.source, self.unit)


def _rotation(matrix: Float, where: str) -> Float:
    """`matrix` when it is a rotation to within 1 %, made exactly one; published files round their numbers."""
    if not np.isfinite(matrix).all() or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-2:
        raise InputError(f"{where} does not hold a rotation")
    u, _, vt = np.linalg.svd(matrix)
    if np.linalg.det(u @ vt) < 0:
        raise InputError(f"{where} holds a reflection instead of a rotation")
    return np.asarray(u @ vt)


def _checked(truth: Truth) -> Truth:
    """The same. Raises InputError for numbers that cannot be true, naming the camera."""
    for name, camera in truth.cameras.items():
        where = f"{truth.source}: {name}"
        if not np.isfinite(camera.pose.center).all():
            raise InputError(f"{where} has no finite position")
        matrix = camera.intrinsics
        if matrix is not None and not (np.isfinite(matrix).all() and min(matrix[0, 0], matrix[1, 1]) > 0):
            raise InputError(f"{where} has intrinsics that are not finite, or a focal length not above 0")
        if camera.size is not None and min(camera.size) <= 0:
            raise InputError(f"{where} has {camera.size[0]} x {camera.size[1]} pixels")
    return truth


def _numbers(text: str, count: int, where: str) -> Float:
    """`count` numbers separated by blanks."""
    try:
        values = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{where} holds something else than numbers ({error})") from error
    if len(values) != count:
        raise InputError(f"{where} should hold {count} numbers, not {len(values)}")
    if not np.isfinite(values).all():
        raise InputError(f"{where} holds numbers that are not finite")
    return values


def read_strecha(path: Path) -> Truth:
    """Folder of `NAME.camera`: K, a row of zeros, R (camera-to-world), the centre, width and height."""
    cameras = {}
    for file in sorted(path.glob("*.camera")):
        v = _numbers(read_text(file, "a .camera file"), 26, str(file))
        rotation = _rotation(v[12:21].reshape(3, 3).T, str(file))
        pose = Pose(rotation, v[21:24])
        cameras[file.name.removesuffix(".camera")] = TrueCamera(
            pose, OURS_FROM_PUBLISHED @ v[:9].reshape(3, 3), (int(v[24]), int(v[25]))
        )
    return Truth(cameras, f"Strecha cameras in {path}", "m")


def read_colmap(path: Path) -> Truth:
    """A COLMAP model, binary or text; ETH3D's `dslr_calibration_*` are such."""
    from ...colmap.mapping import read_model

    model = read_model(path)
    cameras = {}
    for image in model.images.values():
        if not image.has_pose:
            continue
        world = image.cam_from_world()
        rotation = np.asarray(world.rotation.matrix(), np.float64)
        camera = model.cameras[image.camera_id]
        straight = camera.model.name in ("PINHOLE", "SIMPLE_PINHOLE")
        distorted = not straight and bool(
            np.any(np.asarray(camera.params)[len(camera.focal_length_idxs()) + 2 :])
        )
        cameras[image.name] = TrueCamera(
            Pose(rotation, -rotation.T @ np.asarray(world.translation)),
            OURS_FROM_PUBLISHED @ np.asarray(camera.calibration_matrix(), np.float64),
            (camera.width, camera.height),
            distorted,
        )
    is_eth3d = path.name.startswith("dslr_calibration")
    return Truth(
        cameras, f"{'ETH3D' if is_eth3d else 'COLMAP'} model in {path}", "m" if is_eth3d else "model units"
    )


def read_nerfstudio(path: Path) -> Truth:
    """`transforms.json`: camera-to-world matrices in OpenGL's axes, intrinsics for all or a frame."""
    try:
        record = json.loads(read_text(path, "a transforms.json"))
        frames = record["frames"]
        cameras = {}
        for frame in frames:
            matrix = np.array(frame["transform_matrix"], dtype=np.float64)
            if matrix.shape not in ((4, 4), (3, 4)):
                raise InputError(f"{path}: the matrix of {frame['file_path']} has shape {matrix.shape}")
            both = record | frame
            rotation = _rotation((matrix[:3, :3] @ OPENCV_FROM_OPENGL).T, f"{path}, {frame['file_path']}")
            size = (int(both["w"]), int(both["h"])) if "w" in both and "h" in both else None
            intrinsics = None
            if "fl_x" in both:
                fx = float(both["fl_x"])
                intrinsics = np.array(
                    [[fx, 0, both.get("cx", 0)], [0, both.get("fl_y", fx), both.get("cy", 0)], [0, 0, 1]],
                    float,
                )
            elif "camera_angle_x" in both and size:
                fx = size[0] / 2 / np.tan(float(both["camera_angle_x"]) / 2)
                intrinsics = np.array([[fx, 0, size[0] / 2], [0, fx, size[1] / 2], [0, 0, 1]])
            if intrinsics is not None:
                intrinsics = OURS_FROM_PUBLISHED @ intrinsics
            distorted = any(float(both.get(k, 0)) for k in ("k1", "k2", "k3", "k4", "p1", "p2"))
            name = PurePosixPath(str(frame["file_path"])).as_posix().removeprefix("./")
            cameras[name] = TrueCamera(Pose(rotation, matrix[:3, 3]), intrinsics, size, distorted)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is no transforms.json of nerfstudio ({error!r})") from error
    return Truth(cameras, f"nerfstudio transforms in {path}", "scene units")


def read_middlebury(path: Path) -> Truth:
    """`*_par.txt`: a count, then a line an image: name, K (9), R (9) and t (3) camera-from-world."""
    lines = [line for line in read_text(path, "a *_par.txt").splitlines() if line.strip()]
    cameras = {}
    for number, line in enumerate(lines[1:], start=2):
        name, _, rest = line.strip().partition(" ")
        v = _numbers(rest, 21, f"{path}, line {number}")
        rotation = _rotation(v[9:18].reshape(3, 3), f"{path}, line {number}")
        intrinsics = OURS_FROM_PUBLISHED @ v[:9].reshape(3, 3)
        cameras[name] = TrueCamera(Pose(rotation, -rotation.T @ v[18:]), intrinsics, None)
    count = lines[0].strip() if lines else "nothing"
    if count != str(len(cameras)):
        raise InputError(f"{path} should hold as many cameras as it says ({count}), not {len(cameras)}")
    return Truth(cameras, f"Middlebury cameras in {path}", "m")


def has_colmap_model(path: Path) -> bool:
    """Whether a folder holds cameras and images in COLMAP's binary or text form."""
    return any((path / f"cameras{e}").is_file() and (path / f"images{e}").is_file() for e in (".bin", ".txt"))


def recognise_truth(path: Path) -> tuple[Callable[[Path], Truth], Path] | None:
    """The reader for `path`, and what to give it; None when nothing known lies there."""
    if path.is_file():
        if path.suffix == ".json":
            return read_nerfstudio, path
        return (read_middlebury, path) if path.name.endswith("_par.txt") else None
    if not path.is_dir():
        return None
    if has_colmap_model(path):
        return read_colmap, path
    if any(path.glob("*.camera")):
        return read_strecha, path
    if (path / "transforms.json").is_file():
        return read_nerfstudio, path / "transforms.json"
    files = sorted(path.glob("*_par.txt"))
    return (read_middlebury, files[0]) if len(files) == 1 else None


PLACES = (
    ".",
    "gt_dense_cameras",
    "ground_truth",
    "ground_truth/sparse",
    "dslr_calibration_undistorted",
    "dslr_calibration_jpg",
    "sparse/0",
    "sparse",
)
"""Where the ground truth of a scene's folder may lie, in this order."""


def find_truth(scene: Path) -> Truth | None:
    """Ground truth in or below a scene's folder, or None."""
    for place in PLACES:
        if (found := recognise_truth(scene / place)) is not None:
            return _checked(found[0](found[1]))
    return None


def read_truth(path: Path) -> Truth:
    """Ground truth at `path`; raises `InputError` when no known format lies there or it holds no camera."""
    found = recognise_truth(path)
    if found is None:
        raise InputError(
            f"{path} holds no ground truth that is known: Strecha .camera files, a COLMAP model, "
            "transforms.json or a Middlebury *_par.txt"
        )
    truth = _checked(found[0](found[1]))
    if not truth.cameras:
        raise InputError(f"{path} holds no camera with a pose")
    return truth
