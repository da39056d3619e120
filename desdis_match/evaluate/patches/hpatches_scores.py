"""The HPatches patch benchmark (Balntas, Lenc, Vedaldi, Mikolajczyk, CVPR 2017): three tasks on patches.

Layout: `<root>/<sequence>/{ref,e1..e5,h1..h5,t1..t5}.png`, patch i in rows 65 i .. 65 i + 64; e, h and t are
the easy, hard and tough tier. Verification: are two patches the same point? Matching: which patch of
another image is it? Retrieval: find the five views of a patch among distractors. Scores equal those of the
benchmark's own code, whose habits are told where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...support import metrics
from .hpatches_lists import PatchPairs, RetrievalLists, VerificationLists

TIERS = ("e", "h", "t")
TIER_NAMES = {"e": "easy", "h": "hard", "t": "tough"}
TYPES = ("ref", *(f"{tier}{k}" for tier in TIERS for k in range(1, 6)))
PATCH_SIZE = 65
POOL_SIZES = (100, 500, 1000, 5000, 10000, 15000, 20000)
INPUT_SIZE = 32
IMBALANCE = 0.2
"""Share of the positives that the imbalanced protocol keeps: the first ones of the file."""

Descriptors = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""sequence -> type -> (n, D)"""


@dataclass(frozen=True)
class PatchSequence:
    """One sequence on disk."""

    name: str
    patches: dict[str, NDArray[np.uint8]]  # type -> (n, 65, 65)

    def __len__(self) -> int:
        return len(self.patches["ref"])


def missing_types(folder: Path) -> list[str]:
    """Patch files that a sequence lacks; all of them when the folder is not there."""
    return [kind for kind in TYPES if not (folder / f"{kind}.png").is_file()]


def read_patch_sequence(folder: Path) -> PatchSequence:
    """Read all sixteen patch files of a sequence; a damaged or odd one raises `InputError`."""
    import cv2

    patches = {}
    for kind in TYPES:
        path = folder / f"{kind}.png"
        strip = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if strip is None:
            raise InputError(f"{path} is missing or no image")
        if strip.shape[1] != PATCH_SIZE or strip.shape[0] % PATCH_SIZE:
            raise InputError(
                f"{path} should be 65 wide and a multiple of 65 high, not {strip.shape[1]}x{strip.shape[0]}"
            )
        patches[kind] = np.asarray(strip, np.uint8).reshape(-1, PATCH_SIZE, PATCH_SIZE)
    counts = {kind: len(p) for kind, p in patches.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"{folder} has unequal numbers of patches: {counts}")
    return PatchSequence(folder.name, patches)


def shrink(patches: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.float32]:
    """(n, 65, 65) grey values -> (n, 1, size, size) in [0, 1], by the mean over areas."""
    import cv2

    small = [cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in patches]
    result: NDArray[np.float32] = np.array(small, dtype=np.float32).reshape(-1, 1, size, size) / np.float32(
        255
    )
    return result


def check_descriptors(name: str, descriptors: NDArray[Any], expected: int, where: str) -> None:
    """Raise `InputError` unless there are `expected` rows of finite numbers."""
    if descriptors.ndim != 2 or len(descriptors) != expected:
        raise InputError(
            f"{name} gave an array of shape {descriptors.shape} for the {expected} patches of {where}"
        )
    if not np.isfinite(descriptors).all():
        bad = int((~np.isfinite(descriptors).all(axis=1)).sum())
        raise InputError(f"{name} gave {bad} descriptors that are not numbers for the patches of {where}")


