"""Render a textured courtyard as photos with exact ground truth: everything by code, nothing downloaded.

Flat surfaces (ground, two walls, boxes, leaning panels) with procedural texture, seen from an arc.
`make_scene` and `make_views` give what was rendered; scene.py answers questions about it: depth, projection,
true matches.
Conventions (world, camera, pixels) are those of scene.py; only the COLMAP model of the true cameras has
COLMAP's pixel centre at (0.5, 0.5).
"""

from __future__ import annotations

import json
import logging
import shutil
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..support.checks import check_options
from ..support.progress import track
from .geometry import Float64, Surface, View, project, render, visible

logger = logging.getLogger(__name__)

FOCAL_35MM = 35
"""Focal length of the lens in 35 mm terms, a whole number so that EXIF holds it exactly."""
DIAGONAL_35MM = 43.27
"""Diagonal of a 36 mm x 24 mm frame in mm; COLMAP reads EXIF focal lengths through the diagonal, so do we."""
TEXELS_PER_PIXEL = 1.6
"""Texture density relative to an image pixel at the distance of the cameras' arc."""
ARC_RADIUS = 7.5
"""Mean distance of the cameras from the target, metres."""
TARGET = np.array([0.0, 0.4, 1.0])
"""Where the cameras look, world metres."""
UNFINISHED = ".desdis-match-render"
"""Lies in ground_truth/ until the scene is whole."""


@dataclass(frozen=True)
class SyntheticConfig:
    """What to render."""

    views: int = 12
    """Number of photos, two or more."""
    size: tuple[int, int] = (800, 600)
    """Width and height of a photo in pixels."""
    seed: int = 0
    """Another seed is another texture, box layout and camera path."""
    quarter_turns: int = 0
    """How many of the photos are taken with the camera turned by 90, 180 or 270 degrees."""
    noise: float = 1.5
    """Standard deviation of the sensor noise in grey levels of 255."""
    points: int = 4000
    """Random surface points for the ground truth; those that fewer than two photos show are left out."""

    def check(self) -> None:
        """Raise InputError for a value that makes no photos."""
        check_options(self, views=(2, 100_000), seed=(0, None), noise=(0, 255), points=(1, 100_000_000))
        if self.views < 2:
            raise InputError(f"--views {self.views}: a scene needs at least 2 photos")
        if min(self.size) < 64 or max(self.size) > 8000:
            raise InputError(f"--size {self.size[0]} {self.size[1]}: give sides from 64 to 8000 pixels")
        if not 0 <= self.quarter_turns <= self.views:
            raise InputError(
                f"--quarter-turns {self.quarter_turns}: give a number from 0 to --views ({self.views})"
            )
        if self.noise < 0 or self.points < 1:
            raise InputError("--noise must be 0 or more and --points 1 or more")


