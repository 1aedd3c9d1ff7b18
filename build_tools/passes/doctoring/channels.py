"""Channel counts that vector units do not divide: the last, half-empty vector costs as much as a full one."""

from __future__ import annotations

from build_tools.graph import Graph
from build_tools.passes.doctoring.findings import Finding, Options, Patient

WORTH = 0.1
"""Share of a layer's time that is wasted, from which on it counts as slow."""
FEW = 4
"""Channels up to which a model's own input or output explains the count."""


def unaligned(patient: Patient, options: Options) -> list[Finding]:
    """Layers whose output channels are no multiple of `align`, but for those that the model's outputs prescribe."""
    graph = Graph(patient.proto)
    final = _near_outputs(graph)
    found = []
    for layer in graph.layers():
        count = layer.shape[layer.out_axis] * (layer.groups if layer.op == "ConvTranspose" else 1)
        if layer.node in final or count % options.align == 0:
            continue
        if count <= FEW:
            what = f"{layer.op} with output channels: {count}, which leaves most of each vector empty"
            remedy = "fewer, wider layers do more in the same time"
        else:
            full = -(-count // options.align) * options.align
            what = f"{layer.op} with {count} output channels, in the time of {full}"
            fewer = f"prune to {full - options.align} or " if full > options.align else ""
            remedy = f"{fewer}widen to {full}, a multiple of {options.align}"
        wasted = 1 - count / (-(-count // options.align) * options.align)
        found.append(Finding("unaligned", layer.node, what, "slow" if wasted >= WORTH else "note", remedy))
    return found


def _near_outputs(graph: Graph) -> set[str]:
    """Layers whose channels the model's outputs prescribe: none but depthwise layers lie between them and an output."""
    layers = {id(graph.nodes[layer.index]): layer for layer in graph.layers()}
    queue, seen, final = list(graph.outputs), set(graph.outputs), set()
    while queue:
        maker = graph.makers.get(queue.pop())
        if maker is None:
            continue
        if id(maker) in layers:
            final.add(layers[id(maker)].node)
            if layers[id(maker)].shape[1:2] != (1,) or maker.op_type != "Conv":
                continue  # a depthwise layer has the channels of the one before it: that is prescribed too
        fresh = [name for name in maker.input if name and name not in seen]
        seen.update(fresh)
        queue += fresh
    return final
