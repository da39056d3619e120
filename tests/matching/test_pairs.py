"""Which pairs: each once, in a known order, through files with awkward names."""

from functools import lru_cache

import pytest

from desdis_match.errors import InputError
from desdis_match.matching.pairs import (
    REUSE,
    exhaustive_pairs,
    pairs_from_file,
    reuse_order,
    sequential_pairs,
    write_pairs,
)
from desdis_match.pipeline.pairing import PairsConfig, choose_pairs


def joined(pairs):
    return " ".join("".join(pair) for pair in pairs)


def test_exhaustive_is_every_pair_once():
    assert joined(exhaustive_pairs("abcd")) == "ab ac ad bc bd cd"
    assert exhaustive_pairs(["a"]) == exhaustive_pairs([]) == []


def test_sequential_joins_neighbours_of_the_sorted_names():
    assert joined(sequential_pairs("dcba", 1)) == "ab bc cd"
    assert joined(sequential_pairs("abcd", 2)) == "ab ac bc bd cd"
    assert sequential_pairs("abcd", 9) == exhaustive_pairs("abcd")


def test_numbers_in_names_are_sorted_by_value():
    names = ["f10", "f2", "f1", "f01", "g1"]
    assert sequential_pairs(names, 1) == [("f01", "f1"), ("f1", "f2"), ("f2", "f10"), ("f10", "g1")]


def test_quadratic_overlap_reaches_powers_of_two():
    steps = {ord(b) - ord(a) for a, b in sequential_pairs("abcdefghijklmnopqrstuvwxyz", 4, quadratic=True)}
    assert steps == {1, 2, 3, 4, 8, 16}


def test_a_loop_joins_the_end_to_the_start_once():
    assert joined(sequential_pairs("abcde", 1, loop=True)) == "ab bc cd de ae"
    assert sorted(sequential_pairs("abcd", 2, loop=True)) == exhaustive_pairs("abcd")
    assert sequential_pairs("a", 2, loop=True) == []


def test_overlap_must_be_positive():
    with pytest.raises(InputError, match="overlap is 0"):
        sequential_pairs("abc", 0)


def test_reuse_order_keeps_the_pairs_and_seldom_loads():
    names = [f"{i:03}" for i in range(100)]
    pairs = exhaustive_pairs(names)
    ordered = reuse_order(pairs)
    assert sorted(ordered) == pairs

    def loads(order):
        hold = lru_cache(maxsize=2 * REUSE)(lambda name: name)
        for pair in order:
            hold(pair[0]), hold(pair[1])
        return hold.cache_info().misses

    assert loads(pairs) > 3000
    assert loads(ordered) < 600


NAMES = [
    "a.jpg",
    "b c.jpg",
    "été/日 本.png",
    "c.jpg",
    "d  e.jpg",
    " f.jpg",
    "#1.jpg",
    "#1.jpg b.jpg",
    "b.jpg",
]


def test_any_names_survive_a_round_trip(tmp_path):
    pairs = exhaustive_pairs(NAMES[:7])
    assert pairs_from_file(write_pairs(tmp_path / "pairs.txt", pairs), NAMES[:7]) == pairs
    assert not list(tmp_path.glob("*.tmp"))


def test_comments_blank_lines_repeats_and_line_ends(tmp_path):
    (tmp_path / "pairs.txt").write_bytes(
        b"# a.jpg c.jpg\r\na.jpg c.jpg\r\n\r\nc.jpg a.jpg\n  c.jpg \t b c.jpg\n"
    )
    assert pairs_from_file(tmp_path / "pairs.txt", NAMES) == [("a.jpg", "c.jpg"), ("c.jpg", "b c.jpg")]
    (tmp_path / "pairs.txt").write_text("# remark\na b\n")
    assert pairs_from_file(tmp_path / "pairs.txt") == [("a", "b")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_list_from_windows_programs_is_read(tmp_path, encoding):
    """With a byte order mark, or in UTF-16, which some write without one."""
    (tmp_path / "pairs.txt").write_bytes("a.jpg ü.jpg\r\nü.jpg c.jpg\r\n".encode(encoding))
    names = ["a.jpg", "c.jpg", "ü.jpg"]
    assert pairs_from_file(tmp_path / "pairs.txt", names) == [("a.jpg", "ü.jpg"), ("ü.jpg", "c.jpg")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg x.jpg", r"pairs.txt, line 2: there is no image 'x.jpg'"),
        ("a.jpg x y.jpg", r"pairs.txt, line 2: 'a.jpg x y.jpg' is not two names"),
        ("a.jpg", r"line 2: 'a.jpg' is not two names"),
        ("a.jpg a.jpg", r"line 2: 'a.jpg' is paired with itself"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    (tmp_path / "pairs.txt").write_text(f"a.jpg c.jpg\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        pairs_from_file(tmp_path / "pairs.txt", NAMES)


def test_a_line_of_two_readings_is_refused(tmp_path):
    names = ["a", "a b", "b c", "c"]
    (tmp_path / "pairs.txt").write_text("a b c\n")
    with pytest.raises(InputError, match="'a' with 'b c' or 'a b' with 'c'; rename one"):
        pairs_from_file(tmp_path / "pairs.txt", names)


def test_without_known_names_blanks_cannot_be_told(tmp_path):
    (tmp_path / "pairs.txt").write_text("a b c\n")
    with pytest.raises(InputError, match="give the image names"):
        pairs_from_file(tmp_path / "pairs.txt")


def test_a_missing_file_and_a_line_break_in_a_name(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        pairs_from_file(tmp_path / "none.txt", NAMES)
    with pytest.raises(InputError, match="line break"):
        write_pairs(tmp_path / "pairs.txt", [("a\nb", "c")])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_pairs(tmp_path, [("a", "b")])
    with pytest.raises(InputError, match=r"cannot be written \(.+\); give another path"):
        write_pairs(tmp_path / "file" / "pairs.txt", [("a", "b")])


def test_pairs_of_photos_that_were_left_out_are_skipped(tmp_path, caplog):
    config = PairsConfig(pairs_file=tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_text("a c\na black.png\n")
    assert choose_pairs(["a", "c"], config, {"black.png": "is black"}) == [("a", "c")]
    assert "1 of the 2 pairs of" in caplog.text and "(black.png)" in caplog.text
    with pytest.raises(InputError, match=r"there is no image 'black\.png'"):
        choose_pairs(["a", "c"], config)
