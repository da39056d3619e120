"""What other programs can say of a COLMAP camera, and an error where they cannot."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..support.native import pycolmap

UNDISTORT = "undistort the photos first: desdis-match export --format undistorted"


def is_panoramic(camera: pycolmap.Camera) -> bool:
    """Whether a camera sees all around: 360 x 180 degrees, equirectangular."""
    return bool(camera.model.name == "EQUIRECTANGULAR")


def has_panoramas(model: pycolmap.Reconstruction) -> bool:
    """Whether a registered photo of the model is one."""
    return any(is_panoramic(model.camera(model.image(i).camera_id)) for i in model.reg_image_ids())


@dataclass(frozen=True)
class Lens:
    """A pinhole with distortion in OpenCV's terms; pixels with COLMAP's origin."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    fisheye: bool
    k: tuple[float, float, float, float]  # radial
    p: tuple[float, float]  # tangential


def lens_of(camera: pycolmap.Camera, program: str) -> Lens:
    """Raises InputError for models outside OpenCV's two (perspective with k1 k2 p1 p2 k3, fisheye)."""
    extra = [float(camera.params[i]) for i in camera.extra_params_idxs()]
    zeros = [0.0] * 4
    match camera.model_name:
        case "SIMPLE_PINHOLE" | "PINHOLE":
            k, p, fisheye = zeros, (0.0, 0.0), False
        case "SIMPLE_RADIAL" | "RADIAL":
            k, p, fisheye = (extra + zeros)[:4], (0.0, 0.0), False
        case "OPENCV":
            k, p, fisheye = [*extra[:2], 0.0, 0.0], (extra[2], extra[3]), False
        case "FULL_OPENCV" if not any(extra[5:]):
            k, p, fisheye = [extra[0], extra[1], extra[4], 0.0], (extra[2], extra[3]), False
        case "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE" | "OPENCV_FISHEYE":
            k, p, fisheye = (extra + zeros)[:4], (0.0, 0.0), True
        case name:
            raise InputError(f"{program} has no camera like COLMAP's {name}; {UNDISTORT}")
    return Lens(
        width=camera.width,
        height=camera.height,
        fx=camera.focal_length_x,
        fy=camera.focal_length_y,
        cx=camera.principal_point_x,
        cy=camera.principal_point_y,
        fisheye=fisheye,
        k=(k[0], k[1], k[2], k[3]),
        p=p,
    )


def simple_lens_of(camera: pycolmap.Camera, program: str, num_radial: int) -> Lens:
    """A lens with one focal length and at most `num_radial` radial terms; raises InputError for others."""
    lens = lens_of(camera, program)
    if abs(lens.fx - lens.fy) > 1e-6 * lens.fx or lens.fisheye or any(lens.k[num_radial:]) or any(lens.p):
        raise InputError(f"{program} cannot say a {camera.model_name} camera's parameters; {UNDISTORT}")
    return lens
