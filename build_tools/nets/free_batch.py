"""Lets a graph that was exported for batches of one take batches of any size, by its reshapes' first side."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from build_tools.graph import attribute


def free_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs have an open first side, and whose reshapes work out theirs from the batch they get.

    A first side that is written down is replaced: by -1 where all others are fixed (the values of a batch of n are n
    times as many), by 0, which means "as it comes", where it is 1 and another side is open. This is right wherever the
    batch is the outermost side, which is so in every graph seen; whoever relies on it compares a batch with its
    samples one by one first.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(proto)
    graph = freed.graph
    values = {t.name: t for t in graph.initializer}
    values |= {n.output[0]: attribute(n, "value") for n in graph.node if n.op_type == "Constant" and len(n.attribute)}
    for index, node in enumerate(graph.node):
        if node.op_type != "Reshape" or len(node.input) < 2 or attribute(node, "allowzero", 0):
            continue
        tensor = values.get(node.input[1])
        if not isinstance(tensor, onnx.TensorProto) or node.input[0] in values:
            continue
        shape = numpy_helper.to_array(tensor).astype(np.int64)
        if shape.size == 0 or shape[0] < 1:
            continue
        shape = shape.copy()
        if (shape > 0).all():
            shape[0] = -1
        elif shape[0] == 1:
            shape[0] = 0
        else:
            continue
        name = f"{node.input[1]}_any_batch_{index}"
        graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if value.name not in values and len(sides) and sides[0].dim_value == 1:
            sides[0].dim_param = "batch"
    return freed
