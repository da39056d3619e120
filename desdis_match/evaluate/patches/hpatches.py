"""Task `hpatches`: descriptors on the HPatches patch benchmark, or on anything in its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ... import descriptors
from ...errors import InputError
from ...support.checks import check_options
from ...support.files import sha256_of
from ...support.progress import track
from ..cache import Arrays, code_hash, combined_hash
from ..contenders import CompareConfig, Contender, check_distinct, load_contenders
from ..results import Chart, Column, Series, Table, TaskResult, Worst
from . import hpatches_lists as lists
from . import hpatches_scores
from .hpatches_scores import (
    POOL_SIZES,
    TIER_NAMES,
    TIERS,
    TYPES,
    Descriptors,
    check_descriptors,
    matching,
    missing_types,
    read_csv,
    read_patch_sequence,
    retrieval,
    shrink,
    verification,
    write_csv,
)

NUM_POSITIVES = 5
"""Of a retrieval query, which are part of its pool."""
NAMED = 5
"""Missing sequences that a note names; the others are counted."""

HPatchesTask = Literal["verification", "matching", "retrieval"]


@dataclass(frozen=True)
class HPatchesConfig:
    """Verification, matching and retrieval on patches (Balntas et al., CVPR 2017)."""

    root: Path
    """Folder of sequences with ref.png, e1.png, ...: the HPatches release, or what make-hpatches wrote."""
    tasks: Path | None = None
    """Folder of the benchmark's task CSV files; lists that are missing are drawn by its rule (seed 42)."""
    split: str = "full"
    """a, b, c, full, illum, view, or a name in a splits.json in --root or --tasks."""
    only: tuple[HPatchesTask, ...] = ("verification", "matching", "retrieval")
    """Which tasks."""
    csv_descriptors: tuple[Path, ...] = ()
    """Folders <name>/<sequence>/<type>.csv to score beside the descriptors."""
    write_csv: Path | None = None
    """Write descriptors (and drawn task lists, into tasks/) as the benchmark's own code reads them."""
    download: bool = False
    """Fetch the HPatches release into --root first, if it is not there."""
    num_pairs: int = lists.NUM_PAIRS
    """Positive pairs to draw when there are no verification lists (as many negatives of each kind)."""
    num_queries: int = lists.NUM_QUERIES
    """Queries to draw when there are no retrieval lists."""
    num_distractors: int = lists.NUM_DISTRACTORS
    """Distractors to draw when there are no retrieval lists."""
    run: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        check_options(self, num_pairs=(1, None), num_queries=(1, None), num_distractors=(1, None))


@dataclass
class Patches:
    """What is known of the sequences after one pass over their files."""

    names: list[str]
    lengths: dict[str, int]
    hashes: dict[str, str]
    contrast: dict[str, Any]  # (n,) standard deviation of each ref patch
    notes: list[str]


def survey(root: Path, split: Sequence[str], split_name: str) -> Patches:
    """Find the split's sequences below `root`; what is missing is named, nothing at all is an error."""
    if not root.is_dir():
        raise InputError(f"{root} is no folder; point --root to the patches or add --download")
    patches = Patches([], {}, {}, {}, [])
    absent = {}
    for name in track(split, "read"):
        gone = missing_types(root / name)
        if gone:
            absent[name] = "not there" if len(gone) == len(TYPES) else f"without {', '.join(gone)}"
            continue
        sequence = read_patch_sequence(root / name)
        patches.names.append(name)
        patches.lengths[name] = len(sequence)
        patches.hashes[name] = combined_hash([sha256_of(root / name / f"{kind}.png") for kind in TYPES])
        patches.contrast[name] = sequence.patches["ref"].reshape(len(sequence), -1).std(axis=1)
    if not patches.names:
        if any((folder / "H_1_2").is_file() for folder in root.glob("*")):
            raise InputError(
                f"{root} holds HPatches' sequences (photos, homographies), not its patches; measure on them "
                f"with `desdis-match evaluate homographies`, or give the folder hpatches-release"
            )
        raise InputError(f"none of the {len(split)} sequences of split '{split_name}' is below {root}")
    if absent:
        named = [name if why == "not there" else f"{name} ({why})" for name, why in absent.items()]
        reasons = ", ".join(named[:NAMED]) + (", ..." if len(named) > NAMED else "")
        patches.notes.append(
            f"{len(absent)} of {len(split)} sequences are missing, so scores do not compare with those of "
            f"the whole split: {reasons}"
        )
    return patches


