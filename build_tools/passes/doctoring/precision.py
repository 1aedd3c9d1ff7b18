"""Models that compute in float16 or float64: the runtime's CPU kernels are written for float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from build_tools.passes.doctoring.findings import Finding, Options, Patient, nodes_of
from build_tools.passes.doctoring.view import constant

ODD = {ir.DataType.FLOAT16: "float16", ir.DataType.DOUBLE: "float64", ir.DataType.BFLOAT16: "bfloat16"}
WHY = {
    "float16": "Cortex-A72 has no float16 arithmetic and x86 none in ONNX Runtime: a Cast stands around every operator",
    "bfloat16": "ONNX Runtime has almost no CPU kernels for it",
    "float64": "half the speed or less, and ONNX Runtime has no Conv for it",
}


def odd_precision(patient: Patient, options: Options) -> list[Finding]:
    """Operators that compute in float16, bfloat16 or float64; a Cast of a weight to float32 is constant folding's."""
    found = []
    for node in nodes_of(patient.graph):
        if node.op_type in ("Cast", "Constant"):
            continue
        odd = next((v for v in (*node.inputs, *node.outputs) if v is not None and v.dtype in ODD), None)
        if odd is not None and odd.dtype is not None:
            kind = ODD[odd.dtype]
            what = f"{node.op_type} in {kind}: {WHY[kind]}"
            found.append(Finding("precision", node.name or str(odd.name), what, "slow", "compute in float32", True))
    return found


def to_float32(model: ir.Model, options: Options) -> ir.Model:
    """Weights, constants and casts become float32; inputs and outputs keep their types, with a Cast beside them."""
    for value in [v for g in _graphs(model) for v in g.initializers.values()]:
        if value.dtype in ODD and value.const_value is not None:
            value.const_value = ir.tensor(np.asarray(constant(value)).astype(np.float32), name=value.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in nodes_of(model.graph):
        if node.op_type == "Cast" and node.attributes["to"].as_int() in ODD:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        elif node.op_type in ("Constant", "ConstantOfShape") and "value" in node.attributes:
            tensor = node.attributes["value"].as_tensor()
            if tensor.dtype in ODD:
                widened = ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
                node.attributes["value"] = ir.AttrTensor("value", widened)
    _keep_interface(model)
    for node in nodes_of(model.graph):
        for output in node.outputs:
            if output.dtype in ODD and not (node.op_type == "Cast" and output.is_graph_output()):
                output.type = ir.TensorType(ir.DataType.FLOAT)
    return model


def _keep_interface(model: ir.Model) -> None:
    for entry in model.graph.inputs:
        if entry.dtype in ODD and entry.uses():
            cast = ir.node("Cast", [entry], {"to": int(ir.DataType.FLOAT)}, name=f"{entry.name}.float32")
            cast.outputs[0].name = f"{entry.name}.float32"
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            readers = [(u.node, u.idx) for u in entry.uses() if u.node is not cast]
            for reader, index in readers:
                reader.replace_input_with(index, cast.outputs[0])
            model.graph.insert_before(model.graph[0], cast)
    for index, output in enumerate(list(model.graph.outputs)):
        maker = output.producer()
        if output.dtype not in ODD or output.dtype is None or maker is None:
            continue
        name, kept = str(output.name), output.dtype
        cast = ir.node("Cast", [output], {"to": int(kept)}, name=f"{name}.cast")
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(kept), output.shape
        output.name, cast.outputs[0].name = f"{name}.float32", name
        output.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.append(cast)
        model.graph.outputs[index] = cast.outputs[0]


def _graphs(model: ir.Model) -> list[ir.Graph]:
    return [model.graph, *model.graph.subgraphs()]
