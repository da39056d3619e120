"""Pictures of images, keypoints, matches, patches and models, under the names that hloc and LightGlue have.

Plots in 2-D are matplotlib figures: `plot_images` opens one, `plot_keypoints` and `plot_matches` draw on it,
`save_plot` writes it. Pixels are those of types.py, which are matplotlib's too: (0, 0) is the centre of the
top-left pixel. `plot_reconstruction` and what belongs to it come from viz_3d.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..conventions import from_colmap
from ..errors import InputError
from ..photos.images import read_rgb
from ..types import Features
from .models import init_figure, plot_camera, plot_points, plot_reconstruction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..support.native import pycolmap

__all__ = [
    "init_figure",
    "patch_directions",
    "plot_camera",
    "plot_images",
    "plot_keypoints",
    "plot_matches",
    "plot_patches",
    "plot_points",
    "plot_reconstruction",
    "read_rgb",
    "save_plot",
    "visualize_sfm_2d",
]

RIGHT, WRONG = "#16a34a", "#e11d48"
"""Colours of correct and wrong matches, or of inliers and outliers."""
WITH_POINT, WITHOUT_POINT = "#2563eb", "#dc2626"
"""Colours of keypoints with and without a 3-D point, hloc's blue and red."""


def plot_images(
    images: Sequence[NDArray[Any] | Path | str],
    titles: Sequence[str] | None = None,
    *,
    dpi: int = 100,
    height: float = 4.5,
) -> Figure:
    """Images side by side: paths, (h, w) grey or (h, w, 3) RGB arrays. `height` of the figure in inches."""
    import matplotlib.pyplot as plt

    pixels = [image if isinstance(image, np.ndarray) else read_rgb(image) for image in images]
    ratios = [image.shape[1] / image.shape[0] for image in pixels]
    figure, axes = plt.subplots(
        1,
        len(pixels),
        figsize=(sum(ratios) * height, height),
        dpi=dpi,
        gridspec_kw={"width_ratios": ratios},
        squeeze=False,
    )
    for i, (axis, image) in enumerate(zip(axes[0], pixels, strict=True)):
        axis.imshow(image, cmap="gray")
        axis.set_axis_off()
        axis.set_autoscale_on(False)  # what is drawn on it later does not change what is shown of it
        if titles is not None:
            axis.set_title(titles[i], fontsize=10)
    figure.tight_layout(pad=0.5)
    return figure


def plot_keypoints(
    keypoints: Sequence[Features | ArrayLike],
    *,
    colors: Any = "lime",
    ps: float = 4,
    frames: bool = False,
    axes: Sequence[Axes] | None = None,
) -> None:
    """Keypoints on the images of the last `plot_images`: for each image Features or (N, 2) pixels.

    colors: one colour, or a list with an entry per image (a colour, or N of them). ps: size of the dots in
    points. frames: with Features, also the described region, a circle of the patch's half side with a line
    along its orientation.
    """
    from matplotlib.collections import EllipseCollection, LineCollection

    axes = _axes(axes)
    per_image = colors if isinstance(colors, list) else [colors] * len(keypoints)
    for axis, points, color in zip(axes, keypoints, per_image, strict=False):
        xy = points.keypoints if isinstance(points, Features) else np.asarray(points).reshape(-1, 2)
        axis.scatter(xy[:, 0], xy[:, 1], c=color, s=ps**2 / 2, linewidths=0)
        if frames and isinstance(points, Features):
            sides = 2 * points.scales
            circles = EllipseCollection(
                sides,
                sides,
                np.zeros(len(xy)),
                units="xy",
                offsets=xy,
                offset_transform=axis.transData,
                facecolors="none",
                edgecolors=color,
                linewidths=0.8,
            )
            axis.add_collection(circles)
            ends = xy + points.scales[:, None] * patch_directions(points.angles)
            axis.add_collection(
                LineCollection(list(np.stack([xy, ends], axis=1)), colors=color, linewidths=0.8)
            )


def patch_directions(angles: ArrayLike) -> NDArray[np.float64]:
    """(N, 2) pixels: where the patch's x axis points, for angles (N,) as in Features (counter-clockwise)."""
    angles = np.asarray(angles, np.float64)
    return np.column_stack([np.cos(angles), -np.sin(angles)])


def plot_matches(
    keypoints0: ArrayLike,
    keypoints1: ArrayLike,
    *,
    correct: ArrayLike | None = None,
    color: Any = None,
    lw: float = 1.5,
    ps: float = 4,
    a: float = 0.7,
    axes: Sequence[Axes] | None = None,
) -> None:
    """Lines between matched pixels (M, 2) and (M, 2) on the two images of the last `plot_images`.

    correct: (M,) bool, matches that are right (or inliers) green, the others red, drawn below them. color:
    one colour or M of them, instead. lw: width of the lines, 0 for none; ps: size of the dots; a: opacity.
    """
    from matplotlib.patches import ConnectionPatch

    axis0, axis1 = _axes(axes)[:2]
    xy0, xy1 = np.asarray(keypoints0).reshape(-1, 2), np.asarray(keypoints1).reshape(-1, 2)
    if len(xy0) != len(xy1):
        raise ValueError(f"{len(xy0)} keypoints cannot be matched with {len(xy1)}")
    order = np.arange(len(xy0))
    if correct is not None:
        right = np.asarray(correct, bool)
        order = np.argsort(right, kind="stable")
        colors: Sequence[Any] = np.where(right, RIGHT, WRONG).tolist()
    else:
        colors = [color or "lime"] * len(xy0) if color is None or isinstance(color, str | tuple) else color
    shown = [colors[i] for i in order.tolist()]
    for i, c in zip(order, shown, strict=True) if lw > 0 else ():
        line = ConnectionPatch(
            xy0[i], xy1[i], "data", "data", axesA=axis0, axesB=axis1, color=c, linewidth=lw, alpha=a, zorder=1
        )
        line.set_in_layout(False)
        axis0.figure.add_artist(line)
    if ps > 0 and len(xy0):
        for axis, xy in ((axis0, xy0[order]), (axis1, xy1[order])):
            axis.scatter(xy[:, 0], xy[:, 1], c=shown, s=ps**2 / 2, linewidths=0, zorder=2)


