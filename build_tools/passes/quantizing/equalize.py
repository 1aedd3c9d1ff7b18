"""Cross-layer equalisation: scales channels between two layers so that the weights of both spread alike.

Where only a positively homogeneous function lies between two layers (f(s x) = s f(x): ReLU, leaky ReLU, PReLU,
pooling), a channel may be made smaller in the first layer and larger in the second, and the network computes the
same (Nagel et al. 2019, "Data-free quantization", section 4.1). The scales here are powers of two, so the outputs
stay equal bit for bit: that costs at most a factor of sqrt(2) of the balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.graph import Graph, Layer, node_name
from build_tools.model import Model

HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout")
ROUNDS = 20
"""Passes over the pairs; chains settle long before."""
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers whose common channels may be scaled.

    Attributes:
        first: makes the channels.
        second: the only one that reads them.
    """

    first: Layer
    second: Layer


def equalize(model: Model, held: frozenset[str] = frozenset()) -> tuple[int, list[str]]:
    """Equalise all pairs of layers, in place.

    Args:
        model: changed; its outputs stay as they are, bit for bit.
        held: weights that must keep their values, as those on a grid.

    Returns:
        The number of pairs, and for each layer that could not be paired why.
    """
    graph = Graph(model.proto)
    pairs, refused = find_pairs(graph, held)
    weights = {n: np.array(model.weight(n)) for p in pairs for n in (p.first.weight, p.second.weight)}
    biases = {p.first.bias: np.array(model.weight(p.first.bias)) for p in pairs if p.first.bias}
    for _ in range(ROUNDS):
        moved = False
        for pair in pairs:
            first, second = pair.first, pair.second
            scale = balance(_spread_out(weights[first.weight], first), _spread_in(weights[second.weight], second))
            if (scale == 1).all():
                continue
            moved = True
            weights[first.weight] /= _along(scale, first.out_axis, len(first.shape))
            if first.bias:
                biases[first.bias] /= scale.reshape(biases[first.bias].shape).astype(np.float32)
            axis = second.out_axis if second.depthwise else second.in_axis
            weights[second.weight] *= _along(scale, axis, len(second.shape))
        if not moved:
            break
    for name, values in (weights | biases).items():
        if not np.array_equal(values, model.weight(name)):
            model.set_weight(name, values)
    return len(pairs), refused


def balance(first: F64, second: F64) -> F64:
    """Powers of two nearest to sqrt(first / second), by which the first layer's channels are divided.

    Args:
        first: largest weight of each channel in the layer that makes it.
        second: the same in the layer that reads it.
    """
    both = (first > 0) & (second > 0)
    ratio = np.divide(first, second, out=np.ones_like(first), where=both)
    power: F64 = np.exp2(np.rint(np.log2(ratio) / 2))
    return np.where(both, np.clip(power, 2.0**-20, 2.0**20), 1.0)


def find_pairs(graph: Graph, held: frozenset[str] = frozenset()) -> tuple[list[Pair], list[str]]:
    """Pairs of layers between which channels may be scaled, and why other layers have no partner."""
    layers = {graph.nodes[layer.index].output[0]: layer for layer in graph.layers()}
    by_index = {layer.index: layer for layer in layers.values()}
    places = {id(node): index for index, node in enumerate(graph.nodes)}
    times = [name for layer in layers.values() for name in (layer.weight, layer.bias) if name]
    pairs, refused = [], []
    for layer in layers.values():
        end, blocker = _follow(graph, layer)
        if end is None:
            refused.append(f"{layer.weight}: not equalised, {blocker}")
            continue
        second = by_index.get(places[id(end)])
        if second is None or not _reads_channels(layer, second):
            refused.append(f"{layer.weight}: not equalised, {node_name(end, places[id(end)])} reads its channels")
        elif any(times.count(n) > 1 for n in (layer.weight, second.weight, layer.bias) if n):
            refused.append(f"{layer.weight}: not equalised, layers share its weight")
        elif held & {layer.weight, second.weight}:
            refused.append(f"{layer.weight}: not equalised, it or {second.weight} lies on a grid")
        elif not _scalable(graph, layer):
            refused.append(f"{layer.weight}: not equalised, its bias is not one constant a channel")
        else:
            pairs.append(Pair(layer, second))
    return pairs, refused


def _follow(graph: Graph, layer: Layer) -> tuple[onnx.NodeProto | None, str]:
    """The node behind the layer and all homogeneous nodes, or None and what is in the way."""
    tensor = graph.nodes[layer.index].output[0]
    if layer.op == "MatMul" and layer.bias:
        tensor = graph.readers[tensor][0].output[0]  # the Add that is its bias
    while True:
        readers = graph.readers[tensor]
        if tensor in graph.outputs or not readers:
            return None, "it makes an output of the model"
        if len(readers) > 1:
            return None, f"{len(readers)} nodes read {tensor}"
        node = readers[0]
        if node.op_type not in HOMOGENEOUS:
            if node.op_type == "Clip":
                return None, "a Clip lies behind it (ReLU6 is not homogeneous)"
            if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and node.input[0] == tensor:
                return node, ""
            return None, f"{node.op_type} reads its channels"
        if node.op_type == "PRelu" and node.input[1] not in graph.constants:
            return None, "the PRelu behind it has slopes that are not constant"
        tensor = node.output[0]


def _reads_channels(first: Layer, second: Layer) -> bool:
    """Whether channel c of the first layer meets slice c of the second one's weight."""
    if first.op == "ConvTranspose" and first.groups > 1:
        return False
    channels = first.shape[first.out_axis]
    if second.depthwise:
        return second.shape[0] == second.groups == channels
    return second.groups == 1 and second.shape[second.in_axis] == channels


def _scalable(graph: Graph, layer: Layer) -> bool:
    node = graph.nodes[layer.index]
    given = len(node.input) > 2 and bool(node.input[2])
    if not (given or layer.bias):
        return True
    return layer.bias is not None and graph.constants[layer.bias].size == layer.shape[layer.out_axis]


def _spread_out(weight: NDArray[np.generic], layer: Layer) -> F64:
    return _largest(weight, layer.out_axis)


def _spread_in(weight: NDArray[np.generic], layer: Layer) -> F64:
    return _largest(weight, layer.out_axis if layer.depthwise else layer.in_axis)


def _largest(weight: NDArray[np.generic], axis: int) -> F64:
    magnitudes = np.abs(np.moveaxis(np.asarray(weight, np.float64), axis, 0))
    most: F64 = magnitudes.reshape(len(magnitudes), -1).max(1)
    return most


def _along(scale: F64, axis: int, ndim: int) -> NDArray[np.float32]:
    shape = [1] * ndim
    shape[axis] = -1
    return scale.reshape(shape).astype(np.float32)
