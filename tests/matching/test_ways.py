"""Ways of choosing pairs: near photos, alike photos, cameras side by side, and what `auto` makes of names."""

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.matching.pairs import PairsConfig, PhotoSet, choose_way, joined_pairs
from desdis_match.matching.pairs.neighbours import bridges, component_labels, near_either
from desdis_match.matching.pairs.retrieval import (
    LEAST,
    STRONG,
    _further_rounds,
    _score,
    choose,
    count_matches,
    paid,
)
from desdis_match.matching.pairs.sequential import frame_number
from desdis_match.matching.pairs.vlad import LENGTH, SCALE, Sketches, Vectors, nearest_photos, vlad


def placed(**places):
    return {name: np.array([x, 0.0, 0.0]) for name, x in places.items()}


def test_spatial_pairs_join_the_nearest_within_the_radius():
    photos = PhotoSet("abcd", positions=placed(a=0, b=1, c=3, d=100))
    config = PairsConfig(pairs="spatial", partners=1)
    assert joined_pairs(photos, config)["spatial"] == [("a", "b"), ("b", "c"), ("c", "d")]
    config = PairsConfig(pairs="spatial", partners=3, radius=2.5)
    assert joined_pairs(photos, config)["spatial"] == [("a", "b"), ("b", "c")]


def test_photos_without_a_position_are_named_in_number(caplog):
    photos = PhotoSet("abc", positions=placed(a=0, b=1))
    assert joined_pairs(photos, PairsConfig(pairs="spatial"))["spatial"] == [("a", "b")]
    assert "1 images have no GPS position" in caplog.text
    with pytest.raises(InputError, match="1 of 3 images have a GPS position"):
        joined_pairs(PhotoSet("abc", positions=placed(a=0)), PairsConfig(pairs="spatial"))


def test_a_pair_of_two_ways_counts_for_the_first():
    photos = PhotoSet(["1", "2", "3"], positions={str(i): np.array([i, 0.0, 0.0]) for i in (1, 2, 3)})
    found = joined_pairs(photos, PairsConfig(pairs="spatial+exhaustive", partners=1))
    assert found == {"spatial": [("1", "2"), ("2", "3")], "exhaustive": [("1", "3")]}


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="there is no 'nearest' among pairs; choose from exhaustive, sequen"):
        joined_pairs(PhotoSet("ab"), PairsConfig(pairs="spatial+nearest"))


def test_near_either_wants_mutual_or_nearer_half():
    # 0 lists 1, 2, 3, 4; only 4 lists it back. Of the others 1 and 2 are in the nearer half.
    assert near_either([[1, 2, 3, 4], [], [], [], [0]]) == [(0, 1), (0, 2), (0, 4)]


def test_bridges_are_the_best_edges_between_components():
    assert component_labels(5, [(0, 2), (3, 4)]) == [0, 1, 0, 3, 3]
    assert bridges(5, [(0, 2), (3, 4)], [(0, 2), (2, 3), (0, 4), (1, 4)]) == [(2, 3), (1, 4)]


def test_cameras_that_recorded_together_are_joined_moment_by_moment():
    names = [f"{side}/f{number}" for side in ("left", "right") for number in (1, 2, 9)]
    found = joined_pairs(PhotoSet(names), PairsConfig(pairs="sequential", overlap=1))["sequential"]
    across = {pair for pair in found if pair[0][0] != pair[1][0]}
    moments = {(1, 1), (2, 2), (9, 9), (1, 2), (2, 1), (2, 9), (9, 2)}
    assert across == {(f"left/f{a}", f"right/f{b}") for a, b in moments}
    others = [name.replace("right/f", "right/f100") for name in names]
    found = joined_pairs(PhotoSet(others), PairsConfig(pairs="sequential", overlap=1))["sequential"]
    assert {pair for pair in found if pair[0][0] != pair[1][0]} == set()


