"""Mapping in clusters: photos that see much of each other are mapped apart from the others, then joined.

The view graph is halved again and again, each time where its two parts share fewest verified matches, until a
part has at most LEAF photos; each part is then lent the OVERLAP photos that share most with it. Clusters are
mapped one by one or on an executor, each with the run's seed, so where and in which order the work is done
changes no bit. Their models are joined from the largest on by the points they share (merging.py), and photos
that no cluster registered are tried again in the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from ..support.native import pycolmap
from ..support.progress import track
from ..support.scratch import scratch_in
from ..support.workers import run_shards
from .database import part_of_database
from .mappers import Job, grow, map_incremental
from .merging import join_models
from .ranking import best_first, registered_names
from .view_graph import verified_edges

log = logging.getLogger(__name__)

LEAF = 200
"""Photos of a cluster, those it is lent not counted. COLMAP's has 500, but the time of a cluster grows faster
than its photos, and memory is held for one cluster a worker."""
OVERLAP = 30
"""Photos that a cluster is lent from others; COLMAP lends 50 to 500."""


def map_in_clusters(job: Job) -> list[pycolmap.Reconstruction]:
    """See the head of this file."""
    names, graph = view_graph(job)
    found = clusters(graph)
    if len(found) <= 1:
        return map_incremental(job)
    log.info("%d clusters of %d to %d photos", len(found), min(map(len, found)), max(map(len, found)))
    tasks = [_cluster(job, [names[i] for i in members]) for members in found]
    models: list[pycolmap.Reconstruction] = []
    done = run_shards(_map_cluster, tasks, job.executor, job.workers, name=lambda task: task.names[0])
    for _, folders in track(done, "map", len(tasks), "clusters"):
        models.extend(pycolmap.Reconstruction(folder) for folder in folders)
    return _joined(job, models)


def view_graph(job: Job) -> tuple[list[str], csr_array]:
    """Names of the N photos, sorted, and (N, N), symmetric, how many verified matches two of them have."""
    names, edges = verified_edges(job.database, job.config.verify.min_num_inliers)
    ordered = sorted(names.values())
    row = {name: i for i, name in enumerate(ordered)}
    weighted = sorted((row[names[a]], row[names[b]], num) for a, b, num in edges)
    first, second, weight = np.array(weighted, np.int64).reshape(-1, 3).T
    half = csr_array((weight.astype(float), (first, second)), shape=(len(ordered), len(ordered)))
    return ordered, csr_array(half + half.T)


def clusters(graph: csr_array) -> list[NDArray[np.int64]]:
    """Rows of each cluster, sorted, those it is lent included; photos without a verified pair are in none."""
    _, labels = connected_components(graph, directed=False)
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            leaves = _leaves(graph, members)
            found += [_with_lent(graph, leaf) if len(leaves) > 1 else leaf for leaf in leaves]
    return found


def _leaves(graph: csr_array, members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    if len(members) <= LEAF:
        return [members]
    order = members[np.argsort(_cut(graph[members][:, members]), kind="stable")]
    return [
        leaf for half in (order[: len(order) // 2], order[len(order) // 2 :]) for leaf in _leaves(graph, half)
    ]


def _cut(graph: csr_array) -> NDArray[np.float64]:
    """A number a photo: split at their median, the halves share few matches for what they have in all (the
    normalised cut of Shi and Malik, PAMI 2000). Cut-off pieces come out apart."""
    scale = diags_array(1 / np.sqrt(np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1e-12)))
    similar = scale @ graph @ scale
    start = np.linspace(1, 2, graph.shape[0])  # given, so that it comes out the same each time
    values, vectors = eigsh(similar, k=2, which="LA", v0=start)
    cut = scale @ vectors[:, int(values.argmin())]
    # The sign of an eigenvector is of no meaning.
    result: NDArray[np.float64] = np.round(cut * np.sign(cut[np.abs(cut).argmax()]), 9)
    return result


def _with_lent(graph: csr_array, leaf: NDArray[np.int64]) -> NDArray[np.int64]:
    """A cluster and the photos outside it that share most matches with it."""
    shared = np.asarray(graph[leaf].sum(axis=0)).ravel()
    shared[leaf] = 0
    lent = np.argsort(-shared, kind="stable")[:OVERLAP]
    return np.sort(np.concatenate([leaf, lent[shared[lent] > 0]]))


@dataclass(frozen=True)
class _Cluster:
    job: Job
    names: tuple[str, ...]
    output: Path


def _cluster(job: Job, names: Sequence[str]) -> _Cluster:
    """With a database of its own: one for all would be locked by workers in turn, and travel badly."""
    output = job.folder()
    database = part_of_database(job.database, output / "database.db", names)
    # An executor cannot travel to its own workers.
    return _Cluster(replace(job, database=database, scratch=output, executor=None), tuple(names), output)


def _map_cluster(cluster: _Cluster) -> list[Path]:
    """Folders of a cluster's models, best first: models do not travel, files do."""
    with scratch_in(cluster.output):
        models = best_first(map_incremental(cluster.job, image_names=list(cluster.names)))
    folders = []
    for number, model in enumerate(models):
        folder = cluster.output / str(number)
        folder.mkdir()
        model.write_binary(folder)
        folders.append(folder)
    return folders


def _joined(job: Job, models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """Best first; what fits to a better model is in it."""
    left, result = best_first(models), []
    while left:
        best, *left = left
        names = registered_names(best)
        while (joined := _one_more(job, best, left)) is not None:
            best, left = joined
        if registered_names(best) != names:
            best = grow(job, best)
        result.append(best)
        left = [other for other in left if not registered_names(other) <= registered_names(best)]
    return best_first(result)


def _one_more(
    job: Job, best: pycolmap.Reconstruction, others: list[pycolmap.Reconstruction]
) -> tuple[pycolmap.Reconstruction, list[pycolmap.Reconstruction]] | None:
    """`best` joined with the first of `others`, by shared photos, that fits, and the rest of them."""
    names = registered_names(best)
    for other in sorted(others, key=lambda one: -len(registered_names(one) & names)):
        joined = join_models(job, best, [other])
        if joined is not None:
            return joined, [one for one in others if one is not other]
    return None
