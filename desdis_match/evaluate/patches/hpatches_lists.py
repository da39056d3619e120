"""Task lists of the HPatches benchmark: read from its CSV files, or drawn by its rule.

The benchmark draws with NumPy's legacy generator from seed 42, so whoever has the same sequences in the same
order gets the same lists: `draw_verification` and `draw_retrieval` make the very draws, in the same order.
Image index 0 is `ref`; index k is e<k>, h<k>, t<k> of the tier that is scored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...support.files import read_json, read_rows
from ..results import write_atomically

Int = NDArray[np.int64]

SEED = 42
NUM_PAIRS = 1_000_000
NUM_QUERIES = 5_000
NUM_DISTRACTORS = 20_000
MIN_CONTRAST = 10.0
"""Standard deviation of grey values below which a patch is no query and no distractor."""


@dataclass(frozen=True)
class PatchPairs:
    """Pairs of patches: `patch0[i]` of `image0[i]` of `sequence0[i]`, and the same with 1."""

    sequence0: Int  # (M,) place in the split's list of sequences
    image0: Int  # (M,) 0..5
    patch0: Int  # (M,)
    sequence1: Int
    image1: Int
    patch1: Int

    def __len__(self) -> int:
        return len(self.patch0)


@dataclass(frozen=True)
class VerificationLists:
    """Pairs of the verification task; row i of the three lists shares its first patch."""

    positive: PatchPairs
    negative_intra: PatchPairs
    negative_inter: PatchPairs


@dataclass(frozen=True)
class PatchList:
    """`ref` patches."""

    sequence: Int  # (M,)
    patch: Int  # (M,)

    def __len__(self) -> int:
        return len(self.patch)


@dataclass(frozen=True)
class RetrievalLists:
    """Queries and distractors of the retrieval task."""

    queries: PatchList
    distractors: PatchList


@lru_cache(maxsize=1)
def published_splits() -> dict[str, list[str]]:
    """Test sequences of the benchmark's splits a, b, c, full, illum and view, in its order."""
    lists = json.loads(Path(__file__).with_name("hpatches_splits.json").read_text())
    full = lists["full"]
    result: dict[str, list[str]] = lists | {
        kind: [s for s in full if s.startswith(kind[0] + "_")] for kind in ("illum", "view")
    }
    return result


def read_split(name: str, folders: Sequence[Path]) -> list[str]:
    """Test sequences of split `name`: from a splits.json in one of `folders`, else the published one."""
    known = dict(published_splits())
    for folder in folders:
        for path in (folder / "splits.json", folder / "splits" / "splits.json"):
            if not path.is_file():
                continue
            try:
                found = read_json(path)
                known |= {key: list(value["test"]) for key, value in found.items()}
            except (KeyError, TypeError) as error:
                raise InputError(f"{path} is not a list of splits as HPatches has it ({error!r})") from error
    if name not in known:
        raise InputError(f"there is no split '{name}'; known are {', '.join(sorted(known))}")
    return known[name]


def list_path(folder: Path, kind: str, split: str) -> Path:
    """The benchmark's name of a task file; kind is one of VERIFICATION_KINDS or RETRIEVAL_KINDS."""
    return folder / f"{kind}_split-{split}.csv"


VERIFICATION_KINDS = ("verif_pos", "verif_neg_intra", "verif_neg_inter")
RETRIEVAL_KINDS = ("retr_queries", "retr_distractors")
PAIR_COLUMNS = ("s1", "t1", "idx1", "s2", "t2", "idx2")
PATCH_COLUMNS = ("s", "idx")


def have_lists(folder: Path | None, kinds: Sequence[str], split: str) -> bool:
    """True when all files of a task are there; some but not all is an error."""
    if folder is None:
        return False
    missing = [
        list_path(folder, kind, split).name for kind in kinds if not list_path(folder, kind, split).is_file()
    ]
    if missing and len(missing) < len(kinds):
        raise InputError(f"{folder} has some task files of split '{split}', but not {', '.join(missing)}")
    return not missing


def read_table(
    path: Path, columns: Sequence[str], names: Sequence[str], lengths: Mapping[str, int]
) -> tuple[Int, int]:
    """A task file as integers, sequences by their place in `names`; rows that name others are dropped.

    Returns:
        (M, C) rows, and how many rows were dropped. A patch that its sequence does not have is an error.
    """
    place = {name: i for i, name in enumerate(names)}
    named = [c.startswith("s") for c in columns]
    rows: list[list[int]] = []
    dropped = 0
    lines = read_rows(path, "a list of patches")
    header = next(lines, [])
    if tuple(header) != tuple(columns):
        raise InputError(f"{path} should begin with {','.join(columns)}, not with {','.join(header)[:80]!r}")
    for number, row in enumerate(lines, start=2):
        try:
            if all(cell in place for cell, name in zip(row, named, strict=True) if name):
                rows.append(
                    [place[cell] if name else int(cell) for cell, name in zip(row, named, strict=True)]
                )
            else:
                dropped += 1
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: {','.join(row)[:80]!r} is no row of this list"
            ) from error
    table = np.array(rows, dtype=np.int64).reshape(-1, len(columns))
    counts = np.array([lengths[name] for name in names], dtype=np.int64)
    for sequence in (i for i, name in enumerate(named) if name):
        last = sequence + len(columns) // (2 if len(columns) > 2 else 1) - 1
        wrong = (table[:, last] < 0) | (table[:, last] >= counts[table[:, sequence]])
        if wrong.any():
            row = table[int(np.argmax(wrong))]
            raise InputError(
                f"{path} asks for patch {row[last]} of {names[row[sequence]]}, which has "
                f"{counts[row[sequence]]}: lists and patches do not belong together"
            )
        if last - sequence == 2 and ((table[:, sequence + 1] < 0) | (table[:, sequence + 1] > 5)).any():
            raise InputError(f"{path} has an image index outside 0..5")
    return table, dropped


