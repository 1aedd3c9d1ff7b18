"""Shape arithmetic (Shape, Gather, Concat ... into a Reshape) that a constant with 0 and -1 says as well."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.view import add_constant, constant, sides

Side = int | str
"""A number, or the symbol of a free side."""


def computed_shapes(patient: Patient, options: Options) -> list[Finding]:
    """Reshapes whose shape is computed at every run though it could stand there."""
    return [
        Finding(
            "shape-arithmetic",
            name_of(node),
            f"computes its shape at every run, though {target} says it",
            "slow",
            f"give it the constant {target}",
            True,
        )
        for node in nodes_of(patient.graph)
        if (target := _target(node)) is not None
    ]


def write_shapes(model: ir.Model, options: Options) -> ir.Model:
    """Such Reshapes get their constant; what computed it is dead."""
    for node in nodes_of(model.graph):
        target = _target(node)
        if target is not None:
            name = f"{node.outputs[0].name}.shape"
            node.replace_input_with(1, add_constant(model.graph, name, np.array(target, np.int64)))
    return model


def _target(node: ir.Node) -> list[int] | None:
    """The constant that says what the computed shape says, or None."""
    if node.op_type != "Reshape" or node.domain not in ("", "ai.onnx") or "allowzero" in node.attributes:
        return None
    before, asked = sides(node.inputs[0]), node.inputs[1]
    if before is None or asked is None or constant(asked) is not None:
        return None
    wanted = _elements(asked)
    if wanted is None:
        return None
    target: list[int] = []
    for axis, side in enumerate(wanted):
        if isinstance(side, int):
            target.append(side)
        elif axis < len(before) and before[axis] == side:
            target.append(0)  # as it was
        elif side is not None and -1 not in target and not any(s == -1 for s in wanted):
            target.append(-1)
        else:
            return None
    return target if 0 not in [s for s in wanted if isinstance(s, int)] else None


def _elements(value: ir.Value | None) -> list[Side | None] | None:
    """The whole numbers or symbols that a 1-D integer tensor consists of, as far as its makers tell."""
    known = constant(value)
    if known is not None:
        return [int(v) for v in known.ravel()] if known.dtype.kind in "iu" else None
    maker = value.producer() if value is not None else None
    if maker is None or maker.domain not in ("", "ai.onnx"):
        return None
    if maker.op_type == "Concat":
        parts = [_elements(v) for v in maker.inputs]
        return None if any(p is None for p in parts) else [e for p in parts if p is not None for e in p]
    if maker.op_type in ("Unsqueeze", "Squeeze", "Cast", "Identity"):
        if maker.op_type == "Cast" and maker.attributes["to"].as_int() not in (ir.DataType.INT64, ir.DataType.INT32):
            return None
        return _elements(maker.inputs[0])
    if maker.op_type == "Shape" and not maker.attributes:
        shape = sides(maker.inputs[0])
        return None if shape is None else list(shape)
    if maker.op_type in ("Gather", "Slice"):
        return _picked(maker)
    return None


def _picked(maker: ir.Node) -> list[Side | None] | None:
    whole = _elements(maker.inputs[0])
    numbers = [None if n is None else [int(i) for i in n.ravel()] for n in map(constant, maker.inputs[1:])]
    known = [n for n in numbers if n is not None]
    if whole is None or len(known) < len(numbers):
        return None
    if maker.op_type == "Gather":
        return [whole[i] for i in known[0]] if all(-len(whole) <= i < len(whole) for i in known[0]) else None
    if any(len(n) != 1 for n in known):
        return None
    return whole[known[0][0] : known[1][0] : known[3][0] if len(known) > 3 else 1]
