"""`desdis-match evaluate make-hpatches`: image sequences with homographies -> patches in HPatches' layout.

Keypoints of image 1 give reference patches; jittered in three tiers (easy, hard, tough) and carried to the
other images by the homography's affine approximation they give e1..e5, h1..h5, t1..t5. What is drawn depends
on the seed and the sequence's name alone.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...conventions import inside
from ...errors import InputError
from ...features.detectors import DetectorConfig, detect
from ...features.orientation_policy import OrientationPolicy
from ...photos.images import read_gray
from ...photos.planar import PlanarSequence
from ...support.checks import ABOVE_ZERO, check_options
from ...support.progress import track
from ..planes.scores import project_plane
from ..planes.sequences import find_sequences
from ..results import plain, write_atomically
from .hpatches_scores import PATCH_SIZE, TIERS

Float = NDArray[np.float64]

TARGETS = 5
HALF = PATCH_SIZE / 2
CORNERS = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
TRUNCATION = 2.0
"""Jitter is normal, cut off at this many standard deviations."""
MAX_OVERLAP = 0.5
"""Of measurement regions with a larger intersection over union one stays."""


@dataclass(frozen=True)
class MakeHPatchesConfig:
    """Make a patch benchmark from image sequences."""

    root: tuple[Path, ...]
    """Folders of sequences (1.ppm, H_1_2 or img1.png, H1to2p), each with five targets or more."""
    output: Path
    """Folder for the patches; splits.json in it names all sequences as split `made`."""
    patches: int = 1000
    """At most this many patches a sequence."""
    half_side: float = 5.0
    """Half side of the reference patch in sigmas of the keypoint."""
    min_sigma: float = 1.6
    """Smallest keypoint, pixels."""
    rotation: float = 4.0
    """Standard deviation of the jitter at level 1, degrees."""
    scale: float = 0.10
    """The same of the scale, octaves."""
    stretch: float = 0.06
    """The same of the ratio of axes along a random direction, octaves."""
    shift: float = 0.06
    """The same of the place, x and y each, half sides."""
    levels: tuple[float, float, float] = (1.28, 2.55, 4.71)
    """Levels of easy, hard and tough; these give median overlaps of 0.85, 0.72 and 0.56 of the regions."""
    seed: int = 1
    detection: DetectorConfig = field(default_factory=lambda: DetectorConfig(max_keypoints=8000))

    def __post_init__(self) -> None:
        check_options(
            self,
            patches=(1, 10_000_000),
            half_side=ABOVE_ZERO,
            min_sigma=ABOVE_ZERO,
            rotation=(0, 180),
            scale=(0, 1),
            stretch=(0, 1),
            shift=(0, 1),
            levels=(0, 100),
            seed=(0, None),
        )


def jitters(count: int, level: float, config: MakeHPatchesConfig, rng: np.random.Generator) -> Float:
    """(count, 2, 3) affine changes [A | t] in the frame of the reference patch, half side 1."""

    def normal() -> Float:
        values = rng.normal(size=count)
        while (wide := np.abs(values) > TRUNCATION).any():
            values[wide] = rng.normal(size=int(wide.sum()))
        return values * level

    angle, octaves, ratio = (
        np.radians(config.rotation) * normal(),
        config.scale * normal(),
        config.stretch * normal(),
    )
    direction = rng.uniform(0, np.pi, count)
    shift = config.shift * np.stack([normal(), normal()], axis=1)
    along = turns(direction)
    axes = np.zeros((count, 2, 2))
    axes[:, 0, 0], axes[:, 1, 1] = 2 ** (octaves + ratio / 2), 2 ** (octaves - ratio / 2)
    matrix = turns(angle) @ along @ axes @ along.transpose(0, 2, 1)
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def turns(angles: Float) -> Float:
    """(N, 2, 2) rotations by (N,) radians."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)


def compose(frames: Float, change: Float) -> Float:
    """Frames (N, 2, 3) after a change within them: first the change, then the frame."""
    matrix = frames[:, :, :2] @ change[:, :, :2]
    place = frames[:, :, 2:] + frames[:, :, :2] @ change[:, :, 2:]
    return np.concatenate([matrix, place], axis=2)


def carry(frames: Float, homography: Float) -> Float:
    """Frames (N, 2, 3) through the affine approximation of a homography at their centres."""
    points = np.column_stack([frames[:, :, 2], np.ones(len(frames))]) @ homography.T
    place = points[:, :2] / points[:, 2:]
    jacobian = homography[None, :2, :2] - place[:, :, None] * homography[None, 2:, :2]
    matrix = (jacobian / points[:, 2, None, None]) @ frames[:, :, :2]
    return np.concatenate([matrix, place[:, :, None]], axis=2)


