"""Descriptors by name or path, and where weights come from: the package, a user cache, the authors' site."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from ..support.devices import pick_device
from ..support.download import cache_folder, download
from ..support.files import sha256_of
from ..support.parts import is_import_path, part_names
from .engine import Descriptor
from .rootsift import RootSIFT
from .teachers import KORNIA_NETWORKS, kornia_network, network_of_package
from .weights import read_checkpoint, read_weights, weights_fingerprint

DEFAULT_DESCRIPTOR = "desdis-16"
"""What every stage takes when nobody says otherwise."""

ROOTSIFT_VERSION = "rootsift-kornia-32-1"
"""Changes when RootSIFT's numbers change, so that features of before are not taken for features of after."""

AUTHORS_SITE = (
    "https://raw.githubusercontent.com/liuyuzhenn/DesDis/c0d2661ca01bb68c8dbf3c457ad4466393116356/weights"
)


@dataclass(frozen=True)
class Download:
    """A published weight file: where it lies and what its bytes must hash to."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


PACKAGED = ("desdis-8", "desdis-fast", "desdis-16", "desdis-24", "desdis-32")
"""Our own networks, whose weights are in the package; the fastest comes first."""

DOWNLOADS: dict[str, Download] = {
    f"authors-desdis-{width}": Download(f"{AUTHORS_SITE}/DesDis-{width}.pth", sha256)
    for width, sha256 in {
        8: "b6761e9f63b0e3af0973353b00066213d7c698e490ec906ffc188997a96b77b5",
        16: "714b21738cbb0ce9c3131e75b20cc4a05b0bf4c26cb52a71559012e3be2517c3",
        24: "1cdabdb8beebe8d29bc6e476ec078a6388a7c572d9c4af88872e1352cf798a16",
        32: "51182e79f973f572e5ac5280ce4f220f3f7a24bea9c9ddd727adef01847c2a0d",
    }.items()
}
"""The authors' networks (MIT licence)."""

NAMES: tuple[str, ...] = ("rootsift", *PACKAGED, *DOWNLOADS, *KORNIA_NETWORKS)
"""Every name that `load_descriptor` takes, besides paths and `package.module:name`."""

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".params")


def load_descriptor(
    name_or_path: str | Path = DEFAULT_DESCRIPTOR,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
) -> Descriptor:
    """A descriptor by name (NAMES or another package's), by weight file, or `module:Class` of a torch module.

    Files: our .safetensors; .pth, .pt, .params of the authors' DesDis, HardTFeat and Kornia's networks.
    `device`: auto, cpu, cuda, mps. `engine`: auto, torch, onnxruntime. `threads`: of ONNX Runtime, by default
    torch's number. InputError, in one sentence, when it cannot be had.
    """
    chosen = pick_device(device)
    name = str(name_or_path)
    if name == "rootsift":
        sha256 = hashlib.sha256(ROOTSIFT_VERSION.encode()).hexdigest()
        return Descriptor(RootSIFT(), name, RootSIFT.dim, sha256, chosen, "torch", threads)
    network = load_network(name_or_path)
    label = name if name in NAMES else Path(name).stem if ":" not in name else name
    return Descriptor(
        network, label, output_size(network), weights_fingerprint(network), chosen, engine, threads
    )


def load_network(name_or_path: str | Path) -> nn.Module:
    """The torch module behind a name, file or import path, with its weights, in eval mode on the CPU."""
    name = str(name_or_path)
    if name == "rootsift":
        return RootSIFT().eval()
    if name in PACKAGED:
        path = packaged_weights(name)
    elif name in DOWNLOADS:
        path = downloaded_weights(name)
    elif name in KORNIA_NETWORKS:
        return kornia_network(name)
    elif Path(name).suffix in (".safetensors", *CHECKPOINT_SUFFIXES):
        path = Path(name_or_path)
    elif is_import_path(name) or name in part_names("descriptors", ()):
        return network_of_package(name)
    else:
        raise InputError(
            f"unknown descriptor '{name}'; take one of {', '.join(part_names('descriptors', NAMES))}, "
            f"the path of a weight file (.safetensors, {', '.join(CHECKPOINT_SUFFIXES)}), "
            "or module:Class of your own"
        )
    return read_weights(path)[0] if path.suffix == ".safetensors" else read_checkpoint(path)


def packaged_folder() -> Path:
    """Where the wheel carries weights."""
    return Path(__file__).resolve().parents[1] / "weights"


def packaged_weights(name: str) -> Path:
    """Where the weight file of a name in PACKAGED lies."""
    return packaged_folder() / f"{name}.safetensors"


def downloaded_weights(name: str) -> Path:
    """The weight file of a name in DOWNLOADS: in the cache, else downloaded into it.

    InputError when there is none and no network, naming the file to fetch and where to put it; InputError too
    when the cached file is not the published one.
    """
    source = DOWNLOADS[name]
    cached = cache_folder() / source.file_name
    if not cached.is_file():
        download(source.url, cached, source.sha256)
    elif sha256_of(cached) != source.sha256:
        raise InputError(
            f"{cached} is not the published file (its sha256 should be {source.sha256}); "
            "delete it and run again"
        )
    return cached


@torch.no_grad()
def output_size(network: nn.Module) -> int:
    """Length of the network's descriptors."""
    if isinstance(getattr(network, "dim", None), int):
        return network.dim  # type: ignore[return-value]
    result: int = network(torch.zeros(1, 1, 32, 32)).flatten(1).shape[1]
    return result
