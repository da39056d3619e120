"""How exactly a keypoint is placed: rendered blobs and squares at known subpixel positions.

    python eval/place.py [--count 50]

Writes eval/results/place.json and place.md. A blob is a Gaussian, a square has sharp edges and corners (one
corner alone has no size and so no keypoint). Each is rendered at random subpixel positions, in
several sizes, contrasts, levels of brightness and noise. Bias is the length of the mean error, spread the
root mean square of the rest along one axis, both in pixels; none where nothing was found.
"""

import json
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import erf

from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.features.detectors import DetectorConfig, detect

SIDE = 96
RESULTS = Path(__file__).parent / "results"
Image = np.ndarray


@dataclass(frozen=True)
class Arguments:
    """Place keypoints."""

    count: int = 50
    """Positions of each case."""


def blob(x: float, y: float, size: float) -> Image:
    """A Gaussian of standard deviation `size`, integrated over each pixel."""
    edges = np.arange(SIDE + 1) - 0.5
    across, down = (np.diff(erf((edges - at) / (np.sqrt(2) * size))) for at in (x, y))
    return np.outer(down, across) * np.pi * size**2 / 2


def square(x: float, y: float, size: float) -> Image:
    """A square of half side 1.5 `size` around (x, y), under a blur of 0.7."""
    place = np.arange(SIDE)

    def step(at: float) -> Image:
        return (erf((place - at) / (np.sqrt(2) * 0.7)) + 1) / 2

    across, down = (step(at - 1.5 * size) - step(at + 1.5 * size) for at in (x, y))
    return np.outer(down, across)


def case(
    shape: str, detector: str, size: float, contrast: float, level: float, noise: float, count: int
) -> dict:
    """Errors of the keypoint nearest to where the shape was rendered."""
    rng = np.random.default_rng(0)
    errors, missed = [], 0
    for _ in range(count):
        x, y = SIDE / 2 + rng.uniform(-0.5, 0.5, 2)
        image = level + contrast * (blob if shape == "blob" else square)(x, y, size)
        image = np.clip(image + rng.normal(0, noise, image.shape), 0, 1).astype(np.float32)
        found = detect(image, DetectorConfig(detector, 50, "upright")).lafs[:, :, 2].numpy()
        away = found - (x, y)
        near = np.linalg.norm(away, axis=1)
        if len(near) and near.min() < max(2.0, size):
            errors.append(away[near.argmin()])
        else:
            missed += 1
    found = np.array(errors).reshape(-1, 2)
    bias = float(np.linalg.norm(found.mean(axis=0))) if len(found) else None
    spread = float(np.sqrt(found.var(axis=0).mean())) if len(found) else None
    row = {"shape": shape, "detector": detector, "size": size, "contrast": contrast, "level": level}
    return row | {"noise": noise, "bias": bias, "spread": spread, "missed": missed}


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python eval/place.py")
    rows = []
    for shape, detector in product(("blob", "square"), ("dog", "hessian")):
        settings = [(size, 0.4, 0.3, 0.0) for size in (1.5, 2.0, 3.0, 5.0, 8.0)]
        settings += [
            (3.0, contrast, level, 0.0) for contrast, level in ((0.05, 0.3), (0.2, 0.05), (0.2, 0.75))
        ]
        settings += [(3.0, -0.3, 0.6, 0.0)] + [(3.0, 0.4, 0.3, noise) for noise in (0.01, 0.03)]
        for setting in settings:
            rows.append(case(shape, detector, *setting, arguments.count))
            print(rows[-1])

    keys = ("shape", "detector", "size", "contrast", "level", "noise", "bias", "spread", "missed")
    table = ["| " + " | ".join(keys) + " |", "|---|---|" + "---:|" * (len(keys) - 2)]
    for row in rows:
        shown = {key: f"{row[key]:.4f}" if row[key] is not None else "none" for key in ("bias", "spread")}
        table.append("| " + " | ".join(str({**row, **shown}[key]) for key in keys) + " |")
    text = f"# Place\n\nPixels; {arguments.count} positions a row.\n\n" + "\n".join(table)
    (RESULTS / "place.md").write_text(text + "\n\nMade by `python eval/place.py`.\n")
    (RESULTS / "place.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
