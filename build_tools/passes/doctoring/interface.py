"""What a model shows to its caller: weights among its inputs, sides left free, weights in other files."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from build_tools.passes.doctoring.findings import Finding, Options, Patient
from build_tools.passes.doctoring.view import sides

PICTURE = ("1", "3", "256", "320")
"""Multiples of 32, the largest stride there usually is."""
MIN_IR_VERSION = 8
"""Below IR version 4 weights must be inputs; 8 is the one of opset 17."""


def weights_as_inputs(patient: Patient, options: Options) -> list[Finding]:
    """Initialisers that a caller may replace: ONNX Runtime folds and prepacks none of them."""
    weights = {t.name for t in patient.proto.graph.initializer}
    return [
        Finding(
            "weights-as-inputs",
            entry.name,
            "a weight that is also an input: it is not constant, and nothing is folded, fused or prepacked with it",
            "slow",
            "take it off the inputs (measured: UltraFace runs 3 times faster)",
            True,
        )
        for entry in patient.proto.graph.input
        if entry.name in weights
    ]


def take_weights_off_inputs(model: ir.Model, options: Options) -> ir.Model:
    """Weights are constants from here on; an input of the weight's name can no longer be fed."""
    model.ir_version = max(model.ir_version or 0, MIN_IR_VERSION)
    RemoveInitializersFromInputsPass()(model)
    return model


def free_sides(patient: Patient, options: Options) -> list[Finding]:
    """Inputs whose shape is only known at run time."""
    weights = {t.name for t in patient.proto.graph.initializer}
    found = []
    for entry in patient.graph.inputs:
        shape = sides(entry)
        if entry.name in weights or shape is None or all(isinstance(d, int) for d in shape):
            continue
        text = "x".join("?" if d is None else str(d) for d in shape)
        batch_only = all(isinstance(d, int) for d in shape[1:])
        asked = entry.name in options.shapes
        found.append(
            Finding(
                "dynamic-shape",
                str(entry.name),
                f"shape {text}: " + ("the batch is free" if batch_only else "sides are free, memory cannot be planned"),
                "note",
                "fine where one model serves many sizes; else fix it: " + f"--shape {entry.name}=" + _example(shape),
                asked,
            )
        )
    return found


def fix_sides(model: ir.Model, options: Options) -> ir.Model:
    """Inputs get the sides that were asked for; what depended on them is inferred anew."""
    for entry in model.graph.inputs:
        if entry.name in options.shapes:
            entry.shape = ir.Shape(options.shapes[entry.name])
    for value in model.graph.outputs:  # their symbols may be numbers now: forget the names, inference finds the numbers
        if value.shape is not None:
            value.shape = ir.Shape([d if isinstance(d, int) else None for d in value.shape])
    return model


def external_data(patient: Patient, options: Options) -> list[Finding]:
    """Weights in files beside the model."""
    return [
        Finding("external-data", name, "kept in another file than the graph", "note", "write one file", True)
        for name in patient.external
    ]


def external_tensors(path: Path) -> tuple[str, ...]:
    """Names of the weights that the ONNX file at `path` keeps in other files; the file has been read before."""
    proto = onnx.load(path, load_external_data=False)
    return tuple(t.name for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)


def _example(shape: tuple[int | str | None, ...]) -> str:
    """A shape that a picture's network takes, whatever its strides; what is not known of others is only named."""
    picture = len(shape) == 4 and shape[1] in (1, 3)
    sides_ = []
    for i, side in enumerate(shape):
        batch = i == 0 or (isinstance(side, str) and side.lower() in ("batch", "batch_size", "n"))
        free = "1" if batch else PICTURE[i] if picture else str(side or f"side{i + 1}").upper()
        sides_.append(str(side) if isinstance(side, int) else free)
    return "x".join(sides_)
