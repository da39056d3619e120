"""torch loaded in half the time: two parts that only its compiler and its exporter use wait until asked for.

    load()      # instead of a process's first `import torch`
    complete()  # before code runs that is not this package's

Half of `import torch` goes to `torch._meta_registrations`, kernels in Python for tensors without data, and to
`torch.export`. What computes needs neither, but for the class of random generators, which `load` sets.
Stand-ins load both as soon as something of them is asked for, or a part of torch is imported that builds on
them (BUILD_ON). What merely counts on the kernels being registered asks for nothing, hence `complete`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

LATER = ("torch._meta_registrations", "torch.export")
"""Parts of torch that are not loaded with it."""
TRIED = "2.13."
"""Releases of torch with which this was tried; others are loaded as they load themselves."""
BUILD_ON = ("torch._dynamo", "torch._inductor", "torch.onnx")
"""What imports them in an order of its own; `complete` loads none of these."""


def load() -> None:
    """`import torch` without LATER, where it is not there yet and the release is known."""
    if "torch" in sys.modules or not _release().startswith(TRIED):
        return
    import numpy  # noqa: F401 - torch's own code swallows a Ctrl-C that comes while it imports NumPy

    for name in LATER:
        sys.modules[name] = _StandIn(name)
    try:
        import torch
        from torch._opaque_base import OpaqueBaseMeta
    except BaseException:
        for name in LATER:
            sys.modules.pop(name, None)
        raise
    torch._C._set_generator_metaclass(OpaqueBaseMeta)  # as torch._meta_registrations' imports do
    sys.meta_path.insert(0, _BEFORE)


def complete() -> None:
    """Load what `load` left out."""
    if _BEFORE in sys.meta_path:
        sys.meta_path.remove(_BEFORE)
        for name in LATER:
            del sys.modules[name]
        for name in LATER:
            importlib.import_module(name)


class _StandIn(ModuleType):
    """Is where a module will be; the first attribute that is asked for loads it."""

    __file__ = None  # what looks through all modules, as `inspect` does, asks for it

    def __getattr__(self, name: str) -> Any:
        complete()
        return getattr(importlib.import_module(self.__name__), name)


class _Before(MetaPathFinder):
    """Completes torch before a part is imported that builds on what was left out."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """None: others find it."""
        if name in BUILD_ON:
            complete()


_BEFORE = _Before()


def _release() -> str:
    """Of the torch that would be loaded; empty where there is none."""
    found = importlib.util.find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else None
    if version is None or not version.is_file():
        return ""
    told = re.search(r"__version__ = '(.*)'", version.read_text(encoding="utf-8"))
    return told[1] if told else ""
