"""Which constants stay in the graph and which go to weights.bin; which of them a result is linear in."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx

from build_tools.bundle.nested import all_graphs, all_nodes
from edge_runtime.bundle.format import NATIVE
from edge_runtime.bundle.protobuf import ONNX_TYPES

Reader = tuple[str, int]
"""Operator and index of the input."""

SMALL_INTEGERS, SMALL_FLOATS = 16, 4
"""Tensors of at most so many values stay in the graph: a row in the table would cost more."""
_SHAPING = {
    "AffineGrid": {1}, "CenterCropPad": {1}, "ConstantOfShape": {0}, "CumSum": {1}, "Expand": {1}, "Loop": {0, 1},
    "NonMaxSuppression": {2, 3, 4}, "OneHot": {1}, "Pad": {1, 3}, "Range": {0, 1, 2}, "Reshape": {1},
    "Resize": {1, 2, 3}, "Slice": {1, 2, 3, 4}, "Split": {1}, "Squeeze": {1}, "Tile": {1, 2}, "TopK": {1},
    "Unsqueeze": {1}, "Upsample": {1},
}  # fmt: skip
"""Inputs whose values decide a shape: ONNX Runtime infers shapes before it is handed the weights."""
_LINEAR = {
    "Add": {0, 1}, "BatchNormalization": {1, 2, 3}, "Conv": {1, 2}, "ConvTranspose": {1, 2}, "GRU": {1, 2, 3},
    "Gemm": {0, 1, 2}, "InstanceNormalization": {1, 2}, "LSTM": {1, 2, 3}, "LayerNormalization": {1, 2},
    "MatMul": {0, 1}, "Mul": {0, 1}, "PRelu": {1}, "RNN": {1, 2, 3}, "Sub": {0, 1},
}  # fmt: skip
_MOVING = {
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
}  # fmt: skip
"""Hand their values on as they are."""
_TYPES = {ONNX_TYPES[name] for name in ("float32", *NATIVE)}
_INTEGERS = {number for name, number in ONNX_TYPES.items() if "int" in name or name == "bool"}


def readers(graph: onnx.GraphProto) -> dict[str, list[Reader]]:
    """By tensor name: operator and input index of who reads it, in nested graphs too."""
    found: dict[str, list[Reader]] = defaultdict(list)
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            found[name].append((_operator(node), index))
    return found


def linear_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the tensors on which all results depend linearly where they are read, even if moved about before."""
    nodes = [node for node in all_nodes(graph) if node.op_type != "Constant"]
    nonlinear = {o.name for one in all_graphs(graph) for o in one.output}
    for node in reversed(nodes):  # in ONNX makers stand before readers
        operator = _operator(node)
        moved_on = operator in _MOVING and not any(name in nonlinear for name in node.output)
        nonlinear |= {
            name
            for index, name in enumerate(node.input)
            if index not in _LINEAR.get(operator, ()) and not (moved_on and index not in _SHAPING.get(operator, ()))
        }
    return {name for node in nodes for name in node.input} - nonlinear


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def stays_inside(proto: onnx.ModelProto) -> set[str]:
    """Names of the initialisers that stay in the graph, with their exact values."""
    graph = proto.graph
    used = readers(graph)
    outputs = {o.name for one in all_graphs(graph) for o in one.output}
    return {t.name for t in graph.initializer if t.name in outputs or _stays(t, used.get(t.name, []))}


def _stays(tensor: onnx.TensorProto, used: list[Reader]) -> bool:
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type not in _TYPES or count == 0:
        return True
    if any(index in _SHAPING.get(op, ()) or (op.startswith("Reduce") and index == 1) for op, index in used):
        return True
    if tensor.data_type in _INTEGERS:
        return count <= SMALL_INTEGERS
    return count <= SMALL_FLOATS and not all(op in ("Conv", "ConvTranspose", "Gemm") for op, _ in used)
