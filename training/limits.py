"""What limits the weights: python training/limits.py --photos DIR --descriptors desdis-8 desdis-16 ...

On the views of held-back photos that heldback.py makes (`mixed` and `aslant`) every descriptor's AP with the
detector's frames, with parts of the view's frames made true by the homography, and with all of them; the same
keypoints, distractors and denominators throughout. And what the wrong matches are: places whose patch
overlaps the right one, places that look alike in the photo itself, others (desdis_match/distill/limits.py).
A finished row is a line of logs/limits-KIND-DETECTOR.jsonl and of logs/wrong-KIND-DETECTOR.jsonl, which
results.py draws into RESULTS.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from heldback import DETECTORS, sequences
from torch import Tensor

from desdis_match import __version__
from desdis_match.commands.cli import run
from desdis_match.commands.flags import parse
from desdis_match.descriptors import load_descriptor
from desdis_match.distill.limits import (
    ALIKE,
    REPAIRS,
    SeenTwice,
    ceiling,
    correlations,
    cut,
    described,
    matched,
    other_scale,
    seen_twice,
    view_patches,
)
from desdis_match.distill.planar import planar_detector
from desdis_match.distill.record import read_log
from desdis_match.distill.study import add_line
from desdis_match.distill.validate import Describe
from desdis_match.features.detectors import detect
from desdis_match.features.frames import PatchPyramid
from desdis_match.photos.images import read_gray
from desdis_match.photos.planar import read_sequence
from desdis_match.support.progress import track

LOGS = Path(__file__).resolve().parent / "logs"
LOOKED_AT = ("own", "affine")
"""Repairs whose lost keypoints and wrong matches are looked at."""


@dataclass(frozen=True)
class Arguments:
    """Score descriptors with frames that are repaired."""

    photos: Path
    """Folder with a folder a photo set."""
    descriptors: tuple[str, ...]
    """Descriptor names or weight files."""
    kinds: tuple[Literal["mixed", "aslant"], ...] = ("mixed", "aslant")
    detectors: tuple[str, ...] = DETECTORS
    output: Path = Path("out/heldback")
    """Folder of the views, as heldback.py makes them."""
    keypoints: int = 1024
    sequences: int = 0
    """Only so many photos; 0: all."""
    logs: Path = LOGS
    threads: int = 1


@dataclass(frozen=True)
class PairResult:
    """Of a descriptor on a pair of photos."""

    ap: dict[str, float]  # by repair, without overlapping matches, and the ceiling
    partners: int
    wrong: dict[str, int]  # by repair: matches that are not right
    of_partners: dict[str, int]  # how many of them are lost, or found at another scale
    of_wrong: dict[str, int]  # how many of these overlap, look alike, are of keypoints without a partner


def pair_results(
    pair: SeenTwice,
    photo: PatchPyramid,
    view: PatchPyramid,
    describers: dict[str, Describe],
    of_photo: dict[str, Tensor],
) -> dict[str, PairResult]:
    """Match a photo, whose descriptors are `of_photo`, with a view by every descriptor and every repair."""
    other, best = other_scale(pair), ceiling(pair)
    results = {
        name: PairResult({"ceiling": best}, len(pair.partners), {}, {"other_scale": int(other.sum())}, {})
        for name in describers
    }
    for repair, parts in REPAIRS.items():
        patches = view_patches(pair, view, parts)
        for name, describe in describers.items():
            result, one = matched(pair, of_photo[name], described(describe, patches)), results[name]
            one.ap[f"frames_{repair}"] = result.ap
            if repair not in LOOKED_AT:
                continue
            one.ap[f"apart_{repair}"] = result.ap_apart
            alike = (correlations(pair, photo, result.wrong) >= ALIKE) & ~result.overlap
            alone = ~np.isin(result.wrong[:, 0], pair.partners[:, 0])
            one.of_partners[f"lost_{repair}"] = int((~result.found).sum())
            one.of_partners[f"lost_other_scale_{repair}"] = int((~result.found & other).sum())
            one.wrong[repair] = len(result.wrong)
            one.of_wrong[f"overlapping_{repair}"] = int(result.overlap.sum())
            one.of_wrong[f"alike_{repair}"] = int(alike.sum())
            one.of_wrong[f"alone_{repair}"] = int(alone.sum())
    return results


def sequence_results(
    folder: Path, detector: str, keypoints: int, describers: dict[str, Describe]
) -> list[dict[str, PairResult]]:
    """Of a photo and each of its views."""
    sequence = read_sequence(folder)[0]
    assert sequence is not None, folder
    config = planar_detector(detector, keypoints)
    photo = detect(read_gray(sequence.reference, None).pixels, config)
    frames = photo.lafs.double().numpy()
    patches = cut(photo.pyramid, frames)
    of_photo = {name: described(describe, patches) for name, describe in describers.items()}
    results = []
    for number, target in sequence.targets.items():
        view = detect(read_gray(target, None).pixels, config)
        pair = seen_twice(frames, view.lafs.double().numpy(), sequence.homographies[number])
        results.append(pair_results(pair, photo.pyramid, view.pyramid, describers, of_photo))
    return results


def mean_scores(results: list[PairResult]) -> dict[str, float]:
    """Every AP and the ceiling, means over the pairs."""
    return {name: float(np.mean([one.ap[name] for one in results])) for name in results[0].ap}


def shares(results: list[PairResult]) -> dict[str, float]:
    """Of all partners; wrong matches a pair; and of all wrong matches."""
    partners = sum(one.partners for one in results)
    wrong = {name: sum(one.wrong[name] for one in results) for name in LOOKED_AT}
    return {
        **{key: sum(one.of_partners[key] for one in results) / partners for key in results[0].of_partners},
        **{f"wrong_{name}": count / len(results) for name, count in wrong.items()},
        **{
            key: sum(one.of_wrong[key] for one in results) / max(wrong[key.rpartition("_")[2]], 1)
            for key in results[0].of_wrong
        },
    }


def main(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "python training/limits.py")
    torch.set_num_threads(arguments.threads)
    for kind, detector in product(arguments.kinds, arguments.detectors):
        logs = [arguments.logs / f"{what}-{kind}-{detector}.jsonl" for what in ("limits", "wrong")]
        done = {line["name"] for line in read_log(logs[1])}
        names = {Path(name).stem: name for name in arguments.descriptors if Path(name).stem not in done}
        if not names:
            continue
        describers = {label: load_descriptor(name, device="cpu") for label, name in names.items()}
        folders = sequences(kind, arguments.photos, arguments.output)[: arguments.sequences or None]
        results = [
            pair
            for folder in track(folders, f"{kind} {detector}")
            for pair in sequence_results(folder, detector, arguments.keypoints, describers)
        ]
        for label in names:
            own = [pair[label] for pair in results]
            for log, scores in zip(logs, (mean_scores(own), shares(own)), strict=True):
                line = {"name": label, "row": label, "seed": 0, "pairs": len(own), "version": __version__}
                add_line(log, line | {name: round(value, 6) for name, value in scores.items()})
                print(kind, detector, label, scores)
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