def _stack(
    descriptors: Descriptors, names: Sequence[str], tier: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All descriptors of a tier as one matrix, and the row where image k of sequence s begins: (S, 6)."""
    blocks = [descriptors[name]["ref" if k == 0 else f"{tier}{k}"] for name in names for k in range(6)]
    starts = np.concatenate([[0], np.cumsum([len(b) for b in blocks])[:-1]])
    return np.concatenate(blocks), starts.reshape(len(names), 6).astype(np.int64)


def _pair_distances(
    matrix: NDArray[np.float32], starts: NDArray[np.int64], pairs: PatchPairs
) -> NDArray[np.float64]:
    """L2 distance of each pair, (M,), in blocks."""
    row0 = starts[pairs.sequence0, pairs.image0] + pairs.patch0
    row1 = starts[pairs.sequence1, pairs.image1] + pairs.patch1
    distances = np.empty(len(pairs))
    for begin in range(0, len(pairs), 1 << 16):
        block = slice(begin, begin + (1 << 16))
        difference = matrix[row0[block]].astype(np.float64) - matrix[row1[block]]
        distances[block] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return distances


def verification(descriptors: Descriptors, names: Sequence[str], lists: VerificationLists) -> dict[str, Any]:
    """Balanced AUC (all pairs) and imbalanced AP (a fifth of the positives), inter and intra, a tier.

    Negatives stand before positives in the list, so a negative comes first at equal distance.
    """
    if not len(lists.positive):
        raise InputError("no verification pair is left: none of its sequences is here")
    scores: dict[str, Any] = {p: {"inter": {}, "intra": {}} for p in ("balanced_auc", "imbalanced_ap")}
    few = int(len(lists.positive) * IMBALANCE)
    for tier in TIERS:
        matrix, starts = _stack(descriptors, names, tier)
        positive = _pair_distances(matrix, starts, lists.positive)
        for kind, pairs in (("inter", lists.negative_inter), ("intra", lists.negative_intra)):
            negative = _pair_distances(matrix, starts, pairs)
            label = np.repeat([False, True], [len(negative), len(positive)])
            distance = np.concatenate([negative, positive])
            scores["balanced_auc"][kind][tier] = metrics.roc(distance, label).area
            part = len(negative) + few
            scores["imbalanced_ap"][kind][tier] = metrics.precision_recall(distance[:part], label[:part]).area
    return scores


def distance_matrix(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """L2 distances in double precision by direct differences, as SciPy's cdist has them."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b, "euclidean"))


def matching(descriptors: Descriptors, names: Sequence[str]) -> dict[str, Any]:
    """mAP of one-way nearest neighbours from `ref` to each target: the lowest index at equal distance.

    All n patches count as positives, so a wrong neighbour lowers recall as well as precision.
    """
    average: dict[str, dict[str, list[float]]] = {}
    success: dict[str, dict[str, list[float]]] = {}
    for name in names:
        reference = descriptors[name]["ref"]
        average[name], success[name] = {}, {}
        for tier in TIERS:
            average[name][tier], success[name][tier] = [], []
            for k in range(1, 6):
                distance = distance_matrix(reference, descriptors[name][f"{tier}{k}"])
                nearest = distance.argmin(axis=1)
                correct = nearest == np.arange(len(reference))
                best = distance[np.arange(len(reference)), nearest]
                average[name][tier].append(metrics.precision_recall(best, correct, len(reference)).area)
                success[name][tier].append(float(correct.mean()))
    means = {tier: float(np.mean([average[name][tier] for name in names])) for tier in TIERS}
    means["mean"] = float(np.mean([means[tier] for tier in TIERS]))
    return {"mAP": means, "ap_per_pair": average, "success_rate_per_pair": success}


def retrieval(
    descriptors: Descriptors,
    names: Sequence[str],
    lists: RetrievalLists,
    pool_sizes: Sequence[int] = POOL_SIZES,
) -> dict[str, Any]:
    """mAP of five positives among the first k - 5 distractors of the list, for each pool size k.

    Distractors of the query's own sequence are left out before the cut. A positive stands before the
    distractors in the list, so it comes first at equal distance; a distractor counts when strictly nearer.
    """
    queries, distractors = lists.queries, lists.distractors
    if not len(queries) or not len(distractors):
        raise InputError("no retrieval query or no distractor is left: none of their sequences is here")
    pools = np.array([max(0, k - 5) for k in pool_sizes])
    of_distractors = _rows(descriptors, names, distractors.sequence, distractors.patch)
    scores: dict[str, list[NDArray[np.float64]]] = {tier: [] for tier in TIERS}
    for sequence in np.unique(queries.sequence):
        chosen = np.flatnonzero(queries.sequence == sequence)
        other = of_distractors[distractors.sequence != sequence]
        of_queries = _rows(descriptors, names, queries.sequence[chosen], queries.patch[chosen])
        apart = distance_matrix(of_queries, other)
        for tier in TIERS:
            found = np.stack(
                [descriptors[names[sequence]][f"{tier}{k}"][queries.patch[chosen]] for k in range(1, 6)],
                axis=1,
            )
            near = np.sqrt(
                np.square(found.astype(np.float64) - of_queries[:, None].astype(np.float64)).sum(axis=2)
            )
            for row, positive in zip(apart, np.sort(near, axis=1), strict=True):
                nearer = np.cumsum(row[:, None] < positive, axis=0)
                nearer = np.concatenate([np.zeros((1, 5), nearer.dtype), nearer])
                before = nearer[np.minimum(pools, len(row))]
                scores[tier].append(metrics.average_precision_of_ranks(before))
    result: dict[str, dict[str, float]] = {}
    for tier in TIERS:
        mean = np.mean(scores[tier], axis=0)
        result[tier] = {str(k): float(m) for k, m in zip(pool_sizes, mean, strict=True)}
    result["mean"] = {str(k): float(np.mean([result[tier][str(k)] for tier in TIERS])) for k in pool_sizes}
    return {"mAP": result}


def _rows(
    descriptors: Descriptors, names: Sequence[str], sequence: NDArray[np.int64], patch: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`ref` descriptors of a list of patches, (M, D)."""
    dim = descriptors[names[0]]["ref"].shape[1]
    rows = np.empty((len(patch), dim), np.float32)
    for s in np.unique(sequence):
        here = sequence == s
        rows[here] = descriptors[names[s]]["ref"][patch[here]]
    return rows


def write_csv(folder: Path, name: str, descriptors: Descriptors) -> None:
    """Write `<folder>/<name>/<sequence>/<type>.csv`, a row per patch, as the benchmark's own code reads it.

    Nine significant digits keep a float32 exactly.
    """
    for sequence, types in descriptors.items():
        place = folder / name / sequence
        place.mkdir(parents=True, exist_ok=True)
        for kind, rows in types.items():
            np.savetxt(place / f"{kind}.csv", rows, fmt="%.9g", delimiter=",")


def read_csv(folder: Path, sequence: str, count: int) -> dict[str, NDArray[np.float32]]:
    """Descriptors of one sequence as `write_csv` (or any tool in the benchmark's layout) wrote them."""
    found = {}
    for kind in TYPES:
        path = folder / sequence / f"{kind}.csv"
        if not path.is_file():
            raise InputError(f"{path} is missing")
        try:
            rows = np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise InputError(f"{path} is not a table of numbers separated by commas ({error})") from error
        check_descriptors(folder.name, rows, count, f"{sequence}/{kind}")
        found[kind] = rows
    return found
