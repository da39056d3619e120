"""Every kind of patch network known here: how to build one, and how to tell which one a checkpoint holds.

An architecture is the small dictionary that stands in the header of our weight files, for example
`{"kind": "desdis", "width": 32, "dim": 128}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from .desdis import LAYOUTS, DesDis
from .teachers import HardTFeat, kornia_network

Architecture = dict[str, Any]

MAX_SIZE = 4096
"""Channels or numbers of a descriptor; more is damage."""

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    **LAYOUTS,
    "hardtfeat": HardTFeat,
    "hardnet": lambda: kornia_network("hardnet", pretrained=False),
    "sosnet": lambda: kornia_network("sosnet", pretrained=False),
    "hynet": lambda: kornia_network("hynet", pretrained=False),
    "tfeat": lambda: kornia_network("tfeat", pretrained=False),
}
"""kind -> builder; the other fields of the architecture are its keyword arguments."""


def build_network(architecture: Architecture) -> nn.Module:
    """A network of that architecture with fresh weights, in eval mode. InputError if the kind is unknown."""
    options = dict(architecture)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in BUILDERS:
        raise InputError(
            f"unknown descriptor architecture {kind!r}; this version knows {', '.join(BUILDERS)}"
        )
    for name in ("width", "dim"):
        size = options.get(name, 1)
        if not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
            raise InputError(f"the architecture {architecture} has a {name} that no network here has")
    try:
        return BUILDERS[kind](**options).eval()
    except TypeError as error:
        raise InputError(f"the architecture {architecture} does not fit this version: {error}") from error


def architecture_of(network: nn.Module) -> Architecture:
    """The inverse of `build_network`. InputError for a network that is none of the kinds here."""
    if isinstance(network, DesDis):
        return {"kind": network.kind, "width": network.width, "dim": network.dim, "dropout": network.dropout}
    kind = type(network).__name__.lower()
    if kind not in BUILDERS:
        raise InputError(f"no architecture is known for {type(network).__name__}; add it to BUILDERS")
    return {"kind": kind}


def recognise(state: Mapping[str, Tensor]) -> Architecture:
    """Which architecture a checkpoint's names and shapes belong to. InputError if none."""
    keys = set(state)
    if {"layer1.1.weight", "layer3.0.weight", "desc.1.weight"} <= keys:
        return {
            "kind": "desdis" if "layer3.3.weight" in keys else "desdis-fast",
            "width": state["layer1.1.weight"].shape[0],
            "dim": state["desc.1.weight"].shape[0],
        }
    if {"features.0.weight", "features.3.weight", "classifier.1.weight"} <= keys:
        return {"kind": "hardtfeat"}
    if {"features.1.weight", "descr.0.weight"} <= keys:
        return {"kind": "tfeat"}
    if {"features.0.weight", "features.19.weight"} <= keys and state["features.19.weight"].shape[0] == 128:
        return {"kind": "hardnet"}
    if {"layer7.1.weight", "layer1.1.tau"} <= keys:
        return {"kind": "hynet"}
    if any(key.startswith("layers.") for key in keys) and len(keys) >= 14:
        return {"kind": "sosnet"}
    raise InputError(
        "these weights belong to none of the known descriptors (" + ", ".join(BUILDERS) + "); "
        f"the first names in the file are {', '.join(sorted(keys)[:3])}. A network of your own is given as "
        "module:Class, a torch module that loads its weights"
    )
