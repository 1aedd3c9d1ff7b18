"""The two networks that papers on compression are compared by: LeNet-300-100 and LeNet-5 as Caffe has it, untrained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from build_tools.model import Model

F32 = NDArray[np.float32]
OPSET = 13
IR = 8


def lenet_300_100(rng: np.random.Generator) -> Model:
    """784-300-100-10, fully connected (LeCun et al. 1998): 266,610 weights, 1,066,440 bytes in float32."""
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"]),
        _layer("Gemm", "fc1", "pixels", "sum1"),
        helper.make_node("Relu", ["sum1"], ["on1"]),
        _layer("Gemm", "fc2", "on1", "sum2"),
        helper.make_node("Relu", ["sum2"], ["on2"]),
        _layer("Gemm", "fc3", "on2", "scores"),
    ]
    return _model("lenet-300-100", nodes, shapes, rng)


def lenet_5(rng: np.random.Generator) -> Model:
    """Caffe's LeNet-5, 20 and 50 filters of 5x5, then 500 and 10 neurons: 431,080 weights, 1,724,320 bytes in float32.

    Rectified behind the convolutions too, as in the papers that prune it by training (Molchanov et al. 2017).
    """
    shapes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    nodes = [
        _layer("Conv", "conv1", "image", "map1"),
        helper.make_node("MaxPool", ["map1"], ["small1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["small1"], ["on1"]),
        _layer("Conv", "conv2", "on1", "map2"),
        helper.make_node("MaxPool", ["map2"], ["small2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["small2"], ["on2"]),
        helper.make_node("Flatten", ["on2"], ["pixels"]),
        _layer("Gemm", "fc1", "pixels", "sum3"),
        helper.make_node("Relu", ["sum3"], ["on3"]),
        _layer("Gemm", "fc2", "on3", "scores"),
    ]
    return _model("lenet-5", nodes, shapes, rng)


def _layer(op: str, name: str, reads: str, makes: str) -> onnx.NodeProto:
    node = helper.make_node(op, [reads, f"{name}.weight", f"{name}.bias"], [makes], name)
    if op == "Gemm":
        node.attribute.append(helper.make_attribute("transB", 1))
    return node


def _model(
    name: str, nodes: list[onnx.NodeProto], shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> Model:
    weights: dict[str, F32] = {}
    for layer, shape in shapes.items():
        weights[f"{layer}.weight"] = _even(shape, rng)
        weights[f"{layer}.bias"] = np.zeros(shape[0], np.float32)
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(values, weight) for weight, values in weights.items()],
    )
    return Model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR))


def _even(shape: tuple[int, ...], rng: np.random.Generator) -> F32:
    """Uniform with variance 2 / inputs, which keeps a rectified network's signals at their size (He et al. 2015)."""
    bound = np.sqrt(6.0 / np.prod(shape[1:]))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
