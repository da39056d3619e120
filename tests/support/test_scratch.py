"""Where files lie that come and go."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from desdis_match.errors import InputError
from desdis_match.support.scratch import folder_beside, scratch_in, temporary_folder


def place() -> str:
    with temporary_folder() as folder:
        assert folder.is_dir() and not any(folder.iterdir())
        (folder / "file").touch()
    assert not folder.exists()
    return str(folder.parent)


def test_temporary_folders_lie_where_the_innermost_block_says(tmp_path):
    outer, inner = str(tmp_path / "outer" / "new"), str(tmp_path / "inner")
    (tmp_path / "inner").mkdir()
    assert place() == tempfile.gettempdir()
    with scratch_in(tmp_path / "outer" / "new"):
        with pytest.raises(ZeroDivisionError), scratch_in(tmp_path / "inner"):
            assert place() == inner
            raise ZeroDivisionError
        assert (tmp_path / "inner").exists()
        assert place() == outer and not (tmp_path / "outer" / "new").exists()
    assert place() == tempfile.gettempdir()


def test_threads_have_places_of_their_own(tmp_path):
    def work(name: str) -> str:
        with scratch_in(tmp_path / name):
            return place()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, "abab")) == [str(tmp_path / name) for name in "abab"]


def test_a_place_that_another_takes_away_is_made_again(tmp_path, monkeypatch):
    """As threads do that share one: the first to end finds it empty, while the second is about to use it."""
    mkdir, taken = Path.mkdir, []

    def mkdir_and_lose(path, *args, **kwargs):
        mkdir(path, *args, **kwargs)
        if path == tmp_path / "shared" and not taken:
            taken.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_and_lose)
    with scratch_in(tmp_path / "shared"):
        assert place() == str(tmp_path / "shared")
    assert taken and not (tmp_path / "shared").exists()


def test_a_folder_beside_a_file_begins_empty_and_goes(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), folder_beside(tmp_path / "new" / "a.h5") as folder:
            assert folder == tmp_path / "new" / ".a.h5.scratch" and not any(folder.iterdir())
            raise ZeroDivisionError
        assert not folder.exists()
        folder.mkdir()
        (folder / "left").touch()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"a\.h5.* cannot be written"),
        folder_beside(tmp_path / "file" / "a.h5"),
    ):
        pass
