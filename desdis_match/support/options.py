"""Keyword options -> a configuration: flat names, as on the command line, into nested frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any, TypeVar

from ..errors import InputError

Config = TypeVar("Config")


def configured(config: Config, options: Mapping[str, Any], caller: str) -> Config:
    """`config` with the fields that `options` name, also those of configurations inside it.

    A name that a configuration and a field inside it share is the field's, as on the command line. Raises
    InputError for a name that there is not, with all that `caller` takes.
    """
    known = option_names(type(config))
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"{caller} has no option '{unknown[0]}'; it has {', '.join(known)}")
    result: Config = _filled(config, options)
    return result


def option_names(config: type) -> list[str]:
    """Names of all fields, those of configurations inside instead of the configurations."""
    names: list[str] = []
    for field in fields(config):
        inside = _inside(field)
        names += [field.name] if inside is None else option_names(inside)
    return names


def _filled(config: Any, options: Mapping[str, Any]) -> Any:
    changes: dict[str, Any] = {}
    for field in fields(config):
        if _inside(field) is not None:
            changes[field.name] = _filled(getattr(config, field.name), options)
        elif field.name in options:
            changes[field.name] = options[field.name]
    return replace(config, **changes)


def _inside(field: Field[Any]) -> type | None:
    """The configuration that is this field's default, if it is one."""
    factory = field.default_factory
    return factory if factory is not MISSING and isinstance(factory, type) and is_dataclass(factory) else None
