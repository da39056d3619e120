"""What the text files of Bundler and VisualSFM share: the order of photos, numbers and tracks."""

from __future__ import annotations

from ..support.native import pycolmap


def sorted_images(model: pycolmap.Reconstruction) -> list[pycolmap.Image]:
    """Registered photos by name; their places in this list are their numbers."""
    return sorted((model.image(i) for i in model.reg_image_ids()), key=lambda image: image.name)


def join(*numbers: float) -> str:
    """Numbers as text that reads back to the same numbers."""
    return " ".join(repr(float(number)) for number in numbers)


def colour(point: pycolmap.Point3D) -> str:
    """Red, green and blue, 0 to 255."""
    return " ".join(str(int(c)) for c in point.color)


def views(model: pycolmap.Reconstruction, point: pycolmap.Point3D, number: dict[int, int], y_up: bool) -> str:
    """How many photos see a point, then of each: its number, the keypoint, pixels from the principal point.

    number: image id -> place of the photo.
    """
    said = []
    for element in point.track.elements:
        image = model.image(element.image_id)
        camera = model.camera(image.camera_id)
        x, y = image.point2D(element.point2D_idx).xy
        down = y - camera.principal_point_y
        offset = join(x - camera.principal_point_x, 0.0 - down if y_up else down)
        said.append(f"{number[element.image_id]} {element.point2D_idx} {offset}")
    return " ".join([str(len(said)), *said])