def corners_inside(frames: Float, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether all four corners of each frame's square lie in an image."""
    corners = np.einsum("nij,kj->nki", frames[:, :, :2], CORNERS) + frames[:, None, :, 2]
    return np.asarray(inside(corners.reshape(-1, 2), size).reshape(-1, 4).all(axis=1))


def disc_overlap(distance: Float, radius0: Float, radius1: Float) -> Float:
    """Intersection over union of discs, elementwise."""
    small, large = np.minimum(radius0, radius1), np.maximum(radius0, radius1)
    d = np.clip(distance, 1e-12, None)
    a = np.arccos(np.clip((d**2 + small**2 - large**2) / (2 * d * small), -1, 1))
    b = np.arccos(np.clip((d**2 + large**2 - small**2) / (2 * d * large), -1, 1))
    lens = small**2 * (a - np.sin(2 * a) / 2) + large**2 * (b - np.sin(2 * b) / 2)
    common = np.where(
        distance >= small + large, 0.0, np.where(distance <= large - small, np.pi * small**2, lens)
    )
    return np.asarray(common / (np.pi * (small**2 + large**2) - common))


def without_overlaps(centers: Float, radii: Float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows to keep, in random order, so that no two discs overlap by more than MAX_OVERLAP."""
    order = rng.permutation(len(centers))
    if not len(order):
        return order
    tree = cKDTree(centers)
    gone = np.zeros(len(centers), bool)
    kept = []
    for i in order:
        if gone[i]:
            continue
        kept.append(i)
        near = np.array(tree.query_ball_point(centers[i], 2 * radii[i]), dtype=np.int64)
        apart = np.linalg.norm(centers[near] - centers[i], axis=1)
        gone[near[disc_overlap(apart, radii[near], np.full(len(near), radii[i])) > MAX_OVERLAP]] = True
    return np.array(kept, dtype=np.int64)


def sample(image: NDArray[np.float32], frame: Float) -> NDArray[np.uint8]:
    """The (65, 65) patch of a frame, bicubic; denser and low-passed where its pixels exceed the image's.

    Pixel i is centred at (i - 32) / 32.5 half sides.
    """
    import cv2

    step = np.sqrt(abs(np.linalg.det(frame[:, :2]))) / HALF
    dense = 2 * int(np.ceil((step - 1) / 2)) + 1 if step > 1 else 1  # odd: pixel centres are samples
    margin = dense  # low-pass needs one patch pixel around
    across = (np.arange(PATCH_SIZE * dense + 2 * margin) - margin - (PATCH_SIZE * dense - 1) / 2) / (
        HALF * dense
    )
    u, v = np.meshgrid(across, across)
    x = frame[0, 0] * u + frame[0, 1] * v + frame[0, 2]
    y = frame[1, 0] * u + frame[1, 1] * v + frame[1, 2]
    values = cv2.remap(
        image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if dense > 1:
        values = cv2.GaussianBlur(values, (0, 0), dense / 2)
    first = margin + dense // 2
    kept = values[first : first + PATCH_SIZE * dense : dense, first : first + PATCH_SIZE * dense : dense]
    return np.clip(np.rint(kept * 255), 0, 255).astype(np.uint8)


def patch_name(sequence: PlanarSequence) -> str:
    """The sequence's name with HPatches' prefix: v_ for viewpoint, i_ for all other changes."""
    if sequence.name[:2] in ("v_", "i_"):
        return sequence.name
    return ("v_" if sequence.kind == "viewpoint" else "i_") + sequence.name


def make_sequence(sequence: PlanarSequence, config: MakeHPatchesConfig) -> dict[str, NDArray[np.uint8]]:
    """All sixteen patch files, type -> (65 n, 65). Raises `InputError` when no patch qualifies."""
    if len(sequence.targets) < TARGETS:
        raise InputError(f"{sequence.name} has {len(sequence.targets)} targets; the layout needs {TARGETS}")
    numbers = sorted(sequence.targets)[:TARGETS]
    rng = np.random.default_rng([config.seed, zlib.crc32(patch_name(sequence).encode())])
    reference = read_gray(sequence.reference, None)
    images = [read_gray(sequence.targets[k], None) for k in numbers]
    detector = OrientationPolicy(config.detection).of_set
    frames = detect(reference.pixels, detector).lafs.cpu().numpy().astype(np.float64)
    frames = frames[np.sqrt(np.abs(np.linalg.det(frames[:, :, :2]))) >= config.min_sigma]
    frames[:, :, :2] *= config.half_side
    tiers = {t: [] for t in TIERS}  # type: dict[str, list[Float]]
    good = corners_inside(frames, reference.size)
    for tier, level in zip(TIERS, config.levels, strict=True):
        for k, image in zip(numbers, images, strict=True):
            moved = compose(frames, jitters(len(frames), level, config, rng))
            carried = carry(moved, sequence.homographies[k])
            seen = np.isfinite(project_plane(sequence.homographies[k], moved[:, :, 2])).all(axis=1)
            good &= seen & corners_inside(carried, image.size)
            tiers[tier].append(carried)
    rows = np.flatnonzero(good)
    radii = np.sqrt(np.abs(np.linalg.det(frames[rows, :, :2])))
    rows = rows[without_overlaps(frames[rows, :, 2], radii, rng)][: config.patches]
    if not len(rows):
        raise InputError(f"no keypoint of {sequence.name} is seen in all images; it gives no patches")
    files = {"ref": np.concatenate([sample(reference.pixels, frames[i]) for i in rows])}
    for tier in TIERS:
        for number, image in enumerate(images):
            carried = tiers[tier][number]
            files[f"{tier}{number + 1}"] = np.concatenate([sample(image.pixels, carried[i]) for i in rows])
    return files


def make_hpatches(config: MakeHPatchesConfig) -> dict[str, int]:
    """Write the patches of all sequences; returns the number of patches by sequence."""
    import cv2

    sequences, notes = find_sequences(config.root)
    names = [patch_name(s) for s in sequences]
    if len(set(names)) < len(names):
        raise InputError(f"two sequences have the same name: {', '.join(sorted(names))}")
    counts: dict[str, int] = {}
    for sequence, name in zip(track(sequences, "patches"), names, strict=True):
        for kind, strip in make_sequence(sequence, config).items():
            encoded = cv2.imencode(".png", strip)[1].tobytes()
            write_atomically(config.output / name / f"{kind}.png", encoded)
            counts[name] = len(strip) // PATCH_SIZE
    split: dict[str, Any] = {"made": {"test": names, "train": [], "name": "made"}}
    write_atomically(config.output / "splits.json", json.dumps(split, indent=1).encode())
    record = plain({"options": asdict(config), "patches": counts, "notes": notes})
    write_atomically(config.output / "made_by.json", json.dumps(record, indent=1).encode())
    return counts
