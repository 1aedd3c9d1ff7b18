"""Slow operators that fast ones replace exactly: PRelu by the arithmetic that it stands for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.view import constant


def slow_prelu(patient: Patient, options: Options) -> list[Finding]:
    """PRelu, whose kernel in ONNX Runtime takes 10 times as long as Relu's."""
    return [
        Finding(
            "prelu",
            name_of(node),
            "PRelu: 10 times the time of Relu",
            "slow",
            "write it as arithmetic, which takes a third of that; or train LeakyRelu or Relu in its place",
            options.rewrite_slow,
        )
        for node in nodes_of(patient.graph)
        if _is_prelu(node)
    ]


def write_as_arithmetic(model: ir.Model, options: Options) -> ir.Model:
    """PRelu(x) = max(x, slope * x), or where a slope is above 1 or not constant: relu(x) + slope * (x - relu(x)).

    Both are exact: of the two terms one is always zero.
    """
    for node in nodes_of(model.graph):
        if not _is_prelu(node):
            continue
        source, slope = node.inputs
        values = constant(slope)
        if values is not None and np.asarray(values, np.float64).max(initial=0) <= 1:
            node.op_type = "Max"
            node.replace_input_with(1, _before(node, "Mul", [source, slope], "scaled"))
        else:
            positive = _before(node, "Relu", [source], "positive")
            negative = _before(node, "Sub", [source, positive], "negative")
            node.op_type = "Add"
            node.replace_input_with(0, positive)
            node.replace_input_with(1, _before(node, "Mul", [negative, slope], "scaled"))
    return model


def _is_prelu(node: ir.Node) -> bool:
    return node.op_type == "PRelu" and node.domain in ("", "ai.onnx")


def _before(node: ir.Node, op: str, inputs: list[ir.Value | None], role: str) -> ir.Value:
    """The output of a new node in front of `node`."""
    assert node.graph is not None
    made = ir.node(op, inputs, name=f"{node.name}.{role}" if node.name else None)
    made.outputs[0].name = f"{node.outputs[0].name}.{role}"
    node.graph.insert_before(node, made)
    return made.outputs[0]
