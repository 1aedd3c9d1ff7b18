"""A reader's view of an ONNX graph: who makes and who reads each tensor, its shape, and the layers with weights."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal, cast

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from build_tools.errors import ModelError

Operator = Literal["Conv", "ConvTranspose", "Gemm", "MatMul"]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A node whose weight is a constant: a convolution or a fully connected layer.

    Attributes:
        node: the node's name in this view (its own, or `OP_INDEX`).
        index: its place in `graph.node`.
        op: `Conv`, `ConvTranspose`, `Gemm` or `MatMul`.
        weight: name of the weight initialiser.
        bias: name of the bias initialiser, or None. A MatMul's is that of the Add behind it.
        shape: of the weight.
        out_axis: weight axis of output channels or neurons (within a group, for ConvTranspose).
        in_axis: weight axis of inputs (for a grouped Conv: inputs of one group).
        groups: of a convolution, else 1.
    """

    node: str
    index: int
    op: Operator
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    out_axis: int
    in_axis: int
    groups: int

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has filters of its own."""
        return self.op == "Conv" and self.groups > 1 and self.shape[1] == 1


class Graph:
    """Read-only; made anew after the graph was changed.

    Args:
        proto: the model.
        shapes: infer the shapes of all tensors (costs time on large models).

    Attributes:
        makers: tensor name -> node that makes it.
        readers: tensor name -> nodes that read it.
        constants: tensor name -> values, initialisers and Constant nodes alike (read-only arrays).
        initialisers: names of initialisers.
        shapes: tensor name -> shape, None for free sides; empty unless asked for.
    """

    def __init__(self, proto: onnx.ModelProto, shapes: bool = False) -> None:
        graph = proto.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.inputs = [i.name for i in graph.input if i.name not in {t.name for t in graph.initializer}]
        self.outputs = [o.name for o in graph.output]
        self.makers = {out: node for node in self.nodes for out in node.output if out}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                if name:
                    self.readers[name].append(node)
        self.initialisers = {t.name for t in graph.initializer}
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and any(a.name == "value" for a in node.attribute):
                self.constants[node.output[0]] = numpy_helper.to_array(attribute(node, "value"))
        self.shapes: dict[str, Shape] = {}
        if shapes:
            self.shapes = infer_shapes(proto)
            self.shapes |= {name: tuple(v.shape) for name, v in self.constants.items()}

    def layers(self) -> list[Layer]:
        """Every Conv, ConvTranspose, Gemm and MatMul with an initialiser as its weight, in graph order."""
        found = []
        for index, node in enumerate(self.nodes):
            if len(node.input) < 2 or node.input[1] not in self.initialisers:
                continue
            shape = tuple(self.constants[node.input[1]].shape)
            groups, out_axis, in_axis = 1, 0, 1
            bias = node.input[2] if len(node.input) > 2 and node.input[2] in self.initialisers else None
            if node.op_type in ("Conv", "ConvTranspose"):
                groups = int(attribute(node, "group", 1))
                if node.op_type == "ConvTranspose":
                    out_axis, in_axis = 1, 0
            elif node.op_type == "Gemm":
                if not attribute(node, "transB", 0):
                    out_axis, in_axis = 1, 0
            elif node.op_type == "MatMul":
                if len(shape) != 2:
                    continue
                out_axis, in_axis = 1, 0
                bias = self._added_to(node.output[0], shape[1])
            else:
                continue
            op = cast(Operator, node.op_type)
            name, weight = node_name(node, index), node.input[1]
            found.append(Layer(name, index, op, weight, bias, shape, out_axis, in_axis, groups))
        return found

    def _added_to(self, tensor: str, width: int) -> str | None:
        readers = self.readers[tensor]
        if len(readers) != 1 or readers[0].op_type != "Add":
            return None
        others = [n for n in readers[0].input if n in self.initialisers and self.constants[n].size == width]
        return others[0] if others else None


def node_name(node: onnx.NodeProto, index: int) -> str:
    """The node's own name, or one made of its operator and place."""
    return node.name or f"{node.op_type}_{index}"


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or `default`."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def infer_shapes(proto: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes of all tensors that inference can tell; None for free sides.

    Raises:
        ModelError: shapes that contradict each other.
    """
    if proto.ByteSize() < 1_000_000_000:
        try:
            proto = shape_inference.infer_shapes(proto, data_prop=True)
        except shape_inference.InferenceError as error:
            line = str(error).replace("\n", " ")[:240]
            raise ModelError(f"its shapes contradict each other ({line}); export the model again") from error
    graph = proto.graph
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")
    }
