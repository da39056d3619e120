"""A planar scene's images with homographies: the HPatches and the Oxford layout.

HPatches: `1.ppm`, `2.ppm`, ... with `H_1_2`, ... Oxford (Mikolajczyk et al.): `img1.png` with `H1to2p`.
A homography maps pixels of image 1 to pixels of image k; (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .formats import EXTENSIONS

OXFORD_KINDS = {
    "bark": "viewpoint",
    "boat": "viewpoint",
    "graf": "viewpoint",
    "wall": "viewpoint",
    "leuven": "illumination",
    "bikes": "blur, JPEG",
    "trees": "blur, JPEG",
    "ubc": "blur, JPEG",
}
"""What changes in the sequences of the Oxford set; zoom and rotation count as viewpoint."""

PATTERNS = (  # image name, homography name, both with the number k
    (re.compile(r"(\d+)"), re.compile(r"H_1_(\d+)")),
    (re.compile(r"img(\d+)"), re.compile(r"H1to(\d+)p?")),
)


@dataclass(frozen=True)
class PlanarSequence:
    """Image 1 of a scene, and other images that a homography leads to."""

    dataset: str
    name: str
    kind: str  # viewpoint, illumination, ...
    reference: Path
    targets: dict[int, Path]  # k -> image
    homographies: dict[int, NDArray[np.float64]]  # k -> (3, 3), pixels of image 1 -> pixels of image k

    def images(self) -> dict[int, Path]:
        """All images by number, the reference first."""
        return {1: self.reference} | self.targets


def kind_of(name: str) -> str:
    """What changes in a sequence, told from its name."""
    if name[:2] in ("v_", "i_"):
        return {"v": "viewpoint", "i": "illumination"}[name[0]]
    return OXFORD_KINDS.get(name, "other")


def read_homography(path: Path) -> NDArray[np.float64]:
    """Nine numbers as a (3, 3) matrix; anything else, or a singular one, raises `InputError`."""
    try:
        matrix = np.array(path.read_text().split(), dtype=np.float64).reshape(3, 3)
    except ValueError as error:
        raise InputError(f"{path} does not hold nine numbers") from error
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix / np.abs(matrix).max())) < 1e-15:
        raise InputError(f"{path} is not a homography: its numbers are not finite or its determinant is zero")
    return matrix


def read_sequence(folder: Path, dataset: str = "") -> tuple[PlanarSequence | None, list[str]]:
    """A sequence in either layout, and notes on images or homographies without their counterpart.

    None when the folder holds no sequence at all.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file())
    for image_pattern, homography_pattern in PATTERNS:
        images = {}
        matrices = {}
        for path in files:
            if path.suffix.lower() in EXTENSIONS and (found := image_pattern.fullmatch(path.stem)):
                images[int(found[1])] = path
            if not path.suffix and (found := homography_pattern.fullmatch(path.name)):
                matrices[int(found[1])] = path
        if not matrices or not images:
            continue
        notes = [
            f"{folder.name}: image {k} has no homography"
            for k in sorted(images.keys() - matrices.keys() - {1})
        ]
        notes += [
            f"{folder.name}: {matrices[k].name} has no image" for k in sorted(matrices.keys() - images.keys())
        ]
        if 1 not in images:
            return None, [*notes, f"{folder.name}: image 1 is missing, the sequence is left out"]
        both = sorted((images.keys() & matrices.keys()) - {1})
        if not both:
            return None, [*notes, f"{folder.name}: no image with a homography, the sequence is left out"]
        sequence = PlanarSequence(
            dataset,
            folder.name,
            kind_of(folder.name),
            images[1],
            {k: images[k] for k in both},
            {k: read_homography(matrices[k]) for k in both},
        )
        return sequence, notes
    return None, []
