"""Scenes of flat textured surfaces: rendering, depth and exact correspondence between views.

Every surface is a flat rectangle, so a ray's first hit has a closed form: `transfer` follows a pixel to the
surface it shows and into another view, and tests and benchmarks know the true match of every pixel.
`synthetic.py` makes the scenes and the cameras.

World: metres, z up. Camera: x right, y down, z forward, `x_cam = rotation @ x_world + translation`. Pixels as
in types.py: (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ..conventions import inside
from ..matching.nearest import mutual_rows
from ..types import Features, Matches

Float64 = NDArray[np.float64]

SUPERSAMPLE = 2
"""Rendered samples a pixel and direction."""
SKY = (222, 206, 190)
"""Blue, green, red of a pixel that hits no surface."""


@dataclass(frozen=True)
class View:
    """A pinhole camera and where it stands."""

    name: str
    size: tuple[int, int]  # width, height
    intrinsics: Float64  # (3, 3), pixels
    rotation: Float64  # (3, 3) camera from world
    translation: Float64  # (3,) metres

    @property
    def center(self) -> Float64:
        """The camera's position (3,) in the world."""
        result: Float64 = -self.rotation.T @ self.translation
        return result

    @property
    def pixel_from_world(self) -> Float64:
        """The projection matrix (3, 4)."""
        return self.intrinsics @ np.column_stack([self.rotation, self.translation])


@dataclass(frozen=True)
class Surface:
    """A textured rectangle, seen from the side that its normal points to."""

    corner: Float64  # (3,) world
    axes: Float64  # (2, 3) orthogonal unit vectors: right and down, as one sees it from its visible side
    size: tuple[float, float]  # metres along the axes
    texture: NDArray[np.uint8]  # (rows, columns, 3) blue, green, red, spread over the whole rectangle

    @property
    def normal(self) -> Float64:
        """(3,) unit vector out of the visible side."""
        return np.cross(self.axes[1], self.axes[0])

    @property
    def outline(self) -> Float64:
        """(4, 3) its corners in the world, around."""
        u, v = self.axes[0] * self.size[0], self.axes[1] * self.size[1]
        result: Float64 = self.corner + np.array([np.zeros(3), u, u + v, v])
        return result

    def surface_from_pixel(self, view: View) -> Float64:
        """(3, 3): homogeneous pixel -> (u, v, 1) / depth, with u and v in metres from the corner."""
        columns = np.column_stack([*self.axes, self.corner])
        columns_in_camera = view.rotation @ columns + np.outer(view.translation, [0, 0, 1])
        return np.linalg.inv(view.intrinsics @ columns_in_camera)


@dataclass(frozen=True)
class Hits:
    """Where rays through pixels meet the scene first."""

    points: Float64  # (N, 3) world, NaN where the ray meets nothing
    depths: Float64  # (N,) along the optical axis, inf where the ray meets nothing
    surfaces: NDArray[np.int32]  # (N,) row of the scene, -1 for none


Scene = Sequence[Surface]
"""Opaque surfaces; the nearest one along a ray is seen."""


def project(points: ArrayLike, view: View) -> tuple[Float64, Float64]:
    """Pixels (N, 2) and depths (N,) of world points (N, 3), whether or not the photo shows them."""
    in_camera = np.asarray(points, np.float64).reshape(-1, 3) @ view.rotation.T + view.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        homogeneous = in_camera @ view.intrinsics.T
        return homogeneous[:, :2] / homogeneous[:, 2:], in_camera[:, 2]


def cast(scene: Scene, view: View, xy: ArrayLike) -> Hits:
    """Follow the rays through pixels (N, 2) to the first visible surface."""
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    pixels = np.column_stack([xy, np.ones(len(xy))])
    nearest = np.zeros(len(xy))  # inverse depth
    surfaces = np.full(len(xy), -1, np.int32)
    points = np.full((len(xy), 3), np.nan)
    for index, surface in enumerate(scene):
        if (view.center - surface.corner) @ surface.normal <= 0:
            continue
        u, v, inverse = (pixels @ surface.surface_from_pixel(view).T).T
        front = (inverse > nearest) & (u >= 0) & (v >= 0)
        front &= (u <= surface.size[0] * inverse) & (v <= surface.size[1] * inverse)
        nearest[front] = inverse[front]
        surfaces[front] = index
        on_plane = np.column_stack([u[front], v[front]]) / inverse[front, None]
        points[front] = surface.corner + on_plane @ surface.axes
    with np.errstate(divide="ignore"):
        return Hits(points, 1 / nearest, surfaces)


def visible(scene: Scene, view: View, points: ArrayLike) -> NDArray[np.bool_]:
    """(N,) whether the photo shows world points (N, 3) that lie on the scene's surfaces."""
    xy, depths = project(points, view)
    seen = np.isfinite(xy).all(axis=1) & (depths > 0)
    seen[seen] = inside(xy[seen], view.size)
    seen[seen] = np.abs(cast(scene, view, xy[seen]).depths / depths[seen] - 1) < 1e-6
    return seen


def transfer(scene: Scene, view0: View, view1: View, xy0: ArrayLike) -> tuple[Float64, NDArray[np.bool_]]:
    """Where pixels (N, 2) of view0 are in view1, (N, 2), NaN for sky, and (N,) whether view1 sees them."""
    hits = cast(scene, view0, xy0)
    known = hits.surfaces >= 0
    xy1 = np.full((len(known), 2), np.nan)
    xy1[known] = project(hits.points[known], view1)[0]
    seen = known.copy()
    seen[known] = visible(scene, view1, hits.points[known])
    return xy1, seen