def read_verification(
    folder: Path, split: str, names: Sequence[str], lengths: Mapping[str, int]
) -> tuple[VerificationLists, int]:
    """The three pair lists, and how many rows name sequences that are not in `names`."""
    paths = [list_path(folder, kind, split) for kind in VERIFICATION_KINDS]
    tables, dropped = _read_tables(paths, PAIR_COLUMNS, names, lengths)
    return VerificationLists(*(PatchPairs(*columns) for columns in tables)), dropped


def read_retrieval(
    folder: Path, split: str, names: Sequence[str], lengths: Mapping[str, int]
) -> tuple[RetrievalLists, int]:
    """Queries and distractors, and how many rows name sequences that are not in `names`."""
    paths = [list_path(folder, kind, split) for kind in RETRIEVAL_KINDS]
    tables, dropped = _read_tables(paths, PATCH_COLUMNS, names, lengths)
    return RetrievalLists(*(PatchList(*columns) for columns in tables)), dropped


def _read_tables(
    paths: Sequence[Path], columns: Sequence[str], names: Sequence[str], lengths: Mapping[str, int]
) -> tuple[list[NDArray[np.int64]], int]:
    """Each list's columns, and how many rows of all were dropped."""
    found = [read_table(path, columns, names, lengths) for path in paths]
    return [np.ascontiguousarray(table.T) for table, _ in found], sum(dropped for _, dropped in found)


def draw_verification(
    names: Sequence[str],
    lengths: Mapping[str, int],
    num_positive: int = NUM_PAIRS,
    num_negative: int = NUM_PAIRS,
) -> VerificationLists:
    """The benchmark's pairs: a random sequence, two of its patches, two of its images 0..4 for each row.

    The positive joins the first patch in both images, the intra negative the first with the second patch; the
    inter negative joins it with a random patch of a random sequence, which may be its own.
    """
    if num_positive != num_negative:
        raise InputError("the benchmark pairs row by row: as many negatives as positives are needed")
    generator = np.random.RandomState(SEED)
    count = np.array([lengths[name] for name in names], dtype=np.int64)
    if (count < 2).any():
        raise InputError("verification needs two patches or more in each sequence")
    sequence = generator.randint(0, len(names), size=num_positive)
    patch = np.array([generator.permutation(count[s])[:2] for s in sequence])
    image = np.array([generator.permutation(5)[:2] for _ in range(num_positive)])
    other = generator.randint(0, len(names), size=num_negative)
    other_patch = np.array([generator.randint(count[s]) for s in other])
    first = (sequence, image[:, 0], patch[:, 0])
    return VerificationLists(
        PatchPairs(*first, sequence, image[:, 1], patch[:, 0]),
        PatchPairs(*first, sequence, image[:, 1], patch[:, 1]),
        PatchPairs(*first, other, image[:, 1], other_patch),
    )


def draw_retrieval(
    names: Sequence[str],
    contrast: Mapping[str, NDArray[np.float64]],
    num_queries: int = NUM_QUERIES,
    num_distractors: int = NUM_DISTRACTORS,
) -> RetrievalLists:
    """The benchmark's queries and distractors: random `ref` patches with contrast, none twice.

    Args:
        contrast: sequence -> (n,) standard deviation of the grey values (0..255) of each `ref` patch.
    """
    generator = np.random.RandomState(SEED)

    def draw(number: int) -> list[tuple[int, int]]:
        sequence = generator.randint(0, len(names), size=number)
        patch = [generator.randint(len(contrast[names[s]])) for s in sequence]
        return [
            (int(s), int(p))
            for s, p in zip(sequence, patch, strict=True)
            if contrast[names[s]][p] > MIN_CONTRAST
        ]

    queries = list(dict.fromkeys(draw(num_queries * 4)))[:num_queries]
    taken = set(queries)
    drawn = dict.fromkeys(draw(num_distractors * 10))
    distractors = [d for d in drawn if d not in taken][:num_distractors]
    return RetrievalLists(
        *(PatchList(*np.array(x, dtype=np.int64).reshape(-1, 2).T) for x in (queries, distractors))
    )


def write_lists(
    folder: Path, split: str, names: Sequence[str], lists: VerificationLists | RetrievalLists
) -> None:
    """Store lists as the benchmark's CSV files, for its own code to read."""
    if isinstance(lists, VerificationLists):
        parts: tuple[Any, ...] = (lists.positive, lists.negative_intra, lists.negative_inter)
        for kind, part in zip(VERIFICATION_KINDS, parts, strict=True):
            columns = (part.sequence0, part.image0, part.patch0, part.sequence1, part.image1, part.patch1)
            lines = [",".join(PAIR_COLUMNS)]
            lines += [
                f"{names[a]},{b},{c},{names[d]},{e},{f}" for a, b, c, d, e, f in zip(*columns, strict=True)
            ]
            write_atomically(list_path(folder, kind, split), ("\n".join(lines) + "\n").encode())
    else:
        for kind, part in zip(RETRIEVAL_KINDS, (lists.queries, lists.distractors), strict=True):
            lines = [",".join(PATCH_COLUMNS)]
            lines += [f"{names[s]},{p}" for s, p in zip(part.sequence, part.patch, strict=True)]
            write_atomically(list_path(folder, kind, split), ("\n".join(lines) + "\n").encode())
