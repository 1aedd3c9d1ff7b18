"""Scales and shifts the outputs or inputs of a layer by changing its weights (Jacob et al. 2018, section 3.2)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from build_tools.passes.doctoring.view import add_constant, constant, sides

F64 = NDArray[np.float64]


def is_layer(node: ir.Node) -> bool:
    """Whether it is a convolution or fully connected layer whose weights are constants that can take a scale."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return False
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or weight.dtype.kind != "f":
        return False
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None or bias.size not in (1, _outputs(node, weight)):
            return False
    if node.op_type == "MatMul":
        return weight.ndim == 2 and len(sides(node.outputs[0]) or ()) == 2
    return node.op_type != "Gemm" or (
        not _integer(node, "transA", 0) and _real(node, "alpha") == 1.0 and _real(node, "beta") == 1.0
    )


def scale_outputs(graph: ir.Graph, layer: ir.Node, scale: F64, shift: F64) -> bool:
    """Make the layer give y * scale + shift in place of y.

    Args:
        graph: the main graph, which new weights go to.
        layer: for which `is_layer` holds.
        scale: float64 [outputs] or [1].
        shift: the same.

    Returns:
        Whether it was done; not where a weight would leave its type's range.
    """
    weight = _float64(layer.inputs[1])
    count = _outputs(layer, weight)
    scale, shift = np.broadcast_to(scale, count), np.broadcast_to(shift, count)
    if layer.op_type == "ConvTranspose":
        groups = _integer(layer, "group", 1)
        grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        scaled = (grouped * scale.reshape(groups, 1, -1, *_ones(weight))).reshape(weight.shape)
    elif layer.op_type == "Conv":
        scaled = weight * scale.reshape(-1, 1, *_ones(weight))
    else:
        scaled = weight * (scale[:, None] if _integer(layer, "transB", 0) else scale)
    return _replace(graph, layer, scaled, _bias(layer, count) * scale + shift)


def scale_inputs(graph: ir.Graph, layer: ir.Node, scale: F64, shift: F64) -> bool:
    """Make the layer give for x what it gave for x * scale + shift; a convolution that pads takes no shift.

    Args:
        graph: the main graph, which new weights go to.
        layer: for which `is_layer` holds.
        scale: float64 [inputs] or [1].
        shift: the same.

    Returns:
        Whether it was done; not where a weight would leave its type's range.
    """
    weight = _float64(layer.inputs[1])
    count = _outputs(layer, weight)
    if layer.op_type == "Conv":
        groups, width = _integer(layer, "group", 1), weight.shape[1]
        scale, shift = (
            np.repeat(np.broadcast_to(v, groups * width).reshape(groups, width), count // groups, axis=0)
            for v in (scale, shift)
        )
        shape, summed = (count, width, *_ones(weight)), tuple(range(1, weight.ndim))
    else:
        axis = 1 if _integer(layer, "transB", 0) else 0
        scale, shift = (np.broadcast_to(v, weight.shape[axis]) for v in (scale, shift))
        shape, summed = tuple(-1 if i == axis else 1 for i in range(weight.ndim)), (axis,)
    added = (weight * shift.reshape(shape)).sum(summed) if shift.any() else 0.0
    return _replace(graph, layer, weight * scale.reshape(shape), _bias(layer, count) + added)


def _replace(graph: ir.Graph, layer: ir.Node, weight: F64, bias: F64) -> bool:
    dtype = np.asarray(constant(layer.inputs[1])).dtype
    with np.errstate(over="ignore"):
        new_weight, new_bias = weight.astype(dtype), bias.astype(dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return False
    stem = str(layer.inputs[1].name if layer.inputs[1] else layer.name).removesuffix(".weight")
    _set(graph, layer, 1, new_weight, f"{stem}.weight")
    if new_bias.any() or len(layer.inputs) > 2:
        _set(graph, layer, 2, new_bias, f"{stem}.bias")
        if layer.op_type == "MatMul":  # which has no bias
            layer.op_type = "Gemm"
    return True


def _set(graph: ir.Graph, layer: ir.Node, index: int, values: NDArray[np.generic], name: str) -> None:
    """In place where the layer alone uses the weight, else under a new name."""
    if len(layer.inputs) <= index:
        layer.resize_inputs(index + 1)
    old = layer.inputs[index]
    if old is not None and old.is_initializer() and len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.tensor(np.asarray(values, order="C"), name=old.name)
        old.shape = ir.Shape(values.shape)
    else:
        layer.replace_input_with(index, add_constant(graph, name, values))


def _bias(layer: ir.Node, count: int) -> F64:
    """float64 [count]; zeros where there is none."""
    values = constant(layer.inputs[2]) if len(layer.inputs) > 2 else None
    return np.zeros(count) if values is None else np.broadcast_to(values.reshape(-1).astype(np.float64), count)


def _outputs(layer: ir.Node, weight: NDArray[np.generic]) -> int:
    if layer.op_type == "ConvTranspose":
        return int(weight.shape[1]) * _integer(layer, "group", 1)
    return int(weight.shape[0] if layer.op_type == "Conv" or _integer(layer, "transB", 0) else weight.shape[-1])


def _float64(value: ir.Value | None) -> F64:
    return np.asarray(constant(value), np.float64)


def _ones(weight: NDArray[np.generic]) -> tuple[int, ...]:
    return (1,) * (weight.ndim - 2)


def _integer(node: ir.Node, name: str, default: int) -> int:
    return int(node.attributes[name].as_int()) if name in node.attributes else default


def _real(node: ir.Node, name: str) -> float:
    return float(node.attributes[name].as_float()) if name in node.attributes else 1.0
