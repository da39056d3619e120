"""One vector a photo from its local descriptors (VLAD), and the photos with the nearest vectors.

VLAD: Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010; the sum of
each word's residuals is scaled to unit length (Arandjelovic and Zisserman, "All about VLAD", CVPR 2013). The
words are k-means centres of the set's own descriptors, so nothing is downloaded and any descriptor will do.

Everything that is compared is a whole number, small enough that float32 products are exact in whatever order
they are summed: descriptors are stored times SCALE in a byte, photos' vectors have length LENGTH. The same
photos therefore give the same neighbours with any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...types import Float32

SKETCH = 512
"""Descriptors of a photo that are looked at, its best. 1000 found 0.3 % more partners among 373 photos."""
SCALE = 250.0
"""Steps of a sketched descriptor's components to 1; beyond 127 steps they are cut (no unit vector has many).
A product of two is at most 250**2, far below the 2**24 up to which float32 counts."""
WORDS = 32
"""Of the codebook. 16, 32 and 64 found 99.8, 100 and 100 % of verified pairs among 40 candidates a photo."""
SAMPLE = 1024
"""Descriptors a word that the codebook is learned from."""
LENGTH = 4000.0
"""Of a photo's vector in steps: by Cauchy and Schwarz no partial sum of a product exceeds 4000**2 < 2**24."""
BLOCK = 1024
"""Photos whose vectors are compared with as many others at a time: 4 MiB of products."""


class Sketches:
    """The best descriptors of every photo, a byte a number, in one file: n * SKETCH * D bytes on disk."""

    def __init__(
        self, path: Path, names: Sequence[str], best_descriptors: Callable[[str, int], Float32]
    ) -> None:
        self._counts: list[int] = []
        self.dim = 0
        with open(path, "wb") as file:
            for name in names:
                found = best_descriptors(name, SKETCH)
                self.dim = self.dim or found.shape[1]
                steps = np.zeros((SKETCH, self.dim), np.int8)
                steps[: len(found)] = np.clip(np.rint(found * SCALE), -127, 127)
                file.write(steps.tobytes())
                self._counts.append(len(found))
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close

    def __len__(self) -> int:
        return len(self._counts)

    def get(self, photo: int, most: int = SKETCH) -> Float32:
        """(<= most, D) whole numbers, best descriptor first."""
        num = min(self._counts[photo], most)
        self._file.seek(photo * SKETCH * self.dim)
        read = np.frombuffer(self._file.read(num * self.dim), np.int8)
        return read.reshape(num, self.dim).astype(np.float32)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def learn_words(sketches: Sketches, seed: int) -> Float32:
    """(<= WORDS, D) centres of an even sample of all photos' descriptors, whole numbers."""
    import faiss

    wanted = WORDS * SAMPLE
    random = np.random.default_rng(seed)
    photos = np.arange(len(sketches))
    if len(photos) > wanted:
        photos = np.sort(random.choice(photos, wanted, replace=False))
    each = -(-wanted // max(len(photos), 1))
    parts = []
    for photo in photos:
        rows = sketches.get(int(photo))
        parts.append(rows[random.permutation(len(rows))[:each]])
    sample = np.concatenate(parts)[:wanted] if parts else np.zeros((0, sketches.dim), np.float32)
    num = max(1, min(WORDS, len(sample) // 39))  # faiss wants 39 points a centre
    if len(sample) < 2 or not sketches.dim:
        return np.zeros((1, sketches.dim), np.float32)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # its sums depend on how many there are
    try:
        means = faiss.Kmeans(sketches.dim, num, niter=15, seed=seed + 1, verbose=False)
        means.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    result: Float32 = np.rint(np.asarray(means.centroids)).astype(np.float32)
    return result


def vlad(descriptors: Float32, words: Float32) -> NDArray[np.int16]:
    """(K * D,) of length LENGTH, or zeros; descriptors (N, D) and words (K, D) are whole numbers."""
    half = np.einsum("kd,kd->k", words, words) / 2
    nearest = (descriptors @ words.T - half).argmax(axis=1)
    belongs = (nearest[:, None] == np.arange(len(words))).astype(np.float32)  # (N, K)
    sums = (belongs.T @ descriptors - belongs.sum(axis=0)[:, None] * words).astype(np.float64)
    lengths = np.sqrt((sums**2).sum(axis=1, keepdims=True))
    sums /= np.maximum(lengths, 1e-9)
    total = np.sqrt((sums**2).sum())
    result: NDArray[np.int16] = np.rint(sums.ravel() * (LENGTH / max(total, 1e-9))).astype(np.int16)
    return result


class Vectors:
    """Every photo's VLAD in one file, 2 * WORDS * D bytes each, read a block at a time."""

    def __init__(self, path: Path, sketches: Sketches, words: Float32) -> None:
        self.path, self.size, self.num = path, words.size, len(sketches)
        with open(path, "wb") as file:
            for photo in range(self.num):
                file.write(vlad(sketches.get(photo), words).tobytes())

    def blocks(self) -> Iterator[tuple[int, Float32]]:
        """(first photo, (<= BLOCK, K * D)) of all photos in turn."""
        for start in range(0, self.num, BLOCK):
            yield start, self.rows(start, min(BLOCK, self.num - start))

    def rows(self, start: int, num: int) -> Float32:
        """(num, K * D) from photo `start` on."""
        read = np.fromfile(self.path, np.int16, num * self.size, offset=2 * start * self.size)
        return read.reshape(num, self.size).astype(np.float32)

    def nearest(
        self, queries: Float32, num: int, group: NDArray[np.int64], not_of: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Photos (Q, <= num) nearest to queries (Q, K * D), and their products (Q, <= num), nearest first.

        group: a number a photo; not_of: (Q,) the group whose photos are no answer to a query. Of equally near
        ones the first comes first. A product below 0 marks a place that no photo fills.
        """
        best = np.full((len(queries), 0), -1, np.int64)
        for start, block in self.blocks():
            products = np.maximum(queries @ block.T, 0).astype(np.int64)
            index = np.arange(start, start + len(block))
            keys = np.where(group[index] == not_of[:, None], -1, products * self.num + (self.num - 1 - index))
            best = np.concatenate([best, keys], axis=1)
            if best.shape[1] > num:
                best = -np.partition(-best, num - 1, axis=1)[:, :num]
        best = -np.sort(-best, axis=1)
        return self.num - 1 - best % self.num, np.where(best < 0, -1, best // self.num)


def nearest_photos(vectors: Vectors, num: int) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """(photo, indices of the <= num nearest other photos, their products) of every photo."""
    every = np.arange(vectors.num)
    for start, block in vectors.blocks():
        own = every[start : start + len(block)]
        found, products = vectors.nearest(block, num, every, own)
        for row in range(len(block)):
            real = products[row] >= 0
            yield start + row, found[row][real], products[row][real]
