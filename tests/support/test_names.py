"""Photos are found by the ends of their names, where these leave no doubt."""

from desdis_match.support.names import by_ends


def test_a_name_is_found_by_its_end_where_only_one_has_it():
    found = {"images/a.jpg": 1, "left/b.jpg": 2, "right/b.jpg": 3, "c.jpg": 4, "x/c.jpg": 5}
    names = ["a.jpg", "b.jpg", "right/b.jpg", "set/images/a.jpg", "c.jpg", "other/a.jpg", "d.jpg"]
    assert by_ends(found, names) == {"a.jpg": 1, "right/b.jpg": 3, "set/images/a.jpg": 1, "c.jpg": 4}
