"""Each operator in torch against ONNX Runtime, and its gradient against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from build_tools.errors import ModelError
from build_tools.nets.from_onnx import OnnxModule

KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.bool_): TensorProto.BOOL}  # fmt: skip


def one_node(
    op: str,
    feeds: dict[str, np.ndarray],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    outputs: int = 1,
    order: list[str] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A graph of one node; `order` names its inputs, "" for one left out."""
    constants = constants or {}
    names = order if order is not None else [*feeds, *constants]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, name="the_node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, KINDS[v.dtype], v.shape) for n, v in feeds.items()],
        [onnx.ValueInfoProto(name=n) for n in made],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def equals_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)
    module = OnnxModule(model)
    found = module({n: torch.from_numpy(v) for n, v in feeds.items()})
    for name, want in zip(module.outputs, expected, strict=True):
        got = found[name].detach().numpy()
        assert got.shape == want.shape
        np.testing.assert_allclose(got.astype(want.dtype), want, rtol=1e-4, atol=1e-5)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.5, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


ELEMENTWISE = [
    "Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Softplus", "Softsign", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu",
    "Selu", "Celu", "ThresholdedRelu", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Atan",
    "Softmax", "LogSoftmax", "Identity", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Shape", "Size",
]  # fmt: skip


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_plain_operators_equal_onnxruntime(op: str) -> None:
    feeds = {"x": noise(2, 3, 4, 5)}
    equals_onnxruntime(one_node(op, feeds), feeds)


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal"])
def test_operators_on_positive_values_equal_onnxruntime(op: str) -> None:
    feeds = {"x": np.abs(noise(2, 3, 4)) + 0.1}
    equals_onnxruntime(one_node(op, feeds), feeds)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "Greater", "Less", "Equal"])
def test_pairs_broadcast_as_in_onnxruntime(op: str) -> None:
    feeds = {"a": noise(2, 3, 4), "b": noise(3, 1, seed=1)}
    equals_onnxruntime(one_node(op, feeds), feeds)


def test_whole_numbers_divide_as_in_onnxruntime() -> None:
    feeds = {"a": ints(7, -7, 9), "b": ints(2, 2, -4)}
    equals_onnxruntime(one_node("Div", feeds), feeds)


REDUCTIONS = ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
              "ReduceSumSquare", "ReduceLogSumExp"]  # fmt: skip


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_equal_onnxruntime(op: str, keepdims: int) -> None:
    feeds = {"x": noise(2, 3, 4)}
    if op == "ReduceSum":
        equals_onnxruntime(one_node(op, feeds, {"axes": ints(-1, 1)}, keepdims=keepdims), feeds)
    else:
        equals_onnxruntime(one_node(op, feeds, axes=[-1, 1], keepdims=keepdims), feeds)
    equals_onnxruntime(one_node(op, feeds, keepdims=keepdims), feeds)


CONVOLUTIONS: list[dict[str, Any]] = [
    {}, {"strides": [2, 1], "pads": [1, 2, 1, 2]}, {"pads": [0, 1, 2, 0]}, {"dilations": [2, 2]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID"},
]  # fmt: skip


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
def test_convolutions_equal_onnxruntime(attributes: dict[str, Any]) -> None:
    feeds = {"x": noise(2, 4, 9, 10)}
    weights = {"w": noise(6, 2, 3, 2, seed=1), "b": noise(6, seed=2)}
    equals_onnxruntime(one_node("Conv", feeds, weights, group=2, **attributes), feeds)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 3], "pads": [1, 0, 2, 1]}, {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
     {"strides": [2, 2], "output_padding": [1, 1]}, {"strides": [3, 3], "output_shape": [13, 14]},
     {"strides": [2, 2], "auto_pad": "SAME_UPPER"}],
)  # fmt: skip
def test_transposed_convolutions_equal_onnxruntime(attributes: dict[str, Any]) -> None:
    feeds = {"x": noise(2, 4, 5, 5)}
    weights = {"w": noise(4, 3, 3, 3, seed=1), "b": noise(6, seed=2)}
    equals_onnxruntime(one_node("ConvTranspose", feeds, weights, group=2, **attributes), feeds)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 2]}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}, {"strides": [2, 2], "pads": [0, 0, 1, 1]},
     {"strides": [2, 2], "ceil_mode": 1}, {"strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
     {"auto_pad": "SAME_UPPER", "strides": [2, 2]}],
)  # fmt: skip
def test_pools_equal_onnxruntime(op: str, attributes: dict[str, Any]) -> None:
    feeds = {"x": noise(1, 2, 8, 9)}
    equals_onnxruntime(one_node(op, feeds, kernel_shape=[3, 3], **attributes), feeds)


