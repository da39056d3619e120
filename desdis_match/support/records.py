"""JSON -> frozen dataclasses, checked against their own types: what a program wrote is read as records."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

Record = TypeVar("Record")


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record of class `kind` in a JSON file. Raises InputError naming the file and the field."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    try:
        return to_record(content, kind)
    except ValueError as error:
        raise InputError(f"{path} is not what this program writes: {error}; make it again") from error


def to_record(value: Any, kind: type[Record], where: str = "") -> Record:
    """`value`, as json.loads gives it, as a `kind`: a dataclass whose fields are JSON's types and records.

    Fields that the record does not know are passed over, those that are missing take their default.
    Raises ValueError naming the field.
    """
    record: Record = _convert(value, kind, where or kind.__name__)
    return record


def _convert(value: Any, kind: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (kind,) = (one for one in inner if one is not type(None))
        return _convert(value, kind, where)
    if is_dataclass(kind):
        return _dataclass(value, kind, where)
    if origin is tuple:
        return tuple(
            _convert(item, inner[0], f"{where}[{i}]") for i, item in enumerate(_is(value, list, where))
        )
    if origin is not None:  # a mapping: keys are text in JSON
        return {k: _convert(v, inner[1], f"{where}.{k}") for k, v in _is(value, Mapping, where).items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, bool):
        raise ValueError(f"{where} is {value!r}, expected int")
    return _is(value, kind, where)


def _is(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where} is {value!r:.60}, expected {kind.__name__}")
    return value


def _dataclass(value: Any, kind: Any, where: str) -> Any:
    content = _is(value, Mapping, where)
    hints = get_type_hints(kind)
    given = {}
    for field in fields(kind):
        if field.name in content:
            given[field.name] = _convert(content[field.name], hints[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}.{field.name} is missing")
    return kind(**given)
