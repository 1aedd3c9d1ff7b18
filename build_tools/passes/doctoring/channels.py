"""Channel counts that vector units do not divide: the last, half-empty vector costs as much as a full one."""

from __future__ import annotations

import onnx_ir as ir

from build_tools.passes.doctoring.findings import Finding, Options, Patient, Severity, name_of
from build_tools.passes.doctoring.view import fixed_sides

WORTH = 0.1
"""Share of a layer's time that is wasted, from which on it counts as slow."""
FEW = 4
"""Channels up to which a vector is mostly empty."""


def unaligned(patient: Patient, options: Options) -> list[Finding]:
    """Layers whose output channels are no multiple of `align`, but for those that the model's outputs prescribe."""
    final = _near_outputs(patient.graph)
    found = []
    for node in patient.graph:
        count = _outputs(node)
        if count is None or node in final or count % options.align == 0:
            continue
        full = -(-count // options.align) * options.align
        if count <= FEW:
            what = f"{node.op_type} with output channels: {count}, which leaves most of each vector empty"
            remedy = "fewer, wider layers do more in the same time"
        else:
            what = f"{node.op_type} with {count} output channels, in the time of {full}"
            fewer = f"prune to {full - options.align} or " if full > options.align else ""
            remedy = f"{fewer}widen to {full}, a multiple of {options.align}"
        severity: Severity = "slow" if 1 - count / full >= WORTH else "note"
        found.append(Finding("unaligned", name_of(node), what, severity, remedy))
    return found


def _near_outputs(graph: ir.Graph) -> set[ir.Node]:
    """Layers whose channels the outputs prescribe: none but depthwise layers lie between them and an output."""
    queue = list(graph.outputs)
    seen, final = set(queue), set()
    while queue:
        maker = queue.pop().producer()
        if maker is None:
            continue
        if _outputs(maker) is not None:
            final.add(maker)
            shape = fixed_sides(maker.inputs[1])
            if maker.op_type != "Conv" or shape is None or shape[1] != 1:
                continue  # a depthwise layer has the channels of the one before it: that is prescribed too
        fresh = [value for value in maker.inputs if value is not None and value not in seen]
        seen.update(fresh)
        queue += fresh
    return final


def _outputs(node: ir.Node) -> int | None:
    """Output channels of a layer with a constant weight; None for other nodes."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    shape = fixed_sides(weight)
    if weight is None or not weight.is_initializer() or shape is None or len(shape) < 2:
        return None
    if node.op_type == "Conv":
        return shape[0]
    if node.op_type == "ConvTranspose":
        return shape[1] * (node.attributes["group"].as_int() if "group" in node.attributes else 1)
    if node.op_type == "Gemm":
        return shape[0] if "transB" in node.attributes and node.attributes["transB"].as_int() else shape[1]
    return shape[1] if node.op_type == "MatMul" and len(shape) == 2 else None
