"""The loop: a resumed run equals an unbroken one, what stops it, what it leaves; teachers and students."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from desdis_match.commands.cli import run
from desdis_match.commands.train import main
from desdis_match.descriptors import DesDis, load_descriptor, read_weights, save_weights
from desdis_match.descriptors.architectures import architecture_of
from desdis_match.distill import train as loop
from desdis_match.distill.augment import plain_patches
from desdis_match.distill.average import BATCHES, average_runs
from desdis_match.distill.batches import Batches
from desdis_match.distill.config import DataConfig, OptimConfig, StudentConfig, TrainConfig, differences
from desdis_match.distill.record import read_log
from desdis_match.distill.student import build_student, move_average
from desdis_match.distill.teacher import Teacher, describe_plain, load_teacher
from desdis_match.distill.train import learning_rate, train
from desdis_match.distill.validate import HeldBackScores, galleries, score, score_labelled
from desdis_match.distill.warps import WarpConfig, make_textures
from desdis_match.errors import InputError
from desdis_match.patchsets.patchset import make_patch_set, split

TINY = TrainConfig(
    data=DataConfig(galleries=1, gallery_size=20),
    student=StudentConfig(width=4, dim=16),
    optim=OptimConfig(ema=0.9, clip=1.0),
    batch=16,
    steps=6,
    validate_every=3,
    log_every=1,
    tensorboard=False,
    device="cpu",
)


@pytest.fixture(scope="module")
def data():
    return split(make_textures(3, WarpConfig(points=60)), 0.3)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(path, DesDis(width=4, dim=24).eval(), {})
    return path


def changed(config: TrainConfig, **groups) -> TrainConfig:
    """The configuration with fields of its groups replaced: changed(TINY, loss={"weight": 0})."""
    values = {
        name: dataclasses.replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in groups.items()
    }
    return dataclasses.replace(config, **values)


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.mark.parametrize("kind", ["adam", "sgd", "muon"])
@pytest.mark.parametrize("sees", ["augmented", "plain"])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    tmp_path, data, teacher_file, kind, sees, monkeypatch
):
    config = changed(
        TINY,
        augment={"dominant": 0.5},
        optim={"kind": kind, "lr": 0.01},
        teacher={"names": (str(teacher_file),), "sees": sees},
        checkpoint_minutes=0.0,
    )
    whole = train(config, tmp_path / "whole", data=data)
    done = loop.Run.step

    def step(self):
        if self.progress.step == 4:
            raise Killed
        return done(self)

    monkeypatch.setattr(loop.Run, "step", step)
    with pytest.raises(Killed):
        train(config, tmp_path / "broken", data=data)
    monkeypatch.undo()
    torch.manual_seed(99)  # the state of global generators must not matter
    broken = train(config, tmp_path / "broken", data=data)
    assert broken.scores == whole.scores
    assert broken.last.read_bytes() == whole.last.read_bytes()
    for one, two in zip(
        read_log(tmp_path / "whole/log.jsonl"), read_log(tmp_path / "broken/log.jsonl"), strict=True
    ):
        assert {k: one[k] for k in ("step", "loss", "map") if k in one} == {
            k: two[k] for k in ("step", "loss", "map") if k in two
        }


def test_a_teacher_without_weight_is_not_asked(tmp_path, data, teacher_file):
    config = changed(
        TINY, teacher={"names": (str(teacher_file),)}, student={"start": "teacher", "dim": 24}, steps=1
    )
    control = changed(config, loss={"regularizer_weight": 0.0})
    assert loop.prepare(config, tmp_path / "taught", data).teacher is not None
    assert loop.prepare(control, tmp_path / "alone", data).teacher is None
    header = read_weights(train(control, tmp_path / "alone", data=data).last)[1]
    assert header["teacher"] == []
    assert header["architecture"]["width"] == 4  # the teacher's, where it starts


def test_what_a_run_leaves_can_be_used_and_is_documented(tmp_path, data, teacher_file):
    result = train(changed(TINY, teacher={"names": (str(teacher_file),)}), tmp_path, data=data)
    network, header = read_weights(result.last)
    assert header["architecture"] == {"kind": "desdis", "width": 4, "dim": 16, "dropout": 0.1}
    assert header["data"] == ["textures:3"] and header["licence_of_data"] == ["generated"]
    assert header["teacher"] == ["teacher"] and header["steps"] == 6
    assert header["scores"]["map"] == result.scores.map
    descriptor = load_descriptor(result.last, device="cpu")
    patches = torch.rand(5, 1, 32, 32)
    assert torch.allclose(descriptor(patches), network(patches), atol=1e-4)
    log = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in log if "map" in line] == [3, 6]
    assert math.isclose(sum(log[0]["shares"].values()), 1.0)


def test_a_finished_run_is_not_repeated_and_another_one_is_refused(tmp_path, data):
    first = train(TINY, tmp_path, data=data)
    before = first.last.read_bytes()
    again = train(changed(TINY, log_every=2), tmp_path, data=data)
    assert again.last.read_bytes() == before and again.steps == 6
    with pytest.raises(InputError, match=r"holds a run with another batch, optim\.lr"):
        train(changed(TINY, batch=8, optim={"lr": 0.1}), tmp_path, data=data)
    train(changed(TINY, batch=8), tmp_path, restart=True, data=data)
    assert first.last.read_bytes() != before
    (tmp_path / loop.CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(InputError, match="is damaged"):
        train(TINY, tmp_path, data=data)


def test_what_was_there_before_a_restart_is_never_gone_on_with(tmp_path, data, monkeypatch):
    first = train(TINY, tmp_path, data=data)
    before = first.last.read_bytes()

    def step(self):
        raise Killed

    monkeypatch.setattr(loop.Run, "step", step)
    with pytest.raises(Killed):
        train(TINY, tmp_path, restart=True, data=data)
    assert not any((tmp_path / name).exists() for name in (loop.CHECKPOINT, loop.BEST, loop.LAST))
    monkeypatch.undo()
    train(TINY, tmp_path, data=data)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl") if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert first.last.read_bytes() == before


def test_without_intervals_there_is_one_validation_and_one_line_at_the_end(tmp_path, data):
    train(changed(TINY, validate_every=0, log_every=0), tmp_path, data=data)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [6, 6]


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path, data, monkeypatch):
    config = changed(TINY, checkpoint_minutes=0.0)
    real = loop.batch_loss

    def batch_loss(*arguments):
        parts = real(*arguments)
        if batch_loss.calls == 4:
            parts = dataclasses.replace(parts, total=parts.total * float("nan"))
        batch_loss.calls += 1
        return parts

    batch_loss.calls = 0
    monkeypatch.setattr(loop, "batch_loss", batch_loss)
    with pytest.raises(InputError, match="no longer finite at step 5"):
        train(config, tmp_path, data=data)
    monkeypatch.undo()
    assert torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)["progress"]["step"] == 4
    assert train(config, tmp_path, data=data).steps == 6


def test_a_full_disk_is_said_and_the_checkpoint_before_stays(tmp_path, data, monkeypatch):
    config = changed(TINY, checkpoint_minutes=0.0)
    save = torch.save

    def no_space(state, path):
        if state["progress"]["step"] == 3:
            path.write_bytes(b"begin")
            raise OSError(28, "No space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(InputError, match="the disk is full"):
        train(config, tmp_path, data=data)
    assert torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)["progress"]["step"] == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_teachers_are_frozen_and_averaged(teacher_file):
    both = load_teacher((str(teacher_file), "rootsift"), "cpu")
    patches = torch.rand(6, 1, 32, 32, requires_grad=True)
    described = both(patches)
    assert not described.requires_grad
    one, two = (load_descriptor(name, device="cpu")(patches.detach()) for name in (teacher_file, "rootsift"))
    mean = (one @ one.T + two @ two.T) / 2
    assert torch.allclose(described @ described.T, mean, atol=1e-5)
    both.train()
    assert not any(module.training for module in both.modules())
    assert not any(parameter.requires_grad for parameter in both.parameters())


class Brightness(nn.Module):
    """A teacher of two numbers a patch, found by import path."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.stack([patches.mean(dim=(1, 2, 3)), patches.std(dim=(1, 2, 3))], dim=1)


