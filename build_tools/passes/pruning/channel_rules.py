"""How channels pass through operators that compute: layers, arithmetic, normalisation, pooling.

A rule gets the flow, the node's index and its name for messages. Whatever a rule cannot vouch for it fixes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from build_tools.graph import attribute
from build_tools.passes.pruning.channel_flow import Flow
from build_tools.passes.pruning.channel_labels import Ids, varying

Rule = Callable[[Flow, int, str], None]

KEEP = """
    Relu LeakyRelu Sigmoid Tanh Elu Selu Celu HardSigmoid HardSwish Softplus Softsign Gelu Mish Swish ThresholdedRelu
    Shrink Exp Log Sqrt Abs Neg Erf Sin Cos Tan Atan Floor Ceil Round Reciprocal Sign Cast Identity Dropout Clip Not
    IsNaN IsInf
"""
"""One tensor in, one out, element by element; further inputs are scalars."""
POOLS = "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"
ARITHMETIC = """
    Add Sub Mul Div Pow Mod PRelu Min Max Sum Mean Where Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor
"""
REDUCTIONS = "ReduceMean ReduceMax ReduceMin ReduceSum ReduceL1 ReduceL2 ReduceProd ReduceLogSum ReduceSumSquare"


def _keep(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    flow.put(node.output[0], flow.ids[node.input[0]])
    for name in node.output[1:]:
        if name:
            flow.put(name, flow.ids[node.input[0]])


def _convolution(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    data, weight = node.input[:2]
    if not flow.is_weight(weight) or flow.is_weight(data):
        return flow.fix_inputs(node, f"{where} has a weight that is not a constant")
    groups, shape = int(attribute(node, "group", 1)), flow.shape(weight)
    transposed = node.op_type == "ConvTranspose"
    inputs, outputs = (shape[0], shape[1] * groups) if transposed else (shape[1] * groups, shape[0])
    source = flow.along(data, 1, where)
    if groups > 1 and inputs == groups:
        made: Ids = np.repeat(source, outputs // groups)
        row = source if transposed else made
        flow.bind(weight, {0: (row, "each")}, index, node.output[0], where)
    else:
        made = flow.labels.fresh(outputs)
        if groups > 1:
            # One weight holds all groups, so each must lose the same places.
            flow.labels.join(source.reshape(groups, -1), source.reshape(groups, -1)[:1])
            flow.labels.join(made.reshape(groups, -1), made.reshape(groups, -1)[:1])
        out_row, in_row = (made[: shape[1]], source) if transposed else (made, source[: shape[1]])
        out_axis, in_axis = (1, 0) if transposed else (0, 1)
        flow.bind(weight, {out_axis: (out_row, "out")}, index, node.output[0], where)
        flow.bind(weight, {in_axis: (in_row, "in")}, index, data, where)
    if len(node.input) > 2 and node.input[2]:
        _parameter(flow, index, node.input[2], made, where)
    flow.put(node.output[0], made.reshape(1, -1, *(1,) * (len(flow.shape(node.output[0])) - 2)))
    return None


def _gemm(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    data, weight = node.input[:2]
    if flow.is_weight(data) or not flow.is_weight(weight):
        return flow.fix_inputs(node, f"{where} has a weight that is not a constant")
    out_axis = 0 if attribute(node, "transB", 0) else 1
    source = flow.along(data, 0 if attribute(node, "transA", 0) else 1, where)
    _fully_connected(flow, index, where, source, out_axis)
    if len(node.input) > 2 and node.input[2]:
        _operand(flow, index, node.input[2], flow.ids[node.output[0]], where)
    return None


def _matmul(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    data, weight = node.input[:2]
    if flow.is_weight(data) or not flow.is_weight(weight) or len(flow.shape(weight)) != 2:
        return flow.fix_inputs(node, f"{where} multiplies other than by a constant matrix on its right")
    _fully_connected(flow, index, where, flow.along(data, -1, where), 1)
    return None


def _fully_connected(flow: Flow, index: int, where: str, source: Ids, out_axis: int) -> None:
    node = flow.graph.nodes[index]
    data, weight = node.input[:2]
    made = flow.labels.fresh(flow.shape(weight)[out_axis])
    flow.bind(weight, {out_axis: (made, "out")}, index, node.output[0], where)
    flow.bind(weight, {1 - out_axis: (source, "in")}, index, data, where)
    flow.put(node.output[0], made.reshape((1,) * (len(flow.shape(node.output[0])) - 1) + (-1,)))


def _arithmetic(flow: Flow, index: int, where: str) -> None:
    """Joins the labels that meet; sides that are broadcast do not bind the channels they are spread over."""
    node = flow.graph.nodes[index]
    out = node.output[0]
    shape = flow.shape(out)
    rank = len(shape)
    moving = [n for n in node.input if n and not flow.is_weight(n)]
    if not moving or attribute(node, "axis") is not None:  # opset 6 had broadcasting of another kind
        return flow.fix_inputs(node, f"{where} is not understood")
    arrays = {}
    for name in moving:
        ids = flow.labels.roots(flow.ids[name])
        arrays[name] = ids.reshape((1,) * (rank - ids.ndim) + ids.shape)
    sides = {n: (1,) * (rank - len(flow.shape(n))) + flow.shape(n) for n in moving}
    axes = {a for ids in arrays.values() for a in varying(ids)} or {a for a in range(rank) if shape[a] > 1}
    meeting = [n for n in moving if any(sides[n][a] == shape[a] and shape[a] > 1 for a in axes)] or moving
    result = arrays[meeting[0]]
    for name in meeting[1:]:
        flow.labels.join(result, arrays[name])
        result = np.broadcast_arrays(flow.labels.roots(result), arrays[name])[0]
    flow.put(out, result)
    for name in node.input:
        if name and flow.is_weight(name):
            _operand(flow, index, name, flow.ids[out], where)
    return None


def _operand(flow: Flow, index: int, weight: str, ids: Ids, where: str) -> None:
    """A constant that is added to (or multiplied with) a tensor, NumPy's broadcasting understood."""
    shape = flow.shape(weight)
    ids = flow.labels.roots(ids)
    behind = ids.ndim - len(shape)
    if behind < 0:
        flow.labels.fix(ids, f"{where} spreads channels over a constant")
        return flow.whole(weight, where)
    moving = varying(ids) or [a + behind for a, side in enumerate(shape) if side > 1][:1]
    for axis in moving:
        if axis >= behind and shape[axis - behind] > 1:
            row = np.broadcast_to(np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0], shape[axis - behind])
            flow.bind(weight, {axis - behind: (row, "each")}, index, flow.graph.nodes[index].output[0], where)
    return None


