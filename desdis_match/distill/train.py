"""The training loop: a step's batch, teacher, student, loss and update; validation, checkpoints and export.

Everything random in a step comes from (seed, step, rank), never from a generator's history, so a run that is
resumed from a checkpoint goes on with the same numbers.
"""

from __future__ import annotations

import copy
import logging
import math
import pickle
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import InputError, missing_extra
from ..patchsets.patchset import PatchSet
from ..support.files import atomic_path
from .batches import Batches, step_seed
from .config import TrainConfig, differences, with_defaults
from .datasets import load_sources
from .mining import may_match
from .muon import Muon
from .objective import BatchLoss, batch_loss
from .record import Bar, Record, Stopwatch
from .student import build_student, move_average
from .teacher import Teacher, describe_plain, load_teacher
from .validate import Glance, HeldBackScores, galleries, glance, score

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
BEST = "best.safetensors"
LAST = "last.safetensors"


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves."""

    best: Path
    last: Path
    scores: HeldBackScores  # of `last`
    steps: int
    seconds: float


@dataclass
class Progress:
    """Where a run stands; goes into the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: float = -1.0


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Learning rate at `progress` in [0, 1] of the run: linear warm-up, then the decay."""
    optim = config.optim
    if progress < optim.warm_up:
        return optim.lr * max(progress / optim.warm_up, 1e-3)
    rest = min(1.0, (progress - optim.warm_up) / max(1 - optim.warm_up, 1e-9))
    if optim.decay == "cosine":
        return optim.lr * 0.5 * (1 + math.cos(math.pi * rest))
    return optim.lr * (1 - rest) if optim.decay == "linear" else optim.lr


def make_optimizer(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The configured optimizer over the network's weights."""
    optim = config.optim
    if optim.kind == "sgd":
        return torch.optim.SGD(
            network.parameters(), optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay
        )
    if optim.kind == "muon":
        return Muon(network.parameters(), optim.lr, optim.momentum)
    kind = torch.optim.Adam if optim.kind == "adam" else torch.optim.AdamW
    return kind(network.parameters(), optim.lr, weight_decay=optim.weight_decay)


def train(
    config: TrainConfig, output: Path, restart: bool = False, data: tuple[PatchSet, PatchSet] | None = None
) -> TrainResult:
    """Train a student; `output` gets best and last weights, the checkpoint and the log.

    data: training and held-back patches where they are read already; else they come from the configuration.

    A folder that holds a checkpoint of the same configuration is gone on with (unless `restart`).
    InputError for wrong data, teachers or options, a loss that is not finite, a full disk; the last good
    checkpoint stays.
    """
    run = prepare(config, output, data)
    if restart:
        run.forget()
    else:
        run.resume()
    return run.to_the_end()


def prepare(config: TrainConfig, output: Path, data: tuple[PatchSet, PatchSet] | None = None) -> Run:
    """A run before its first step."""
    fabric = _fabric(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    output.mkdir(parents=True, exist_ok=True)
    training, held = data or load_sources(config.data.sources, config.data.held_back, config.data.scored)
    logger.info("%d patches of %d points to train on", len(training), training.num_points)
    names = config.teacher.names
    needed = names and config.loss.regularizer_weight
    teacher = load_teacher(names, fabric.device.type) if needed else None
    network = build_student(config.student, names, config.seed)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(config, output, fabric, network, teacher, training, held)


def _fabric(config: TrainConfig) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise missing_extra("training needs", "train") from None
    try:
        fabric = Fabric(accelerator=config.device, devices=config.devices, precision=config.precision)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"no training on {config.devices} x {config.device}: {error}") from error
    fabric.launch()
    return fabric


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _recorded_scores(weights: Path) -> HeldBackScores:
    """What a finished run wrote into its header."""
    from ..descriptors import read_weights

    kept = read_weights(weights)[1]["scores"]
    return HeldBackScores(kept["fpr95"], kept["map"], kept["map_hard"])


