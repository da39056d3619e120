"""A run has its folder to itself, from its first stage to its last."""

from pathlib import Path

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.pipeline import PairsConfig, alone_in, pairs, run_in
from desdis_match.pipeline.resume import unfinished
from desdis_match.pipeline.spread import Shard
from desdis_match.storage.features_file import write_features
from desdis_match.types import Features

SHARDS = (None, Shard(1, 2))
AT_WORK = "another run is at work"


@pytest.mark.parametrize("shard", SHARDS)
def test_a_stage_alone_is_refused_while_a_run_is_between_its_stages(tmp_path: Path, shard):
    with alone_in(tmp_path):  # a run of another process: here it is not known as one's own
        with pytest.raises(InputError, match=AT_WORK), unfinished(tmp_path / "features.h5", {}, shard):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with unfinished(tmp_path / "features.h5", {}, shard):
        pass


def test_so_is_a_new_list_of_pairs(tmp_path: Path):
    one = Features(*(np.zeros(shape, np.float32) for shape in ((0, 2), (0, 128), 0, 0, 0)), (8, 8))
    write_features(tmp_path / "features.h5", [("a.jpg", one), ("b.jpg", one)], {})
    with alone_in(tmp_path), pytest.raises(InputError, match=AT_WORK):
        pairs(tmp_path / "features.h5", tmp_path / "pairs.txt", PairsConfig())
    assert not (tmp_path / "pairs.txt").exists()


def test_a_runs_own_stages_go_on(tmp_path: Path):
    with run_in(tmp_path), unfinished(tmp_path / "features.h5", {}):
        pass
    with pytest.raises(ZeroDivisionError), run_in(tmp_path):
        raise ZeroDivisionError
    with run_in(tmp_path):
        pass


@pytest.mark.parametrize("shard", SHARDS)
def test_a_run_is_refused_while_a_stage_alone_is_at_work_in_its_folder(tmp_path: Path, shard):
    with (
        unfinished(tmp_path / "matches.h5", {}, shard),
        pytest.raises(InputError, match=AT_WORK),
        run_in(tmp_path),
    ):
        pass
    with run_in(tmp_path):
        pass