def test_averages_that_count_their_padding_equal_onnxruntime() -> None:
    feeds = {"x": noise(1, 2, 8, 9)}
    equals_onnxruntime(
        one_node("AveragePool", feeds, kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1), feeds
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("scale", [2.0, 0.6, 1.7])
def test_resizing_equals_onnxruntime(mode: str, coordinates: str, scale: float) -> None:
    feeds = {"x": noise(1, 2, 7, 10)}
    constants = {"scales": np.array([1, 1, scale, scale], np.float32)}
    model = one_node(
        "Resize", feeds, constants, order=["x", "", "scales"], mode=mode, coordinate_transformation_mode=coordinates
    )
    equals_onnxruntime(model, feeds)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resizing_to_sizes_rounds_as_onnxruntime(rounding: str) -> None:
    feeds = {"x": noise(1, 2, 7, 10)}
    constants = {"sizes": ints(1, 2, 11, 15)}
    equals_onnxruntime(one_node("Resize", feeds, constants, order=["x", "", "", "sizes"], nearest_mode=rounding), feeds)


def test_old_upsampling_equals_onnxruntime() -> None:
    feeds = {"x": noise(1, 2, 5, 6)}
    constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    for mode in ("nearest", "linear"):
        equals_onnxruntime(one_node("Upsample", feeds, constants, opset=9, mode=mode), feeds)
        equals_onnxruntime(one_node("Resize", feeds, constants, opset=10, mode=mode), feeds)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_equals_onnxruntime(mode: str) -> None:
    feeds = {"x": noise(1, 2, 5, 6)}
    equals_onnxruntime(one_node("Pad", feeds, {"pads": ints(0, 0, 2, 1, 0, 1, 3, 0)}, mode=mode), feeds)


def test_cropping_by_padding_equals_onnxruntime() -> None:
    feeds = {"x": noise(1, 2, 5, 6)}
    equals_onnxruntime(one_node("Pad", feeds, {"pads": ints(0, 0, -1, 1, 0, 0, 0, -2)}), feeds)
    equals_onnxruntime(one_node("Pad", feeds, opset=10, pads=[0, 0, 1, 1, 0, 0, 0, 2], value=3.0), feeds)


@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("Reshape", {"s": ints(0, -1, 2)}, {}),
        ("Transpose", {}, {"perm": [2, 0, 1]}),
        ("Transpose", {}, {}),
        ("Squeeze", {}, {}),
        ("Unsqueeze", {"a": ints(0, -1)}, {}),
        ("Slice", {"s": ints(-1, 0), "e": ints(-9, 3), "a": ints(2, 1), "t": ints(-2, 2)}, {}),
        ("Slice", {"s": ints(1), "e": ints(2**62)}, {}),
        ("Gather", {"i": np.array([[0, -1], [2, 1]], np.int64)}, {"axis": 1}),
        ("Gather", {"i": np.array(1, np.int64)}, {"axis": 1}),
        ("Expand", {"s": ints(2, 1, 3, 4)}, {}),
        ("Tile", {"r": ints(1, 2, 1)}, {}),
        ("Clip", {"l": np.array(-0.5, np.float32), "h": np.array(0.7, np.float32)}, {}),
        ("Cast", {}, {"to": TensorProto.INT64}),
        ("LpNormalization", {}, {"axis": 1, "p": 2}),
        ("ArgMax", {}, {"axis": 1}),
        ("CumSum", {"a": np.array(1, np.int64)}, {}),
        ("PRelu", {"slope": np.array([[0.1], [0.2], [0.3]], np.float32)}, {}),
        ("Pow", {"e": np.array(2, np.float32)}, {}),
    ],
)
def test_operators_with_settings_equal_onnxruntime(
    op: str, constants: dict[str, np.ndarray], attributes: dict[str, Any]
) -> None:
    feeds = {"x": noise(1, 3, 4)}
    equals_onnxruntime(one_node(op, feeds, constants, **attributes), feeds)


@pytest.mark.parametrize(
    ("op", "constants", "attributes", "opset"),
    [
        ("Softmax", {}, {"axis": 1}, 11),
        ("Squeeze", {}, {"axes": [0]}, 11),
        ("Unsqueeze", {}, {"axes": [1]}, 11),
        ("Slice", {}, {"starts": [1], "ends": [3], "axes": [2]}, 9),
        ("Clip", {}, {"min": -1.0, "max": 0.5}, 10),
        ("ReduceSum", {}, {"axes": [1]}, 11),
        ("ReduceMean", {"axes": ints(1)}, {}, 18),
        ("Dropout", {}, {"ratio": 0.5}, 11),
        ("Gelu", {}, {"approximate": "tanh"}, 20),
    ],
)
def test_older_and_newer_forms_equal_onnxruntime(
    op: str, constants: dict[str, np.ndarray], attributes: dict[str, Any], opset: int
) -> None:
    feeds = {"x": noise(1, 3, 4)}
    equals_onnxruntime(one_node(op, feeds, constants, opset=opset, **attributes), feeds)


def test_local_response_norm_equals_onnxruntime() -> None:
    feeds = {"x": noise(2, 7, 3, 4)}
    equals_onnxruntime(one_node("LRN", feeds, size=5, alpha=0.5, bias=2.0), feeds)


