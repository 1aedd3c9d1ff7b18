"""Brings a model into the form a bundle keeps, before anything is measured: what is evaluated is what is written.

Weights hidden in Constant nodes or in the branches of If, Loop and Scan become initialisers of the main graph;
initialisers that are graph inputs too become constants; with `half`, floats that lie on no grid are rounded to 16 bits.
Names stay, so that grids and reports go on to fit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from build_tools.bundle.forms import find_form, same_bits
from build_tools.bundle.nested import all_graphs, all_nodes, inner_graphs
from build_tools.bundle.placement import linear_tensors, stays_inside
from build_tools.errors import ModelError
from build_tools.model import Model

LIFTED_VALUES = 16
"""A Constant node of more values than this becomes an initialiser; fewer are cheaper where they are."""
FIRST_IR_WITH_CONSTANTS = 4
"""Before this version of ONNX's format every initialiser had to be an input as well."""
_HALF_MAX, _HALF_NORMAL_MIN = 65504.0, 2.0**-14


def settled(model: Model, half: bool = True) -> Model:
    """The model that a bundle of `model` decodes to, exactly; settling it once more changes nothing.

    Raises:
        ModelError: sparse initialisers.
    """
    out = model.copy()
    graph = out.proto.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"the initialiser {name} is stored as sparse; run `edge-build doctor --fix` on the model")
    constants = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) < len(graph.input):
        del graph.input[:]
        graph.input.extend(inputs)
    out.proto.ir_version = max(out.proto.ir_version, FIRST_IR_WITH_CONSTANTS)
    _lift(graph, graph, _fresh_names(graph))
    _drop_unread(graph)
    if half:
        _round(out)
    return out


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in all_nodes(graph) for name in node.input}
    read |= {o.name for one in all_graphs(graph) for o in one.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def _fresh_names(graph: onnx.GraphProto) -> Callable[[str], str]:
    taken = {name for node in all_nodes(graph) for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}

    def fresh(name: str) -> str:
        count = 0
        while (candidate := f"{name}_{count}") in taken:
            count += 1
        taken.add(candidate)
        return candidate

    return fresh


def _lift(graph: onnx.GraphProto, main: onnx.GraphProto, fresh: Callable[[str], str]) -> None:
    """Move the constants of `graph` and of what is nested in it up to `main`."""
    for node in graph.node:
        for inner in inner_graphs(node):
            _lift(inner, main, fresh)
    outputs = {o.name for o in graph.output}
    for index in reversed(range(len(graph.node))):
        name = graph.node[index].output[0] if graph.node[index].output else ""
        tensor = _constant(graph.node[index])
        if tensor is None or name in outputs or int(np.prod(tensor.dims)) <= LIFTED_VALUES:
            continue
        _move(tensor, name, graph, main, fresh)
        del graph.node[index]
    if graph is main:
        return
    for index in reversed(range(len(graph.initializer))):
        tensor = graph.initializer[index]
        if tensor.name not in outputs:
            _move(tensor, tensor.name, graph, main, fresh)
            del graph.initializer[index]


def _move(
    tensor: onnx.TensorProto, name: str, graph: onnx.GraphProto, main: onnx.GraphProto, fresh: Callable[[str], str]
) -> None:
    """Copy a constant called `name` in `graph` to the initialisers of `main`, under a name that is free there."""
    lifted = main.initializer.add()
    lifted.CopyFrom(tensor)
    lifted.name = name if graph is main else fresh(name)
    if graph is not main:  # ONNX forbids that a nested name hides an outer one, so all of this name are this one
        for node in all_nodes(graph):
            for index, read in enumerate(node.input):
                if read == name:
                    node.input[index] = lifted.name


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    return next((a.t for a in node.attribute if a.name == "value"), None)


def _round(model: Model) -> None:
    linear = linear_tensors(model.proto.graph)
    inside = stays_inside(model.proto)
    for tensor in model.proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in inside:
            continue
        found = numpy_helper.to_array(tensor)
        # A mask times a negative weight is -0.0, which lies on no grid and is worth nothing to a sum of products.
        values = found + np.float32(0) if tensor.name in linear else found
        few = find_form(values, model.grids.get(tensor.name), half=True).on_few_values
        if not few and half_is_near(values, tensor.name in linear):
            values = values.astype(np.float16).astype(np.float32)
        if not same_bits(values, found):
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            if not few:
                model.grids.pop(tensor.name, None)


def half_is_near(values: NDArray[np.float32], linear: bool) -> bool:
    """Whether rounding to 16 bits is an error of at most 2**-11 of what matters.

    Where the result is linear in the values, that is the largest of them, so small ones may vanish; elsewhere (a
    divisor, a variance) it is each of them.
    """
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return True
    if not np.isfinite(sizes).all() or sizes.max() > _HALF_MAX:
        return False
    return bool((sizes.max() if linear else sizes.min()) >= _HALF_NORMAL_MIN)
