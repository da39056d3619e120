"""A model in 3-D as a plotly figure, with hloc's names, and seen from above as a chart.

plotly comes with the extra `notebooks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import missing_extra

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

    from ..support.native import pycolmap


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise missing_extra("plots in 3-D (`desdis-match view` does without) need", "notebooks") from error
    return go


def init_figure(height: int = 600) -> go.Figure:
    """An empty 3-D figure without axes, seen as COLMAP's models lie: y down, z forward."""
    hidden = {"visible": False, "showbackground": False, "showgrid": False, "showticklabels": False}
    view = {"eye": {"x": 0.0, "y": -0.5, "z": -2.0}, "up": {"x": 0, "y": -1, "z": 0}}
    return _plotly().Figure(
        layout={
            "height": height,
            "scene": {
                "xaxis": hidden,
                "yaxis": hidden,
                "zaxis": hidden,
                "aspectmode": "data",
                "dragmode": "orbit",
                "camera": {**view, "projection": {"type": "orthographic"}},
            },
            "margin": {"l": 0, "r": 0, "b": 0, "t": 0},
        }
    )


def plot_points(
    figure: go.Figure, points: ArrayLike, color: Any = "rgb(80, 80, 200)", ps: float = 2, name: str = "points"
) -> None:
    """Add points (N, 3) to a figure; `color`: one, or N."""
    x, y, z = np.asarray(points, np.float64).reshape(-1, 3).T
    marker = {"size": ps, "color": color, "line": {"width": 0}}
    figure.add_trace(_plotly().Scatter3d(x=x, y=y, z=z, mode="markers", name=name, marker=marker))


def plot_camera(
    figure: go.Figure,
    rotation: ArrayLike,
    translation: ArrayLike,
    intrinsics: ArrayLike,
    *,
    size: float = 1.0,
    color: str = "rgb(220, 60, 60)",
    name: str = "camera",
) -> None:
    """Add a camera's pyramid, its base at depth `size`; rotation (3, 3), translation (3,) to the world."""
    k = np.asarray(intrinsics, np.float64)
    width, height = 2 * k[0, 2], 2 * k[1, 2]
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1], [0, 0, 0]])
    corners = pixels @ np.linalg.inv(k).T * size
    outline = corners[[0, 1, 2, 3, 0, 4, 1, 2, 4, 3]]  # 4 is the camera's centre
    x, y, z = (outline @ np.asarray(rotation).T + np.asarray(translation)).T
    line = {"color": color, "width": 1.5}
    figure.add_trace(
        _plotly().Scatter3d(
            x=x, y=y, z=z, mode="lines", line=line, name=name, showlegend=False, hoverinfo="name"
        )
    )


def plot_reconstruction(
    figure: go.Figure,
    reconstruction: pycolmap.Reconstruction | Path | str,
    *,
    max_reproj_error: float = 6.0,
    min_track_length: int = 2,
    color: str = "rgb(220, 60, 60)",
    name: str = "model",
    points: bool = True,
    cameras: bool = True,
    points_rgb: bool = True,
    cs: float = 1.0,
) -> None:
    """Add a model's points and cameras; `cs` scales the cameras, `color` is theirs (the points' without RGB).

    Points with a larger reprojection error or a shorter track are left out.
    """
    from ..support.native import pycolmap

    model = (
        reconstruction
        if isinstance(reconstruction, pycolmap.Reconstruction)
        else pycolmap.Reconstruction(str(reconstruction))
    )
    kept = [
        point
        for point in model.points3D.values()
        if point.error <= max_reproj_error and point.track.length() >= min_track_length
    ]
    xyz = np.array([point.xyz for point in kept]).reshape(-1, 3)
    if points:
        rgb = [f"rgb({r}, {g}, {b})" for r, g, b in (point.color for point in kept)]
        plot_points(figure, xyz, rgb if points_rgb else color, name=name)
    extent = np.linalg.norm(np.ptp(np.percentile(xyz, [10, 90], axis=0), axis=0)) if len(xyz) else 10.0
    for image_id in model.reg_image_ids() if cameras else ():
        image = model.images[image_id]
        pose = image.cam_from_world().inverse()
        plot_camera(
            figure,
            pose.rotation.matrix(),
            pose.translation,
            model.cameras[image.camera_id].calibration_matrix(),
            size=0.05 * float(extent) * cs,
            color=color,
            name=image.name,
        )


def plot_from_above(
    reconstruction: pycolmap.Reconstruction | Path | str,
    *,
    others: Mapping[str, pycolmap.Rigid3d] | None = None,
    color: str = "#dc3c3c",
    height: float = 4.5,
) -> Axes:
    """A model's points and cameras seen from above, a chart that needs no plotly.

    Up is the mean direction of the cameras' up, and they look to the top on average. others: poses (camera
    from world) by name, drawn blue with their names. The hundredth of the points that lie farthest out on
    each side is not shown.
    """
    import matplotlib.pyplot as plt

    from ..support.native import pycolmap

    model = (
        reconstruction
        if isinstance(reconstruction, pycolmap.Reconstruction)
        else pycolmap.Reconstruction(str(reconstruction))
    )
    poses = [model.images[i].cam_from_world() for i in model.reg_image_ids()]
    xyz = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    rgb = np.array([point.color for point in model.points3D.values()]).reshape(-1, 3) / 255
    ground = _ground(poses)
    centers = np.array([pose.inverse().translation for pose in poses]) @ ground.T
    flat = xyz @ ground.T
    low, high = np.percentile(np.concatenate([flat, centers]), [1, 99], axis=0)
    margin = 0.15 * float((high - low).max())
    low, high = np.minimum(low, centers.min(0)) - margin, np.maximum(high, centers.max(0)) + margin
    figure, axis = plt.subplots(figsize=(height * min(2.0, float(np.divide(*(high - low)))), height))
    axis.scatter(flat[:, 0], flat[:, 1], c=rgb, s=1.5, linewidths=0)
    length = 0.07 * float((high - low).max())
    shown = [("", pose, color) for pose in poses]
    shown += [(name, pose, "#2563eb") for name, pose in (others or {}).items()]
    for name, pose, colour in shown:
        place, looks = ground @ pose.inverse().translation, ground @ pose.rotation.matrix()[2]
        side = np.array([-looks[1], looks[0]]) * 0.4
        wedge = np.array([place, place + (looks + side) * length, place + (looks - side) * length])
        axis.fill(*wedge.T, facecolor=colour, alpha=0.35, edgecolor=colour)
        axis.annotate(
            name,
            (place[0], place[1]),
            (0, -6),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            ha="center",
            va="top",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    return axis


def _ground(poses: list[pycolmap.Rigid3d]) -> NDArray[np.float64]:
    """(2, 3): directions right and ahead on the ground, as the mean of the cameras has it."""
    turns = np.array([pose.rotation.matrix() for pose in poses])
    up = -turns[:, 1].mean(axis=0)
    up /= np.linalg.norm(up)
    ahead = turns[:, 2].mean(axis=0)
    ahead -= (ahead @ up) * up
    ahead /= np.linalg.norm(ahead)
    return np.array([np.cross(ahead, up), ahead])
