"""The patch file: whole or not at all, and no bit of it changes unseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from limits import largest_file

from desdis_match.errors import InputError
from desdis_match.patchsets.patchfile import read_patch_file, write_patch_file
from desdis_match.patchsets.patchset import PatchSet


def patches(seed: int = 0) -> PatchSet:
    random = np.random.default_rng(seed)
    columns = {name: np.arange(200) // 2 for name in ("points", "groups", "doubt")}
    pixels = random.integers(0, 256, (200, 64, 64), np.uint8)
    context = np.full(200, 1.5, np.float32)
    return PatchSet(pixels, **columns, context=context, sources=("made",), licences=("none",))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    made = patches()
    path = write_patch_file(tmp_path / "p.h5", made, {})
    found = read_patch_file(path)
    for name in ("patches", "points", "groups", "doubt", "context"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert (found.sources, found.licences) == (("made",), ("none",))
    assert write_patch_file(tmp_path / "q.h5", made, {}).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_flipped_bit_is_noticed(tmp_path: Path, share: float) -> None:
    path = write_patch_file(tmp_path / "p.h5", patches(), {})
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_patch_file(path)


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_patch_file(tmp_path / "p.h5", patches(), {})
    before = path.read_bytes()
    with largest_file(len(before) // 2), pytest.raises(InputError, match="the disk is full"):
        write_patch_file(path, patches(1), {})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["p.h5"]
