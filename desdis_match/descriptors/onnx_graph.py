"""A patch network as an ONNX model: the layers that patch networks are made of, written down one node each.

Written with `onnx.helper` instead of `torch.onnx.export`: the old exporter is deprecated and the new one
takes seconds and another package, while these networks need ten operators. The batch is dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from .desdis import PATCH_SIZE
from .layers import Standardize, UnitLength
from .rewrites import CornerPaddedConv, WinogradTail, rewrite

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""ONNX operator set: read by every onnxruntime since 1.12."""
IR_VERSION = 8
"""ONNX file version that belongs to that operator set."""


class _Graph:
    """Nodes and constants in the making; `add` returns the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output


def _standardize(graph: _Graph, layer: Standardize, x: str) -> str:
    # A pixel is subtracted first: a flat patch is then exactly 0, not the rounding of its mean, magnified.
    x = graph.add(
        "Sub", x, graph.add("Slice", x, *(graph.constant(np.array(v)) for v in ([0, 0], [1, 1], [2, 3])))
    )
    if layer.eps_in_root:
        one, zero = graph.constant(np.ones(1, np.float32)), graph.constant(np.zeros(1, np.float32))
        return graph.add("InstanceNormalization", x, one, zero, epsilon=layer.eps)
    centred = graph.add("Sub", x, graph.add("ReduceMean", x, axes=[1, 2, 3], keepdims=1))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1, 2, 3], keepdims=1)
    root = graph.add("Sqrt", graph.add("Mul", variance, graph.constant(np.float32(layer.bessel))))
    return graph.add("Div", centred, graph.add("Add", root, graph.constant(np.float32(layer.eps))))


def _conv(graph: _Graph, layer: nn.Conv2d, x: str) -> str:
    constants = [graph.constant(layer.weight.detach().numpy())]
    if layer.bias is not None:
        constants.append(graph.constant(layer.bias.detach().numpy()))
    pads = [int(pad) for pad in layer.padding] * 2
    return graph.add("Conv", x, *constants, strides=list(layer.stride), pads=pads, group=layer.groups)


def _corner_padded_conv(graph: _Graph, layer: CornerPaddedConv, x: str) -> str:
    constants = [graph.constant(layer.weight.detach().numpy()), graph.constant(layer.bias.detach().numpy())]
    return graph.add("Conv", x, *constants, strides=list(layer.stride), pads=[1, 1, 0, 0])


def _winograd_tail(graph: _Graph, layer: WinogradTail, x: str) -> str:
    def shape(*sizes: int) -> str:
        return graph.constant(np.array(sizes, np.int64))

    def weight(value: Tensor) -> str:
        return graph.constant(value.detach().numpy())

    spread = graph.add("Gemm", weight(layer.spread), graph.add("Reshape", x, shape(-1, 16)), transB=1)
    products = graph.add(
        "MatMul", graph.add("Reshape", spread, shape(36, -1, layer.channels_in)), weight(layer.weight)
    )
    maps = graph.add("MatMul", weight(layer.gather), graph.add("Reshape", products, shape(36, -1)))
    maps = graph.add("Reshape", maps, shape(16, -1, layer.channels_out))
    rows = graph.add("Transpose", graph.add("Max", maps, weight(layer.floor)), perm=[1, 0, 2])
    rows = graph.add("Reshape", rows, shape(-1, 16 * layer.channels_out))
    return graph.add("Gemm", rows, weight(layer.outer), weight(layer.outer_bias))


def _linear(graph: _Graph, layer: nn.Linear, x: str) -> str:
    constants = [graph.constant(layer.weight.detach().numpy()), graph.constant(layer.bias.detach().numpy())]
    return graph.add("Gemm", x, *constants, transB=1)


def _max_pool(graph: _Graph, layer: nn.MaxPool2d, x: str) -> str:
    side, stride = layer.kernel_size, layer.stride
    return graph.add("MaxPool", x, kernel_shape=[side, side], strides=[stride, stride])


def _unit_length(graph: _Graph, layer: UnitLength, x: str) -> str:
    norm = graph.add("ReduceL2", x, axes=[1], keepdims=1)
    return graph.add("Div", x, graph.add("Max", norm, graph.constant(np.float32(layer.eps))))


WRITERS: dict[type[nn.Module], Callable[..., str]] = {
    Standardize: _standardize,
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: lambda graph, layer, x: graph.add("Relu", x),
    nn.Tanh: lambda graph, layer, x: graph.add("Tanh", x),
    nn.Flatten: lambda graph, layer, x: graph.add("Flatten", x, axis=1),
    UnitLength: _unit_length,
    CornerPaddedConv: _corner_padded_conv,
    WinogradTail: _winograd_tail,
}
"""How each layer is written: (graph, layer, name of its input) -> name of its output."""


def unwritable(layers: nn.Sequential) -> Iterator[nn.Module]:
    """The layers for which there is no writer."""
    return (layer for layer in layers if type(layer) not in WRITERS or _is_unusual_conv(layer))


def _is_unusual_conv(layer: nn.Module) -> bool:
    """Whether it is a convolution in a way that `_conv` does not write."""
    return isinstance(layer, nn.Conv2d) and (
        layer.dilation != (1, 1) or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    )


def to_onnx(layers: nn.Sequential, dim: int, fast: bool = True) -> onnx.ModelProto:
    """Inference layers (see `layers.inference_layers`), on the CPU -> a model.

    Input `patches` (N, 1, 32, 32) float32 in [0, 1], output `descriptors` (N, dim) float32
    unit vectors; N is free. `fast` takes the layers of `rewrites`; without it they are the network's own.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    name = "patches"
    for layer in rewrite(layers) if fast else layers:
        name = WRITERS[type(layer)](graph, layer, name)
    graph.nodes[-1].output[0] = "descriptors"
    patches = helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["N", 1, PATCH_SIZE, PATCH_SIZE])
    descriptors = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["N", dim])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "descriptor", [patches], [descriptors], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="desdis_match",
        ir_version=IR_VERSION,
    )
    return model