@pytest.mark.parametrize("attributes", [{}, {"transA": 1}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}])
def test_gemm_equals_onnxruntime(attributes: dict[str, Any]) -> None:
    feeds = {"x": noise(4, 4)}
    weights = {"w": noise(4, 4, seed=1), "b": noise(4, seed=2)}
    equals_onnxruntime(one_node("Gemm", feeds, weights, **attributes), feeds)


def test_split_equals_onnxruntime() -> None:
    feeds = {"x": noise(2, 7)}
    equals_onnxruntime(one_node("Split", feeds, {"s": ints(3, 4)}, outputs=2, axis=1), feeds)
    equals_onnxruntime(one_node("Split", feeds, opset=11, outputs=2, axis=1, split=[2, 5]), feeds)
    equals_onnxruntime(one_node("Split", feeds, opset=18, outputs=2, axis=1, num_outputs=2), feeds)


def test_norms_equal_onnxruntime() -> None:
    feeds = {"x": noise(2, 4, 5, 6)}
    scale, bias = noise(4, seed=1), noise(4, seed=2)
    statistics = {"m": noise(4, seed=3), "v": np.abs(noise(4, seed=4)) + 0.1}
    equals_onnxruntime(one_node("BatchNormalization", feeds, {"s": scale, "b": bias, **statistics}), feeds)
    equals_onnxruntime(one_node("InstanceNormalization", feeds, {"s": scale, "b": bias}), feeds)
    equals_onnxruntime(one_node("LayerNormalization", feeds, {"s": noise(6), "b": noise(6, seed=1)}), feeds)


def test_quantising_and_back_equals_onnxruntime_and_lets_gradients_through() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y0"], axis=1),
    ]
    constants = {"s": np.array([0.1, 0.02], np.float32), "z": np.array([0, 0], np.int8)}
    graph = helper.make_graph(
        nodes, "q", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2])],
        [onnx.ValueInfoProto(name="y0")], [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = np.array([[1.03, 9.0], [-2.2, 0.5], [0.04, -0.011]], np.float32)
    equals_onnxruntime(model, {"x": x})
    given = torch.from_numpy(x).requires_grad_()
    OnnxModule(model)(given)["y0"].sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [[1, 0], [1, 1], [1, 1]]  # 9.0 is beyond 127 * 0.02


SMOOTH: list[tuple[str, dict[str, np.ndarray], dict[str, Any]]] = [
    ("Conv", {"w": noise(4, 1, 3, 3, seed=1), "b": noise(4, seed=2)}, {"group": 2, "pads": [0, 1, 1, 0]}),
    ("ConvTranspose", {"w": noise(2, 3, 2, 2, seed=1)}, {"strides": [2, 2]}),
    ("AveragePool", {}, {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}),
    ("Softmax", {}, {}),
    ("Mul", {"w": noise(2, 1, 1)}, {}),
    ("HardSwish", {}, {}),
    ("Slice", {"s": ints(3), "e": ints(0), "a": ints(3), "t": ints(-2)}, {}),
    ("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, {"mode": "reflect"}),
    ("LRN", {}, {"size": 3}),
    ("LpNormalization", {}, {"axis": 1}),
    ("ReduceL2", {}, {"axes": [1]}),
    ("BatchNormalization", {"s": noise(2), "b": noise(2), "m": noise(2), "v": np.ones(2, np.float32)}, {}),
]


@pytest.mark.parametrize(("op", "constants", "attributes"), SMOOTH)
def test_gradients_equal_finite_differences(
    op: str, constants: dict[str, np.ndarray], attributes: dict[str, Any]
) -> None:
    feeds = {"x": noise(1, 2, 4, 4)}
    module = OnnxModule(one_node(op, feeds, constants, **attributes)).double()
    weights = {n: w.detach().requires_grad_() for n, w in module.weights().items()}

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return module(x, dict(zip(weights, values, strict=True)))["y0"]

    x = torch.from_numpy(feeds["x"]).double().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *weights.values()))


def test_an_unknown_operator_is_refused_by_node_and_name() -> None:
    with pytest.raises(ModelError, match=r"node the_node: operator NonMaxSuppression cannot be trained through"):
        OnnxModule(one_node("NonMaxSuppression", {"x": noise(1, 1, 4), "y": noise(1, 1, 1)}))
    with pytest.raises(ModelError, match=r"com\.microsoft\.FusedConv"):
        OnnxModule(one_node("FusedConv", {"x": noise(1, 1, 4)}, domain="com.microsoft"))


def test_inputs_of_a_wrong_shape_are_refused_by_node() -> None:
    model = one_node("MatMul", {"x": noise(2, 3)}, {"w": noise(3, 2)})
    with pytest.raises(ModelError, match=r"node the_node \(MatMul\) does not take inputs of shape"):
        OnnxModule(model)(torch.zeros(2, 4))