def _parameter(flow: Flow, index: int, weight: str, row: Ids, where: str) -> None:
    """One number for each channel."""
    if not flow.is_weight(weight):
        return flow.labels.fix(row, f"{where} has a parameter that is not a constant")
    flow.bind(weight, {0: (row, "each")}, index, flow.graph.nodes[index].output[0], where)
    return None


def _normalisation(flow: Flow, index: int, where: str) -> None:
    """BatchNormalization and InstanceNormalization: each channel by itself, with parameters of its own."""
    node = flow.graph.nodes[index]
    row = flow.along(node.input[0], 1, where)
    for name in node.input[1:]:
        if name:
            _parameter(flow, index, name, row, where)
    flow.put(node.output[0], row.reshape(1, -1, *(1,) * (len(flow.shape(node.output[0])) - 2)))


def _pool(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    row = flow.along(node.input[0], 1, where)
    flow.put(node.output[0], row.reshape(1, -1, *(1,) * (len(flow.shape(node.output[0])) - 2)))
    if len(node.output) > 1 and node.output[1]:
        flow.labels.fix(row, f"{where} gives places that count channels")


def _softmax(flow: Flow, index: int, where: str) -> None:
    """Softmax and layer normalisation mix along axes: channels there cannot go without changing the others."""
    node = flow.graph.nodes[index]
    ids = flow.ids[node.input[0]]
    old = flow.opset < 13 and node.op_type != "LayerNormalization"
    axis = attribute(node, "axis", 1 if old else -1) % ids.ndim
    mixed = range(axis, ids.ndim) if old or node.op_type == "LayerNormalization" else [axis]
    if any(a in mixed for a in varying(flow.labels.roots(ids))):
        flow.labels.fix(ids, f"{where} mixes channels")
    flow.put(node.output[0], ids)


def _reduction(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    ids = flow.labels.roots(flow.ids[node.input[0]])
    axes = flow.numbers.of(node, 1, "axes")
    if axes is None:
        axes = [] if attribute(node, "noop_with_empty_axes", 0) else list(range(ids.ndim))
    axes = [a % ids.ndim for a in axes]
    if any(a in axes for a in varying(ids)):
        flow.labels.fix(ids, f"{where} mixes channels")
    kept = ids[tuple(slice(0, 1) if a in axes else slice(None) for a in range(ids.ndim))]
    flow.put(node.output[0], kept if attribute(node, "keepdims", 1) else kept.squeeze(tuple(axes)))


RULES: dict[str, Rule] = {
    **dict.fromkeys(KEEP.split(), _keep),
    **dict.fromkeys(POOLS.split(), _pool),
    **dict.fromkeys(ARITHMETIC.split(), _arithmetic),
    **dict.fromkeys(REDUCTIONS.split(), _reduction),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax", "LayerNormalization"], _softmax),
    **dict.fromkeys(["BatchNormalization", "InstanceNormalization"], _normalisation),
    **dict.fromkeys(["Conv", "ConvTranspose"], _convolution),
    "Gemm": _gemm,
    "MatMul": _matmul,
}
