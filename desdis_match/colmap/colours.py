"""Colours of points: the mean of the pixels that see them, whatever format the photos are in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..photos.formats import UnreadableImage
from ..photos.images import read_rgb
from ..support.native import pycolmap
from ..support.workers import available_cores
from .arrays import arrays_of

log = logging.getLogger(__name__)

Int = NDArray[np.int64]
Look = Callable[[Path, NDArray[np.uint8]], None]
"""What a photo (height, width, 3: red, green, blue) at a path is shown to."""


def colour_points(model: pycolmap.Reconstruction, images_dir: Path) -> None:
    """Give points of `model` that are black, as new ones are, their mean colour in the photos.

    Photos that are not below `images_dir` are passed over; one that cannot be read is a warning.
    """
    with colouring([model], images_dir):
        pass


@contextmanager
def colouring(
    models: Sequence[pycolmap.Reconstruction], images_dir: Path | None, look: Look | None = None
) -> Iterator[None]:
    """As `colour_points` of all models when the block ends; all cores but one read photos beside it.

    The block may move points and leave some or their observations out. images_dir: None: no colours.
    look: is shown each photo that is read, in whatever thread that happens.
    """
    if images_dir is None:
        yield
        return
    with ThreadPoolExecutor(max(1, available_cores() - 1)) as pool:
        found = [_Colours(model, images_dir, pool, look) for model in models]
        yield
        for colours in found:
            colours.give()


class _Colours:
    """What the photos show at the observations of a model's black points."""

    def __init__(
        self, model: pycolmap.Reconstruction, images_dir: Path, pool: ThreadPoolExecutor, look: Look | None
    ) -> None:
        self.model = model
        arrays = arrays_of(model)
        points = arrays.points
        black = np.logical_not(points.colors.any(1))
        self.ids = points.ids[black]
        row_of = np.cumsum(black) - 1
        self.seen: list[tuple[Int, Future[NDArray[np.uint8] | None]]] = []
        for image_id, keypoints in arrays.keypoints.items():
            observed = np.flatnonzero((points.images == image_id) & black[points.rows])
            path = images_dir / model.image(image_id).name
            if len(observed) and path.is_file():
                # COLMAP's places: pixel (0, 0) reaches from 0 to 1.
                place = keypoints[points.keypoints[observed]].astype(np.int64)
                self.seen.append((row_of[points.rows[observed]], pool.submit(_pixels, path, place, look)))

    def give(self) -> None:
        total = np.zeros((len(self.ids), 4))
        for rows, reading in self.seen:
            colours = reading.result()
            if colours is not None:
                np.add.at(total, rows, np.column_stack([colours, np.ones(len(colours))]))
        with np.errstate(invalid="ignore"):
            mean = (total[:, :3] / total[:, 3:]).round()
        found = total[:, 3] > 0
        for point_id, colour in zip(self.ids[found].tolist(), mean[found].astype(np.uint8), strict=True):
            if self.model.exists_point3D(point_id):
                self.model.point3D(point_id).color = colour


def _pixels(path: Path, place: Int, look: Look | None) -> NDArray[np.uint8] | None:
    """(N, 3) colours of a photo at `place` (N, 2: x, y), the outermost ones beyond its border."""
    try:
        photo = read_rgb(path)
    except UnreadableImage as error:
        log.warning("points may stay black: %s", error)
        return None
    if look is not None:
        look(path, photo)
    height, width = photo.shape[:2]
    result: NDArray[np.uint8] = photo[place[:, 1].clip(0, height - 1), place[:, 0].clip(0, width - 1)]
    return result
