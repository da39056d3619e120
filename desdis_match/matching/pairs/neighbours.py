"""From each image's ranked partners to pairs: mutual ones, the nearest, and bridges between components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def near_either(partners: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pairs of images that list each other, or one of which is among the nearer half of the other's list.

    partners: for each image the indices of others, nearest first.
    """
    rank = [{j: place for place, j in enumerate(row)} for row in partners]
    pairs = set()
    for i, row in enumerate(partners):
        for place, j in enumerate(row):
            if i in rank[j] or 2 * place < len(row):
                pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def component_labels(num: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `num` images the smallest index of those that pairs connect it with."""
    root = list(range(num))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs:
        a, b = find(i), find(j)
        root[max(a, b)] = min(a, b)
    return [find(i) for i in range(num)]


def bridges(
    num: int, pairs: Iterable[tuple[int, int]], ranked: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Of `ranked` candidates, best first, those that join components of the graph of `pairs` (Kruskal's)."""
    label = component_labels(num, pairs)
    members: dict[int, list[int]] = {}
    for i, of in enumerate(label):
        members.setdefault(of, []).append(i)
    found = []
    for i, j in ranked:
        a, b = label[i], label[j]
        if a != b:
            found.append((i, j))
            small, large = sorted((a, b), key=lambda of: len(members[of]))
            for k in members.pop(small):
                label[k] = large
                members[large].append(k)
    return found
