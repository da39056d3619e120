"""Parts by name: of a family's own table, of other packages' entry points, or as `module:Class`.

    DETECTORS: dict[str, Detector] = {"dog": find_dog, ...}          # a family's table
    detect = find_part("detectors", DETECTORS, config.detector)      # "dog", a package's name, "mine:Corners"

Another package adds a part by an entry point of the group `desdis_match.KIND`. `module:Class` is imported
from where Python looks and from the current folder. Of both kinds a class is called without arguments, once
a process; anything else is the part itself.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from . import lean_torch

Part = TypeVar("Part")

GROUP = "desdis_match."
"""Entry-point groups are this and the kind: detectors, descriptors, features, matchers, pairs, mappers."""


def find_part(kind: str, table: Mapping[str, Part], name: str, also: Iterable[str] = ()) -> Part:
    """The part called `name`: the table's, else an entry point's, else what `module:Class` names.

    also: names that the caller knows itself, for the list of the error. Raises InputError where there is no
    such part, with all that are there, and where it cannot be loaded.
    """
    if name in table:
        return table[name]
    found: Part = loaded(kind, name, (*also, *table))
    return found


def check_part(kind: str, table: Mapping[str, Any], name: str, also: Iterable[str] = ()) -> None:
    """Raise InputError where there is no such part; `also` are names that are none of the table's."""
    if name not in also:
        find_part(kind, table, name, also)


def part_names(kind: str, table: Iterable[str]) -> list[str]:
    """Names of the table, then those of other packages."""
    return list(dict.fromkeys([*table, *sorted(_entry_points(kind))]))


def part_code(kind: str, table: Mapping[str, Any], name: str) -> str:
    """What says that a part from elsewhere has changed: the hash of its module's file; empty for the table's.

    A part that has an attribute `fingerprint` (str) is known by that, such as a network by its weights.
    """
    if name in table:
        return ""
    found = loaded(kind, name, table)
    known = getattr(found, "fingerprint", None)
    if isinstance(known, str):
        return known
    source = inspect.getmodule(found if hasattr(found, "__name__") else type(found))
    path = getattr(source, "__file__", None)
    code = Path(path).read_bytes() if path and Path(path).is_file() else b""
    return hashlib.sha256(name.encode() + b"\n" + code).hexdigest()


def outside_code(chosen: Iterable[tuple[str, Mapping[str, Any], str]]) -> dict[str, dict[str, str]]:
    """For the record of what made a file: {"parts": {name: code}} of parts from elsewhere; {} without any."""
    codes = {name: part_code(kind, table, name) for kind, table, name in chosen if name not in table}
    return {"parts": codes} if codes else {}


@lru_cache(maxsize=64)
def _built(kind: str, name: str) -> Any:
    known = _entry_points(kind)
    lean_torch.complete()
    try:
        found = known[name].load() if name in known else _imported(name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"'{name}' of {kind} cannot be loaded: {error}") from error
    if not inspect.isclass(found):
        return found
    try:
        return found()
    except TypeError as error:
        raise InputError(f"'{name}' of {kind} cannot be made without arguments: {error}") from error


def loaded(kind: str, name: str, known: Iterable[str] = ()) -> Any:
    """The part of an entry point or `module:Class`. Raises InputError as find_part does."""
    if name not in _entry_points(kind) and not is_import_path(name):
        names = ", ".join(part_names(kind, known))
        raise InputError(
            f"there is no '{name}' among {kind}; choose from {names}, or give module:Class of your own"
        )
    return _built(kind, name)


def is_import_path(name: str) -> bool:
    """Whether a name is `module:Class`, with dots where either is nested."""
    module, colon, member = name.partition(":")
    return bool(colon) and all(word.isidentifier() for word in (*module.split("."), *member.split(".")))


def _imported(path: str) -> Any:
    """What `module:Class` names; the current folder is looked in, as `python -m` does."""
    module, _, member = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    found: Any = importlib.import_module(module)
    for word in member.split("."):
        found = getattr(found, word)
    return found


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP + kind)}
