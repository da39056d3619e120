"""Matching against a slow twin that compares integers, in every matcher, block size and awkward input."""

import tracemalloc

import numpy as np
import pytest
import torch

from desdis_match.errors import InputError
from desdis_match.matching import nearest
from desdis_match.matching.match import (
    MatchConfig,
    match_descriptors,
    match_features,
    match_pairs,
    match_prepared,
    prepare,
)
from desdis_match.support.workers import ShardError
from desdis_match.types import Features

MATCHERS = ["mnn", "ratio", "mnn+ratio"]


@pytest.fixture(autouse=True, params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def coarse_type(request, monkeypatch):
    """Every story holds whatever the type of the first product."""
    monkeypatch.setattr(nearest, "coarse_type", lambda device: request.param)
    return request.param


def slow_twin(descriptors0, descriptors1, config):
    """Matches by all squared distances in whole numbers (units of 2**-48), one keypoint at a time."""
    grid0, grid1 = (
        np.rint(d / np.linalg.norm(d, axis=1, keepdims=True) * 2**24).astype(np.int64)
        for d in (descriptors0.astype(np.float64), descriptors1.astype(np.float64))
    )
    squared = ((grid0[:, None] - grid1[None]) ** 2).sum(2)

    def passes(distances):
        if "ratio" not in config.matcher:
            return True
        first, second = (*np.sort(distances)[:2], np.inf)[:2]
        return np.sqrt(first) < config.ratio * np.sqrt(second)

    found = []
    for i, row in enumerate(squared):
        j = int(np.argmin(row))
        good = passes(row)
        if "mnn" in config.matcher:
            good = good and int(np.argmin(squared[:, j])) == i and passes(squared[:, j])
        if config.max_distance is not None:
            good = good and np.sqrt(row[j]) / 2**24 <= config.max_distance
        if good:
            found.append((i, j, 1 - row[j] / 2**48 / 4))
    return found


def check(descriptors0, descriptors1, config):
    matches = match_descriptors(descriptors0, descriptors1, config)
    expected = slow_twin(descriptors0, descriptors1, config)
    assert matches.indices.tolist() == [[i, j] for i, j, _ in expected]
    np.testing.assert_allclose(matches.scores, [score for *_, score in expected], rtol=0, atol=1e-6)
    assert matches.indices.dtype == np.int32 and matches.scores.dtype == np.float32
    return matches


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def two_views(rng, num0, num1, dim=32, noise=0.1):
    """Descriptors around common centres, as keypoints of one scene: many near, some far."""
    centres = rng.normal(size=(max(num0, num1), dim))
    crowd = rng.normal(size=(4, dim))
    centres += crowd[rng.integers(0, 4, len(centres))]
    views = [
        centres[rng.permutation(len(centres))[:n]] + noise * rng.normal(size=(n, dim)) for n in (num0, num1)
    ]
    return unit(views[0]), unit(views[1])


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize(
    ("num0", "num1", "dim"), [(300, 257, 32), (1, 40, 8), (40, 1, 8), (129, 130, 3), (64, 128, 2)]
)
def test_matches_are_those_of_the_slow_twin(matcher, num0, num1, dim):
    rng = np.random.default_rng(num0 + dim)
    matches = check(*two_views(rng, num0, num1, dim), MatchConfig(matcher=matcher))
    assert len(matches) or min(num0, num1) == 1 or dim < 4


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize(
    ("tile0", "tile1", "lanes", "block_bytes"), [(7, 5, 1, 999), (1, 1, 1, 4), (50, 3, 4, 4096)]
)
def test_blocks_and_tiles_of_any_size_give_the_same(monkeypatch, matcher, tile0, tile1, lanes, block_bytes):
    monkeypatch.setattr(nearest, "TILE0", tile0)
    monkeypatch.setattr(nearest, "TILE1", tile1)
    monkeypatch.setattr(nearest, "LANES", lanes)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(5)
    assert len(check(*two_views(rng, 73, 81), MatchConfig(matcher=matcher))) > 20


@pytest.mark.parametrize("matcher", MATCHERS)
def test_ties_and_duplicates_go_to_the_lowest_index(matcher):
    rng = np.random.default_rng(1)
    descriptors0, descriptors1 = two_views(rng, 90, 80, noise=0.02)
    descriptors0 = descriptors0[rng.integers(0, 90, 200)]  # most appear several times
    descriptors1 = np.concatenate([descriptors1[rng.integers(0, 80, 60)], descriptors0[:50]])
    check(descriptors0, descriptors1, MatchConfig(matcher=matcher))
    same = np.repeat(unit(np.ones((1, 16))), 30, axis=0)
    matches = check(same, same, MatchConfig(matcher=matcher))
    assert matches.indices.tolist() == ([[0, 0]] if matcher == "mnn" else [])


@pytest.mark.parametrize("matcher", MATCHERS)
def test_neighbours_nearer_to_each_other_than_float32_can_tell(matcher):
    """Targets that differ in the last bits: float32 products order them at random, integers do not."""
    rng = np.random.default_rng(2)
    queries = unit(rng.normal(size=(60, 64)))
    targets = np.concatenate([queries + 3e-7 * rng.normal(size=queries.shape) for _ in range(5)])
    check(queries, unit(targets), MatchConfig(matcher=matcher, ratio=0.99))


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("max_distance", [None, 0.4])
def test_thresholds(matcher, ratio, max_distance):
    rng = np.random.default_rng(3)
    check(*two_views(rng, 120, 110, noise=0.25), MatchConfig(matcher, ratio, max_distance))


def test_the_other_way_round_gives_the_same_pairs():
    descriptors0, descriptors1 = two_views(np.random.default_rng(4), 150, 170)
    there = match_descriptors(descriptors0, descriptors1).indices
    back = match_descriptors(descriptors1, descriptors0).indices
    assert sorted(map(tuple, there)) == sorted((i, j) for j, i in back)


def test_matches_by_hand():
    """Unit vectors at 0, 90, 180 degrees against ones at 10, 95, 200, 205."""

    def at(*degrees):
        return np.array([[np.cos(a), np.sin(a)] for a in np.radians(degrees)], np.float32)

    queries, targets = at(0, 90, 180), at(10, 95, 200, 205)
    assert match_descriptors(queries, targets, MatchConfig("mnn")).indices.tolist() == [
        [0, 0],
        [1, 1],
        [2, 2],
    ]
    # Chords: 0 -> 10 and 95; 90 -> 95 and 10; 180 -> 20 and 25 degrees away: ratio 0.35 / 0.43 = 0.80.
    assert match_descriptors(queries, targets, MatchConfig("mnn+ratio", 0.79)).indices.tolist() == [
        [0, 0],
        [1, 1],
    ]
    assert len(match_descriptors(queries, targets, MatchConfig("mnn+ratio", 0.81))) == 3
    near = match_descriptors(queries, targets, MatchConfig("mnn", max_distance=2 * np.sin(np.radians(3))))
    assert near.indices.tolist() == [[1, 1]]
    assert near.scores[0] == pytest.approx((1 + np.cos(np.radians(5))) / 2, abs=1e-6)


@pytest.mark.parametrize("matcher", MATCHERS)
def test_nothing_to_match(matcher):
    some, none = unit(np.ones((3, 8))), np.empty((0, 8), np.float32)
    for pair in [(some, none), (none, some), (none, none)]:
        matches = match_descriptors(*pair, MatchConfig(matcher))
        assert matches.indices.shape == (0, 2) and matches.scores.shape == (0,)


def test_a_zero_descriptor_matches_nothing():
    descriptors = np.eye(4, dtype=np.float32)
    descriptors[1] = 0
    assert match_descriptors(descriptors, descriptors).indices.tolist() == [[0, 0], [2, 2], [3, 3]]


def test_float16_and_torch_come_in():
    descriptors0, descriptors1 = two_views(np.random.default_rng(6), 100, 100)
    half = descriptors0.astype(np.float16)
    check(half, descriptors1, MatchConfig())
    matches = match_descriptors(torch.from_numpy(half), torch.from_numpy(descriptors1))
    assert matches.indices.tolist() == match_descriptors(half, descriptors1).indices.tolist()


def test_features_are_matched_by_their_descriptors():
    descriptors = np.eye(5, dtype=np.float32)

    def features(rows):
        n = len(rows)
        zeros = np.zeros(n, np.float32)
        return Features(np.zeros((n, 2), np.float32), descriptors[rows], zeros, zeros, zeros, (9, 9))

    matches = match_features(features([0, 1, 2]), features([4, 2, 0]), MatchConfig(filter="none"))
    assert matches.indices.tolist() == [[0, 2], [2, 1]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.full((3, 8), np.nan, np.float32), "descriptor 0 of 3 holds NaN"),
        (np.array([[1, 0], [np.inf, 0]], np.float32), "descriptor 1 of 2 holds NaN or infinity"),
        (np.array([[1, 0], [3, 4]], np.float32), "descriptor 1 of 2 has length 5"),
        (np.ones(8, np.float32), r"shape \(8,\)"),
        (np.ones((2, 8), np.uint8), "uint8"),
    ],
)
def test_wrong_descriptors_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        match_descriptors(wrong, unit(np.ones((2, 8))))


