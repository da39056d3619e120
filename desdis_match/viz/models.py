"""A model in 3-D as a plotly figure, with hloc's names; plotly comes with the extra `notebooks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..support.native import pycolmap


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ImportError(
            "plots in 3-D need plotly: pip install 'desdis-match[notebooks]'; `desdis-match view` does not"
        ) from error
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