def plot_patches(patches: Any, *, columns: int = 16, titles: str | None = None, dpi: int = 100) -> Figure:
    """Patches (N, 1, S, S) or (N, S, S), torch or NumPy, in [0, 1], as a network gets them; row by row."""
    import matplotlib.pyplot as plt

    array = np.asarray(patches.detach().cpu() if hasattr(patches, "detach") else patches, np.float32)
    array = array.reshape(len(array), *array.shape[-2:])
    side = array.shape[-1]
    rows = max(1, -(-len(array) // columns))
    sheet = np.ones((rows * (side + 2) - 2, columns * (side + 2) - 2), np.float32)
    for k, patch in enumerate(array):
        row, column = divmod(k, columns)
        sheet[row * (side + 2) :, column * (side + 2) :][:side, :side] = patch
    figure, axis = plt.subplots(figsize=(columns * 0.5, rows * 0.5 + (0.3 if titles else 0)), dpi=dpi)
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()
    if titles:
        axis.set_title(titles, fontsize=10)
    figure.tight_layout(pad=0.3)
    return figure


def save_plot(path: Path | str, figure: Figure | None = None, **options: Any) -> Path:
    """Write the figure (the current one by default) as PNG, PDF, SVG, ... by the name's ending."""
    import matplotlib.pyplot as plt

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    (figure or plt.gcf()).savefig(path, bbox_inches="tight", pad_inches=0, **options)
    return path


ColorBy = Literal["visibility", "track_length", "depth"]


def visualize_sfm_2d(
    reconstruction: pycolmap.Reconstruction | Path | str,
    image_dir: Path | str,
    color_by: ColorBy = "visibility",
    selected: Sequence[str] = (),
    n: int = 1,
    seed: int = 0,
    dpi: int = 100,
) -> list[Figure]:
    """Photos with the keypoints of a model, a figure each: `selected` names, or `n` at random by `seed`.

    visibility: blue with a 3-D point, red without. track_length: how many images see the point. depth: how
    far away it is. The two latter show only keypoints with a point, on a photo without its colours.
    """
    from ..support.native import pycolmap

    if color_by not in ("visibility", "track_length", "depth"):
        raise InputError(f"color_by is '{color_by}'; it must be visibility, track_length or depth")
    model = (
        reconstruction
        if isinstance(reconstruction, pycolmap.Reconstruction)
        else pycolmap.Reconstruction(str(reconstruction))
    )
    images = {model.images[i].name: model.images[i] for i in model.reg_image_ids()}
    unknown = set(selected) - images.keys()
    if unknown:
        raise InputError(f"the model has no registered image '{sorted(unknown)[0]}'")
    names = list(selected) or sorted(images)
    if not selected:
        names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))[:n]]
    return [_sfm_2d(model, images[name], Path(image_dir), color_by, dpi) for name in names]


def _sfm_2d(
    model: pycolmap.Reconstruction, image: pycolmap.Image, folder: Path, color_by: ColorBy, dpi: int
) -> Figure:
    keypoints = from_colmap(np.array([point.xy for point in image.points2D], np.float64).reshape(-1, 2))
    seen = np.array([point.has_point3D() for point in image.points2D], bool)
    title = f"{image.name}: {seen.sum()} of {len(seen)} keypoints with a point"
    photo = read_rgb(folder / image.name)
    if color_by != "visibility":
        photo = pale(photo)
    figure = plot_images([photo], [title], dpi=dpi)
    if color_by == "visibility":
        plot_keypoints([keypoints[~seen]], colors=WITHOUT_POINT, ps=3)
        plot_keypoints([keypoints[seen]], colors=WITH_POINT, ps=4)
        return figure
    points = [model.points3D[p.point3D_id] for p in image.points2D if p.has_point3D()]
    if color_by == "track_length":
        values = np.array([point.track.length() for point in points], float)
    else:
        xyz = np.array([point.xyz for point in points]).reshape(-1, 3)
        values = (xyz @ image.cam_from_world().matrix()[2, :3]) + image.cam_from_world().translation[2]
    x, y = keypoints[seen].T
    shown = figure.axes[0].scatter(x, y, c=values, s=10, cmap="turbo", linewidths=0)
    if len(values):
        shown.set_clim(*np.percentile(values, [2, 98]))
    figure.colorbar(shown, ax=figure.axes[0], label=color_by.replace("_", " "), fraction=0.035, pad=0.01)
    return figure


def pale(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB photo (h, w, 3) without colour and half as dark, for colours that mean something."""
    grey = 128 + photo.mean(axis=2, keepdims=True) / 2
    return np.repeat(grey.astype(np.uint8), 3, axis=2)


def _axes(axes: Sequence[Axes] | None) -> list[Axes]:
    import matplotlib.pyplot as plt

    return list(axes) if axes is not None else plt.gcf().axes
