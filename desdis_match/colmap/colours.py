"""Colours of points that COLMAP leaves black: those of photos that it cannot read, WebP for one."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..photos.formats import UnreadableImage
from ..photos.images import read_rgb
from ..support.native import pycolmap

log = logging.getLogger(__name__)


def colour_black_points(model: pycolmap.Reconstruction, images_dir: Path) -> None:
    """Give black points of `model` their mean colour in photos of formats that COLMAP cannot read.

    Points that readable photos show black stay as they are. A photo that cannot be read here either is a
    warning.
    """
    seen: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)  # image -> its keypoints and points
    for point_id, point in model.points3D.items():
        if not point.color.any():
            for element in point.track.elements:
                seen[element.image_id].append((element.point2D_idx, point_id))
    colours: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)
    readable: dict[str, bool] = {}  # by suffix: decoding every photo again would take long
    for image_id, places in seen.items():
        image = model.image(image_id)
        path = images_dir / image.name
        if not path.is_file():
            continue
        suffix = path.suffix.lower()
        if suffix not in readable:
            readable[suffix] = pycolmap.Bitmap.read(path, as_rgb=True) is not None
        if readable[suffix]:
            continue
        try:
            pixels = read_rgb(path)
        except UnreadableImage as error:
            log.warning("points may stay black: %s", error)
            continue
        height, width = pixels.shape[:2]
        for keypoint, point_id in places:
            x, y = image.point2D(keypoint).xy  # COLMAP's: pixel (0, 0) reaches from 0 to 1
            colours[point_id].append(pixels[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)])
    for point_id, samples in colours.items():
        model.point3D(point_id).color = np.mean(samples, axis=0).round().astype(np.uint8)