def dead_leaves(
    size: tuple[float, float], texels_per_metre: float, base: ArrayLike, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Texture (rows, columns, 3) of `size` metres: opaque polygons with a power law of sizes, and fine noise.

    Dead leaves have structure at every scale and repeat nowhere (Lee, Mumford, Huang, IJCV 2001).
    """
    columns, rows = (max(8, round(s * texels_per_metre)) for s in size)
    base = np.asarray(base, np.float64)
    image = np.empty((rows, columns, 3), np.uint8)
    image[:] = base
    num_leaves = int(260 * size[0] * size[1]) + 60
    # Radii in metres from 0.012 to 0.6 with density r^-2.2, large ones first so that small ones stay visible.
    low, high, power = 0.012, 0.6, -1.2
    radii = np.sort((low**power + rng.random(num_leaves) * (high**power - low**power)) ** (1 / power))[::-1]
    centers = rng.random((num_leaves, 2)) * (columns, rows)
    # Drawn leaf by leaf, computed together.
    corners = np.empty(num_leaves, np.intp)
    angles, reach = np.zeros((2, num_leaves, 7))
    light, tint = np.empty((num_leaves, 1)), np.empty((num_leaves, 3))
    for k in range(num_leaves):
        corners[k] = count = int(rng.integers(3, 8))
        angles[k, :count] = rng.random(count)
        angles[k, :count].sort()
        reach[k, :count] = rng.random(count)
        light[k] = rng.uniform(0.35, 1.7)
        tint[k] = rng.normal(0, 15, 3)
    arms = (radii * texels_per_metre)[:, None] * (0.5 + 0.5 * reach)
    angles = angles * 2 * np.pi
    outlines = centers[:, None] + arms[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    colors = np.clip(base * light + tint, 0, 255)
    for k, outline in enumerate(np.round(outlines * 16).astype(np.int32)):
        cv2.fillPoly(image, [outline[: corners[k]]], colors[k].tolist(), cv2.LINE_AA, shift=4)
    shades = np.zeros((rows, columns), np.float32)
    for cell, strength in ((0.02, 10.0), (0.07, 8.0), (0.3, 10.0)):
        grid = (max(2, round(size[1] / cell)), max(2, round(size[0] / cell)))
        coarse = rng.normal(0, strength, grid).astype(np.float32)
        shades += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    result: NDArray[np.uint8] = np.clip(image + shades[..., None], 0, 255).astype(np.uint8)
    return result


def make_scene(config: SyntheticConfig) -> list[Surface]:
    """The courtyard of `config.seed`: ground, two walls, five boxes, two leaning panels."""
    rng = np.random.default_rng([config.seed, 1])
    texels_per_metre = TEXELS_PER_PIXEL * focal_length(config.size) / ARC_RADIUS
    up, down = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0])
    rectangles: list[tuple[Float64, Float64, Float64, tuple[float, float], tuple[int, int, int]]] = [
        # centre, outward, down, size in metres, colour
        (np.array([0.0, 0.0, 0.0]), up, np.array([0.0, -1.0, 0.0]), (11.0, 9.0), (128, 142, 150)),
        (np.array([0.4, 4.0, 1.7]), np.array([0.0, -1.0, 0.0]), down, (9.0, 3.4), (112, 140, 176)),
        (np.array([-4.1, 0.9, 1.4]), np.array([1.0, 0.0, 0.0]), down, (6.2, 2.8), (150, 150, 120)),
    ]
    for x, y, width, depth, height, color in (
        (-2.2, 1.9, 1.5, 1.2, 1.9, (88, 120, 190)),
        (-0.3, 0.4, 1.1, 1.1, 0.9, (96, 168, 130)),
        (1.7, 1.7, 1.3, 1.6, 1.4, (176, 132, 92)),
        (3.4, 2.6, 1.0, 1.0, 2.3, (120, 110, 160)),
        (-1.7, -1.0, 0.8, 0.9, 0.6, (90, 160, 190)),
    ):
        foot = np.array([x, y, 0.0]) + np.append(rng.normal(0, 0.12, 2), 0.0)
        yaw = rng.uniform(0.1, 1.4)
        side = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        other = np.array([-side[1], side[0], 0.0])
        middle = foot + up * height / 2
        rectangles.append((foot + up * height, up, -other, (width, depth), color))
        for outward, reach, length in (
            (side, width, depth),
            (-side, width, depth),
            (other, depth, width),
            (-other, depth, width),
        ):
            rectangles.append((middle + outward * reach / 2, outward, down, (length, height), color))
    for x, y, yaw, color in ((2.4, -0.9, -1.9, (150, 120, 150)), (-0.9, 2.9, -1.3, (140, 150, 100))):
        lean = rng.uniform(0.3, 0.5)
        heading = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        outward = np.cos(lean) * heading + np.sin(lean) * up
        below = np.sin(lean) * heading - np.cos(lean) * up
        rectangles.append((np.array([x, y, 0.75 * np.cos(lean)]), outward, below, (1.4, 1.5), color))
    light = np.array([0.35, -0.75, 0.9]) / np.linalg.norm([0.35, -0.75, 0.9])
    scene = []
    for center, outward, below, size, color in rectangles:
        axes = np.array([np.cross(outward, below), below])
        corner = center - axes[0] * size[0] / 2 - axes[1] * size[1] / 2
        shade = 0.55 + 0.45 * max(0.0, float(outward @ light))
        base = np.asarray(color) * shade * rng.uniform(0.9, 1.1)
        scene.append(Surface(corner, axes, size, dead_leaves(size, texels_per_metre, base, rng)))
    return scene


def focal_length(size: tuple[int, int]) -> float:
    """Focal length in pixels of the scene's lens on a `size` = (width, height) photo."""
    return FOCAL_35MM / DIAGONAL_35MM * float(np.hypot(*size))


def make_views(config: SyntheticConfig) -> list[View]:
    """Cameras on an arc of up to 80 degrees around the scene, heights and distances varying."""
    config.check()
    rng = np.random.default_rng([config.seed, 2])
    turned = rng.permutation(config.views)[: config.quarter_turns]
    arc = np.radians(min(80.0, 9.0 * (config.views - 1)))
    views = []
    for i in range(config.views):
        azimuth = arc * (i / (config.views - 1) - 0.5) + rng.normal(0, 0.015) - 0.05
        distance = ARC_RADIUS * rng.uniform(0.9, 1.1)
        height = 2.4 + 0.9 * np.sin(2.1 * i + config.seed) + rng.normal(0, 0.1)
        center = np.array([distance * np.sin(azimuth), TARGET[1] - distance * np.cos(azimuth), height])
        forward = TARGET + rng.normal(0, 0.15, 3) - center
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.array([right, np.cross(forward, right), forward])
        turns = int(rng.integers(1, 4)) if i in turned else 0
        roll = np.pi / 2 * turns + rng.normal(0, 0.03)
        cos, sin = np.cos(roll), np.sin(roll)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ rotation
        width, height_px = config.size if turns % 2 == 0 else config.size[::-1]
        focal = focal_length(config.size)
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height_px - 1) / 2], [0, 0, 1.0]])
        views.append(View(f"view_{i:03d}.jpg", (width, height_px), intrinsics, rotation, -rotation @ center))
    return views