class Broken(nn.Module):
    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.full((len(patches), 4), float("nan"))


def test_any_module_can_teach(tmp_path, data):
    name = f"{__name__}:Brightness"
    assert load_teacher((name,), "cpu")(torch.rand(3, 1, 32, 32)).shape == (3, 2)
    train(changed(TINY, steps=1, teacher={"names": (name,)}), tmp_path, data=data)
    with pytest.raises(InputError, match="not finite"):
        Teacher([Broken()], ("broken",), "x")(torch.rand(3, 1, 32, 32))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_teacher(("desdis_match.nothing:here",), "cpu")


def test_plain_descriptors_are_kept_and_belong_to_their_patches(tmp_path, data, teacher_file):
    teacher = load_teacher((str(teacher_file),), "cpu")
    first = describe_plain(teacher, data[0], tmp_path, "cpu")
    (kept,) = tmp_path.glob("*.npy")
    stamp = kept.stat().st_mtime_ns
    assert torch.equal(describe_plain(teacher, data[0], tmp_path, "cpu"), first)
    assert kept.stat().st_mtime_ns == stamp
    assert len(describe_plain(teacher, data[1], tmp_path, "cpu")) == len(data[1])
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(describe_plain(teacher, data[0], tmp_path, "cpu"), first)


def test_turned_batches_and_the_teacher_s_descriptors_of_them(tmp_path, data, teacher_file):
    config = changed(
        TINY, augment={"dominant": 0.5}, teacher={"names": (str(teacher_file),), "sees": "plain"}
    )
    made = loop.prepare(config, tmp_path, data)
    turned = [made.batches.turned(step) for step in range(400)]
    assert 150 < sum(turned) < 250
    assert not any(loop.prepare(TINY, tmp_path, data).batches.turned(step) for step in range(100))
    assert set(made.known) == {False, True}
    rows = made.batches.rows(made.batches.pairs(0))
    for step in (turned.index(False), turned.index(True)):
        known = made.known[turned[step]][rows]
        anchors, positives = known.chunk(2)
        found = made._teacher_cosines(made.batches.patches(rows, step), rows, step)
        assert torch.equal(found, (anchors @ positives.T).clamp(-1, 1))
    stored, context, angles = made.batches.stored, made.batches.context, made.batches.angles
    expected = made.teacher(plain_patches(stored[rows], context[rows], angles[rows]))
    assert torch.allclose(made.known[True][rows], expected, atol=1e-3)  # kept in half precision
    assert not torch.allclose(made.known[True], made.known[False], atol=1e-2)


