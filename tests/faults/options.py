"""Options of each command, drawn by hypothesis from the fields of its own configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from desdis_match.commands.add import AddCommand
from desdis_match.commands.align import AlignCommand
from desdis_match.commands.exchange import (
    ExportCommand,
    ExportDatabaseCommand,
    ExportFeaturesCommand,
    ImportDatabaseCommand,
)
from desdis_match.commands.localize import LocalizeCommand
from desdis_match.commands.merge import MergeCommand
from desdis_match.commands.stages import ExtractCommand, MapCommand, MatchCommand, PairsCommand, VerifyCommand
from desdis_match.commands.synthetic import Arguments
from desdis_match.commands.train import TrainCommand
from desdis_match.commands.view import ViewConfig
from desdis_match.descriptors.onnx_file import ExportOnnxConfig
from desdis_match.evaluate.output import OutputConfig
from desdis_match.evaluate.poses.two_view import PairTaskConfig
from desdis_match.evaluate.report import ReportConfig
from desdis_match.patchsets.from_model import BuildPatchesConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig

CONFIGURATIONS: dict[str, tuple[type, ...]] = {
    "extract": (ExtractCommand,),
    "extract --shard": (ExtractCommand,),
    "pairs": (PairsCommand,),
    "match": (MatchCommand,),
    "match --shard": (MatchCommand,),
    "verify": (VerifyCommand,),
    "verify --shard": (VerifyCommand,),
    "merge-shards extract": (ExtractCommand,),
    "merge-shards match": (MatchCommand,),
    "merge-shards verify": (VerifyCommand,),
    "map": (MapCommand,),
    "map global": (MapCommand,),
    "reconstruct": (ReconstructConfig,),
    "add": (AddCommand,),
    "merge": (MergeCommand,),
    "align": (AlignCommand,),
    "localize": (LocalizeCommand,),
    "view": (ViewConfig,),
    "export ply": (ExportCommand,),
    "export nerfstudio": (ExportCommand,),
    "import-database": (ImportDatabaseCommand,),
    "export-database": (ExportDatabaseCommand,),
    "export-features": (ExportFeaturesCommand,),
    "export-onnx": (ExportOnnxConfig,),
    "synthetic": (Arguments,),
    "build-patches": (BuildPatchesConfig,),
    "train": (TrainCommand,),
    "evaluate pairs": (PairTaskConfig, OutputConfig),
    "evaluate report": (ReportConfig,),
}
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e-300", "1e300", "-0.0", "2147483648", "9" * 20, "x", "")
"""What people and programs write where a number belongs."""
NEVER = ("nan", "inf", "-inf", "x", "", "9" * 20)
"""Those that no option that is a number may take."""
TEXTS = (
    "",
    " ",
    "nan",
    "../x",
    "./",
    "device",
    "none",
    "ü",
    "a" * 5000,
    "photos",
    "run",
    "other.db",
    "odd/zeros",
)
"""What they write where a path, a name or a word belongs; all of it within the bench, whoever runs it."""


class Drawn(NamedTuple):
    """A command, one of its flags, a value."""

    command: str
    flag: str
    value: str
    wrong: bool  # no such option may be taken


def flags(config: type, dotted: bool, prefix: str = "") -> dict[str, Any]:
    """By flag, as the command line has them, the type of its field."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind, name = hints[field.name], field.name.replace("_", "-")
        if dataclasses.is_dataclass(kind):
            inner = f"{prefix}{name}." if dotted and name != "config" else prefix
            found |= flags(typing.cast(type, kind), dotted, inner)
        elif kind is not bool:
            found[f"--{prefix}{name}"] = kind
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


@st.composite
def calls(draw: st.DrawFn) -> Drawn:
    """A command, one of its flags, a value."""
    name = draw(st.sampled_from(sorted(CONFIGURATIONS)))
    table: dict[str, Any] = {}
    for config in CONFIGURATIONS[name]:
        table |= flags(config, dotted=name == "train")
    flag = draw(st.sampled_from(sorted(table)))
    value = draw(values(table[flag]))
    return Drawn(name, flag, value, table[flag] in (int, float) and value in NEVER)


def draw(count: int, number: int) -> list[Drawn]:
    """So many different calls, the same for the same seed."""
    found: dict[Drawn, None] = {}

    @seed(number)
    @settings(
        max_examples=count * 2,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(calls())
    def collect(drawn: Drawn) -> None:
        found[drawn] = None

    if count:
        collect()
    return list(found)[:count]
