"""Writes the ranges that activations learned while training into the graph, as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from build_tools.errors import PassError
from build_tools.graph import Graph

OLDEST_OPSET = 11
"""QuantizeLinear came with 10, Clip with its bounds as inputs with 11."""


def layer_inputs(proto: onnx.ModelProto) -> list[str]:
    """Tensors that layers read, which are what is worth quantising; outputs of the graph stay as they are."""
    graph = Graph(proto)
    read = dict.fromkeys(layer_input for layer in graph.layers() for layer_input in graph.nodes[layer.index].input[:1])
    return [name for name in read if name not in graph.outputs and name not in graph.constants]


def quantize_activations(proto: onnx.ModelProto, ranges: Mapping[str, tuple[float, int, int]]) -> None:
    """Let all readers of the named tensors see them on few levels.

    Args:
        proto: changed in place.
        ranges: step, lowest and highest level by tensor name. Levels are stored in 8 bits; fewer are a clip before.

    Raises:
        PassError: the opset is too old.
    """
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    if ranges and version < OLDEST_OPSET:
        raise PassError(
            f"train.during.quantize.activation_bits needs opset {OLDEST_OPSET} or newer, the model has {version}; "
            "run a doctor pass first"
        )
    graph = proto.graph
    nodes = list(graph.node)
    made: dict[str, list[onnx.NodeProto]] = {}
    for name, (step, low, high) in ranges.items():
        kind = np.int8 if low < 0 else np.uint8
        _constants(graph, {f"{name}_step": np.float32(step), f"{name}_zero": kind(0)})
        source, chain = name, []
        if (low, high) not in ((-128, 127), (0, 255)):
            bounds = {f"{name}_low": np.float32(step * low), f"{name}_high": np.float32(step * high)}
            _constants(graph, bounds)
            chain.append(helper.make_node("Clip", [name, *bounds], [f"{name}_clipped"]))
            source = f"{name}_clipped"
        scale = [f"{name}_step", f"{name}_zero"]
        chain.append(helper.make_node("QuantizeLinear", [source, *scale], [f"{name}_levels"]))
        chain.append(helper.make_node("DequantizeLinear", [f"{name}_levels", *scale], [f"{name}_quantized"]))
        for node in nodes:
            for place, read in enumerate(node.input):
                if read == name:
                    node.input[place] = f"{name}_quantized"
        made[name] = chain
    first = _flat(made[i.name] for i in graph.input if i.name in made)
    ordered = [*first, *_flat([node, *_flat(made[o] for o in node.output if o in made)] for node in nodes)]
    del graph.node[:]
    graph.node.extend(ordered)


def _constants(graph: onnx.GraphProto, values: Mapping[str, np.generic]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _flat(lists: Iterable[list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    return [node for chain in lists for node in chain]