def test_students_start_where_they_are_told(teacher_file):
    copied = build_student(StudentConfig(dim=24, start="teacher"), (str(teacher_file),), seed=0)
    original = read_weights(teacher_file)[0].state_dict()
    assert all(torch.equal(original[name], tensor) for name, tensor in copied.state_dict().items())
    assert copied.training and all(parameter.requires_grad for parameter in copied.parameters())
    fresh = [build_student(StudentConfig(width=4, dim=32), (), seed) for seed in (1, 1, 2)]
    weights = [network.state_dict()["layer2.0.weight"] for network in fresh]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    fast = build_student(StudentConfig(kind="desdis-fast", width=4, dim=32, dropout=0.0), (), 1)
    assert architecture_of(fast) == {"kind": "desdis-fast", "width": 4, "dim": 32, "dropout": 0.0}
    assert build_student(StudentConfig(kind="tfeat"), (), 0)(torch.rand(2, 1, 32, 32)).shape == (2, 128)
    with pytest.raises(InputError, match="descriptors of 24 numbers, the student is to have 128"):
        build_student(StudentConfig(start="teacher"), (str(teacher_file),), 0)
    with pytest.raises(InputError, match="no teacher is given"):
        build_student(StudentConfig(start="teacher"), (), 0)


def test_moving_average_by_hand():
    one, two = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        one.weight.fill_(1.0)
        two.weight.fill_(3.0)
    move_average(one, two, decay=0.9, step=0)  # (1 + 0) / (10 + 0) = 0.1
    assert one.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 3)
    move_average(one, two, decay=0.5, step=1000)
    assert one.weight.item() == pytest.approx(0.5 * 2.8 + 0.5 * 3)


def test_the_average_of_runs_has_their_mean_weights_and_statistics_of_its_own(tmp_path, data):
    ends = [train(changed(TINY, seed=seed), tmp_path / str(seed), data=data).last for seed in (0, 1)]
    path = tmp_path / "average.safetensors"
    scores = average_runs(ends, TINY, data, path)
    average, header = read_weights(path)
    (one, _), (other, last) = (read_weights(end) for end in ends)
    for name, weights in average.named_parameters():
        mean = (one.get_parameter(name) + other.get_parameter(name)) / 2
        torch.testing.assert_close(weights, mean, msg=name)
    batches = Batches(data[0], TINY, torch.device("cpu"), 0)
    steps = range(TINY.steps, TINY.steps + BATCHES)
    seen = torch.cat([batches.patches(batches.rows(batches.pairs(step)), step) for step in steps])
    with torch.no_grad():
        channels = average.layer1[1](average.layer1[0](seen))
    torch.testing.assert_close(
        average.layer1[2].running_mean, channels.mean(dim=(0, 2, 3)), atol=1e-4, rtol=0
    )
    assert header["average_of_steps"] == [6, 6] and header["config"] == last["config"]
    assert header["scores"]["map"] == scores.map
    save_weights(tmp_path / "wide.safetensors", DesDis(width=6, dim=16), {})
    with pytest.raises(InputError, match="different architecture"):
        average_runs([ends[0], tmp_path / "wide.safetensors"], TINY, data, path)


