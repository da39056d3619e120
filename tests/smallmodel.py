"""Small COLMAP models set up by hand: cameras, points and where each is seen, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap


def make_model(
    poses: Mapping[str, pycolmap.Rigid3d],
    points: np.ndarray,
    focal: float = 500.0,
    size: tuple[int, int] = (640, 480),
    seen: Mapping[str, Sequence[int]] | None = None,
) -> pycolmap.Reconstruction:
    """Photos by name with their poses (camera from world), one PINHOLE camera, points (P, 3).

    Keypoint i of every photo is point i's projection; seen: which points' tracks a photo is in, all by
    default. Points have no colour.
    """
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(pycolmap.Camera.create_from_model_name(1, "PINHOLE", focal, *size))
    for image_id, (name, pose) in enumerate(poses.items(), start=1):
        xy = model.cameras[1].img_from_cam(pose * points)
        image = pycolmap.Image(name=name, camera_id=1, image_id=image_id, keypoints=np.asarray(xy))
        model.add_image_with_trivial_frame(image, pose)
        model.register_frame(image_id)
    for row, xyz in enumerate(points):
        track = pycolmap.Track()
        for image_id, name in enumerate(poses, start=1):
            if seen is None or row in seen[name]:
                track.add_element(image_id, row)
        model.add_point3D(xyz, track)
    return model


def turned_about_view(degrees: float, shift: Sequence[float] = (0, 0, 0)) -> pycolmap.Rigid3d:
    """A camera looking along z, turned about that axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = pycolmap.Rotation3d(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]))
    return pycolmap.Rigid3d(rotation, np.array(shift, float))
