"""What a model carries along without need: notes of its exporter, the same computation twice, local functions."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    InlinePass,
    RemoveUnusedFunctionsPass,
)

from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.view import view

MIN_NOTES = 512
"""Bytes of notes that are worth a finding."""


def notes(patient: Patient, options: Options) -> list[Finding]:
    """Source lines and stack traces that exporters write beside nodes."""
    texts = []
    for node in nodes_of(patient.graph):
        texts += [node.doc_string or "", *node.metadata_props.values()]
        for value in node.outputs:
            texts += [value.doc_string or "", *value.metadata_props.values()]
    size = sum(len(t.encode()) for t in texts)
    if size < MIN_NOTES:
        return []
    what = f"{size:,} bytes of notes beside its nodes"
    return [Finding("notes", patient.proto.graph.name or "graph", what, "size", "take them out", True)]


def take_out_notes(model: ir.Model, options: Options) -> ir.Model:
    """The model's own metadata (class names and the like) stays."""
    kept = dict(model.metadata_props)
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.update(kept)
    return model


def repeated(patient: Patient, options: Options) -> list[Finding]:
    """Nodes that compute what an earlier node computed from the same inputs."""
    other, _ = view(patient.proto)
    before = {id(node): name_of(node) for node in nodes_of(other.graph) if node.op_type != "Constant"}
    CommonSubexpressionEliminationPass()(other)
    kept = {id(node) for node in nodes_of(other.graph)}
    return [
        Finding("repeated", name, "computes what another node has computed", "slow", "let its readers read that", True)
        for key, name in before.items()
        if key not in kept
    ]


def compute_once(model: ir.Model, options: Options) -> ir.Model:
    """onnx-ir's elimination of common subexpressions."""
    CommonSubexpressionEliminationPass()(model)
    return model


def functions(patient: Patient, options: Options) -> list[Finding]:
    """Operators that the model defines itself."""
    return [
        Finding("function", f.name, "an operator that the model defines itself", "note", "write out its body", True)
        for f in patient.proto.functions
    ]


def inline(model: ir.Model, options: Options) -> ir.Model:
    """Bodies in place of calls."""
    InlinePass()(model)
    RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    return model
