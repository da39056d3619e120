"""report.json is read back as what was written, and what it is not is named."""

import json
from dataclasses import replace

import pytest

from desdis_match.errors import InputError
from desdis_match.storage.report_file import CameraReport, Counts, ImageReport, Report, StageReport
from desdis_match.types import ModelSummary

REPORT = Report(
    images_folder="/photos",
    configuration={"map": {"seed": 3}},
    versions={"torch": "2"},
    stages={"extract": StageReport(1.5, 2**20), "map": StageReport(2.0)},
    counts=Counts(images=3, pairs=2, verified_matches=40),
    models=(ModelSummary(3, 100, 250, 2.5, 0.4),),
    cameras=(CameraReport("SIMPLE_RADIAL", 100, 80, {"f": 90.5, "k": -0.01}, 3),),
    images={"a b.jpg": ImageReport(10, 8, 6, True), "ü.jpg": ImageReport(why="it is empty")},
    added_folders=("/more",),
)


def test_what_is_written_is_read_back(tmp_path):
    path = REPORT.save(tmp_path / "report.json")
    assert Report.load(path) == REPORT
    assert list(Report.load(path).stages) == ["extract", "map"]


def test_without_a_file_it_is_empty(tmp_path):
    assert Report.load(tmp_path / "report.json") == Report()


def test_fields_of_later_versions_are_passed_over_and_missing_ones_take_their_default(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"later": 1, "images": {"a.jpg": {"why": "too dark"}}}))
    assert Report.load(path) == replace(Report(), images={"a.jpg": ImageReport(why="too dark")})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not readable JSON"),
        ("[]", "Report is [], expected Mapping"),
        ('{"models": [{"num_registered": "3"}]}', "Report.models[0].num_registered is '3', expected int"),
        ('{"models": [{}]}', "Report.models[0].num_registered is missing"),
        ('{"images": {"a": {"registered": 1}}}', "Report.images.a.registered is 1, expected bool"),
        ('{"counts": {"pairs": true}}', "Report.counts.pairs is True, expected int"),
        ('{"diagnosis": 3}', "Report.diagnosis is 3, expected str"),
    ],
)
def test_what_is_no_report_is_named(tmp_path, content, told):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        Report.load(path)
    assert told in str(error.value) and str(path) in str(error.value)
