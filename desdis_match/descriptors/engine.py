"""Run a patch network fast: ONNX Runtime or torch on a CPU, torch in half precision on a GPU.

What `auto` takes on a CPU was measured with eval/benchmark_describe.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .desdis import PATCH_SIZE
from .layers import inference_layers

ENGINES: tuple[str, ...] = ("auto", "torch", "onnxruntime")

ONNX_BATCH = 192
"""Patches a call of ONNX Runtime: few enough that the maps between two layers stay in a core's cache."""
CPU_BATCH = 256
"""Patches a call of torch on a CPU, which shares each call among the threads."""
GPU_BATCH = 8192
"""Patches a call on a GPU: enough to fill one; desdis-32 then holds 0.3 GB of maps."""


class TorchEngine:
    """(N, 1, 32, 32) float32 -> (N, D) float32 in torch, on `device`.

    On CUDA the convolutions run in half precision; the standardisation of the patch and the final
    normalisation, whose sums half precision would spoil, stay in float32.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, half: bool | None = None) -> None:
        layers = inference_layers(network)
        self.half = device.type == "cuda" if half is None else half
        self.device = device
        if layers is None:
            self.half, self.head, self.body, self.tail = False, None, network.to(device), None
        else:
            self.head, self.body, self.tail = layers[0], layers[1:-1], layers[-1]
            self.body = self.body.to(device, dtype=torch.float16 if self.half else torch.float32)
            self.body = self.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, patches: Tensor) -> Tensor:
        batch = CPU_BATCH if self.device.type == "cpu" else GPU_BATCH
        blocks = [self._describe(block) for block in patches.split(batch)]
        return torch.cat(blocks)

    def _describe(self, patches: Tensor) -> Tensor:
        x = patches.to(self.device, torch.float32, non_blocking=True)
        if self.head is None or self.tail is None:
            return nn.functional.normalize(self.body(x).flatten(1).float(), dim=1)
        x = self.head(x)
        x = x.to(torch.float16 if self.half else torch.float32, memory_format=torch.channels_last)
        result: Tensor = self.tail(self.body(x).float())
        return result


class OnnxEngine:
    """The same through an ONNX Runtime session on the CPU, made in memory from the folded network.

    `threads` batches run at a time; None follows torch's number of threads at each call.
    """

    name = "onnxruntime"

    def __init__(self, network: nn.Module, dim: int, threads: int | None = None) -> None:
        from .onnx_graph import unwritable

        self.dim, self.threads = dim, threads
        layers = inference_layers(network)
        if layers is None or any(unwritable(layers)):
            raise InputError(
                f"{type(network).__name__} has layers that are not written to ONNX here; take engine=torch"
            )
        self.layers = layers

    @cached_property
    def session(self) -> Any:
        """Made by the first call: many a process only wants to know which descriptor it is."""
        import onnxruntime

        from .onnx_graph import to_onnx

        options = onnxruntime.SessionOptions()
        # One thread a call, a batch a thread: faster than all threads on one batch, none left spinning.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            to_onnx(self.layers, self.dim).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, patches: Tensor) -> Tensor:
        array = np.ascontiguousarray(patches.detach().cpu().numpy(), dtype=np.float32)
        result = np.empty((len(array), self.dim), np.float32)
        session = self.session

        def describe(start: int) -> None:
            block = slice(start, start + ONNX_BATCH)
            result[block] = session.run(None, {"patches": array[block]})[0]

        starts = range(0, len(array), ONNX_BATCH)
        threads = min(self.threads or torch.get_num_threads(), len(starts))
        if threads > 1:
            # A pool of its own for each call: one that lived longer would not survive a fork.
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(describe, starts))
        else:
            for start in starts:
                describe(start)
        return torch.from_numpy(result)


def make_engine(
    network: nn.Module, dim: int, device: torch.device, engine: str = "auto", threads: int | None = None
) -> TorchEngine | OnnxEngine:
    """The engine by name; `auto` is ONNX Runtime on a CPU where it can run the network, else torch."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}'; take one of {', '.join(ENGINES)}")
    if engine == "onnxruntime" and device.type != "cpu":
        raise InputError(
            f"engine onnxruntime runs on the CPU, not on {device.type}; take engine=torch or auto"
        )
    if engine == "torch" or device.type != "cpu":
        return TorchEngine(network, device)
    try:
        return OnnxEngine(network, dim, threads)
    except InputError:
        if engine == "onnxruntime":
            raise
        return TorchEngine(network, device)


class Descriptor(nn.Module):
    """A patch descriptor ready to use: any number of patches in, unit vectors out, in batches that fit.

    `name`, `dim` and `fingerprint` (sha256 of the weights) say what it is; `network` is the module itself,
    for those who train, export or compile it.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        dim: int,
        fingerprint: str,
        device: torch.device,
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.name, self.dim, self.fingerprint = name, dim, fingerprint
        self.run = make_engine(self.network, dim, device, engine, threads)
        self.eval()

    @property
    def engine(self) -> str:
        """`torch` or `onnxruntime`."""
        return self.run.name

    def on_threads(self, num: int) -> Descriptor:
        """The same, sharing all it has loaded, with `num` batches at a time where ONNX Runtime describes."""
        other = copy(self)
        if isinstance(self.run, OnnxEngine):
            self.run.session  # noqa: B018 - made once, for both
            other.run = copy(self.run)
            other.run.threads = num
        return other

    @torch.no_grad()
    def forward(self, patches: Tensor) -> Tensor:
        """(N, 1, 32, 32) float in [0, 1] -> (N, dim) float32 on the patches' device; N may be 0.

        ValueError for another shape.
        """
        if patches.ndim != 4 or patches.shape[1:] != (1, PATCH_SIZE, PATCH_SIZE):
            raise ValueError(
                f"patches must be (N, 1, {PATCH_SIZE}, {PATCH_SIZE}), not {tuple(patches.shape)}"
            )
        if len(patches) == 0:
            return torch.empty(0, self.dim, dtype=torch.float32, device=patches.device)
        return self.run(patches).to(patches.device)
