"""Moves biases so that rounding a layer's weights does not shift the mean of its outputs (Nagel et al. 2019, 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from build_tools.graph import Graph, Layer, attribute
from build_tools.model import Model
from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration, Progress
from build_tools.passes.layer_inputs import Moments

F64 = NDArray[np.float64]


def correct_by_inputs(
    before: Model, model: Model, layers: Sequence[Layer], moments: Mapping[str, Moments]
) -> list[str]:
    """Add (W - Q) E[x] to each bias, in place, with the mean inputs of the model before.

    One pass over the calibration data serves all layers; what earlier layers shift is not seen.

    Args:
        before: the model with the weights W.
        model: the one with the weights Q; its biases are changed.
        layers: those whose weights changed.
        moments: by weight name, of `before`.

    Returns:
        Why layers were left alone, one line each.
    """
    refused = []
    for layer in layers:
        if layer.weight not in moments:
            refused.append(f"{layer.weight}: bias not corrected, its inputs cannot be laid out as patches")
            continue
        apart = _exact(before, layer.weight) - _exact(model, layer.weight)
        mean = moments[layer.weight].mean
        rows = np.moveaxis(apart, layer.out_axis, 0).reshape(mean.shape[0], -1, mean.shape[1])
        shift = np.einsum("grk,gk->gr", rows, mean).ravel()
        refused += add_to_bias(model, layer, shift)
    return refused


def correct_by_outputs(
    before: Model, model: Model, layers: Sequence[Layer], calibration: Calibration, progress: Progress
) -> list[str]:
    """Make each layer's mean output that of the model before, layer by layer in graph order, in place.

    Sees what earlier layers shift: the model before runs over the calibration data once, the other as far as each
    layer in turn.

    Returns:
        Why layers were left alone, one line each.
    """
    refused = []
    progress("correcting biases", 0, len(layers))
    wanted = mean_outputs(before, layers, calibration)
    for done, layer in enumerate(layers, 1):
        now = mean_outputs(model, [layer], calibration)
        refused += add_to_bias(model, layer, wanted[layer.index] - now[layer.index])
        progress("correcting biases", done, len(layers))
    return refused


def mean_outputs(model: Model, layers: Sequence[Layer], calibration: Calibration) -> dict[int, F64]:
    """Mean output of each channel of layers, float64 [channels] by the layer's index."""
    nodes = Graph(model.proto).nodes
    tensors = {layer.index: nodes[layer.index].output[0] for layer in layers}
    totals, feeds = {layer.index: np.zeros(_channels(layer)) for layer in layers}, 0
    for values in stream(model.proto, list(tensors.values()), calibration):
        for layer in layers:
            out = np.asarray(values[tensors[layer.index]], np.float64)
            axis = 1 if layer.op in ("Conv", "ConvTranspose") else out.ndim - 1
            totals[layer.index] += out.mean(tuple(i for i in range(out.ndim) if i != axis))
        feeds += 1
    return {index: total / max(feeds, 1) for index, total in totals.items()}


def _exact(model: Model, name: str) -> F64:
    return np.asarray(model.weight(name), np.float64)


def _channels(layer: Layer) -> int:
    return layer.shape[layer.out_axis] * (layer.groups if layer.op == "ConvTranspose" else 1)


def fixed_bias(model: Model, layer: Layer) -> str | None:
    """Why nothing can be added to a layer's bias; None where it can."""
    node = model.proto.graph.node[layer.index]
    if layer.op == "Gemm" and (attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1):
        return "the Gemm scales its product or its bias"
    if layer.bias is not None:
        if sum(layer.bias in n.input for n in model.proto.graph.node) > 1:
            return f"other nodes read {layer.bias} too"
        if model.weight(layer.bias).size != _channels(layer):
            return f"{layer.bias} is not one value a channel"
    elif layer.op == "MatMul" or (len(node.input) > 2 and node.input[2]):
        return "it has none that is constant"
    return None


def add_to_bias(model: Model, layer: Layer, shift: F64) -> list[str]:
    """Add to the layer's bias, or give it one; a line where that cannot be done."""
    reason = fixed_bias(model, layer)
    if reason is not None:
        return [f"{layer.weight}: bias not corrected, {reason}"]
    if layer.bias is not None:
        old = _exact(model, layer.bias)
        model.set_weight(layer.bias, (old + shift.reshape(old.shape)).astype(np.float32))
        return []
    node = model.proto.graph.node[layer.index]
    name = f"{layer.weight}_bias"
    model.proto.graph.initializer.append(numpy_helper.from_array(shift.astype(np.float32), name))
    if model.proto.ir_version < 4:
        entry = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [shift.size])
        model.proto.graph.input.append(entry)
    del node.input[2:]
    node.input.append(name)
    return []
