"""Resume: what a kill cut short is not there, what was finished is, and another configuration starts anew."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from desdis_match.errors import InputError
from desdis_match.pipeline.resume import unfinished
from desdis_match.support.checkpoint import (
    ShardFolder,
    features_from_arrays,
    features_to_arrays,
    matches_from_arrays,
    matches_to_arrays,
)
from desdis_match.types import Features, Matches

WRITER = """
import sys, numpy as np
from pathlib import Path
from desdis_match.support.checkpoint import ShardFolder
folder = ShardFolder(Path(sys.argv[1]), {"a": 1})
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    folder.save(f"k{i}", {"x": np.full(20000, i)})
print("finished", flush=True)
"""


def test_saved_pieces_are_there_for_the_next_run(tmp_path: Path) -> None:
    first = ShardFolder(tmp_path / "s", {"a": 1})
    first.save("sub/ü 1.jpg", {"x": np.arange(3), "empty": np.zeros((0, 2), np.float32)})
    again = ShardFolder(tmp_path / "s", {"a": 1})
    assert again.done() == {"sub/ü 1.jpg"}
    arrays = again.load("sub/ü 1.jpg")
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["empty"].shape == (0, 2)
    with pytest.raises(KeyError):
        again.load("b")
    again.save("b", {"x": np.arange(1)})
    assert first.done() == {"sub/ü 1.jpg", "b"}
    again.remove()
    assert not (tmp_path / "s").exists()


def test_another_configuration_empties_the_folder(tmp_path: Path) -> None:
    ShardFolder(tmp_path / "s", {"a": 1}).save("k", {"x": np.arange(3)})
    assert ShardFolder(tmp_path / "s", {"a": 2}).done() == set()
    assert ShardFolder(tmp_path / "s", {"a": 1}).done() == set()


def test_pieces_of_an_older_format_are_made_anew(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {"a": 1})
    folder.save("k", {"x": np.arange(3)})
    (tmp_path / "s" / "config.json").write_text(folder.stamp.replace("shards 2", "shards 1"))
    assert ShardFolder(tmp_path / "s", {"a": 1}).done() == set()


def test_arrays_of_any_type_and_shape_come_back(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {})
    arrays = {
        "text": np.array("is dämaged\n"),
        "bytes": np.arange(5, dtype=np.uint8),
        "turned": np.arange(12, dtype=np.float16).reshape(3, 4).T,
        "none": np.zeros((4, 0)),
        "last": np.array(7),
    }
    folder.save("k", arrays)
    back = folder.load("k")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert (back[name] == array).all() and back[name].flags.aligned and back[name].flags.writeable


def test_a_folder_half_emptied_is_emptied_again(tmp_path: Path) -> None:
    ShardFolder(tmp_path / "s", {"a": 1}).save("k", {"x": np.arange(3)})
    (tmp_path / "s" / "config.json").unlink()
    assert ShardFolder(tmp_path / "s", {"a": 1}).done() == set()


def test_every_cut_loses_only_the_piece_it_cuts(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {})
    folder.save("k0", {"x": np.arange(3)})
    (log,) = (tmp_path / "s").glob("*.log")
    end_of_first = log.stat().st_size
    folder.save("k1", {"x": np.arange(4)})
    folder.close()
    whole = log.read_bytes()
    for cut in range(len(whole)):
        log.write_bytes(whole[:cut])
        assert ShardFolder(tmp_path / "s", {}).done() == ({"k0"} if cut >= end_of_first else set())


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {})
    folder.save("k0", {"x": np.arange(3)})
    folder.close()
    (log,) = (tmp_path / "s").glob("*.log")
    whole = log.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        log.write_bytes(data)
        assert ShardFolder(tmp_path / "s", {}).done() == set()


def test_kill_9_in_the_middle_of_several_writers(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {"a": 1})
    args = [sys.executable, "-c", WRITER, str(tmp_path / "s")]
    endless = subprocess.Popen([*args, "0", "1000000"])
    other = subprocess.run([*args, "2000000", "2000030"], capture_output=True, text=True, check=True)
    while len(folder.done()) < 33:
        assert endless.poll() is None
        time.sleep(0.02)
    endless.send_signal(signal.SIGKILL)
    endless.wait()
    assert other.stdout == "finished\n"
    done = ShardFolder(tmp_path / "s", {"a": 1}).done()
    assert {f"k{i}" for i in range(2000000, 2000030)} < done
    numbers = sorted(int(key[1:]) for key in done)[:-30]
    assert numbers == list(range(len(numbers)))
    for number in (numbers[0], numbers[-1], 2000029):
        assert (folder.load(f"k{number}")["x"] == number).all()


def test_workers_get_a_copy_that_writes_its_own_log(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "s", {})
    folder.save("a", {"x": np.arange(1)})
    copy = pickle.loads(pickle.dumps(folder))
    copy.save("b", {"x": np.arange(2)})
    child = os.fork()
    if child == 0:
        folder.save("c", {"x": np.arange(3)})
        os._exit(0)
    os.waitpid(child, 0)
    folder.save("d", {"x": np.arange(4)})
    assert folder.done() == {"a", "b", "c", "d"}
    assert len(list((tmp_path / "s").glob("*.log"))) == 3


def test_records_survive_the_round_trip() -> None:
    ones = np.ones(2, np.float32)
    made = Features(
        np.ones((2, 2), np.float32), np.eye(2, 4, dtype=np.float32) / 3, ones, 2 * ones, 3 * ones, (640, 480)
    )
    back = features_from_arrays(features_to_arrays(made))
    assert back.image_size == (640, 480)
    assert (back.descriptors == made.descriptors.astype(np.float16)).all()
    assert (back.scores[0], back.scales[0], back.angles[0]) == (1, 2, 3)
    pair = matches_from_arrays(
        matches_to_arrays(Matches(np.array([[1, 2]], np.int32), np.ones(1, np.float32)))
    )
    assert pair.indices.tolist() == [[1, 2]]


def test_a_stage_keeps_its_pieces_until_its_output_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "features.h5"
    with pytest.raises(KeyboardInterrupt), unfinished(output, {"a": 1}) as shards:
        shards.save("done", {"x": np.arange(3)})
        raise KeyboardInterrupt
    with unfinished(output, {"a": 1}) as shards:
        assert shards.done() == {"done"}
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_on_the_same_output_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    output = tmp_path / "features.h5"
    with unfinished(output, {"a": 1}) as shards:
        shards.save("done", {"x": np.arange(3)})
        with (
            pytest.raises(InputError, match=r"another run is at work in .*features\.h5; wait"),
            unfinished(output, {"a": 2}),
        ):
            pass
        assert shards.load("done")["x"].tolist() == [0, 1, 2]
        with unfinished(tmp_path / "matches.h5", {}):
            pass  # another output of the same folder
