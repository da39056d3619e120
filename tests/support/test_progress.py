"""How far work is, without a terminal."""

import pytest

from desdis_match.support import progress as module
from desdis_match.support.progress import progress, set_verbosity, track


@pytest.fixture
def lines(monkeypatch):
    """Command-line settings, put back afterwards; no wait between lines."""
    monkeypatch.setattr(module, "_lines", True)
    monkeypatch.setattr(module, "_quiet", False)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)


def test_a_line_every_tenth_part_and_one_at_the_end(lines, capsys):
    assert list(track(range(40), "match", unit="pairs")) == list(range(40))
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said[:-1]] == [f"match: {p} %" for p in range(10, 100, 10)]
    assert "(4 of 40 pairs, " in said[0]
    assert said[-1].startswith("match: 40 pairs in ")


def test_fast_stages_say_one_line(lines, monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 2.0)
    list(track(range(1000), "pairs", unit="pairs"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_was_done_before_counts(lines, capsys):
    """70 of 100 were done: the first line is that of 80 %."""
    list(track(range(30), "extract", unit="photos", done=70))
    said = capsys.readouterr().err.splitlines()
    assert "80 % (80 of 100 photos" in said[0] and said[-1].startswith("extract: 100 photos in ")


def test_a_count_that_stops_early_says_of_how_many(lines, capsys):
    with progress("map", 5, "images") as advance:
        advance(2)
        advance(1)
    assert capsys.readouterr().err.splitlines()[-1].startswith("map: 3 of 5 images in ")


def test_libraries_and_quiet_commands_say_nothing(capsys, monkeypatch):
    list(track(range(9), "match"))
    monkeypatch.setattr(module, "_quiet", False)
    monkeypatch.setattr(module, "_lines", False)
    set_verbosity(quiet=True)
    list(track(range(9), "match"))
    assert capsys.readouterr().err == ""
