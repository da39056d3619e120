"""Films: sharp frames, spaced by how far the picture has moved, written as photos.

The motion between frames is the median length of sparse optical flow (Lucas-Kanade on a small copy), as a
share of the long side; of the frames within a step the sharpest is taken. A frame's name is its time, so that
names sort as the film runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..support.files import atomic_path, read_json, write_text
from ..support.progress import track
from .formats import FILMS

log = logging.getLogger(__name__)

SMALL = 320
"""Long side of the copies on which motion and sharpness are measured, pixels."""
LOOK_AT = 15.0
"""Frames a second that are looked at."""
LOST = 12
"""Corners of a frame that must be found again; with fewer the view has changed altogether."""
MARK = ".frames.json"


@dataclass(frozen=True)
class VideoConfig:
    """Which frames of films become photos."""

    frames: int = 0
    """Frames taken of each film, at most, evenly by motion; 0: as many as the motion asks for."""
    frame_rate: float = 0.0
    """Frames a second instead; 0: by motion."""
    frame_motion: float = 0.08
    """How far the picture moves between frames, as a share of its long side."""

    def __post_init__(self) -> None:
        if self.frames < 0 or self.frame_rate < 0 or not 0 < self.frame_motion < 1:
            raise InputError("frames and frame-rate are 0 or more, frame-motion is between 0 and 1")


@dataclass(frozen=True)
class _Seen:
    """A frame that was looked at."""

    number: int
    time: float  # seconds
    motion: float  # from the film's beginning, in long sides
    sharpness: float


def is_film(path: Path) -> bool:
    """Whether a file is a film, by its name."""
    return path.suffix.lower() in FILMS


def write_frames(film: Path, folder: Path, config: VideoConfig) -> list[str]:
    """The chosen frames as JPEG files of `folder`, which is made; their names. Kept where they are there.

    Raises InputError for a film that cannot be read, or of which fewer than two frames can.
    """
    if not film.is_file():
        raise InputError(f"{film} does not exist; give a film or the folder that holds it")
    status = film.stat()
    made_by = {
        "film": [film.name, status.st_size, status.st_mtime_ns],
        "options": [config.frames, config.frame_rate, config.frame_motion],
    }
    mark = folder / MARK
    if mark.is_file() and read_json(mark).get("made_by") == made_by:
        return list(read_json(mark)["names"])
    seen = list(_look_at(film))
    if len(seen) < 2:
        raise InputError(f"{film} holds {len(seen)} frames that can be read; is it a whole film?")
    chosen = choose_frames(seen, config)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    names = []
    for number, pixels in _frames(film, {seen[i].number for i in chosen}):
        time = next(frame.time for frame in seen if frame.number == number)
        names.append(_time_name(time))
        ok, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
        if not ok:
            raise InputError(f"{film}: a frame cannot be written as JPEG")
        with atomic_path(folder / names[-1]) as temporary:
            temporary.write_bytes(data.tobytes())
    write_text(mark, json.dumps({"made_by": made_by, "names": names}))
    log.info("%s: %d of %d frames", film.name, len(names), seen[-1].number + 1)
    return names


def choose_frames(seen: list[_Seen], config: VideoConfig) -> list[int]:
    """Indices: in each step, of motion or of time, the sharpest frame."""
    if config.frame_rate:
        place = np.array([frame.time for frame in seen])
        step = 1 / config.frame_rate
    else:
        place = np.array([frame.motion for frame in seen])
        step = config.frame_motion
        if config.frames and place[-1] > step * config.frames:
            step = place[-1] / config.frames
        if place[-1] < step:  # hardly any motion: by time, a second apart
            place, step = np.array([frame.time for frame in seen]), 1.0
    steps = np.floor((place - place[0]) / step + 1e-9).astype(int)
    chosen = []
    for number in np.unique(steps):
        rows = np.flatnonzero(steps == number)
        chosen.append(int(rows[np.argmax([seen[row].sharpness for row in rows])]))
    if config.frames and len(chosen) > config.frames:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, config.frames).round().astype(int)]
    return chosen


def _time_name(time: float) -> str:
    minutes, seconds = divmod(time, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}h{minutes:02d}m{seconds:06.3f}s.jpg".replace(".", "_", 1)


def _open(film: Path) -> cv2.VideoCapture:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(str(film))
    finally:
        cv2.utils.logging.setLogLevel(level)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    if not capture.isOpened():
        capture.release()
        raise InputError(
            f"{film} cannot be read as a film: it is damaged, or this OpenCV has no codec for it; "
            "convert it, for example: ffmpeg -i FILM -c:v libx264 film.mp4"
        )
    return capture


def _look_at(film: Path) -> Iterator[_Seen]:
    capture = _open(film)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        total = int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        every = max(1, round(rate / LOOK_AT))
        before: NDArray[np.uint8] | None = None
        motion = 0.0
        for number in track(range(total or 1 << 31), "look", total=total or None, unit="frames"):
            if not capture.grab():
                break
            if number % every:
                continue
            ok, pixels = capture.retrieve()
            if not ok:
                continue
            grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
            factor = SMALL / max(grey.shape)
            small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            if before is not None:
                motion += _motion(before, small)  # type: ignore[arg-type]
            before = small  # type: ignore[assignment]
            sharpness = float(cv2.Laplacian(small, cv2.CV_32F).var())
            yield _Seen(number, number / rate, motion, sharpness)
    finally:
        capture.release()


def _motion(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Median shift of corners between two frames, as a share of the long side; 1 for another view."""
    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 5)
    if corners is None or len(corners) < LOST:
        return 0.0 if np.abs(before.astype(int) - after).mean() < 2 else 1.0
    found, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    good = status.ravel() == 1
    if good.sum() < LOST:
        return 1.0
    shift = np.linalg.norm((found - corners).reshape(-1, 2)[good], axis=1)
    return float(min(np.median(shift) / SMALL, 1.0))


def _frames(film: Path, numbers: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The frames `numbers` in their order; read one after another, since seeking is not exact in films."""
    capture = _open(film)
    try:
        for number in range(max(numbers) + 1):
            if not capture.grab():
                break
            if number in numbers:
                ok, pixels = capture.retrieve()
                if ok:
                    yield number, pixels  # type: ignore[misc]
    finally:
        capture.release()