@pytest.mark.parametrize(("numbers", "joined"), [((1, 5), True), ((1, 5, 6), False)])
def test_cameras_that_share_half_of_the_smaller_folder_recorded_together(numbers, joined):
    names = [*(f"a/{i}" for i in range(1, 5)), *(f"b/{i}" for i in numbers)]
    found = joined_pairs(PhotoSet(names), PairsConfig(pairs="sequential", overlap=1))["sequential"]
    assert any(pair[0][0] != pair[1][0] for pair in found) == joined


def test_a_folder_is_a_sequence_with_far_partners_and_closed_where_it_is_a_loop():
    names = [f"f{i}" for i in range(10)]
    for loop, wanted in ((False, {1, 2, 4}), (True, {1, 2, 4, 6, 8, 9})):  # 6, 8, 9: back to the start
        config = PairsConfig(pairs="sequential", overlap=2, loop=loop)
        found = joined_pairs(PhotoSet(names), config)["sequential"]
        assert {abs(int(a[1:]) - int(b[1:])) for a, b in found} == wanted


def test_the_number_of_a_frame_is_the_last_one_before_the_ending():
    assert [frame_number(name) for name in ("a7/c2_f012.jp2", "3/x.jp2", "9")] == [12, None, 9]


@pytest.mark.parametrize(
    ("names", "num_placed", "one_camera", "way"),
    [
        ([f"x{i:03}" for i in range(150)], 150, True, "exhaustive"),
        ([f"x{i:03}" for i in range(151)], 121, True, "spatial+retrieval"),
        ([f"x{i:03}" for i in range(151)], 120, True, "sequential+retrieval"),
        ([f"v/{i * 30:05}" for i in range(160)], 0, True, "sequential+retrieval"),
        ([f"x{i:03}" for i in range(151)], 0, False, "retrieval"),
        ([f"x{i * i:06}" for i in range(151)], 0, True, "retrieval"),
        ([f"{i}-x" for i in "abcdefghijklmnop" * 10], 0, True, "retrieval"),
    ],
)
def test_auto_goes_by_number_gps_and_names(names, num_placed, one_camera, way):
    assert choose_way(names, names[:num_placed], one_camera)[0] == way


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def scenes(num_scenes=6, photos=8, seed=0, points=150):
    """Photos that see overlapping windows of their scene's points, in the order of the windows."""
    random = np.random.default_rng(seed)
    stored = {}
    for scene in range(num_scenes):
        world = unit(random.normal(size=(points + 20 * photos, 32)))
        for photo in range(photos):
            seen = world[20 * photo : 20 * photo + points]
            noisy = unit(seen + 0.04 * random.normal(size=seen.shape))
            stored[f"s{scene}/{photo}"] = noisy[random.permutation(points)]
    return stored


def test_retrieval_finds_the_scenes_and_joins_them():
    stored = scenes()
    photos = PhotoSet(sorted(stored), lambda name, num: stored[name][:num])
    config = PairsConfig(pairs="retrieval", partners=3)
    found = joined_pairs(photos, config)["retrieval"]
    assert found == joined_pairs(photos, config)["retrieval"]
    neighbours = {(f"s{s}/{i}", f"s{s}/{i + 1}") for s in range(6) for i in range(7)}
    assert neighbours <= set(found)
    between = [pair for pair in found if pair[0][:2] != pair[1][:2]]
    assert len(between) < 0.15 * len(found)
    index = {name: i for i, name in enumerate(photos.names)}
    assert set(component_labels(len(index), [(index[a], index[b]) for a, b in found])) == {0}


def test_photos_without_descriptors_still_have_partners():
    stored = {**scenes(2), "empty": np.zeros((0, 32), np.float32)}
    photos = PhotoSet(sorted(stored), lambda name, num: stored[name][:num])
    found = joined_pairs(photos, PairsConfig(pairs="retrieval", partners=4))["retrieval"]
    assert any("empty" in pair for pair in found)


