"""Files that appear whole or not at all, and are not written over what is read."""

import os
import sys
from pathlib import Path

import pytest
from limits import largest_file

from desdis_match.errors import InputError
from desdis_match.support.files import KINDS, atomic_path, check_not_read, check_room, write_text


@pytest.mark.parametrize("place", [".", "..", "/", "folder", "folder/."])
def test_a_folder_is_no_file_to_write(tmp_path: Path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        write_text(Path(place), "x")


def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="too long"), atomic_path(tmp_path / ("a" * 5000)):
        pass


def test_what_is_read_is_not_written_over(tmp_path: Path):
    read, other = tmp_path / "read", tmp_path / "other"
    check_not_read(read, read)  # nothing is there that could be lost
    read.touch()
    os.symlink(read, tmp_path / "link")
    check_not_read(other, read, None)
    for written in (read, tmp_path / "link", tmp_path / "." / "read"):
        with pytest.raises(InputError, match="is what is read"):
            check_not_read(written, other, read)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_room_is_asked_for_and_given_back(tmp_path: Path):
    check_room(tmp_path / "room", 1 << 16)
    with largest_file(1 << 12), pytest.raises(OSError, match="large"):
        check_room(tmp_path / "room", 1 << 16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [*KINDS, b"\0\0\0 ftypheic"])
def test_a_file_of_another_kind_is_not_lost(tmp_path: Path, start):
    there = tmp_path / "there"
    there.write_bytes(start + b" and more")
    with pytest.raises(InputError, match="would be lost"):
        write_text(there, "a, b")
    assert there.read_bytes() == start + b" and more"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    with atomic_path(there) as temporary:  # one of its own kind
        temporary.write_bytes(start + b" and less")
    assert there.read_bytes() == start + b" and less"
    there.write_text("words")
    write_text(there, "a, b")
    assert there.read_text() == "a, b"
