"""What a model would take on another device: the sum of its layers, from the table that was made there."""

from __future__ import annotations

import numpy as np
import onnx

from build_tools.errors import ModelError
from build_tools.evaluation.latency import Candidate, Timing, bench
from build_tools.graph import Graph, Shape, attribute, node_name
from build_tools.model import Model
from build_tools.passes.activations import session
from edge_runtime.bench.interleaved import noise_feed
from edge_runtime.bench.models import SIZE_MULTIPLE
from edge_runtime.bench.table import DeviceTable, Kind

TIMED_ROUNDS = 25
CONVOLUTIONS = ("Conv", "ConvTranspose", "QLinearConv")
PRODUCTS = ("Gemm", "MatMul", "QLinearMatMul")
FREE = frozenset(
    (
        "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant", "ConstantOfShape", "Shape", "Dropout",
        "Cast", "QuantizeLinear", "DequantizeLinear",
    )
)  # fmt: skip
"""No data is moved, or (quantisation) it is done inside the layer beside it."""
FUSED = frozenset(("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "BatchNormalization"))
"""ONNX Runtime computes these within the convolution whose only reader they are."""


def estimate_ms(proto: onnx.ModelProto, table: DeviceTable, size_wh: tuple[int, int]) -> float:
    """Milliseconds of one run.

    Args:
        proto: the model.
        table: of the device.
        size_wh: of a picture input whose sides are free, rounded up as by `bench`; other free sides count as 1.

    Raises:
        ModelError: ONNX Runtime refuses the model, or does not run it on noise.
    """
    fixed = _fixed(proto, size_wh)
    graph = Graph(fixed, shapes=True)
    graph.shapes |= _looked_up(fixed, [name for name in graph.makers if None in graph.shapes.get(name, (None,))])
    return table.run_ms + sum(_node_ms(graph, node, index, table) for index, node in enumerate(graph.nodes))


def time_against(before: Model, after: Model, size_wh: tuple[int, int], table: DeviceTable | None) -> Timing:
    """The time of `after` and its ratio to that of `before`: on the table's device, or measured here (None).

    Raises:
        ModelError: a model cannot be timed, see `estimate_ms` and `latency.bench`.
    """
    if table is None:
        pair = [Candidate(name, m.proto.SerializeToString(), size_wh) for name, m in (("a", before), ("after", after))]
        return bench(pair, TIMED_ROUNDS)[1]
    was, now = (estimate_ms(m.proto, table, size_wh) for m in (before, after))
    ratio = now / max(was, 1e-9)
    return Timing("after", now, ratio, (ratio, ratio))


def _node_ms(graph: Graph, node: onnx.NodeProto, index: int, table: DeviceTable) -> float:
    if node.op_type in CONVOLUTIONS:
        return _convolution_ms(graph, node, index, table)
    if node.op_type in PRODUCTS:
        return _product_ms(graph, node, index, table)
    maker = graph.makers.get(node.input[0]) if node.input else None
    fused = node.op_type in FUSED and maker is not None and maker.op_type in CONVOLUTIONS
    if node.op_type in FREE or (fused and len(graph.readers[node.input[0]]) == 1):
        return 0.0
    # Pooling reads more than it writes, Resize writes more than it reads.
    sizes = [_size(graph.shapes.get(name, ())) for name in (*node.input, *node.output)]
    elements = max(sizes, default=0)
    return table.layer_ms("elementwise", 32, (1, 1), elements, elements) if elements > 1 else 0.0


def _convolution_ms(graph: Graph, node: onnx.NodeProto, index: int, table: DeviceTable) -> float:
    weight_name = node.input[3 if node.op_type == "QLinearConv" else 1]
    weight = _known(graph, weight_name, node, index)
    # What is multiplied stands at the output's places, of a transposed convolution at the input's.
    place = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
    positions = _size(_known(graph, place, node, index)[2:])
    groups = int(attribute(node, "group", 1))
    kind: Kind = "pointwise" if _size(weight[2:]) == 1 else "full"
    channels = (weight[1] * groups, weight[0])
    if node.op_type == "ConvTranspose":
        channels = (weight[0], weight[1] * groups)
    elif groups > 1 and weight[1] == 1:
        kind = "depthwise"
    macs = positions * _size(weight)
    return table.layer_ms(kind, _bits(graph, node, weight_name), channels, positions, macs)


def _product_ms(graph: Graph, node: onnx.NodeProto, index: int, table: DeviceTable) -> float:
    second = node.input[3 if node.op_type == "QLinearMatMul" else 1]
    sides = _known(graph, second, node, index)
    out = _known(graph, node.output[0], node, index)
    into = _size(sides) // max(out[-1], 1) if len(sides) == 2 else sides[-2]
    rows = _size(out[:-1])
    macs = rows * into * out[-1]
    return table.layer_ms("dense", _bits(graph, node, second), (into, out[-1]), rows, macs) if macs else 0.0


def _bits(graph: Graph, node: onnx.NodeProto, weight: str) -> int:
    """8 for a layer whose input and weight come out of 8 bits, as QDQ models have them."""
    if node.op_type.startswith("QLinear"):
        return 8
    makers = [graph.makers.get(name) for name in (node.input[0], weight)]
    return 8 if all(m is not None and m.op_type == "DequantizeLinear" for m in makers) else 32


def _known(graph: Graph, name: str, node: onnx.NodeProto, index: int) -> tuple[int, ...]:
    shape = graph.shapes.get(name)
    if shape is None:
        raise ModelError(f"{node_name(node, index)}: the shape of {name} is not known; time the model here")
    return tuple(1 if side is None else side for side in shape)


def _size(shape: Shape) -> int:
    size = 1
    for side in shape:
        size *= side or 1
    return size


def _looked_up(proto: onnx.ModelProto, names: list[str]) -> dict[str, Shape]:
    """The shapes of these tensors when the model is run once, for those that inference cannot tell.

    Raises:
        ModelError: see `estimate_ms`.
    """
    if not names:
        return {}
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    del exposed.graph.output[:]
    for name in names:
        exposed.graph.output.add().name = name
    runner = session(exposed)
    try:
        values = runner.run(None, noise_feed(runner, (1, 1)))
    except Exception as error:  # ONNX Runtime's errors share no base class
        line = str(error).splitlines()[0][:160]
        raise ModelError(f"its layers cannot be looked up: it does not run on noise ({line}); time it here") from error
    return {name: np.shape(value) for name, value in zip(names, values, strict=True)}


def _fixed(proto: onnx.ModelProto, size_wh: tuple[int, int]) -> onnx.ModelProto:
    """A copy whose inputs have no free sides, with nothing said of shapes further on that could contradict them."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    weights = {t.name for t in fixed.graph.initializer}
    for entry in fixed.graph.input:
        dims = entry.type.tensor_type.shape.dim
        w, h = (side + -side % SIZE_MULTIPLE for side in size_wh)
        free = {1: 3, 2: h, 3: w} if len(dims) == 4 else {}
        for index, dim in enumerate(dims):
            if entry.name not in weights and dim.dim_value <= 0:
                dim.dim_value = free.get(index, 1)
    del fixed.graph.value_info[:]
    for entry in fixed.graph.output:
        entry.type.tensor_type.ClearField("shape")
    return fixed
