"""Names of a package that are loaded when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping


def names_on_demand(
    package: str, names: Collection[str], where: Mapping[str, str], otherwise: str
) -> Callable[[str], object]:
    """The `__getattr__` of `package`: `where` has the module within it of a name, `otherwise` the rest.

    AttributeError for what is not among `names`.
    """

    def load(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(importlib.import_module(f".{where.get(name, otherwise)}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