def test_descriptors_of_two_kinds_are_refused():
    with pytest.raises(InputError, match="descriptors of 8 and 16 numbers"):
        match_descriptors(unit(np.ones((2, 8))), unit(np.ones((2, 16))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matcher": "flann"}, "there is no 'flann' among matchers; choose from mnn, ratio, mnn.ratio"),
        ({"ratio": 0.0}, "ratio is 0.0"),
        ({"ratio": 1.2}, "ratio is 1.2"),
        ({"max_distance": -1.0}, "max_distance is -1.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MatchConfig(**options)


def test_an_absent_device_is_refused():
    with pytest.raises(InputError, match="there is no "):
        match_descriptors(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), device="cuda:99")


def test_no_allocation_is_larger_than_the_budget(monkeypatch):
    """2000 x 1800 similarities take 14 MB; with a budget of 300 kB no tensor or array may come near."""
    budget = 300_000
    monkeypatch.setattr(nearest, "MEMORY_BUDGET", budget)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", budget)
    monkeypatch.setattr(nearest, "LANES", 4)
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(2000, 8))
    descriptors0 = unit(centres + 0.1 * rng.normal(size=centres.shape))
    descriptors1 = unit(centres[:1800] + 0.1 * rng.normal(size=(1800, 8)))
    descriptors0[:400] = descriptors0[0]  # so many doubts that the float64 path has its share
    prepared = prepare(descriptors0), prepare(descriptors1)
    with torch.profiler.profile(
        profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        match_prepared(*prepared, MatchConfig("mnn"))
    assert 0 < max(event.self_cpu_memory_usage for event in profile.events()) <= budget
    tracemalloc.start()  # NumPy's arrays
    match_prepared(*prepared, MatchConfig("mnn"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert budget < peak < 10 * budget


@pytest.mark.parametrize("num_threads", [1, 3])
def test_many_pairs_come_in_order_and_load_each_image_once(num_threads):
    rng = np.random.default_rng(9)
    views = dict(zip("abc", [*two_views(rng, 90, 80), two_views(rng, 5, 5)[0]], strict=True))
    loaded = []

    def load(name):
        loaded.append(name)
        return views[name]

    before = torch.get_num_threads()
    pairs = [("a", "b"), ("b", "c"), ("a", "c"), ("b", "a")]
    found = list(match_pairs(load, pairs, num_threads=num_threads))
    assert [pair for pair, _ in found] == pairs
    for (name0, name1), matches in found:
        assert matches.indices.tolist() == match_descriptors(views[name0], views[name1]).indices.tolist()
    assert torch.get_num_threads() == before
    assert len(loaded) == 3 or num_threads > 1


def test_a_bad_pair_among_many_is_named():
    views = {"a": np.eye(3, dtype=np.float32), "b": np.eye(4, dtype=np.float32)}
    with pytest.raises(ShardError, match=r"^a with b: descriptors of 3 and 4 numbers"):
        list(match_pairs(views.__getitem__, [("a", "a"), ("a", "b")]))


@pytest.mark.parametrize("dim", [2, 16, 128, 300])
def test_bounds_hold_and_are_tight(coarse_type, dim):
    """Against similarities in whole numbers; half precision leaves 0.01 (bfloat16), float32 0.0001."""
    rng = np.random.default_rng(dim)
    prepared = [prepare(descriptors) for descriptors in two_views(rng, 300, 600, dim, noise=0.5)]
    grid0, grid1 = (np.rint(p.exact * 2.0**24).astype(np.int64) for p in prepared)
    similar = 1 - np.stack([((row - grid1) ** 2).sum(1) for row in grid0]) / 2.0**49
    for bounds, truth in zip(nearest.maxima(*prepared), (similar, similar.T), strict=True):
        best = truth.max(1)
        assert np.all(best <= bounds.best.high) and np.all(best >= bounds.best.low)
        width = np.median(bounds.best.high - best)
        assert width < {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}[coarse_type]
        for i, tile in enumerate(bounds.tile):
            others = np.delete(truth[i], np.arange(truth.shape[1])[bounds.tiles[tile]])
            assert bounds.others.low[i] <= others.max(initial=-np.inf) <= bounds.others.high[i]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_the_gpu_gives_the_matches_of_the_cpu(matcher, precision):
    rng = np.random.default_rng(8)
    descriptors0, descriptors1 = two_views(rng, 5000, 4500, dim=128, noise=0.3)
    descriptors1[:200] = descriptors1[200:400]
    on_cpu = match_descriptors(descriptors0, descriptors1, MatchConfig(matcher), "cpu")
    torch.set_float32_matmul_precision(precision)
    try:
        on_gpu = match_descriptors(descriptors0, descriptors1, MatchConfig(matcher), "cuda")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(on_cpu) > 1000
    assert np.array_equal(on_cpu.indices, on_gpu.indices) and np.array_equal(on_cpu.scores, on_gpu.scores)
