"""Spread work: the same bytes from threads, processes and parts; a dead worker costs its piece only."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spreadtasks import Square

from desdis_match.commands import cli
from desdis_match.errors import InputError
from desdis_match.features.extract import ExtractConfig
from desdis_match.pipeline import PairsConfig, RunConfig, extract, match, pairs
from desdis_match.pipeline.resume import alone_in, parts_folder, unfinished
from desdis_match.pipeline.spread import Shard, spread
from desdis_match.pipeline.verification import verify_pairs
from desdis_match.support.workers import WorkerLost

FILES = ["features.h5", "matches.h5", "two_view.h5"]
CONFIG = ExtractConfig(descriptor="rootsift", max_keypoints=300)


def stages(images: Path, out: Path, **how) -> list[bytes]:
    """features.h5, matches.h5 and two_view.h5, made `how`."""
    out.mkdir(exist_ok=True)
    features, listed, matches = out / "features.h5", out / "pairs.txt", out / "matches.h5"
    how = {"run": RunConfig("cpu", workers=1), **how}
    extract(images, features, CONFIG, **how)
    pairs(features, listed, PairsConfig())
    match(features, listed, matches, **how)
    verify_pairs(images, features, matches, out / "two_view.h5", **how)
    return [(out / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def alone(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return stages(scene_folder / "images", tmp_path_factory.mktemp("alone"))


def test_an_executor_gives_the_same_bytes(scene_folder, tmp_path, alone, monkeypatch):
    for module in ("matching", "verification"):
        monkeypatch.setattr(f"desdis_match.pipeline.{module}.PAIRS_A_PIECE", 2)
    with ThreadPoolExecutor(3) as executor:
        assert stages(scene_folder / "images", tmp_path, executor=executor) == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features.h5",
        "matches.h5",
        "pairs.json",
        "pairs.txt",
        "two_view.h5",
    ]


def test_parts_in_any_order_and_merged_give_the_same_bytes(scene_folder, tmp_path, alone):
    images = f"--images={scene_folder / 'images'}"
    features, matches = f"--features={tmp_path / 'features.h5'}", f"--matches={tmp_path / 'matches.h5'}"
    listed = f"--pairs={tmp_path / 'pairs.txt'}"
    output = {"extract": "features.h5", "match": "matches.h5", "verify": "two_view.h5"}
    commands = {
        "extract": [images, "--descriptor=rootsift", "--max-keypoints=300", "--workers=1", "--device=cpu"],
        "match": [features, listed, "--device=cpu"],
        "verify": [images, features, matches],
    }
    for stage, options in commands.items():
        command = [*options, f"--output={tmp_path / output[stage]}"]
        for part in ("3/3", "1/3"):
            assert cli.main([stage, *command, f"--shard={part}"]) == 0
        assert not (tmp_path / output[stage]).exists()
        assert cli.main(["merge-shards", stage, *command]) == 2  # the second part is missing
        assert cli.main([stage, *command, "--shard=2/3"]) == 0
        if stage == "extract":  # now all photos together say which are turned
            for part in ("1/3", "2/3"):
                assert cli.main([stage, *command, f"--shard={part}"]) == 0
        assert cli.main(["merge-shards", stage, *command]) == 0
        assert not parts_folder(tmp_path / output[stage]).exists()
        if stage == "extract":
            pairs(tmp_path / "features.h5", tmp_path / "pairs.txt", PairsConfig())
    assert [(tmp_path / name).read_bytes() for name in FILES] == alone


def test_what_is_missing_is_named(scene_folder, tmp_path, capsys):
    with pytest.raises(
        InputError, match=r"3 of 6 images of .*features\.h5 are not done yet, .*run the parts"
    ):
        for arguments in ({"shard": Shard(1, 2)}, {"merge": True}):
            extract(
                scene_folder / "images",
                tmp_path / "features.h5",
                CONFIG,
                run=RunConfig("cpu", 1),
                **arguments,
            )


def test_parts_cover_everything_once_and_keep_neighbours():
    items = list(range(11))
    parts = [Shard(i, 4).of(items) for i in range(1, 5)]
    assert [one for part in parts for one in part] == items
    assert {len(part) for part in parts} == {2, 3}
    assert Shard.parse("2/4") == Shard(2, 4)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/2/3", "-1/2"])
def test_wrong_parts_are_refused(text):
    with pytest.raises(InputError, match=f"shard is '{text}'; give i/n"):
        Shard.parse(text)


def test_two_parts_may_be_at_work_but_not_the_same_and_not_the_whole(tmp_path):
    output = tmp_path / "out"
    with unfinished(output, {"a": 1}, Shard(1, 2)) as first:
        first.save("1", {})
        with unfinished(output, {"a": 1}, Shard(2, 2)) as second:
            second.save("2", {})
        with (
            pytest.raises(InputError, match=r"at work in .*out, part 1/2"),
            unfinished(output, {}, Shard(1, 2)),
        ):
            pass
        with pytest.raises(InputError, match=r"at work in .*part-1-2"), unfinished(output, {"a": 1}):
            pass
    with unfinished(output, {"a": 1}) as whole:
        assert whole.done() == {"1", "2"}
        with (
            pytest.raises(InputError, match="another run is at work"),
            unfinished(output, {"a": 1}, Shard(1, 2)),
        ):
            pass
    assert list(tmp_path.iterdir()) == []
    with alone_in(tmp_path):
        pass


def run_squares(folder: Path, task: Square, workers: int) -> list[int]:
    with unfinished(folder / "out", {}) as shards:
        spread(task, range(8), shards, "square", "numbers", piece_size=2, workers=workers)
        return [int(shards.load(str(i))["square"]) for i in range(8)]


def test_a_worker_that_dies_costs_its_piece_only(tmp_path, caplog):
    assert run_squares(tmp_path, Square(tmp_path, deadly=5), 2) == [i * i for i in range(8)]
    assert "during one of" in caplog.text and "it is begun again" in caplog.text
    seen = (tmp_path / "seen").read_text().split()
    assert set(seen) == set("01234567") and len(seen) < 14


def test_a_piece_that_always_kills_its_worker_ends_the_stage(tmp_path):
    with pytest.raises(WorkerLost):
        run_squares(tmp_path, Square(tmp_path, deadly=5, always=True), 2)
    assert not multiprocessing.active_children()


def test_an_unknown_executor_is_refused():
    with pytest.raises(InputError, match=r"executor is 'ray'; it must be processes, dask:ADDRESS"):
        RunConfig(executor="ray")
    with pytest.raises(InputError, match="needs --workers, the number of Slurm jobs"):
        RunConfig(executor="slurm")
