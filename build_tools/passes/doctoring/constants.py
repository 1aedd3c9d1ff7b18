"""Constant folding: what does not depend on the inputs is computed once, here, by ONNX Runtime itself."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from build_tools.errors import ModelError
from build_tools.passes.activations import session
from build_tools.passes.doctoring.findings import Finding, Options, Patient, name_of, nodes_of
from build_tools.passes.doctoring.view import add_constant, constant, fixed_sides, sides

LIFT = 16
"""Elements from which on a Constant node's tensor is a weight, which passes look for among the initialisers."""
GROWTH_BYTES = 4096
"""A result may be so large though it is larger than what it is made of: beyond, bytes are dearer than the time."""
NEVER = {
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"),
    *("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"),  # an int8 weight stays one
    "Constant",
}


def foldable(patient: Patient, options: Options) -> list[Finding]:
    """Nodes whose result is known before the model runs, and weights that are Constant nodes."""
    known = _Known(options)
    found = [
        Finding(
            "constant",
            name_of(node),
            f"{node.op_type} of constants only, computed at every start or every run",
            "slow",
            "compute it once and keep the result as a weight",
            True,
        )
        for node in nodes_of(patient.graph)
        if known.learn(node)
    ]
    found += [
        Finding(
            "constant-node",
            str(node.outputs[0].name),
            "a weight written as a Constant node, where compression passes do not look for weights",
            "note",
            "make it an initialiser",
            True,
        )
        for node in nodes_of(patient.graph)
        if _is_weight_node(node)
    ]
    return found


def fold(model: ir.Model, options: Options) -> ir.Model:
    """Every foldable node's outputs become initialisers; large Constant nodes do too."""
    known = _Known(options, model.opset_imports)
    for node in nodes_of(model.graph):
        lifted = _is_weight_node(node)
        if not lifted and not known.learn(node):
            continue
        assert node.graph is not None
        for output in node.outputs:
            values = constant(output) if lifted else known.values[output]
            if values is not None and output.uses():
                ir.convenience.replace_all_uses_with(output, add_constant(model.graph, str(output.name), values))
        node.graph.remove(node, safe=True)
    return model


class _Known:
    """Values of tensors known so far; without opsets it keeps which are known and how large, and computes none."""

    def __init__(self, options: Options, opsets: dict[str, int] | None = None) -> None:
        self.options, self.opsets = options, opsets
        self.values: dict[ir.Value, NDArray[np.generic]] = {}
        self.sizes: dict[ir.Value, int] = {}

    def learn(self, node: ir.Node) -> bool:
        """Whether the node's outputs are known; computes them if there is something to compute them with."""
        if node.domain not in ("", "ai.onnx") or node.op_type in NEVER or not node.outputs:
            return False
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return False
        if any(o.is_graph_output() for o in node.outputs):
            return False
        shape = _shape_result(node)
        if shape is not None:
            self._keep(node, [shape])
            return True
        if not node.inputs or not all(v is None or self._is_known(v) for v in node.inputs):
            return False
        made = [_bytes(output) for output in node.outputs]
        read = sum(self._size(v) for v in node.inputs if v is not None)
        widened = node.op_type == "Cast" and self.options.widen
        if made[0] is None or (made[0] > max(GROWTH_BYTES, read) and not widened):
            return False
        if self.opsets is None:
            self.sizes.update({output: size or 0 for output, size in zip(node.outputs, made, strict=True)})
            return True
        given = {v: self._value(v) for v in node.inputs if v is not None}
        try:
            self._keep(node, _run(node, given, self.opsets))
        except ModelError:  # no kernel for this operator or type: it stays where it is
            return False
        return True

    def _keep(self, node: ir.Node, results: list[NDArray[np.generic]]) -> None:
        for output, values in zip(node.outputs, results, strict=True):
            self.values[output] = values

    def _is_known(self, value: ir.Value) -> bool:
        return value in self.values or value in self.sizes or constant(value) is not None

    def _size(self, value: ir.Value) -> int:
        return self.sizes[value] if value in self.sizes else self._value(value).nbytes

    def _value(self, value: ir.Value) -> NDArray[np.generic]:
        found = self.values[value] if value in self.values else constant(value)
        assert found is not None
        return found


def _bytes(value: ir.Value) -> int | None:
    shape = fixed_sides(value)
    return None if shape is None or value.dtype is None else math.ceil(np.prod(shape) * value.dtype.itemsize)


def _shape_result(node: ir.Node) -> NDArray[np.int64] | None:
    """What Shape, Size, or Gather of one of Shape's numbers gives, where the sides asked for are known."""
    if node.op_type in ("Shape", "Size"):
        shape = sides(node.inputs[0])
        if shape is None:
            return None
        if node.op_type == "Shape":
            start = node.attributes["start"].as_int() if "start" in node.attributes else 0
            end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
            shape = shape[start:end]
        if not all(isinstance(d, int) for d in shape):
            return None
        dims = np.array(shape, np.int64)
        return dims if node.op_type == "Shape" else np.array(dims.prod(), np.int64)
    if node.op_type == "Gather":
        maker, index = node.inputs[0].producer() if node.inputs[0] else None, constant(node.inputs[1])
        if maker is None or maker.op_type != "Shape" or maker.attributes or index is None:
            return None
        shape = sides(maker.inputs[0])
        if shape is None or not all(-len(shape) <= i < len(shape) for i in index.ravel().tolist()):
            return None
        picked = [shape[i] for i in index.ravel().tolist()]
        if all(isinstance(d, int) for d in picked):
            return np.array(picked, np.int64).reshape(index.shape)
    return None


def _is_weight_node(node: ir.Node) -> bool:
    if node.op_type != "Constant" or node.outputs[0].is_graph_output() or node.graph is None:
        return False
    values = constant(node.outputs[0])
    return values is not None and values.dtype.kind == "f" and values.size >= LIFT


def _run(
    node: ir.Node, given: dict[ir.Value, NDArray[np.generic]], opsets: dict[str, int]
) -> list[NDArray[np.generic]]:
    """The node's outputs, by ONNX Runtime.

    Raises:
        ModelError: it has no kernel for the node.
    """
    proto = onnx.NodeProto()
    proto.CopyFrom(ir.to_proto(node))
    weights = [onnx.numpy_helper.from_array(np.asarray(values), str(value.name)) for value, values in given.items()]
    outputs = [onnx.ValueInfoProto(name=o.name) for o in node.outputs]
    graph = onnx.helper.make_graph([proto], "folded", [], outputs, weights)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    runner = session(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8))
    try:
        return [np.asarray(result) for result in runner.run(None, {})]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{name_of(node)} cannot be computed: {str(error)[:120]}") from error
