"""Small models with one fault each, and one with none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from build_tools.model import Model

Weights = dict[str, NDArray[Any]]


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    """A node whose tensors are words; `_` is an input left out."""
    made: onnx.NodeProto = helper.make_node(
        op,
        ["" if i == "_" else i for i in inputs.split()],
        outputs.split(),
        name=name or f"{op}:{outputs}",
        **attributes,
    )
    return made


def model(
    nodes: list[onnx.NodeProto],
    weights: Weights,
    shape: tuple[int | str, ...] = (1, 8, 6, 6),
    *,
    opset: int = 17,
    ir_version: int = 8,
    kind: int = TensorProto.FLOAT,
    out_kind: int | None = None,
    out_rank: int | None = None,
) -> Model:
    """A model from `x` to `y`."""
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    rank = len(shape) if out_rank is None else out_rank
    outputs = [helper.make_tensor_value_info("y", kind if out_kind is None else out_kind, [None] * rank)]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(made)
    return Model(made)


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Weights around zero."""
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def conv(inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    """A 3x3 convolution that keeps the picture's size unless told otherwise."""
    return node("Conv", inputs, outputs, name, **{"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **attributes})


def sound() -> Model:
    """A network with nothing wrong: two aligned convolutions, Relu, fixed shape, opset 17."""
    weights = {"w1": random(16, 8, 3, 3), "b1": random(16), "w2": random(8, 16, 3, 3, seed=1), "b2": random(8, seed=1)}
    return model([conv("x w1 b1", "a"), node("Relu", "a", "r"), conv("r w2 b2", "y")], weights)


def outputs(made: Model, *, seed: int = 0, shape: tuple[int, ...] | None = None) -> list[NDArray[Any]]:
    """What ONNX Runtime gives for a random input, the graph run as it is written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(made.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    sides = shape or tuple(d if isinstance(d, int) else 2 for d in entry.shape)
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}[entry.type]
    blob = np.random.default_rng(seed).normal(0, 1, sides).astype(dtype)
    return list(session.run(None, {entry.name: blob}))


def ops(made: Model) -> list[str]:
    """Operators in graph order."""
    return [n.op_type for n in made.proto.graph.node]
