"""Small networks that quantising passes are tried on, and inputs for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.contract import Feed

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
F32 = NDArray[np.float32]


class Feeds:
    """Calibration data that are kept in memory."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


def pictures(count: int = 4, seed: int = 0, shape: tuple[int, ...] = (1, 3, 16, 16)) -> Feeds:
    """Smooth pictures of 0..1, whose neighbouring pixels are alike."""
    rng = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        x = rng.random(shape)
        for axis in (-1, -2):
            x = (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)) / 3
        feeds.append({"x": x.astype(np.float32)})
    return Feeds(feeds)


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=f"{op}_{output}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    shape: Sequence[int | str],
    outputs: Sequence[str],
    opset: int = 13,
) -> Model:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto)
    onnx.checker.check_model(proto)
    return Model(proto)


def random_weight(rng: np.random.Generator, *shape: int) -> F32:
    """Heavy tails, channels of very different size."""
    sizes = np.exp(rng.normal(0, 1, (shape[0], *(1 for _ in shape[1:]))))
    return (rng.standard_t(4, shape) * sizes / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def conv_net(seed: int = 0, act: str = "Relu") -> Model:
    """3x3 stride 2, depthwise 3x3, pointwise, pooling, fully connected; an activation behind each convolution."""
    rng = np.random.default_rng(seed)
    limits = {"low": np.float32(0), "high": np.float32(6)} if act == "Clip" else {}
    slope = {"slope": np.abs(rng.normal(size=(8, 1, 1))).astype(np.float32)} if act == "PRelu" else {}
    extra = [*(limits or slope)]
    weights: dict[str, NDArray[Any]] = {
        "stem": random_weight(rng, 8, 3, 3, 3),
        "stem_bias": rng.normal(0, 0.1, 8).astype(np.float32),
        "depth": random_weight(rng, 8, 1, 3, 3),
        "depth_bias": rng.normal(0, 0.1, 8).astype(np.float32),
        "point": random_weight(rng, 16, 8, 1, 1),
        "head": random_weight(rng, 10, 16),
        "head_bias": rng.normal(0, 0.1, 10).astype(np.float32),
        **limits,
        **slope,
    }
    return model(
        [
            node("Conv", ["x", "stem", "stem_bias"], "a", pads=[1] * 4, strides=[2, 2]),
            node(act, ["a", *extra], "ar"),
            node("Conv", ["ar", "depth", "depth_bias"], "b", pads=[1] * 4, group=8),
            node(act, ["b", *extra], "br"),
            node("Conv", ["br", "point"], "c"),
            node("Relu", ["c"], "cr"),
            node("GlobalAveragePool", ["cr"], "d"),
            node("Flatten", ["d"], "e"),
            node("Gemm", ["e", "head", "head_bias"], "y", transB=1),
        ],
        weights,
        (1, 3, 16, 16),
        ["y"],
    )


def outputs(made: Model, feeds: Feeds) -> NDArray[np.float64]:
    """The first output for all feeds, one row each."""
    runner = session(made.proto)
    return np.array([np.ravel(runner.run(None, feed)[0]) for feed in feeds], np.float64)


def output_error(made: Model, original: Model, feeds: Feeds) -> float:
    """Relative error of the first output."""
    then, now = outputs(original, feeds), outputs(made, feeds)
    return float(np.linalg.norm(now - then) / np.linalg.norm(then))
