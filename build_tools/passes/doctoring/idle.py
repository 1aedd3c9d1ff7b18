"""What does nothing: nodes that hand on what they are given, nodes nobody reads, weights nobody uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.view import constant, fixed_sides

SAME_SHAPE_SAME_TENSOR = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile")
"""They only arrange elements in order: with the shape they were given, they change nothing."""


def idle_nodes(patient: Patient, options: Options) -> list[Finding]:
    """Nodes whose output is their input."""
    return [
        Finding(
            "dropout" if node.op_type == "Dropout" else "identity",
            name_of(node),
            f"{node.op_type} that hands on what it is given",
            "slow",
            "take it out",
            True,
        )
        for node in nodes_of(patient.graph)
        if _is_idle(node) and not _must_stay(node)
    ]


def take_out_idle(model: ir.Model, options: Options) -> ir.Model:
    """Readers of an idle node read what it was given; an output that it made keeps its name."""
    for node in nodes_of(model.graph):
        if not _is_idle(node) or _must_stay(node):
            continue
        source, output = node.inputs[0], node.outputs[0]
        assert source is not None and node.graph is not None
        rename = output.is_graph_output()
        ir.convenience.replace_all_uses_with(output, source, replace_graph_outputs=rename)
        node.graph.remove(node, safe=True)
        if rename:
            source.name = output.name
    return model


def dead(patient: Patient, options: Options) -> list[Finding]:
    """Nodes and weights that no output depends on."""
    gone: set[ir.Node] = set()
    found = []
    for node in reversed(nodes_of(patient.graph)):
        if not any(o.is_graph_output() or any(u.node not in gone for u in o.uses()) for o in node.outputs):
            gone.add(node)
            remedy = "take it out"
            found.append(
                Finding("dead-node", name_of(node), f"{node.op_type} that no output depends on", "slow", remedy, True)
            )
    for value in patient.graph.initializers.values():
        if not value.is_graph_output() and all(u.node in gone for u in value.uses()):
            size = 0 if value.const_value is None else value.const_value.nbytes
            what = f"a weight of {size:,} bytes that nothing uses"
            found.append(Finding("unused-weight", str(value.name), what, "size", "take it out", True))
    return found


def take_out_dead(model: ir.Model, options: Options) -> ir.Model:
    """onnx-ir takes out what no output depends on."""
    RemoveUnusedNodesPass()(model)
    return model


def _is_idle(node: ir.Node) -> bool:
    check = CHECKS.get(node.op_type)
    if check is None or node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return False
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return False
    return check(node)


def _must_stay(node: ir.Node) -> bool:
    """Whether it ties an output to an input, to a weight, to another output or, in a branch, to a tensor outside."""
    source = node.inputs[0]
    assert source is not None
    maker = source.producer()
    inside = maker is not None and maker.graph is node.graph
    return node.outputs[0].is_graph_output() and (not inside or source.is_graph_output())


def _dropout(node: ir.Node) -> bool:
    training = node.inputs[2] if len(node.inputs) > 2 else None
    values = constant(training)
    return training is None or (values is not None and not values.any())


def _cast(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype is not None and int(source.dtype) == node.attributes["to"].as_int()


def _transpose(node: ir.Node) -> bool:
    if "perm" not in node.attributes:
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        return shape is not None and len(shape) == 1
    order = list(node.attributes["perm"].as_ints())
    return order == sorted(order)


def _pad(node: ir.Node) -> bool:
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return pads is not None and not pads.any()


def _same_shape(node: ir.Node) -> bool:
    before, after = fixed_sides(node.inputs[0]), fixed_sides(node.outputs[0])
    return before is not None and before == after


def _slice(node: ir.Node) -> bool:
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    return _same_shape(node) and steps is not None and bool((steps == 1).all())


def _neutral(element: float) -> Callable[[ir.Node], bool]:
    def check(node: ir.Node) -> bool:
        values = constant(node.inputs[1])
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        return (
            values is not None
            and values.size == 1
            and shape is not None
            and values.ndim <= len(shape)
            and bool((values == element).all())
        )

    return check


CHECKS: dict[str, Callable[[ir.Node], bool]] = {
    "Identity": lambda node: True,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Add": _neutral(0.0),
    "Sub": _neutral(0.0),
    "Mul": _neutral(1.0),
    "Div": _neutral(1.0),
    **dict.fromkeys(SAME_SHAPE_SAME_TENSOR, _same_shape),
    **{op: lambda node: len(node.inputs) == 1 for op in ("Concat", "Sum", "Max", "Min", "Mean")},
}
