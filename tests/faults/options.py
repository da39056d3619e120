"""Options of each command, drawn by hypothesis from the fields of its own configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from desdis_match.commands.add import AddCommand
from desdis_match.commands.exchange import ExportCommand, ExportDatabaseCommand
from desdis_match.commands.localize import LocalizeCommand
from desdis_match.commands.stages import ExtractCommand, MapCommand, MatchCommand, PairsCommand
from desdis_match.commands.view import ViewConfig
from desdis_match.patchsets.from_model import BuildPatchesConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig

CONFIGURATIONS: dict[str, type] = {
    "extract": ExtractCommand,
    "pairs": PairsCommand,
    "match": MatchCommand,
    "map": MapCommand,
    "reconstruct": ReconstructConfig,
    "add": AddCommand,
    "localize": LocalizeCommand,
    "view": ViewConfig,
    "export ply": ExportCommand,
    "export-database": ExportDatabaseCommand,
    "build-patches": BuildPatchesConfig,
}
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e-300", "1e300", "-0.0", "2147483648", "9" * 20, "x", "")
"""What people and programs write where a number belongs."""
TEXTS = ("", " ", "nan", "../x", "./", "device", "none", "ü", "a" * 5000, "photos", "run", "other.db")
"""What they write where a path, a name or a word belongs; all of it within the bench, whoever runs it."""


def flags(config: type) -> dict[str, Any]:
    """By flag, without a prefix as the command line has them, the type of its field."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            found |= flags(typing.cast(type, kind))
        elif kind is not bool:
            found["--" + field.name.replace("_", "-")] = kind
    return found


def values(kind: Any) -> st.SearchStrategy[str]:
    """Values for a field of that type: seldom good ones."""
    if typing.get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values(one) for one in typing.get_args(kind) if one is not type(None)])
    if kind in (int, float):
        ordinary = st.integers(-5, 40) if kind is int else st.floats(-2, 40)
        return st.one_of(st.sampled_from(NUMBERS), ordinary.map(str))
    if typing.get_origin(kind) is Literal:
        return st.sampled_from((*map(str, typing.get_args(kind)), "", "nothing", "-1"))
    if kind in (str, Path):
        return st.sampled_from(TEXTS)
    return st.sampled_from((*NUMBERS, *TEXTS))


def drawn(num: int, number: int) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Decorator: the function is called with `num` of `calls()`, the same for the same seed `number`."""

    def decorated(function: Callable[..., None]) -> Callable[[], None]:
        chosen = settings(
            max_examples=num,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        return seed(number)(chosen(given(calls())(function)))

    return decorated


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str]:
    """A command, one of its flags, a value."""
    name = draw(st.sampled_from(sorted(CONFIGURATIONS)))
    table = flags(CONFIGURATIONS[name])
    flag = draw(st.sampled_from(sorted(table)))
    return name, flag, draw(values(table[flag]))
