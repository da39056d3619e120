"""Recipes: what their runs are trained with; those of the weights in the package are what the files say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from desdis_match.descriptors import read_weights
from desdis_match.descriptors.registry import PACKAGED, packaged_weights
from desdis_match.distill.config import DataConfig, OptimConfig, StudentConfig, TrainConfig, differences
from desdis_match.distill.datasets import load_sources
from desdis_match.distill.presets import PRESETS
from desdis_match.distill.recipe import (
    Recipe,
    RecipeRun,
    read_recipe,
    run_configs,
    train_recipe,
    with_options,
)
from desdis_match.distill.record import read_log
from desdis_match.distill.train import LAST
from desdis_match.errors import InputError

TRAINING = Path(__file__).parents[2] / "training"


@pytest.mark.parametrize("name", PACKAGED)
def test_the_weights_in_the_package_were_made_by_their_recipe(name):
    """The header has the options of the last run, the logs the steps of all."""
    recipe = read_recipe(TRAINING / "recipes" / f"{name}.json")
    configs = run_configs(recipe, PRESETS["release"][1], Path("out/release"))
    _, header = read_weights(packaged_weights(name))
    last = configs[recipe.runs[-1].name]
    apart = set(differences(header["config"], last.as_dict()))
    assert apart <= {"data.sources", "data.scored", "teacher.names"}
    assert len(last.teacher.names) == len(header["config"]["teacher"]["names"])
    steps = {run.name: run.steps for run in recipe.runs}
    for run in recipe.runs:
        assert read_log(TRAINING / "logs" / "release" / f"{run.name}.jsonl")[-1]["step"] == run.steps
    if "average_of_steps" in header:
        assert header["average_of_steps"] == [steps[run] for run in recipe.averaged]


START = TrainConfig(
    data=DataConfig(sources=("textures:6",), galleries=1, gallery_size=20),
    student=StudentConfig(width=8),
    batch=16,
    seed=7,
    tensorboard=False,
    validate_every=0,
    device="cpu",
)


def test_a_run_has_what_its_recipe_says_and_else_the_configuration():
    recipe = Recipe(
        (
            RecipeRun("one", 30, options={"optim.lr": 0.5, "batch": 8}),
            RecipeRun("two", 20, start="one", seed=2, teachers=("one",)),
        ),
        student={"dim": 64},
    )
    one, two = run_configs(recipe, START, Path("runs")).values()
    student = replace(START.student, dim=64)
    assert one == replace(START, steps=30, batch=8, student=student, optim=OptimConfig(lr=0.5))
    weights = f"runs/one/{LAST}"
    assert two == replace(
        START,
        steps=20,
        seed=9,
        student=replace(student, start=weights),
        teacher=replace(START.teacher, names=(weights,)),
    )


@pytest.mark.parametrize("name", ["speed", "optim.speed", "optim", "steps.more", "optim.lr.more"])
def test_an_option_that_there_is_not_is_named(name):
    with pytest.raises(InputError, match="there is no training option"):
        with_options(START, {name: 1})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"runs": []}, "there must be runs"),
        ({"runs": [{"name": "a", "steps": 1}], "averaged": ["b"]}, "must be among them"),
        ({"runs": [{"name": "a", "steps": 1, "start": "b"}]}, "run 'a' needs b, of which no run before it"),
        ({"runs": [{"name": "a", "steps": 1, "teachers": ["a"]}]}, "run 'a' needs a"),
        ({"runs": [{"name": "a", "steps": 1}] * 2}, "run 'a' is there twice"),
        ({"runs": [{"name": "a"}]}, "steps is missing"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path, content, told):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert told in str(error.value) and str(path) in str(error.value)


def test_runs_go_on_from_each_other_and_are_averaged(tmp_path):
    data = load_sources(START.data.sources, START.data.held_back, ())
    runs = (RecipeRun("one", 3), RecipeRun("two", 2, start="one", seed=1))
    made = train_recipe(Recipe(runs), START, data, tmp_path, tmp_path / "last" / LAST)
    assert made.read_bytes() == (tmp_path / "two" / LAST).read_bytes()
    averaged = Recipe(runs, averaged=("one", "two"))
    both = train_recipe(averaged, START, data, tmp_path, tmp_path / "both" / LAST)
    network, header = read_weights(both)
    assert header["average_of_steps"] == [3, 2]
    parts = [read_weights(tmp_path / name / LAST)[0] for name in ("one", "two")]
    mean, first, second = (next(iter(one.parameters())).detach() for one in (network, *parts))
    assert ((first + second) / 2 - mean).abs().max() < 1e-6 and (first - second).abs().max() > 1e-4