class Run:
    """A training run in progress."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        fabric: Any,
        network: nn.Module,
        teacher: Teacher | None,
        training: PatchSet,
        held: PatchSet,
    ) -> None:
        self.config, self.output, self.fabric = config, output, fabric
        self.network = network
        optimizer = make_optimizer(config, network)
        self.model, self.optimizer = fabric.setup(network, optimizer)
        self.average = copy.deepcopy(network) if config.optim.ema else None
        self.teacher = teacher
        self.held = held
        self.sources, self.licences = training.sources, training.licences
        self.batches = Batches(training, config, fabric.device, fabric.global_rank)
        self.galleries = galleries(held, config.data.galleries, config.data.gallery_size)
        self.progress = Progress()
        self.watch = Stopwatch()
        self.known: dict[bool, Tensor] = {}  # the teacher's descriptors of plain patches, of turned ones
        if teacher is not None and config.teacher.sees == "plain":
            folder, device = config.teacher.cache or output, fabric.device
            self.known[False] = describe_plain(teacher, training, folder, device.type).to(device)
            if self.batches.angles is not None:
                known = describe_plain(teacher, training, folder, device.type, self.batches.angles)
                self.known[True] = known.to(device)

    def done(self) -> float:
        """Share of the run behind us, in [0, 1]."""
        if self.config.minutes:
            return min(1.0, self.progress.seconds / 60 / self.config.minutes)
        return min(1.0, self.progress.step / self.config.steps)

    def to_the_end(self) -> TrainResult:
        """Steps, log lines, validations and checkpoints to the end; a complete run stays as it is."""
        config = self.config
        if self.done() >= 1 and (self.output / LAST).is_file():
            return self._result(_recorded_scores(self.output / LAST))
        leader = self.fabric.is_global_zero
        record = Record(self.output, self.progress.step, config.tensorboard and leader) if leader else None
        scores: HeldBackScores | None = None
        sums: list[Tensor] = []
        saved = logged = time.perf_counter()
        start = saved - self.progress.seconds
        with Bar(self.done()) as bar:
            while self.done() < 1:
                parts = self.step()
                self.progress.step += 1
                self.progress.seconds = time.perf_counter() - start
                if config.minutes:  # all devices by one clock, or they would end at different steps
                    self.progress.seconds = self.fabric.broadcast(self.progress.seconds)
                sums.append(torch.stack([parts.total.detach(), parts.triplet, parts.regularizer]))
                step, last = self.progress.step, self.done() >= 1
                if _due(step, config.log_every) or last:
                    loss, triplet, regularizer = torch.stack(sums).mean(dim=0).tolist()
                    self._check(loss)
                    now = time.perf_counter()
                    rate = len(sums) * config.batch * self.fabric.world_size / (now - logged)
                    if record:
                        record.write(
                            step,
                            loss=loss,
                            triplet=triplet,
                            regularizer=regularizer,
                            lr=self.optimizer.param_groups[0]["lr"],
                            pairs_a_second=rate,
                            seconds=self.progress.seconds,
                            shares=self.watch.shares(),
                        )
                    bar.update(self.done(), f"loss {loss:.3f}, {rate:.0f} pairs/s")
                    sums, logged = [], now
                if _due(step, config.validate_every) or last:
                    scores = self.validate()
                    if record:
                        record.write(step, **asdict(scores), seconds=self.progress.seconds)
                        if record.shows:
                            record.show(step, self.glance())
                    if scores.map_hard > self.progress.best:
                        self.progress.best = scores.map_hard
                        self.export(BEST, scores)
                    logged = time.perf_counter()
                if last or time.perf_counter() - saved > 60 * config.checkpoint_minutes:
                    if sums:
                        self._check(float(torch.stack(sums).sum()))
                    self.save()
                    saved = time.perf_counter()
        if record:
            record.close()
        scores = scores or self.validate()
        self.export(LAST, scores)
        return self._result(scores)

    def _result(self, scores: HeldBackScores) -> TrainResult:
        folder, progress = self.output, self.progress
        return TrainResult(folder / BEST, folder / LAST, scores, progress.step, progress.seconds)

    def step(self) -> BatchLoss:
        """One update of the student."""
        config, watch, step = self.config, self.watch, self.progress.step
        device = self.fabric.device
        torch.manual_seed(step_seed(config.seed, step, self.fabric.global_rank, 2))  # dropout
        rate = learning_rate(config, self.done())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with watch.part("data"):
            pairs = self.batches.pairs(step)
            rows = self.batches.rows(pairs)
            patches = self.batches.patches(rows, step).to(memory_format=torch.channels_last)
        with watch.part("teacher"):
            cosines = self._teacher_cosines(patches, rows, step)
        with watch.part("student"):
            anchors, positives = self.model(patches).chunk(2)
        with watch.part("mining and loss"):
            groups = torch.from_numpy(pairs.groups).to(device)
            blocked = may_match(groups, torch.from_numpy(pairs.doubt).to(device))
            parts = batch_loss(anchors, positives, blocked, config.loss, cosines, self.done())
        with watch.part("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(parts.total)
        with watch.part("update"):
            if config.optim.clip:
                self.fabric.clip_gradients(
                    self.model, self.optimizer, max_norm=config.optim.clip, error_if_nonfinite=False
                )
            self.optimizer.step()
            if self.average is not None:
                move_average(self.average, self.network, config.optim.ema, step)
        return parts

    def _teacher_cosines(self, patches: Tensor, rows: Tensor, step: int) -> Tensor | None:
        if self.teacher is None:
            return None
        described = self.known[self.batches.turned(step)][rows] if self.known else self.teacher(patches)
        anchors, positives = described.chunk(2)
        return (anchors @ positives.T).clamp(-1, 1)

    def _check(self, number: float) -> None:
        """Refuse to go on when a loss or a sum of weights is not finite."""
        if not math.isfinite(number):
            raise InputError(
                f"the loss is no longer finite at step {self.progress.step}; try a smaller learning rate "
                f"or gradient clipping (the last good checkpoint stays in {self.output})"
            )

    def kept(self) -> nn.Module:
        """The weights that are scored and exported."""
        return self.network if self.average is None else self.average

    def validate(self) -> HeldBackScores:
        """Scores of the student on held-back pairs."""
        network = self.kept()
        was_training = network.training
        network.eval()
        scores = score(network, self.held, self.galleries, self.fabric.device)
        network.train(was_training)
        return scores

    def glance(self) -> Glance:
        """The first held-back pairs as the student sees them."""
        network = self.kept()
        was_training = network.training
        network.eval()
        seen = glance(network, self.held, self.galleries[0], self.fabric.device)
        network.train(was_training)
        return seen

    def export(self, name: str, scores: HeldBackScores) -> None:
        """Write the kept weights with what is known about them."""
        from ..descriptors import save_weights

        if not self.fabric.is_global_zero:
            return
        save_weights(
            self.output / name,
            self.kept(),
            {
                "data": list(self.sources),
                "licence_of_data": list(self.licences),
                "teacher": list(self.teacher.names) if self.teacher else [],
                "steps": self.progress.step,
                "scores": {**asdict(scores), "on": "held-back points of the training data"},
                "version": __version__,
                "config": self.config.as_dict(),
            },
        )

    def save(self) -> None:
        """Write the checkpoint atomically. InputError when it cannot be; the one before stays."""
        if not self.fabric.is_global_zero:
            return
        self._check(sum(float(parameter.detach().sum()) for parameter in self.network.parameters()))
        state = {
            "config": self.config.as_dict(),
            "progress": asdict(self.progress),
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "optimizer": self.optimizer.state_dict(),
        }
        path = self.output / CHECKPOINT
        try:
            with atomic_path(path) as partial:
                torch.save(state, partial)
        except (OSError, RuntimeError) as error:
            raise InputError(f"cannot write the checkpoint {path}: {error}; the one before stays") from error

    def forget(self) -> None:
        """Remove what an earlier run left in the folder, so that nothing goes on with it."""
        if self.fabric.is_global_zero:
            for name in (CHECKPOINT, BEST, LAST):
                (self.output / name).unlink(missing_ok=True)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if any. InputError when it is another run's or damaged."""
        path = self.output / CHECKPOINT
        if not path.is_file():
            return
        try:
            # Onto the CPU: each part is copied to where it belongs, and Adam's step counts belong there.
            state = torch.load(path, map_location="cpu", weights_only=True)
            differing = differences(with_defaults(state["config"]), self.config.as_dict())
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{path} is damaged ({error}); --restart begins anew") from error
        if differing:
            raise InputError(
                f"{self.output} holds a run with another {', '.join(differing)}; "
                "choose another --output, or --restart to begin anew"
            )
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        logger.info("going on at step %d of %s", self.progress.step, path)
