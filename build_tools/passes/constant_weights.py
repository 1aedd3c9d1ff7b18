"""Makes weights that reach their layer through a Cast or Reshape plain initialisers of the layer.

Exporters store weights as float16 with a Cast behind, or in the shape of another tool with a Reshape behind. A pass
sees a layer's weight only where the layer reads it directly.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from build_tools.graph import Graph, attribute
from build_tools.model import Model

WEIGHT_READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FLOATS = (np.float32, np.float16)


def plain_weights(model: Model) -> list[str]:
    """Change the model in place; the names of the weights that became plain.

    A weight keeps its name, unless somebody else reads the old constant too: then it has the name of the tensor that
    the Cast or Reshape made.
    """
    changed = []
    while (name := _fold_one(model.proto)) is not None:
        model.grids.pop(name, None)
        changed.append(name)
    return list(dict.fromkeys(changed))


def with_plain_weights(model: Model) -> Model:
    """The model, or a changed copy where weights lie behind a Cast or Reshape."""
    if _may_fold(model.proto):
        model = model.copy()
        plain_weights(model)
    return model


def _may_fold(proto: onnx.ModelProto) -> bool:
    """Whether any node could be folded; spares reading all weights of a large model."""
    return any(node.op_type in ("Cast", "Reshape") for node in proto.graph.node)


def _fold_one(proto: onnx.ModelProto) -> str | None:
    if not _may_fold(proto):
        return None
    graph = Graph(proto)
    stored = {t.name: t for t in proto.graph.initializer}
    for node in graph.nodes:
        if node.op_type not in ("Cast", "Reshape") or node.input[0] not in stored:
            continue
        readers = graph.readers[node.output[0]]
        if not readers or any(r.op_type not in (*WEIGHT_READERS, "Cast", "Reshape") for r in readers):
            continue
        if node.output[0] in graph.outputs:
            continue
        values = graph.constants[node.input[0]]
        if values.dtype not in FLOATS:
            continue
        if node.op_type == "Cast":
            if attribute(node, "to") != onnx.TensorProto.FLOAT:
                continue
            values = values.astype(np.float32)
        else:
            shape = graph.constants.get(node.input[1])
            if shape is None:
                continue
            kept = [values.shape[i] if side == 0 else int(side) for i, side in enumerate(shape.tolist())]
            values = values.reshape(kept)
        alone = len(graph.readers[node.input[0]]) == 1 and node.input[0] not in graph.outputs
        name: str = node.input[0] if alone else node.output[0]
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
        if alone:
            stored[name].CopyFrom(tensor)
        else:
            proto.graph.initializer.append(tensor)
        for reader in readers:
            for place, read in enumerate(reader.input):
                if read == node.output[0]:
                    reader.input[place] = name
        proto.graph.node.remove(node)
        _declare(proto, name, tensor)
        return name
    return None


def _declare(proto: onnx.ModelProto, name: str, tensor: onnx.TensorProto) -> None:
    """Say anew of what shape and type the weight is: before IR version 4, every initialiser is listed as an input."""
    for entry in [e for e in proto.graph.value_info if e.name == name]:
        proto.graph.value_info.remove(entry)
    listed = [e for e in proto.graph.input if e.name == name]
    if listed or proto.ir_version < 4:
        entry = listed[0] if listed else proto.graph.input.add()
        entry.CopyFrom(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
