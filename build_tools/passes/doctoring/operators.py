"""Operators that ONNX Runtime's CPU provider lacks, or that a small ARM core runs slower than need be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from build_tools.passes.doctoring.findings import Finding, Options, Patient, Severity, name_of, nodes_of
from build_tools.passes.doctoring.view import constant, sides

Word = tuple[str, Severity, str, str]
"""Ailment, severity, what is wrong, remedy."""

ALWAYS: dict[str, Word] = {
    **dict.fromkeys(
        ("Loop", "Scan"),
        ("control-flow", "slow", "a loop: nothing is fused across it, no pass sees inside", "unroll it on export"),
    ),
    "If": ("control-flow", "note", "a branch: no pass sees inside", "export the branch that is taken"),
    **dict.fromkeys(
        ("NonZero", "Unique", "Compress"),
        ("data-dependent", "slow", "its shape depends on values: memory behind it cannot be planned", "mask instead"),
    ),
    "NonMaxSuppression": ("postprocessing", "note", "decoding inside the model", "leave it to the runtime"),
    "Einsum": ("einsum", "slow", "1.5 times the time of the MatMul that it stands for", "write MatMul or Gemm"),
    "GridSample": ("slow-operator", "slow", "gathers single pixels: 13 times a nearest Resize", "Resize, trained so"),
    "RoiAlign": ("slow-operator", "slow", "gathers single pixels", "crop before the model"),
    "LRN": ("slow-operator", "slow", "50 times the time of BatchNormalization", "BatchNormalization, trained so"),
    "InstanceNormalization": ("slow-operator", "slow", "statistics at every run, never folded", "BatchNormalization"),
    "ConvInteger": ("dynamic-int8", "slow", "9 times slower than in float", 'static int8 (kind = "quantize")'),
    **dict.fromkeys(
        ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"),
        ("random", "error", "its output is drawn at random: two runs differ", "export the model in evaluation mode"),
    ),
    **dict.fromkeys(
        ("Softplus", "Mish"),
        ("activation", "slow", "30 times the time of Relu", "Relu or LeakyRelu, trained so"),
    ),
    **dict.fromkeys(
        ("Elu", "Celu", "Selu", "Gelu", "Erf"),
        ("activation", "slow", "2 to 6 times the time of Relu, and not fused", "Relu or LeakyRelu, trained so"),
    ),
}
"""By operator, whatever its settings. Figures: ONNX Runtime 1.32, x86-64, one thread, [1, 32, 40, 40] and the like."""


def unsupported(patient: Patient, options: Options) -> list[Finding]:
    """What ONNX Runtime refuses outright, and operators outside of plain ONNX."""
    found = []
    for node in nodes_of(patient.graph):
        local = any(f.name == node.op_type and f.domain == node.domain for f in patient.proto.functions)
        if node.domain not in ("", "ai.onnx") and not local:
            known = node.domain in ("com.microsoft", "ai.onnx.ml")
            what = f"{node.op_type} of domain {node.domain}: " + ("not plain ONNX" if known else "no runtime knows it")
            remedy = "export it as plain ONNX operators"
            found.append(Finding("domain", name_of(node), what, "note" if known else "error", remedy))
    if patient.refusal:
        names = [name_of(node) for node in nodes_of(patient.graph)]
        name = next((n for n in names if f"'{n}'" in patient.refusal or f"({n})" in patient.refusal), "model")
        remedy = "mend or replace the operator it names; nothing can be tried on the model before"
        found.append(Finding("refused", name, patient.refusal, "error", remedy))
    return found


def slow(patient: Patient, options: Options) -> list[Finding]:
    """Operators that are slow, or slow as they are set."""
    found = []
    for node in nodes_of(patient.graph):
        if node.domain not in ("", "ai.onnx"):
            continue
        word = ALWAYS.get(node.op_type)
        if word is None and node.op_type in SOMETIMES:
            word = SOMETIMES[node.op_type](node)
        if word is not None:
            ailment, severity, what, remedy = word
            found.append(Finding(ailment, name_of(node), f"{node.op_type}: {what}", severity, remedy))
    return found


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default


def _resize(node: ir.Node) -> Word | None:
    mode, how = _attribute(node, "mode", "nearest"), _attribute(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "cubic":
        return "resize", "slow", "cubic: 100 times slower than linear", "linear or nearest, trained so"
    if _attribute(node, "antialias", 0):
        return "resize", "slow", "antialiased: twice the time of linear", "an AveragePool, or resize before the model"
    if mode == "linear" and how == "align_corners":
        return "resize", "note", "align_corners: other runtimes lack it", "half_pixel, trained so"
    if mode == "nearest" and how != "asymmetric":
        return "resize", "note", f"nearest and {how}: 4 times slower than asymmetric", "asymmetric, rounding by floor"
    return None


def _conv(node: ir.Node) -> Word | None:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    shape = sides(weight)
    if shape is None or len(shape) < 3 or not all(isinstance(d, int) for d in shape):
        return None
    groups = int(_attribute(node, "group", 1))
    inputs, *kernel = (int(d) for d in shape[1:] if isinstance(d, int))
    if len(kernel) == 3:
        return "slow-operator", "slow", "3-D: no direct kernel on ARM", "2-D convolutions over stacked frames"
    if groups > 1 and inputs > 1 and inputs < 8:  # 64 channels: 16 groups take 1.3 times as long as 8 groups
        what = f"{groups} groups of {inputs} channels: too narrow for the vectors, no faster than fewer groups"
        return "grouped", "slow", what, "depthwise and 1x1, or wider groups"
    if max(kernel, default=1) > 7 and groups == 1:  # 9x9: 3 times slower a multiplication than 3x3 or 7x7
        what = f"a kernel of {'x'.join(map(str, kernel))}, 3 times slower a multiplication than 3x3"
        return "large-kernel", "slow", what, 'smaller ones in a row, or kind = "lowrank"'
    return None


def _quantised_conv(node: ir.Node) -> Word | None:
    groups = int(_attribute(node, "group", 1))
    shape = sides(node.inputs[3]) if len(node.inputs) > 3 else None
    if groups > 1 and shape is not None and len(shape) > 1 and shape[1] == 1:
        return (
            "int8-depthwise",
            "slow",
            "int8 depthwise takes 1.5 times the time of float",
            "leave depthwise layers in float",
        )
    return None


def _dequantised(node: ir.Node) -> Word | None:
    """A QDQ pair around a depthwise convolution."""
    for use in node.outputs[0].uses():
        if use.node.op_type == "Conv" and use.idx == 1:
            shape, groups = sides(node.outputs[0]), int(_attribute(use.node, "group", 1))
            if groups > 1 and shape is not None and len(shape) > 1 and shape[1] == 1:
                what = f"the weight of {name_of(use.node)}: int8 depthwise takes 1.5 times the time of float"
                return "int8-depthwise", "slow", what, "leave depthwise layers in float"
    return None


def _pow(node: ir.Node) -> Word | None:
    exponent = constant(node.inputs[1])
    if exponent is not None and exponent.size == 1 and float(np.ravel(exponent)[0]) in (0.5, 2.0, 3.0):
        return None  # ONNX Runtime has ways of its own for these
    return "activation", "slow", "a logarithm and an exponential for each value, 22 times Relu", "Mul, or Sqrt"


def _clip_of_hardswish(node: ir.Node) -> Word | None:
    """Add 3, Clip to 0..6, times x, by 6."""
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    if maker is None or maker.op_type != "Add" or len(node.inputs) < 3:
        return None
    shift = next((c for c in map(constant, maker.inputs) if c is not None), None)
    high = constant(node.inputs[2])
    if shift is None or high is None or not (np.allclose(shift, 3) and np.allclose(high, 6)):
        return None
    what = "HardSwish in four nodes, each of which reads and writes the whole tensor"
    return "hardswish", "note", what, "export with HardSwish (opset 14); Relu, trained so, costs nothing behind a Conv"


def _mul_of_silu(node: ir.Node) -> Word | None:
    """x * Sigmoid(x)."""
    left, right = (v.producer() if v is not None else None for v in node.inputs)
    for gate, other in ((left, node.inputs[1]), (right, node.inputs[0])):
        if gate is not None and gate.op_type == "Sigmoid" and gate.inputs[0] is other:
            return "activation", "note", "SiLU: twice the time of Relu, and not fused", "Relu, trained so"
    return None


SOMETIMES: dict[str, Callable[[ir.Node], Word | None]] = {
    "Resize": _resize,
    "Upsample": _resize,
    "Conv": _conv,
    "QLinearConv": _quantised_conv,
    "DequantizeLinear": _dequantised,
    "Pow": _pow,
    "Clip": _clip_of_hardswish,
    "Mul": _mul_of_silu,
}
"""By operator, with what to look at."""
