"""What is loaded when it is first asked for: names of a package (PEP 562), modules while others work."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from threading import Thread


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


def load_meanwhile(modules: Sequence[str]) -> Thread:
    """Import modules in a thread, for a process that is about to wait for others; who needs one before it is
    there waits for it. What cannot be imported is left to them too."""

    def load() -> None:
        for module in modules:
            with suppress(ImportError):
                importlib.import_module(module)

    thread = Thread(target=load, daemon=True)
    thread.start()
    return thread
