"""`desdis-match export-onnx`: a descriptor as an ONNX file, patches in, unit vectors out."""

from __future__ import annotations

import inspect
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..support.files import atomic_path, check_not_read
from . import DEFAULT_DESCRIPTOR
from .desdis import PATCH_SIZE
from .layers import inference_layers
from .onnx_graph import OPSET, to_onnx, unwritable
from .registry import load_network, output_size
from .weights import weights_fingerprint

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4
"""Largest difference from torch, in any component, with which a file is written."""


@dataclass(frozen=True)
class ExportOnnxConfig:
    """Write a descriptor as ONNX: `patches` (N, 1, 32, 32) in [0, 1] -> `descriptors` (N, D), any N."""

    output: Path
    """File to write, for example desdis-32.onnx."""
    descriptor: str = DEFAULT_DESCRIPTOR
    """Name of a descriptor, the path of its weights, or module:Class of your own."""
    fast_cpu: bool = False
    """Layers rewritten for ONNX Runtime on a CPU, as this package runs them itself. The plain layers that are
    written otherwise suit every runtime and accelerator."""


def export_onnx(config: ExportOnnxConfig) -> float:
    """Write the file if ONNX Runtime gives what torch gives; returns their largest difference.

    InputError when the descriptor has no ONNX form, the difference exceeds TOLERANCE, or the file cannot be
    written.
    """
    import onnx
    import onnxruntime

    check_not_read(config.output, Path(config.descriptor))
    network = load_network(config.descriptor)
    layers = inference_layers(network)
    dim = output_size(network)
    if layers is not None and not any(unwritable(layers)):
        model = to_onnx(layers, dim, fast=config.fast_cpu)
        onnx.checker.check_model(model)
    elif ":" in config.descriptor:
        model = traced(network, config.descriptor)
    else:
        raise InputError(
            f"'{config.descriptor}' cannot be written as ONNX; DesDis, HardNet, SOSNet and TFeat networks can"
        )
    model.doc_string = f"{config.descriptor}: 32x32 grey patches in [0, 1] to unit vectors, L2 distance"
    about = {
        "descriptor": Path(config.descriptor).name,
        "dim": dim,
        "fingerprint": weights_fingerprint(network),
    }
    model.metadata_props.add(key="desdis_match", value=json.dumps(about, sort_keys=True))
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = max(_difference(network, session, num) for num in (1, 3, 64))
    if worst > TOLERANCE:
        raise InputError(
            f"ONNX Runtime differs from torch by {worst:.1e} for '{config.descriptor}', more than "
            f"{TOLERANCE:.0e}; no file was written"
        )
    try:
        with atomic_path(config.output) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {config.output}: {error.strerror or error}") from error
    return worst


class UnitRows(nn.Module):
    """A network's output as unit vectors, which is what a descriptor gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, D)."""
        return nn.functional.normalize(self.network(patches).flatten(1), dim=1)


def traced(network: nn.Module, name: str) -> onnx.ModelProto:
    """A network of somebody's own, by torch's exporter. Raises InputError where it cannot."""
    import onnx

    stream = io.BytesIO()
    old: dict[str, Any] = (
        {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this exporter is deprecated; the new one needs another package
            torch.onnx.export(
                UnitRows(network).eval(),
                (torch.zeros(2, 1, PATCH_SIZE, PATCH_SIZE),),
                cast(Any, stream),  # which its types leave out
                input_names=["patches"],
                output_names=["descriptors"],
                dynamic_axes={"patches": {0: "N"}, "descriptors": {0: "N"}},
                opset_version=OPSET,
                **old,
            )
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"'{name}' cannot be written as ONNX: {first}") from error
    return onnx.load_model_from_string(stream.getvalue())


@torch.no_grad()
def _difference(network: nn.Module, session: Any, num_patches: int) -> float:
    """Largest difference of a component over random patches of high and of low contrast."""
    generator = np.random.default_rng(num_patches)
    patches = generator.random((num_patches, 1, PATCH_SIZE, PATCH_SIZE), np.float32)
    patches[::2] = 0.5 + 0.05 * patches[::2]
    expected = nn.functional.normalize(network(torch.from_numpy(patches)).flatten(1), dim=1).numpy()
    found = session.run(None, {"patches": patches})[0]
    return float(np.abs(found - expected).max())
