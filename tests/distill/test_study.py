"""What a study's log becomes, who runs what, and the planar AP by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from desdis_match.distill.config import TeacherConfig, TrainConfig
from desdis_match.distill.planar import PlanarPairs, planar_ap
from desdis_match.distill.record import read_log
from desdis_match.distill.study import (
    EARLIER,
    StudyRun,
    _of_share,
    _with_earlier,
    add_line,
    folder_name,
    summarize,
)


def test_rows_are_means_over_seeds():
    lines = [{"row": "a", "x": 1.0}, {"row": "b", "x": 5.0}, {"row": "a", "x": 3.0}]
    one, two = summarize(lines, ("x",))
    assert (one.row, one.seeds, one.mean["x"]) == ("a", 2, 2.0)
    assert one.deviation["x"] == pytest.approx(2**0.5)
    assert (two.row, two.seeds, two.mean["x"]) == ("b", 1, 5.0)
    assert np.isnan(two.deviation["x"])


def test_a_run_is_in_the_share_of_what_it_builds_on():
    teachers = [StudyRun("t", dataclasses.replace(TrainConfig(), seed=seed)) for seed in range(3)]
    runs = [*teachers, *(StudyRun("s", run.config, after=run.name) for run in teachers)]
    shares = [_of_share(runs, (number, 2)) for number in range(2)]
    assert sorted(run.name for share in shares for run in share) == sorted(run.name for run in runs)
    for share in shares:
        names = {run.name for run in share}
        assert all(run.after in names for run in share if run.after)
    assert folder_name("weight 10, all/2") == "weight-10-all-2"


def test_a_line_after_a_half_written_one_is_kept(tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    add_line(log, {"name": "a"})
    with open(log, "a") as file:
        file.write('{"na')  # killed
    add_line(log, {"name": "b"})
    add_line(log, {"name": "c"})
    assert read_log(log) == [{"name": "a"}, {"name": "b"}, {"name": "c"}]


def test_planar_ap_by_hand():
    """Three keypoints a photo, the true move 5 pixels: two right matches, but the nearest pair is wrong."""
    shades = np.array([10, 80, 150, 10, 85, 158], np.uint8)
    places = np.array([[0, 0], [50, 0], [100, 0], [300, 0], [55, 0], [105, 0]], np.float32)
    move = np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]])
    patches = shades[:, None, None].repeat(32, 1).repeat(32, 2)
    data = PlanarPairs(patches, places, np.array([0, 3, 6]), np.array([[0, 1]]), move[None])

    def by_shade(batch):
        angle = batch.mean(dim=(1, 2, 3)) * 3
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    # Ranked: wrong, right, right of two partners: precision 0, 1/2, 2/3 at recall 0, 1/2, 1 (trapezoids).
    assert planar_ap(by_shade, data) == pytest.approx(0.5 * (0 + 0.5) / 2 + 0.5 * (0.5 + 2 / 3) / 2, abs=1e-6)


def test_weights_of_an_earlier_run_stand_in_for_its_name():
    config = TrainConfig()
    taught = dataclasses.replace(config, teacher=TeacherConfig(names=("desdis-32", EARLIER)))
    found = _with_earlier(taught, "old.safetensors")
    assert found.teacher.names == ("desdis-32", "old.safetensors")
    assert found.student.start == "scratch"
    goes_on = dataclasses.replace(config, student=dataclasses.replace(config.student, start=EARLIER))
    assert _with_earlier(goes_on, "old.safetensors").student.start == "old.safetensors"
    assert _with_earlier(config, "old.safetensors") == config