def render_scene(output: Path, config: SyntheticConfig | None = None) -> Path:
    """Write the photos and the truth below `output`; returns `output`.

    images/view_000.jpg ...   photos with the focal length in EXIF
    ground_truth/sparse/      COLMAP model: the true cameras and true points
    ground_truth/cameras.json the configuration; per photo size, intrinsics, rotation, translation
    The same configuration gives the same bytes. An earlier scene in `output` is replaced; a folder with other
    things in it raises InputError.
    """
    config = config or SyntheticConfig()
    config.check()
    images, truth = output / "images", output / "ground_truth"
    _make_room(output)
    truth.mkdir(parents=True)
    (truth / UNFINISHED).touch()
    (truth / "sparse").mkdir()
    images.mkdir()
    scene, views = make_scene(config), make_views(config)
    photos = {}
    for view in track(views, "render", unit="photos"):
        photos[view.name] = photo = expose(render(scene, view), view, config)
        (images / view.name).write_bytes(jpeg_with_focal_length(photo))
    _write_truth(truth / "sparse", scene, views, photos, config)
    record = {
        "format": 1,
        "pixels": "(0, 0) is the centre of the top-left pixel",
        "config": asdict(config),
        "views": [
            {
                "name": view.name,
                "size": list(view.size),
                "intrinsics": view.intrinsics.tolist(),
                "rotation": view.rotation.tolist(),
                "translation": view.translation.tolist(),
            }
            for view in views
        ],
    }
    # Last, so that a folder with this file is whole.
    (truth / "cameras.json").write_text(json.dumps(record, indent=1) + "\n")
    (truth / UNFINISHED).unlink()
    return output


def read_scene(output: Path) -> tuple[list[Surface], list[View], SyntheticConfig]:
    """The surfaces, views and configuration of a folder that `render_scene` wrote."""
    config = _read_config(output / "ground_truth" / "cameras.json")
    return make_scene(config), make_views(config), config