def describe_all(contender: Contender, root: Path, patches: Patches, config: CompareConfig) -> Descriptors:
    """Descriptors of all patches, each sequence kept in the cache once it is done."""
    cache = config.predictions()
    found = {}
    for name in track(patches.names, contender.label[:12]):
        key = {
            "task": "hpatches",
            "data": patches.hashes[name],
            "weights": contender.fingerprint,
            "device": config.device,
            "engine": config.engine,
            "code": code_hash(descriptors, hpatches_scores),
        }

        def compute(name: str = name) -> Arrays:
            sequence = read_patch_sequence(root / name)
            rows = {kind: contender.describe(shrink(sequence.patches[kind])) for kind in TYPES}
            for kind in TYPES:
                check_descriptors(contender.label, rows[kind], len(sequence), f"{name}/{kind}")
            return rows

        found[name] = cache.get(key, compute)
    return found


def find_lists(config: HPatchesConfig, patches: Patches) -> tuple[Any, Any, list[str]]:
    """Verification and retrieval lists, read or drawn (None where not asked for), and notes on them."""
    notes = []
    pairs = pool = None
    names, lengths = patches.names, patches.lengths
    if "verification" in config.only:
        if lists.have_lists(config.tasks, lists.VERIFICATION_KINDS, config.split):
            assert config.tasks is not None
            pairs, dropped = lists.read_verification(config.tasks, config.split, names, lengths)
            if dropped:
                notes.append(f"{dropped} verification pairs left out: they name sequences that are missing")
        else:
            pairs = lists.draw_verification(names, lengths, config.num_pairs, config.num_pairs)
            notes.append(f"verification pairs drawn by the benchmark's rule: {config.num_pairs} of each kind")
    if "retrieval" in config.only:
        if lists.have_lists(config.tasks, lists.RETRIEVAL_KINDS, config.split):
            assert config.tasks is not None
            pool, dropped = lists.read_retrieval(config.tasks, config.split, names, lengths)
            if dropped:
                notes.append(
                    f"{dropped} queries and distractors left out: they name sequences that are missing"
                )
        else:
            pool = lists.draw_retrieval(names, patches.contrast, config.num_queries, config.num_distractors)
            notes.append(
                f"retrieval lists drawn by the benchmark's rule: {len(pool.queries)} queries, "
                f"{len(pool.distractors)} distractors"
            )
    if config.write_csv:
        for part in (pairs, pool):
            if part is not None:
                lists.write_lists(config.write_csv / "tasks", config.split, names, part)
    return pairs, pool, notes


def score(
    descriptors: Descriptors, patches: Patches, config: HPatchesConfig, pairs: Any, pool: Any
) -> dict[str, Any]:
    """Scores of one descriptor on the tasks asked for, in the layout of the stored JSON."""
    result: dict[str, Any] = {}
    if pairs is not None:
        result["verification"] = verification(descriptors, patches.names, pairs)
    if "matching" in config.only:
        result["matching"] = matching(descriptors, patches.names)
    if pool is not None:
        result["retrieval"] = retrieval(descriptors, patches.names, pool)
    return result


def evaluate_hpatches(config: HPatchesConfig) -> TaskResult:
    """Score descriptors on patches in HPatches' layout; see `HPatchesConfig`."""
    if config.download:
        from .download import fetch_hpatches

        fetch_hpatches(config.root)
    split = lists.read_split(config.split, [f for f in (config.tasks, config.root) if f is not None])
    patches = survey(config.root, split, config.split)
    pairs, pool, notes = find_lists(config, patches)
    contenders = load_contenders(config.run) if config.run.descriptors else []
    check_distinct([c.label for c in contenders] + [f.name for f in config.csv_descriptors], "descriptors")
    scores: dict[str, Any] = {}
    for contender in contenders:
        described = describe_all(contender, config.root, patches, config.run)
        if config.write_csv:
            write_csv(config.write_csv, contender.label, described)
        scores[contender.label] = score(described, patches, config, pairs, pool)
    for folder in config.csv_descriptors:
        described = {name: read_csv(folder, name, patches.lengths[name]) for name in patches.names}
        scores[folder.name] = score(described, patches, config, pairs, pool)
    sizes: dict[str, int] = {}
    if pairs is not None:
        sizes |= dict(
            zip(
                lists.VERIFICATION_KINDS,
                map(len, (pairs.positive, pairs.negative_intra, pairs.negative_inter)),
                strict=True,
            )
        )
    if pool is not None:
        sizes |= {"retr_queries": len(pool.queries), "retr_distractors": len(pool.distractors)}
    return TaskResult(
        task="hpatches",
        options={
            "root": config.root,
            "split": config.split,
            "device": config.run.device,
            "engine": config.run.engine,
        },
        data={
            "sequences": len(patches.names),
            "patches": sum(patches.lengths.values()) * len(TYPES),
            "sha256": combined_hash([f"{n} {patches.hashes[n]}" for n in patches.names]),
        },
        weights={c.label: c.fingerprint for c in contenders},
        tables=tables(scores, config.split, 0 if pool is None else len(pool.distractors)),
        charts=charts(scores),
        content={
            "split": config.split,
            "distance": "L2",
            "task_sizes": sizes,
            "patches_per_sequence": patches.lengths,
            "descriptors": scores,
        },
        worst=worst_pairs(scores),
        notes=tuple(patches.notes + notes),
    )


