"""Command-line flags from frozen dataclasses: one flag a field, help from the docstrings below the fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import tyro

from ..support.checks import check_tree

Config = TypeVar("Config")


def parse(config: type[Config], argv: Sequence[str], command: str) -> Config:
    """Read `argv` into `config`; nested dataclasses give flags without a prefix, booleans are plain switches.

    command: `name` of desdis-match, or `python SCRIPT`. A wrong option prints one short box and exits with 2,
    `--help` prints the options and exits with 0.
    """
    found = tyro.cli(
        config,
        args=list(argv),
        prog=command if command.startswith("python ") else f"desdis-match {command}",
        description=config.__doc__,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    check_tree(found)
    return found
