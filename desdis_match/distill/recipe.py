"""How weights were made, as a file: runs, what each starts from and has of its own, which are averaged.

    {"student": {"width": 16},
     "runs": [{"name": "one", "steps": 7500, "options": {"optim.lr": 0.02}},
              {"name": "two", "start": "one", "steps": 3000, "seed": 1}],
     "averaged": ["one", "two"]}

Everything else is of the configuration that the recipe is made with, the preset `release` for the weights in
the package (training/recipes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..patchsets.patchset import PatchSet
from ..support.records import read_record
from .average import average_runs
from .config import TrainConfig
from .train import LAST, train

Config = TypeVar("Config")


@dataclass(frozen=True)
class RecipeRun:
    """One training run."""

    name: str
    """Of its folder."""
    steps: int
    start: str = ""
    """An earlier run whose weights it starts from; from scratch without."""
    seed: int = 0
    """Added to the configuration's: other batches."""
    teachers: tuple[str, ...] = ()
    """Earlier runs whose weights teach too."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What is other than in the configuration, `group.field`: value."""


@dataclass(frozen=True)
class Recipe:
    """Runs in their order."""

    runs: tuple[RecipeRun, ...]
    student: Mapping[str, Any] = field(default_factory=dict)
    """Fields of StudentConfig."""
    averaged: tuple[str, ...] = ()
    """Runs whose weights' mean is the result; without any it is what the last run ended with."""


def read_recipe(path: Path) -> Recipe:
    """Raises InputError for a file that is none, or whose runs name each other in the wrong order."""
    recipe = read_record(path, Recipe)
    known: set[str] = set()
    for run in recipe.runs:
        unknown = sorted({*run.teachers, *([run.start] if run.start else [])} - known)
        if unknown or run.name in known:
            wrong = f"needs {', '.join(unknown)}, of which no run before it" if unknown else "is there twice"
            raise InputError(f"{path}: run '{run.name}' {wrong}")
        known.add(run.name)
    if not recipe.runs or set(recipe.averaged) - known:
        raise InputError(f"{path}: there must be runs, and those that are averaged must be among them")
    return recipe


def run_configs(recipe: Recipe, config: TrainConfig, folder: Path) -> dict[str, TrainConfig]:
    """By run, what it is trained with when the runs lie in folders below `folder`.

    Raises InputError for an option that there is not.
    """

    def weights(name: str) -> str:
        return str(folder / name / LAST)

    made = {}
    for run in recipe.runs:
        own = {
            **{f"student.{name}": value for name, value in recipe.student.items()},
            "steps": run.steps,
            "seed": config.seed + run.seed,
            "student.start": weights(run.start) if run.start else config.student.start,
            "teacher.names": (*config.teacher.names, *map(weights, run.teachers)),
        }
        made[run.name] = with_options(config, {**own, **run.options})
    return made


def with_options(config: Config, options: Mapping[str, Any]) -> Config:
    """A configuration with fields, `a` or `group.a`, of other values. Raises InputError for unknown ones."""
    changed: Any = config
    for name, value in options.items():
        group, _, rest = name.partition(".")
        if group not in {one.name for one in fields(changed)}:
            raise InputError(f"there is no training option '{name}'")
        old = getattr(changed, group)
        if is_dataclass(old) != bool(rest):
            raise InputError(f"there is no training option '{name}'")
        changed = replace(changed, **{group: with_options(old, {rest: value}) if rest else value})
    result: Config = changed
    return result


def train_recipe(
    recipe: Recipe, config: TrainConfig, data: tuple[PatchSet, PatchSet], folder: Path, result: Path
) -> Path:
    """Train all runs below `folder`, or what of them is not done yet, and write the weights to `result`."""
    ended = {}
    for name, made in run_configs(recipe, config, folder).items():
        ended[name] = train(made, folder / name, data=data).last
    if not recipe.averaged:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_bytes(ended[name].read_bytes())
        return result
    average_runs([ended[one] for one in recipe.averaged], made, data, result)
    return result
