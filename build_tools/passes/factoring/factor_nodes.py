"""Puts the parts of a weight into the graph in place of the node that used it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from build_tools.graph import Graph, Layer, Shape, attribute
from build_tools.model import Model
from build_tools.passes.factoring.decompose import F64, Factors
from build_tools.passes.factoring.windows import window


@dataclass(slots=True, eq=False)
class Replacement:
    """Nodes for a node, and the weights they read.

    Attributes:
        nodes: in the order in which they run; the last one has the old node's output.
        weights: new initialisers by name, in that order.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, NDArray[np.generic]] = field(default_factory=dict)


def as_convolution(values: NDArray[np.generic], layer: Layer) -> F64:
    """A layer's weight as float64 [out, in, *kernel]."""
    wide = np.asarray(values, np.float64)
    return wide.T if layer.out_axis == 1 else wide


def replacement(
    graph: Graph, layer: Layer, factors: Factors, dtype: np.dtype[np.generic], bias: NDArray[np.generic] | None
) -> Replacement:
    """The nodes that compute the layer by its factors.

    Args:
        graph: the layer is in; no name of it is taken for something new.
        layer: a Conv, Gemm (A not transposed) or MatMul.
        factors: of its weight as [out, in, *kernel].
        dtype: of the new weights.
        bias: [out] in place of the node's own third input; None: that one stays.
    """
    made = Replacement()
    node = graph.nodes[layer.index]
    parts = factors.parts
    names = [_free(graph, f"{layer.weight}.{index}") for index in range(len(parts))]
    # Named after the weights: these names stay free when a part is taken apart once more.
    tensors = [node.input[0], *(f"{name}.out" for name in names[:-1]), node.output[0]]
    third = list(node.input[2:3]) if len(node.input) > 2 and node.input[2] else []
    if bias is not None:
        own = third and third[0] in graph.initialisers and len(graph.readers[third[0]]) == 1
        third = third if own else [_free(graph, f"{layer.weight}.bias")]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        attributes: dict[str, Any] = {}
        values = np.asarray(part, dtype)
        op: str = layer.op
        if layer.op == "Conv":
            attributes = _convolution(node, layer, factors, index)
        elif layer.op == "MatMul" or not last:
            # Not Gemm: its third input cannot be left out before opset 11.
            op, values = "MatMul", values.T
        else:
            attributes = {k: attribute(node, k, 1.0) for k in ("alpha", "beta")} if bias is None else {}
            attributes["transB"] = 1
        made.weights[names[index]] = np.ascontiguousarray(values)
        inputs = [tensors[index], names[index], *(third if last else [])]
        made.nodes.append(helper.make_node(op, inputs, [tensors[index + 1]], f"{layer.node}.{index}", **attributes))
    if bias is not None:
        made.weights[third[0]] = np.asarray(bias, dtype)
    return made


def weights_named(name: str, known: Collection[str]) -> list[str]:
    """The weights that a name in a recipe stands for: its own, or the factors that a pass took that weight apart into.

    Args:
        name: as in the model that came, where `replacement` calls the factors of `w` `w.0`, `w.1` and so on.
        known: names of the weights there are.

    Returns:
        In the order of `known`; empty where nothing has the name.
    """
    if name in known:
        return [name]
    factor = re.compile(re.escape(name) + r"(\.\d+_*)+")
    return [other for other in known if factor.fullmatch(other)]


def _free(graph: Graph, name: str) -> str:
    """The name, lengthened until nothing else has it."""
    while name in graph.makers or name in graph.readers or name in graph.initialisers:
        name += "_"
    return name


def _convolution(node: onnx.NodeProto, layer: Layer, factors: Factors, index: int) -> dict[str, Any]:
    """Attributes of the `index`-th part: which part of the window's movement it does."""
    view = window(node, layer)
    n = len(view.kernel)
    carrier = {"svd": 0, "tucker": 1}.get(factors.form)
    sides = {index} if factors.form == "spatial" else set(range(n)) if index == carrier else set()
    keep = [side in sides for side in range(n)]

    def of(values: tuple[int, ...], else_value: int) -> list[int]:
        return [v if keep[i % n] else else_value for i, v in enumerate(values)]

    made: dict[str, Any] = {
        "kernel_shape": of(view.kernel, 1),
        "strides": of(view.strides, 1),
        "dilations": of(view.dilations, 1),
        "group": 1,
    }
    if not any(keep):
        return made
    # SAME and VALID hold for each side by itself: a side of kernel 1 and stride 1 has no padding.
    if view.auto_pad in ("NOTSET", ""):
        return made | {"pads": of(view.pads, 0)}
    return made | {"auto_pad": view.auto_pad}


def replace_nodes(model: Model, by_index: dict[int, Replacement]) -> None:
    """Put the replacements into the model's graph, in place; weights no longer read are dropped with their grids."""
    graph = model.proto.graph
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        nodes += by_index[index].nodes if index in by_index else [node]
    old = {name for index in by_index for name in graph.node[index].input}
    copies = []
    for node in nodes:
        copies.append(onnx.NodeProto())
        copies[-1].CopyFrom(node)
    del graph.node[:]
    graph.node.extend(copies)
    unread = (old & set(model.weight_names())) - names_read(graph) - {o.name for o in graph.output}
    # A bias that moved keeps its name: the old one goes, too.
    unread |= {name for made in by_index.values() for name in made.weights} & set(model.weight_names())
    for entries in (graph.initializer, graph.input):
        for entry in [e for e in entries if e.name in unread]:
            entries.remove(entry)
    for name in unread:
        model.grids.pop(name, None)
    for made in by_index.values():
        tensors = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in made.weights.items()]
        graph.initializer.extend(tensors)
        if model.proto.ir_version < 4:  # every initialiser is listed as an input there
            graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors)


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Every tensor that a node of the graph or of a graph inside it reads."""
    read: set[str] = set()
    for node in graph.node:
        read.update(node.input)
        for entry in node.attribute:
            for inner in (entry.g, *entry.graphs):
                read |= names_read(inner) | {o.name for o in inner.output}
    return read


def lone_model(proto: onnx.ModelProto, made: Replacement, input_shape: Shape, output: str) -> onnx.ModelProto:
    """A model of nothing but these nodes, to be timed by itself.

    Args:
        proto: whose opset it has.
        made: the nodes with every weight they read.
        input_shape: of the first node's input.
        output: name of the last one's.
    """
    kind = helper.np_dtype_to_tensor_dtype(next(iter(made.weights.values())).dtype)
    graph = helper.make_graph(
        made.nodes,
        "lone",
        [helper.make_tensor_value_info(made.nodes[0].input[0], kind, input_shape)],
        [helper.make_tensor_value_info(output, kind, None)],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in made.weights.items()],
    )
    lone = helper.make_model(graph, opset_imports=proto.opset_import)
    lone.ir_version = proto.ir_version
    return lone