def test_a_pair_is_paid_by_the_photo_with_more_left_and_nobody_pays_for_more_than_its_partners():
    clique = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    assert paid(6, clique, partners=1) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2)]
    assert paid(6, clique, partners=3) == clique  # 15 pairs, of 18 that can be paid
    star = [(0, j) for j in range(1, 6)]
    assert paid(6, star, partners=1) == star  # 0 pays for the first


def test_choose_gives_what_some_photos_leave_to_others_but_no_more():
    clique = {(i, j): (50 - i, -j) for i in range(10) for j in range(i + 1, 10)}
    assert len(choose(10, clique, partners=3)) == 30
    alone = {(i, i + 1): (0, 0) for i in range(10, 39)}
    pairs = choose(40, clique | alone, partners=3)
    assert clique.keys() <= set(pairs) and len(pairs) <= 45 + 3 * 30


def test_choose_leaves_nobody_alone():
    # A star: photo 0 matches everybody well, the others match each other by chance only.
    scores = {(0, j): (50 - j, 0) for j in range(1, 10)}
    scores |= {(i, j): (1, 0) for i in range(1, 10) for j in range(i + 1, 10)}
    pairs = choose(10, scores, partners=4)
    assert pairs[:9] == [(0, j) for j in range(1, 10)]
    degree = [sum(i in pair for pair in pairs) for i in range(10)]
    assert min(degree) >= LEAST and len(pairs) == len(set(pairs))


def test_neighbours_of_strong_neighbours_are_scored_until_all_are_known(tmp_path):
    """A chain: each photo of a scene overlaps the next ones, but only direct neighbours are candidates."""
    stored = scenes(1, photos=6, points=400)
    names = sorted(stored)
    sketches = Sketches(tmp_path / "s", names, lambda name, num: stored[name][:num])
    scores = _score({(i, i + 1): 0 for i in range(5)}, sketches)
    _further_rounds(scores, sketches, most=100)
    sketches.close()
    assert len(scores) == 15 and all(matches >= STRONG for matches, _ in scores.values())


def test_count_matches_against_a_plain_loop():
    random = np.random.default_rng(1)
    a = np.rint(unit(random.normal(size=(40, 8))) * SCALE).astype(np.float32)
    b = np.rint(unit(a[:30] + 60 * random.normal(size=(30, 8))) * SCALE).astype(np.float32)
    near = 2 * SCALE**2 - 2 * (a.astype(int) @ b.astype(int).T)
    wanted = 0
    for i in range(40):
        j = int(near[i].argmin())
        second = np.delete(near[i], j).min()
        wanted += near[:, j].argmin() == i and near[i, j] < 0.85**2 * second
    assert 0 < wanted < 30 and count_matches(a, b) == wanted


def test_vlad_of_one_word_is_the_direction_of_the_summed_residuals():
    got = vlad(np.array([[3.0, 0], [1, 8]], np.float32), np.array([[1.0, 1.0]], np.float32))
    wanted = np.array([3 + 1 - 2, 0 + 8 - 2]) / np.hypot(2, 6) * LENGTH
    assert got.tolist() == np.rint(wanted).tolist()


def test_nearest_vectors_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("desdis_match.matching.pairs.vlad.BLOCK", 7)
    stored = scenes(3)
    names = sorted(stored)
    sketches = Sketches(tmp_path / "s", names, lambda name, num: stored[name][:num])
    words = sketches.get(0)[:4]
    vectors = Vectors(tmp_path / "v", sketches, words)
    every = vectors.rows(0, len(names))
    products = every @ every.T
    np.fill_diagonal(products, -np.inf)
    for photo, found, values in nearest_photos(vectors, 5):
        order = np.argsort(-products[photo], kind="stable")[:5]
        assert found.tolist() == order.tolist()
        assert values.tolist() == np.maximum(products[photo][order], 0).tolist()
    sketches.close()