def _read_config(record: Path) -> SyntheticConfig:
    try:
        stored = json.loads(record.read_text(encoding="utf-8"))["config"]
        return SyntheticConfig(**{**stored, "size": tuple(stored["size"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is not the record of a rendered scene ({error})") from error


def expose(photo: NDArray[np.uint8], view: View, config: SyntheticConfig) -> NDArray[np.uint8]:
    """A camera's small faults: exposure differs by a few per cent from photo to photo, and sensor noise."""
    rng = np.random.default_rng([config.seed, 3, *view.name.encode()])
    gain = rng.uniform(0.94, 1.06)
    noise = rng.normal(0, 1, photo.shape).astype(np.float32) * config.noise
    return np.clip(np.round(photo * gain + noise), 0, 255).astype(np.uint8)


def jpeg_with_focal_length(photo: NDArray[np.uint8]) -> bytes:
    """JPEG file whose EXIF block holds a camera's name and FocalLengthIn35mmFilm (EXIF 2.3, tag 0xA405)."""
    data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    make, model = b"DesDis\0", b"Synthetic\0"
    ascii_type, short_type, long_type = 2, 3, 4
    # TIFF: header (8 bytes), IFD0 with three entries (2 + 36 + 4), EXIF IFD with one
    # (2 + 12 + 4), then the texts.
    exif_at = 8 + 2 + 3 * 12 + 4
    text_at = exif_at + 2 + 12 + 4
    tiff = struct.pack("<2sHI", b"II", 42, 8)
    tiff += struct.pack("<H", 3)
    tiff += struct.pack("<HHII", 0x010F, ascii_type, len(make), text_at)
    tiff += struct.pack("<HHII", 0x0110, ascii_type, len(model), text_at + len(make))
    tiff += struct.pack("<HHII", 0x8769, long_type, 1, exif_at)
    tiff += struct.pack("<I", 0)
    tiff += (
        struct.pack("<H", 1)
        + struct.pack("<HHIHH", 0xA405, short_type, 1, FOCAL_35MM, 0)
        + struct.pack("<I", 0)
    )
    block = b"Exif\0\0" + tiff + make + model
    return data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(block) + 2) + block + data[2:]


def _make_room(output: Path) -> None:
    """Remove an earlier scene, whole or not; refuse a folder that holds anything else."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give a folder")
    if not output.is_dir() or not any(output.iterdir()):
        return
    others = {entry.name for entry in output.iterdir()} - {"images", "ground_truth"}
    truth = output / "ground_truth"
    if others or not _is_rendered(truth):
        raise InputError(f"{output} holds other files than a rendered scene; give a new or empty folder")
    shutil.rmtree(output / "images", ignore_errors=True)
    shutil.rmtree(truth)


def _is_rendered(truth: Path) -> bool:
    """Whether `render_scene` made this folder; others have images/ and ground_truth/ too."""
    if (truth / UNFINISHED).is_file():
        return True
    try:
        _read_config(truth / "cameras.json")
    except InputError:
        return False
    return True


def _write_truth(
    folder: Path,
    scene: Sequence[Surface],
    views: Sequence[View],
    photos: dict[str, NDArray[np.uint8]],
    config: SyntheticConfig,
) -> None:
    """COLMAP model of the true cameras, and points on the surfaces that two views or more see."""
    from ..support.native import pycolmap

    rng = np.random.default_rng([config.seed, 4])
    areas = np.array([surface.size[0] * surface.size[1] for surface in scene])
    chosen = rng.choice(len(scene), size=config.points, p=areas / areas.sum())
    points = np.array(
        [scene[i].corner + (rng.random(2) * scene[i].size) @ scene[i].axes for i in chosen], np.float64
    )
    seen = np.array([visible(scene, view, points) for view in views])
    points, seen = points[seen.sum(axis=0) >= 2], seen[:, seen.sum(axis=0) >= 2]
    model = pycolmap.Reconstruction()
    cameras: dict[tuple[int, int], int] = {}
    colors = np.zeros((len(points), 3), np.uint8)
    rows = np.cumsum(seen, axis=1) - 1  # row of the point among an image's observations
    for image_id, view in enumerate(views, start=1):
        if view.size not in cameras:
            cameras[view.size] = len(cameras) + 1
            camera = pycolmap.Camera(
                model="PINHOLE",
                width=view.size[0],
                height=view.size[1],
                params=[*np.diag(view.intrinsics)[:2], *(view.intrinsics[:2, 2] + 0.5)],
                camera_id=cameras[view.size],
            )
            model.add_camera_with_trivial_rig(camera)
        observed = seen[image_id - 1]
        xy = project(points[observed], view)[0]
        nearest = np.clip(np.round(xy).astype(int), 0, np.array(view.size) - 1)
        colors[observed] = photos[view.name][nearest[:, 1], nearest[:, 0], ::-1]
        model.add_image_with_trivial_frame(
            pycolmap.Image(view.name, keypoints=xy + 0.5, camera_id=cameras[view.size], image_id=image_id),
            pycolmap.Rigid3d(pycolmap.Rotation3d(view.rotation), view.translation),
        )
    for i, point in enumerate(points):
        track_of_point = [
            pycolmap.TrackElement(int(view) + 1, int(rows[view, i])) for view in np.flatnonzero(seen[:, i])
        ]
        model.add_point3D(point, pycolmap.Track(track_of_point), colors[i])
    model.write(folder)
