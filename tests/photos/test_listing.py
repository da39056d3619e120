"""Which files of a folder are photos: links, loops, hidden folders, and what is named as not read."""

import importlib.util
import os
from pathlib import Path

import pytest

from desdis_match.errors import InputError
from desdis_match.photos import formats
from desdis_match.photos.images import list_images
from desdis_match.photos.listing import look_through


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_links_to_folders_are_followed_and_a_loop_ends(tmp_path):
    photos, elsewhere = touch(tmp_path / "photos", "cam0/a.jpg"), touch(tmp_path / "elsewhere", "b.jpg")
    (photos / "cam1").symlink_to(elsewhere)
    (photos / "round").symlink_to(photos)
    (elsewhere / "back").symlink_to(photos / "cam0")
    assert list_images(photos) == ["cam0/a.jpg", "cam1/b.jpg"]


def test_a_folder_and_a_link_to_it_are_read_once_under_its_own_name(tmp_path):
    touch(tmp_path, "zoo/a.jpg")
    (tmp_path / "alias").symlink_to(tmp_path / "zoo")
    (tmp_path / "second").symlink_to(tmp_path / "zoo")
    assert list_images(tmp_path) == ["zoo/a.jpg"]


def test_hidden_and_thumbnail_folders_are_passed_over(tmp_path):
    hidden = [".thumbnails/a.jpg", "@eaDir/b.jpg", "__MACOSX/c.jpg", "._d.jpg", ".e.jpg", "sub/.f/g.jpg"]
    touch(tmp_path / ".cache", *hidden, "photo.JPG")  # the folder that is given may itself be hidden
    assert list_images(tmp_path / ".cache") == ["photo.JPG"]


def test_what_is_not_read_is_named_with_the_way_to_have_it(tmp_path, monkeypatch):
    touch(tmp_path, "a.jfif", "b.gif", "c.HEIC", "d.dng", "e.dng", "f.mov", "notes.txt")
    there = importlib.util.find_spec
    monkeypatch.setattr(
        formats, "find_spec", lambda name: None if name in ("pillow_heif", "rawpy") else there(name)
    )
    listing = look_through(tmp_path)
    assert listing.names == ("a.jfif",) and listing.films == ("f.mov",)
    said = listing.sentence()
    assert "1 HEIC: not read (c.HEIC); pip install 'desdis-match[formats]'" in said
    assert "2 camera RAW: not read (d.dng, ...)" in said
    assert "1 GIF: not read (b.gif); convert" in said and "1 film: not read (f.mov)" in said
    assert "notes" not in said
    monkeypatch.setattr(formats, "find_spec", lambda name: object())
    assert look_through(tmp_path).names == ("a.jfif", "c.HEIC", "d.dng", "e.dng")


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        look_through(touch(tmp_path, "a.jpg") / "a.jpg")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_broken_link_is_passed_over(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert list_images(tmp_path) == ["a.jpg"]