def test_learning_rate_warms_up_and_decays():
    config = changed(TINY, optim={"lr": 2.0, "warm_up": 0.1})
    assert learning_rate(config, 0.05) == pytest.approx(1.0)
    assert learning_rate(config, 0.1) == pytest.approx(2.0)
    assert learning_rate(config, 0.55) == pytest.approx(1.0)  # half way of the cosine
    assert learning_rate(config, 1.0) == pytest.approx(0.0)
    assert learning_rate(changed(config, optim={"decay": "linear"}), 0.775) == pytest.approx(0.5)
    assert learning_rate(changed(config, optim={"decay": "constant"}), 0.9) == pytest.approx(2.0)


def test_scores_of_a_perfect_and_of_a_blind_descriptor():
    """Patches of a point are equal; a descriptor that sees the pixels is perfect, one of noise is not."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32), dtype=np.uint8).repeat(2, axis=0)
    held = make_patch_set(pixels, np.arange(60) // 2, "test", "none")
    sets = galleries(held, 1, 30)

    def perfect(patches):
        return nn.functional.normalize(patches.flatten(1) - 0.5, dim=1)

    found = score(perfect, held, sets)
    assert (found.fpr95, found.map) == (0.0, pytest.approx(1.0))
    generator = torch.Generator().manual_seed(0)

    def blind(patches):
        return nn.functional.normalize(torch.randn(len(patches), 8, generator=generator), dim=1)

    lost = score(blind, held, sets)
    assert lost.fpr95 > 0.8 and lost.map < 0.2


def test_fpr95_on_labelled_pairs_by_hand():
    """Angles on a circle: 20 matches at growing distances, 10 non-matches; the 19th match counts."""
    from desdis_match.patchsets.phototour import LabelledPairs

    first, second = np.zeros(30, int), np.arange(1, 31)
    same = np.arange(1, 31) <= 20
    pixels = (np.arange(31) * 4).astype(np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    pixels[[21, 22, 23]] = 4 * 10  # three non-matches as near as the 10th match
    held = make_patch_set(pixels, np.zeros(31, np.int64), "test", "none")

    def angle(patches):
        turned = patches.mean(dim=(1, 2, 3)) * math.pi / 2
        return torch.stack([turned.cos(), turned.sin()], dim=1)

    assert score_labelled(angle, held, LabelledPairs(first, second, same)) == pytest.approx(3 / 10)


def test_differences_name_what_may_not_change():
    config = changed(TINY, optim={"lr": 0.5}, log_every=9)
    assert differences(TINY.as_dict(), config.as_dict()) == ["optim.lr"]
    assert json.dumps(TINY.as_dict())


def test_a_checkpoint_older_than_an_option_is_gone_on_with(tmp_path, data):
    config = changed(TINY, optim={"ema": 0.0})
    train(config, tmp_path, data=data)
    checkpoint = torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)
    del checkpoint["config"]["augment"]["clip_share"], checkpoint["config"]["seed"]
    torch.save(checkpoint, tmp_path / loop.CHECKPOINT)
    assert train(config, tmp_path, data=data).steps == config.steps
    with pytest.raises(InputError, match=r"another augment\.clip_share;"):
        train(changed(config, augment={"clip_share": 0.5}), tmp_path, data=data)


def test_command_trains_and_refuses(tmp_path, capsys):
    short = ["--steps", "2", "--batch", "16", "--student.width", "2", "--data.sources", "textures:2"]
    short += ["--data.gallery-size", "10", "--output", str(tmp_path / "run")]
    assert run(main, ["quick", *short]) == 0
    assert "2 steps" in capsys.readouterr().out
    assert {"best.safetensors", "last.safetensors", "checkpoint.pt", "log.jsonl"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert any(path.name.startswith("events") for path in (tmp_path / "run").iterdir())
    assert run(main, ["nothing"]) == 2
    assert "there is no preset 'nothing'" in capsys.readouterr().err
    assert run(main, ["short", "--output", str(tmp_path / "other")]) == 2
    assert "no patch source is given" in capsys.readouterr().err


def test_scores_are_plain_numbers():
    assert dataclasses.asdict(HeldBackScores(0.1, 0.2, 0.3)) == {"fpr95": 0.1, "map": 0.2, "map_hard": 0.3}
