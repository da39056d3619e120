"""What was tried comes back from its file."""

from pathlib import Path

from desdis_match.storage.placing_file import Attempt, PlacingRecord


def test_the_record_comes_back(tmp_path: Path) -> None:
    attempts = (Attempt("incremental", 3, 20, 0.5, True), Attempt("global", 6, 90, 1.5, True))
    record = PlacingRecord(attempts, ("Café.",))
    assert PlacingRecord.load(record.save(tmp_path / "placing.json")) == record
    assert PlacingRecord.load(tmp_path / "none.json") == PlacingRecord()
