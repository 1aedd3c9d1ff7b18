"""Further simplification by onnxslim, for those who ask for it and have it installed."""

from __future__ import annotations

import importlib.util

import onnx_ir as ir

from build_tools.errors import PassError
from build_tools.passes.doctoring.findings import Finding, Options, Patient


def slimmable(patient: Patient, options: Options) -> list[Finding]:
    """Nothing is looked for: asked for, it is tried once."""
    if not options.slim or patient.proto.producer_name == SLIMMED:
        return []
    return [Finding("slim", "graph", "simplification by onnxslim was asked for", "note", "try it", True)]


SLIMMED = "edge-build (onnxslim)"
"""Producer of a model that was slimmed, so that it is not slimmed again and again."""


def slim(model: ir.Model, options: Options) -> ir.Model:
    """What onnxslim makes of it.

    Raises:
        PassError: onnxslim is not there, or fails.
    """
    if importlib.util.find_spec("onnxslim") is None:
        raise PassError("onnxslim is not installed; pip install onnxslim")
    import onnxslim

    try:
        slimmed = onnxslim.slim(ir.to_proto(model))
    except Exception as error:  # onnxslim's errors share no base class
        raise PassError(f"onnxslim fails: {' '.join(str(error).split())[:160]}") from error
    if slimmed is None:
        raise PassError("onnxslim gives nothing back")
    slimmed.producer_name = SLIMMED
    read: ir.Model = ir.from_proto(slimmed)
    return read
