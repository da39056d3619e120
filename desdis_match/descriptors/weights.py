"""Weight files: our own safetensors with a JSON header, and the checkpoints that others published."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..support.files import atomic_path, file_error
from .architectures import Architecture, architecture_of, build_network, recognise

HEADER = "desdis_match"
"""Key of the safetensors metadata that holds our JSON."""
CHECKSUM = "weights_sha256"
"""In it, of files written since 0.2.0: the fingerprint, as safetensors has no checksum."""


def save_weights(path: str | Path, network: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write `network` and what is known about it, atomically.

    `metadata` is any JSON: data, teacher, steps, scores, version, licence ...; the architecture is added.
    InputError when the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    header = {**metadata, "architecture": architecture_of(network), CHECKSUM: weights_fingerprint(network)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as partial:
        partial.write_bytes(save(tensors, metadata={HEADER: json.dumps(header, sort_keys=True)}))


def read_weights(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read our safetensors file: the network in eval mode on the CPU, and the metadata (with "architecture").

    InputError when the file is missing, damaged or not ours.
    """
    from safetensors import SafetensorError, safe_open

    path = _existing(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(HEADER)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = json.loads(header) if header is not None else {"architecture": recognise(state)}
    except OSError as error:
        raise file_error(error, path, "read") from error
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("architecture", {}), dict):
        raise InputError(f"{path} has a header that is not desdis-match's; train or download it again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise InputError(f"{path} holds weights that are NaN or infinite; train or download it again")
    network = _load(path, metadata.get("architecture", {}), state)
    if metadata.pop(CHECKSUM, None) not in (None, weights_fingerprint(network)):
        raise InputError(f"{path} holds other weights than were written: damaged; train or download it again")
    return network, metadata


def read_checkpoint(path: str | Path) -> nn.Module:
    """Read a published torch checkpoint (.pth, .pt, .params); the architecture is told by the names in it.

    A dictionary with a "state_dict" inside will do. InputError when the file is missing, damaged or unknown.
    """
    path = _existing(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        ImportError,
        AssertionError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(f"{path} is not a readable torch checkpoint ({type(error).__name__})") from error
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no table of weights")
    # HardTFeat.pth carries the SIFT layer that its training used; it is no part of the network.
    state = {name: value for name, value in state.items() if not name.startswith("SIFT.")}
    try:
        architecture = recognise(state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return _load(path, architecture, state)


def weights_fingerprint(network: nn.Module) -> str:
    """sha256 (hex) of the network's class and weights, whatever file they came in."""
    digest = hashlib.sha256(type(network).__name__.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weight file {path}")
    return path


def _load(path: Path, architecture: Architecture, state: Mapping[str, Tensor]) -> nn.Module:
    try:
        network = build_network(architecture)
        network.load_state_dict(dict(state), strict=True)
    except (RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"the weights in {path} do not fit the architecture {architecture}") from error
    return network.eval()
