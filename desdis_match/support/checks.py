"""Values of options, checked where a configuration is made: finite, and within their ranges."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import InputError

ABOVE_ZERO = "above 0"
"""A range without its lower end."""
MAX_COUNT = 2**31 - 1
"""Largest whole number that an option takes: what COLMAP, OpenCV and NumPy's seeds hold."""


def check_options(config: Any, **ranges: tuple[float | None, float | None] | str) -> None:
    """Raise InputError for a field of `config` that is no number, beyond its range, or no choice it offers.

    ranges: by field `(least, largest)`, both allowed, None for no bound; or a rule as text: "above 0".
    Whatever the ranges say, numbers must be finite and whole ones fit 32 bits, fields of Literal type hold
    one of its values, and strings no zero byte. None passes: it is an option's own "not given".
    """
    hints = get_type_hints(type(config))
    for field in fields(config):
        value = getattr(config, field.name)
        if value is None:
            continue
        choices = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
        if choices and value not in choices:
            names = ", ".join(map(str, choices))
            raise InputError(f"{field.name} is {value!r}; it must be one of {names}")
        for number in value if isinstance(value, tuple) else (value,):
            _check(field.name, number, ranges.get(field.name, (None, None)))


def check_tree(config: Any) -> None:
    """check_options of a configuration and all that are nested in it, without ranges of their own."""
    check_options(config)
    for field in fields(config):
        if is_dataclass(value := getattr(config, field.name)):
            check_tree(value)


def _check(name: str, value: Any, allowed: tuple[float | None, float | None] | str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{name} holds a zero byte")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}; give a finite number")
    least, largest = (None, None) if isinstance(allowed, str) else allowed
    if isinstance(value, int) and largest is None and abs(value) > MAX_COUNT:
        raise InputError(f"{name} is {value}; give a number below {MAX_COUNT}")
    if allowed == ABOVE_ZERO:
        if value <= 0:
            raise InputError(f"{name} is {value}; it must be above 0")
        return
    if (least is not None and value < least) or (largest is not None and value > largest):
        raise InputError(f"{name} is {value}; it must be {_described(least, largest)}")


def _described(least: float | None, largest: float | None) -> str:
    low, high = (f"{bound:,}" for bound in (least or 0, largest or 0))
    if largest is None:
        return f"{low} or more"
    return f"{high} or less" if least is None else f"from {low} to {high}"