def true_matches(
    scene: Scene, view0: View, view1: View, features0: Features, features1: Features, threshold: float = 2.0
) -> Matches:
    """Keypoints of the same point: mutually nearest after `transfer`, within `threshold` pixels both ways."""
    xy0, xy1 = features0.keypoints, features1.keypoints
    empty = Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))
    if not len(xy0) or not len(xy1):
        return empty
    moved0, seen0 = transfer(scene, view0, view1, xy0)
    moved1, seen1 = transfer(scene, view1, view0, xy1)
    rows0, rows1 = np.flatnonzero(seen0), np.flatnonzero(seen1)
    if not len(rows0) or not len(rows1):
        return empty
    forth, to1 = cKDTree(xy1[rows1]).query(moved0[rows0])
    back, to0 = cKDTree(xy0[rows0]).query(moved1[rows1])
    mutual = mutual_rows(to1, to0)
    mutual = mutual[np.maximum(forth, back[to1])[mutual] <= threshold]
    indices = np.column_stack([rows0[mutual], rows1[to1[mutual]]]).astype(np.int32)
    return Matches(indices, (1 - forth[mutual] / (2 * threshold)).astype(np.float32))


def render(scene: Scene, view: View) -> NDArray[np.uint8]:
    """The photo (height, width, 3), blue, green, red: trilinear mip maps, supersampled, no noise."""
    width, height = (side * SUPERSAMPLE for side in view.size)
    xs, ys = ((np.arange(n, dtype=np.float32) + 0.5) / SUPERSAMPLE - 0.5 for n in (width, height))
    nearest = np.zeros((height, width), np.float32)  # inverse depth
    owner = np.full((height, width), -1, np.int32)
    facing = []
    for index, surface in enumerate(scene):
        if (view.center - surface.corner) @ surface.normal <= 0:
            continue
        rows, columns = _window(surface, view, xs, ys)
        u, v, inverse = _texture_plane(surface, view, xs[columns], ys[rows])
        front = (inverse > nearest[rows, columns]) & (u >= 0) & (v >= 0)
        front &= (u <= surface.size[0] * inverse) & (v <= surface.size[1] * inverse)
        nearest[rows, columns][front] = inverse[front]
        owner[rows, columns][front] = index
        facing.append((index, rows, columns))
    image = np.empty((height, width, 3), np.float32)
    image[:] = SKY
    for index, rows, columns in facing:
        mine = owner[rows, columns] == index
        ys_seen, xs_seen = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if not len(ys_seen):
            continue
        rows = slice(rows.start + ys_seen[0], rows.start + ys_seen[-1] + 1)
        columns = slice(columns.start + xs_seen[0], columns.start + xs_seen[-1] + 1)
        mine = owner[rows, columns] == index
        image[rows, columns][mine] = _shade(scene[index], view, xs[columns], ys[rows], mine)[mine]
    small = cv2.resize(image, view.size, interpolation=cv2.INTER_AREA)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def _window(surface: Surface, view: View, xs: NDArray[Any], ys: NDArray[Any]) -> tuple[slice, slice]:
    """Rows and columns of the samples that the surface can cover."""
    xy, depths = project(surface.outline, view)
    if depths.min() <= 1e-3:  # reaches behind the camera: its outline's projection does not bound it
        return slice(0, len(ys)), slice(0, len(xs))
    (left, top), (right, bottom) = xy.min(axis=0), xy.max(axis=0)
    return (
        slice(int(np.searchsorted(ys, top)), int(np.searchsorted(ys, bottom, side="right"))),
        slice(int(np.searchsorted(xs, left)), int(np.searchsorted(xs, right, side="right"))),
    )


def _texture_plane(
    surface: Surface, view: View, xs: NDArray[Any], ys: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """u / depth, v / depth, 1 / depth, each (rows, columns), u and v in metres."""
    a = surface.surface_from_pixel(view).astype(np.float32)
    u, v, inverse = (a[i, 0] * xs[None, :] + (a[i, 1] * ys[:, None] + a[i, 2]) for i in range(3))
    return u, v, inverse


def _shade(
    surface: Surface, view: View, xs: NDArray[Any], ys: NDArray[Any], mine: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Colours (rows, columns, 3) of the surface, right where `mine` (rows, columns) holds."""
    u, v, inverse = _texture_plane(surface, view, xs, ys)
    inverse = np.where(mine, inverse, 1)
    rows, columns = surface.texture.shape[:2]
    density = columns / surface.size[0], rows / surface.size[1]  # texels a metre
    u, v = u / inverse * density[0], v / inverse * density[1]
    # (u, v, 1) / depth = A (x, y, 1) scales areas by |det A| * depth^3: a sample's footprint in texels.
    area = abs(np.linalg.det(surface.surface_from_pixel(view))) * density[0] * density[1] / SUPERSAMPLE**2
    level = np.maximum(0.5 * np.log2(area * inverse**-3.0), 0)
    low, high = int(level[mine].min()), int(np.ceil(level[mine].max()))
    colors = np.zeros((*mine.shape, 3), np.float32)
    mip: NDArray[Any] = surface.texture.astype(np.float32)
    for k in range(high + 1):
        if k:
            mip = cv2.resize(
                mip, (max(1, mip.shape[1] // 2), max(1, mip.shape[0] // 2)), interpolation=cv2.INTER_AREA
            )
        if k < low:
            continue
        scale_x, scale_y = mip.shape[1] / columns, mip.shape[0] / rows
        x = (u * scale_x - 0.5).astype(np.float32)
        y = (v * scale_y - 0.5).astype(np.float32)
        sampled = cv2.remap(mip, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colors += sampled * np.clip(1 - np.abs(level - k), 0, 1).astype(np.float32)[..., None]
    return colors
