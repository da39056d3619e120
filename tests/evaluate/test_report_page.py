import json

import numpy as np
import pytest
from browser import Browser, find_browser

from desdis_match.commands.evaluate import main
from desdis_match.errors import InputError
from desdis_match.evaluate.output import OutputConfig, emit, to_json
from desdis_match.evaluate.planes.pictures import side_by_side
from desdis_match.evaluate.results import Chart, Column, Series, Table, TaskResult, Worst, from_json

COMMAND = "desdis-match evaluate homographies --root 'some where'"


def a_result(picture=""):
    columns = (Column("features"), Column("AP", ".3f", "high"), Column("error", ".2f", "low"))
    rows = (
        ("one <b>", 0.25, 3.0),
        ("two", 0.75, float("inf")),
        ("three", float("nan"), 1.0),
        ("ten", 0.5, 20.0),
    )
    lines = Series("two", (1.0, 2.0, 3.0), (0.1, 0.4, 0.5))
    return TaskResult(
        task="homographies",
        options={"pixels": 3.0},
        data={"sha256": "abc"},
        weights={"two": "f" * 64},
        tables=(Table("Scores", columns, rows),),
        charts=(Chart("Accuracy", "lines", "px", "share", (lines,)),),
        content={"value": 1 / 3},
        worst=(
            Worst("graf 1-6", "90 of 100 matches wrong", 90.0, picture),
            Worst("bark 1-2", "1 wrong", 1.0),
        ),
        notes=("i_away left out",),
    )


def test_a_stored_result_says_how_it_was_made_and_comes_back_whole(tmp_path, capsys):
    places = OutputConfig(tmp_path / "deep" / "r.json", tmp_path / "r.md", tmp_path / "r.svg")
    emit(a_result(), places, COMMAND)
    stored = json.loads(places.json.read_text())
    assert stored["command"] == "desdis-match evaluate homographies --root 'some where'"
    assert stored["value"] == 1 / 3 and stored["weights"] == {"two": "f" * 64}
    assert {"torch", "pycolmap", "numpy", "desdis_match", "processor"} <= set(stored["versions"])
    back = from_json(stored, "r.json")
    assert back.tables[0].rows[0] == ("one <b>", 0.25, 3.0) and back.charts == a_result().charts
    assert back.worst == a_result().worst and back.notes == a_result().notes
    markdown = places.markdown.read_text()
    assert "| two | 0.750 | inf |" in markdown and "i_away left out" in markdown and "f" * 64 in markdown
    assert places.plot.read_text().startswith("<?xml")
    shown = capsys.readouterr().out
    assert "0.750" in shown and "note: i_away left out" in shown


def test_what_is_no_stored_result_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        main(["report", str(tmp_path / "gone.json")])
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        main(["report", str(tmp_path / "x.json")])
    (tmp_path / "x.json").write_text('{"task": "t"}')
    with pytest.raises(InputError, match="not a result stored by"):
        main(["report", str(tmp_path / "x.json")])
    with pytest.raises(InputError, match="cannot be written"):
        emit(a_result(), OutputConfig(tmp_path / "x.json" / "below.json"), COMMAND)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    import cv2

    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 256, (60, 80), np.uint8))
    ends = np.array([[10.0, 10], [70, 50]])
    jpeg = side_by_side(folder / "a.png", folder / "b.png", ends, ends, np.array([True, False]))
    (folder / "worst.jpg").write_bytes(jpeg)
    for name in ("first", "second"):
        stored = to_json(a_result("worst.jpg"), COMMAND)
        (folder / f"{name}.json").write_text(json.dumps(stored))
    output = folder / "report.html"
    assert (
        main(["report", *(str(folder / f"{n}.json") for n in ("first", "second")), "--output", str(output)])
        == 0
    )
    return output


def test_the_page_is_self_contained(page):
    text = page.read_text()
    assert "one &lt;b&gt;" in text and "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text and "<link" not in text and text.count("data:image/jpeg;base64,") == 2
    assert "desdis-match evaluate homographies" in text and "f" * 64 in text


def test_the_page_works_in_a_browser(page, tmp_path):
    found = find_browser()
    if found is None:
        pytest.skip("Chromium and chromedriver are not on this machine (apt-get install chromium-driver)")
    first = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[0].textContent)"
    with Browser(*found, tmp_path / "profile") as browser:
        browser.open(page)
        assert browser.errors() == []
        assert browser.run(first) == ["one <b>", "two", "three", "ten"]
        browser.click("th:nth-child(2)")  # AP: the largest first, what is no number last
        assert browser.run(first) == ["two", "ten", "one <b>", "three"]
        browser.click("th:nth-child(3)")
        browser.click("th:nth-child(3)")  # error, from the smallest
        assert browser.run(first) == ["three", "one <b>", "ten", "two"]
        pictures = "[...document.images].map(i => i.complete && i.naturalWidth > 100)"
        browser.wait(f"{pictures}.every(Boolean)")
        assert browser.run("document.images.length") == 4  # charts and a worst case of each result
        browser.wait("document.querySelectorAll('section').length === 2")
        cases = "[...document.querySelectorAll('table')[1].tBodies[0].rows].map(r => r.cells[0].textContent)"
        assert browser.run(cases) == ["graf 1-6", "bark 1-2"]
