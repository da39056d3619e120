"""Patch descriptors: (N, 1, 32, 32) patches in [0, 1] to (N, D) unit vectors, by name or weight file."""

from .desdis import DesDis, load_authors_checkpoint
from .engine import Descriptor
from .registry import DEFAULT_DESCRIPTOR, NAMES, load_descriptor, load_network
from .weights import read_weights, save_weights

__all__ = [
    "DEFAULT_DESCRIPTOR",
    "NAMES",
    "DesDis",
    "Descriptor",
    "load_authors_checkpoint",
    "load_descriptor",
    "load_network",
    "read_weights",
    "save_weights",
]
