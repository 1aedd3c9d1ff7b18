"""Per-channel scales and shifts (BatchNormalization, Mul, Add, ...) go into the weights of the layer beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.scaling import F64, is_layer, scale_inputs, scale_outputs
from build_tools.passes.doctoring.view import constant, sides


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = x * scale + shift.

    Attributes:
        node: that computes it.
        source: x.
        scale: float64 [channels], or [1] for all.
        shift: the same.
    """

    node: ir.Node
    source: ir.Value
    scale: F64
    shift: F64


def unfolded(patient: Patient, options: Options) -> list[Finding]:
    """Scales and shifts that a layer's weights could hold, and BatchNormalizations that none can."""
    found = []
    for node in nodes_of(patient.graph):
        affine = _affine(node)
        if affine is None:
            continue
        batchnorm = node.op_type == "BatchNormalization"
        before, after = _layer_before(affine), _layer_after(affine)
        if before is None and after is None:
            if batchnorm:
                remedy = "none by folding: no layer of its own stands directly beside it; train it away or accept it"
                what = "BatchNormalization with no layer that could hold it"
                found.append(Finding("batchnorm", name_of(node), what, "slow", remedy))
            continue
        layer = before or after
        assert layer is not None
        found.append(
            Finding(
                "batchnorm" if batchnorm else "scale-shift",
                name_of(node),
                f"{node.op_type} {'behind' if before else 'in front of'} {name_of(layer)}, computed apart from it",
                "slow",
                f"fold it into the weights of {name_of(layer)}",
                options.fold_batchnorm or not batchnorm,
            )
        )
    return found


def fold(model: ir.Model, options: Options) -> ir.Model:
    """Layers take over the scales and shifts behind them; where none is, those in front of them."""
    for node in nodes_of(model.graph):
        affine = _affine(node)
        if affine is None or (node.op_type == "BatchNormalization" and not options.fold_batchnorm):
            continue
        before, after = _layer_before(affine), _layer_after(affine)
        output = node.outputs[0]
        assert node.graph is not None
        if before is not None and scale_outputs(model.graph, before, affine.scale, affine.shift):
            rename = output.is_graph_output()
            ir.convenience.replace_all_uses_with(output, affine.source, replace_graph_outputs=rename)
            node.graph.remove(node, safe=True)
            if rename:
                affine.source.name = output.name
        elif before is None and after is not None and scale_inputs(model.graph, after, affine.scale, affine.shift):
            after.replace_input_with(0, affine.source)
            node.graph.remove(node, safe=True)
    return model


def training_mode(patient: Patient, options: Options) -> list[Finding]:
    """BatchNormalization and Dropout that still behave as in training."""
    found = []
    for node in nodes_of(patient.graph):
        training = node.op_type == "BatchNormalization" and _trains(node)
        if node.op_type == "Dropout" and len(node.inputs) > 2:
            values = constant(node.inputs[2])
            training = values is not None and bool(values.any())
        if training:
            what = f"{node.op_type} in training mode: what it gives depends on the batch or on chance"
            remedy = "export the model in evaluation mode (torch: model.eval())"
            found.append(Finding("training-mode", name_of(node), what, "error", remedy))
    return found


def _trains(node: ir.Node) -> bool:
    flag = node.attributes.get("training_mode")
    return flag is not None and flag.as_int() != 0


def _affine(node: ir.Node) -> Affine | None:
    """The node as a scale and shift of its one varying input, or None."""
    if node.domain not in ("", "ai.onnx") or not node.outputs or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "BatchNormalization":
        if _trains(node) or len(node.outputs) != 1:
            return None
        given = [constant(v) for v in node.inputs[1:5]]
        if any(v is None for v in given):
            return None
        gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in given)
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        scale = gamma / np.sqrt(variance + epsilon)
        return Affine(node, node.inputs[0], scale, beta - mean * scale)
    if node.op_type not in ("Mul", "Div", "Add", "Sub") or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    first, second = constant(left), constant(right)
    if (first is None) == (second is None):
        return None
    source, values = (left, second) if first is None else (right, first)
    per_channel = _per_channel(values, sides(source))
    if source is None or per_channel is None:
        return None
    one, none = np.ones_like(per_channel), np.zeros_like(per_channel)
    if (per_channel == (1 if node.op_type in ("Mul", "Div") else 0)).all():
        return None  # an idle node: taken out, not folded
    if node.op_type == "Mul":
        return Affine(node, source, per_channel, none)
    if node.op_type == "Add":
        return Affine(node, source, one, per_channel)
    if node.op_type == "Sub":
        return Affine(node, source, one, -per_channel) if first is None else Affine(node, source, -one, per_channel)
    return Affine(node, source, 1 / per_channel, none) if first is None and per_channel.all() else None


def _per_channel(values: NDArray[np.generic] | None, shape: tuple[int | str | None, ...] | None) -> F64 | None:
    """float64 [channels] or [1] from what broadcasts to the second axis (of a vector: its only one)."""
    if values is None or values.dtype.kind != "f" or shape is None or values.ndim > len(shape):
        return None
    if values.size == 1:
        return values.reshape(1).astype(np.float64)
    axis = 1 if len(shape) > 1 else 0
    full = (1,) * (len(shape) - values.ndim) + values.shape
    if full[axis] != values.size or shape[axis] != values.size:
        return None
    return values.reshape(-1).astype(np.float64)


def _layer_before(affine: Affine) -> ir.Node | None:
    """The layer whose output only the affine node reads."""
    layer = affine.source.producer()
    if layer is None or affine.source.is_graph_output() or len(affine.source.uses()) != 1:
        return None
    return layer if is_layer(layer) else None


def _layer_after(affine: Affine) -> ir.Node | None:
    """The only reader of the affine node's output, if its weights can hold the scale and shift exactly."""
    output = affine.node.outputs[0]
    readers = [u.node for u in output.uses()]
    if len(readers) != 1 or output.is_graph_output() or not is_layer(readers[0]) or readers[0].inputs[0] is not output:
        return None
    layer = readers[0]
    if not affine.shift.any():
        return layer
    if layer.op_type == "Conv":  # padding puts zeros where the shift should be
        pads = layer.attributes.get("pads")
        auto = layer.attributes["auto_pad"].as_string() if "auto_pad" in layer.attributes else "NOTSET"
        return layer if auto in ("NOTSET", "VALID") and not (pads is not None and any(pads.as_ints())) else None
    return layer if layer.op_type in ("Gemm", "MatMul") else None