def tables(scores: dict[str, Any], split: str, num_distractors: int) -> tuple[Table, ...]:
    """One table a task, a row a descriptor; retrieval in the pools that there are distractors for."""
    found = []
    kinds = [(kind, tier) for kind in ("inter", "intra") for tier in TIERS]
    for protocol, title in (("balanced_auc", "balanced AUC"), ("imbalanced_ap", "imbalanced AP")):
        rows = []
        for name, s in scores.items():
            if "verification" in s:
                values = [s["verification"][protocol][kind][tier] for kind, tier in kinds]
                rows.append((name, *values, float(np.mean(values))))
        columns = (Column("descriptor"), *(Column(f"{k} {TIER_NAMES[t]}", ".4f", "high") for k, t in kinds))
        found.append(
            Table(
                f"Verification, {title}, split {split}",
                (*columns, Column("mean", ".4f", "high")),
                tuple(rows),
            )
        )
    tiers = (*TIERS, "mean")
    heads = tuple(Column(TIER_NAMES.get(t, t), ".4f", "high") for t in tiers)
    rows = [(n, *(s["matching"]["mAP"][t] for t in tiers)) for n, s in scores.items() if "matching" in s]
    found.append(Table(f"Matching, mAP, split {split}", (Column("descriptor"), *heads), tuple(rows)))
    pools = [k for k in POOL_SIZES if k <= num_distractors + NUM_POSITIVES] or POOL_SIZES[:1]
    rows = [
        (n, *(s["retrieval"]["mAP"]["mean"][str(k)] for k in pools))
        for n, s in scores.items()
        if "retrieval" in s
    ]
    heads = tuple(Column(f"of {k}", ".4f", "high") for k in pools)
    found.append(
        Table(f"Retrieval, mAP in pools of k, split {split}", (Column("descriptor"), *heads), tuple(rows))
    )
    return tuple(t for t in found if t.rows)


def charts(scores: dict[str, Any]) -> tuple[Chart, ...]:
    """Means by task, and matching by tier."""
    overall: dict[str, dict[str, float]] = {}
    for name, s in scores.items():
        overall[name] = {}
        if "verification" in s:
            for protocol, title in (
                ("balanced_auc", "verification AUC"),
                ("imbalanced_ap", "verification AP"),
            ):
                by_kind = s["verification"][protocol]
                overall[name][title] = float(np.mean([by_kind[k][t] for k in by_kind for t in TIERS]))
        if "matching" in s:
            overall[name]["matching mAP"] = s["matching"]["mAP"]["mean"]
        if "retrieval" in s:
            overall[name]["retrieval mAP"] = s["retrieval"]["mAP"]["mean"][str(POOL_SIZES[-1])]
    found = [
        Chart(
            "HPatches tasks, means over tiers",
            "bars",
            "",
            "score",
            tuple(Series(n, tuple(o), tuple(o.values())) for n, o in overall.items()),
        )
    ]
    with_matching = {n: s["matching"]["mAP"] for n, s in scores.items() if "matching" in s}
    if with_matching:
        series = tuple(
            Series(n, tuple(TIER_NAMES[t] for t in TIERS), tuple(m[t] for t in TIERS))
            for n, m in with_matching.items()
        )
        found.append(Chart("Matching by tier", "bars", "", "mAP", series))
    return tuple(found)


def worst_pairs(scores: dict[str, Any], number: int = 20) -> tuple[Worst, ...]:
    """The image pairs of the matching task with the lowest AP."""
    cases = [
        Worst(f"{sequence} ref-{tier}{k}, {name}", f"matching AP {value:.3f}", 1 - value)
        for name, s in scores.items()
        if "matching" in s
        for sequence, by_tier in s["matching"]["ap_per_pair"].items()
        for tier, values in by_tier.items()
        for k, value in enumerate(values, start=1)
    ]
    return tuple(sorted(cases, key=lambda w: -w.badness)[:number])
