"""Follows channels through a graph: which channel an element of a tensor belongs to, and which weights lie along them.

Every layer that makes channels (a convolution's filters, a fully connected layer's neurons) gives out fresh labels. A
rule for each operator carries the labels of its inputs to its outputs, joins those that meet (an Add), and ties weights
to them (a BatchNorm's scale). So concatenation, shuffling, flattening and splitting are no special cases: they are done
on the array of labels as they are done on the tensor. What no rule understands fixes every label that it touches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import AttributeProto

from build_tools.graph import Graph, attribute, node_name
from build_tools.passes.pruning.channel_labels import Ids, Labels, reshape_labels, squeeze_constant, varying
from build_tools.passes.pruning.channel_numbers import Numbers
from build_tools.passes.pruning.channel_shapes import Observation

Role = Literal["out", "in", "each"]
CARRIERS = ("Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
"""Operators behind which a constant is still a weight that can be cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A weight's axis that lies along channels.

    Attributes:
        weight: name of the constant.
        axis: of the constant.
        ids: label of each position along the axis.
        role: out: its slices make the channel | in: they read it | each: one parameter (or filter) for each channel.
        node: index of the node that uses it.
        tensor: where the channels are: the node's output for `out` and `each`, its input for `in`.
    """

    weight: str
    axis: int
    ids: Ids
    role: Role
    node: int
    tensor: str


Rules = dict[str, Callable[["Flow", int, str], None]]


class Flow:
    """State of the walk through a graph; rules read and write it.

    Attributes:
        graph: the model.
        seen: shapes and integers from one run.
        opset: version of ONNX's own operators.
        numbers: whole numbers that operators are told.
        labels: the sets of labels.
        ids: tensor name -> labels, with a side of 1 along axes on which they do not differ.
        carried: the same of weights on their way from a constant to the layer: one array for each cut axis.
        uses: weights that lie along channels.
        separable: vectors that several nodes read (exporters store equal biases once) and that may be cut apart.
    """

    def __init__(self, proto: onnx.ModelProto, seen: Observation) -> None:
        self.graph = Graph(proto)
        self.seen = seen
        self.opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.numbers = Numbers(self.graph, seen)
        self.labels = Labels()
        self.ids: dict[str, Ids] = {}
        self.carried: dict[str, list[Ids]] = defaultdict(list)
        self.uses: list[Use] = []
        self.separable: set[str] = set()
        self._whole: dict[str, str] = {}
        self._weights = set(self.graph.constants)
        for name in self.graph.inputs:
            self.put(name, self.labels.fresh(1, f"it is the model's input {name}"))

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's or constant's shape in the run that was watched."""
        if name in self.graph.constants:
            return tuple(self.graph.constants[name].shape)
        return self.seen.shapes.get(name, ())

    def is_weight(self, name: str) -> bool:
        """Whether a tensor is a constant, perhaps cast or reshaped on its way."""
        return name in self._weights

    def put(self, name: str, ids: Ids) -> None:
        """Set a tensor's labels. Where they differ along several axes, they are joined until they differ along one.

        What is kept of a tensor must again be a tensor: of 2 x 58 channels (a shuffle) only whole columns can go.
        """
        rank = len(self.shape(name))
        ids = self.labels.roots(ids.reshape(ids.shape if ids.ndim == rank else (1,) * rank))
        moving = varying(ids)
        if len(moving) > 1:
            different = {a: len(np.unique(np.moveaxis(ids, a, 0).reshape(ids.shape[a], -1), axis=0)) for a in moving}
            keep = max(moving, key=lambda a: different[a])
            first = ids[tuple(slice(None) if a == keep else slice(0, 1) for a in range(ids.ndim))]
            self.labels.join(ids, first)
            ids = self.labels.roots(first)
        self.ids[name] = squeeze_constant(ids)

    def fixed(self, name: str, reason: str) -> None:
        """Give a tensor one label that is never cut."""
        self.put(name, self.labels.fresh(1, reason))

    def along(self, name: str, axis: int, where: str) -> Ids:
        """Labels [side] of a tensor along an axis; those that lie along another one are fixed."""
        ids = self.labels.roots(self.ids[name])
        side = self.shape(name)[axis]
        if any(a != axis % ids.ndim for a in varying(ids)):
            self.labels.fix(ids, f"{where} reads channels along another axis")
        row: Ids = np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0]
        return np.broadcast_to(row, side)

    def bind(self, weight: str, axes: dict[int, tuple[Ids, Role]], node: int, tensor: str, where: str) -> None:
        """Tie axes of a weight to labels; a weight behind a Cast or Reshape is followed to its constant."""
        for axis, (row, role) in axes.items():
            ids = row.reshape([-1 if a == axis else 1 for a in range(len(self.shape(weight)))])
            name: str | None = weight
            while name not in self.graph.constants:
                assert name is not None
                self.carried[name].append(ids)
                maker = self.graph.makers[name]
                ids = self._before(maker, ids)
                if len(varying(ids)) > 1:
                    self.labels.fix(ids, f"{where} reads a weight that was reshaped across its channels")
                name = maker.input[0]
            self._tie(name, ids, role, node, tensor)

    def whole(self, weight: str, where: str) -> None:
        """A weight is used in a way that does not allow to cut it."""
        while weight not in self.graph.constants:
            weight = self.graph.makers[weight].input[0]
        self._whole.setdefault(weight, where)

    def fix_inputs(self, node: onnx.NodeProto, reason: str) -> None:
        """Fix every label a node reads, in its subgraphs too."""
        for name in (*node.input, *captured(node)):
            if name and self.is_weight(name):
                self.whole(name, reason)
            elif name in self.ids:
                self.labels.fix(self.ids[name], reason)

    def walk(self, rules: Rules) -> None:
        """Apply the rules from inputs to outputs."""
        for index, node in enumerate(self.graph.nodes):
            where = f"{node_name(node, index)} ({node.op_type})"
            self._one(rules, index, node, where)
            for name in node.output:
                if name and name not in self.ids and not self.is_weight(name):
                    self.fixed(name, f"{where} made it")
            for tensor, axis in self.numbers.sides_read(node):
                if tensor in self.ids and axis in varying(self.labels.roots(self.ids[tensor])):
                    self.labels.fix(self.ids[tensor], f"{where} computes with its number of channels")
        for name in self.graph.outputs:
            if name in self.ids:
                self.labels.fix(self.ids[name], f"it is the model's output {name}", final=True)
        self._settle()

    def _one(self, rules: Rules, index: int, node: onnx.NodeProto, where: str) -> None:
        if node.op_type == "Constant":
            return
        inputs = [n for n in node.input if n]
        if node.op_type in CARRIERS and inputs and all(self.is_weight(n) for n in inputs):
            self._weights.add(node.output[0])
            return
        rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or node.output[0] not in self.seen.shapes or captured(node):
            self.fix_inputs(node, f"{where} is not understood")
        else:
            rule(self, index, where)

    def _before(self, maker: onnx.NodeProto, ids: Ids) -> Ids:
        source = self.shape(maker.input[0])
        if maker.op_type == "Transpose":
            perm = attribute(maker, "perm") or range(len(source))[::-1]
            return ids.transpose(np.argsort(perm))
        if maker.op_type in ("Cast", "Identity"):
            return ids
        return reshape_labels(ids, self.shape(maker.output[0]), source)

    def _tie(self, weight: str, ids: Ids, role: Role, node: int, tensor: str) -> None:
        moving = varying(ids)
        sides = [a for a, side in enumerate(ids.shape) if side > 1]
        axis = moving[0] if moving else sides[0] if sides else -1
        if axis < 0:
            return
        row = np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)[:, 0]
        self.uses.append(Use(weight, axis, row, role, node, tensor))

    def _settle(self) -> None:
        """Make all uses of a weight agree: shared weights are cut alike or not at all."""
        users: dict[str, set[int]] = defaultdict(set)
        for index, node in enumerate(self.graph.nodes):
            for name in (*node.input, *captured(node)):
                if self.is_weight(name):
                    users[self.constant_of(name)].add(index)
        axes: dict[tuple[str, int], list[Use]] = defaultdict(list)
        for use in self.uses:
            axes[use.weight, use.axis].append(use)
        for (weight, _), uses in axes.items():
            cutters = {use.node for use in uses}
            missing = {u for u in users[weight] - cutters if self.graph.nodes[u].op_type not in CARRIERS}
            if len(cutters | missing) > 1 and weight not in self._whole and self._is_vector(weight, users[weight]):
                self.separable.add(weight)
                continue
            for other in uses[1:]:
                self.labels.join(uses[0].ids, other.ids)
            if weight in self._whole:
                self.labels.fix(uses[0].ids, self._whole[weight])
            elif missing:
                other_node = node_name(self.graph.nodes[min(missing)], min(missing))
                self.labels.fix(uses[0].ids, f"{other_node} needs {weight} whole")

    def _is_vector(self, weight: str, users: set[int]) -> bool:
        carriers = {self.graph.nodes[u].op_type for u in users} & set(CARRIERS)
        return sum(side > 1 for side in self.shape(weight)) == 1 and carriers <= {"Identity"}

    def constant_of(self, name: str) -> str:
        """The constant that a weight comes from."""
        while name not in self.graph.constants:
            name = self.graph.makers[name].input[0]
        return name


def captured(node: onnx.NodeProto) -> list[str]:
    """Names that a node's subgraphs (If, Loop, Scan) may read from outside."""
    names: list[str] = []
    for entry in node.attribute:
        graphs = [entry.g] if entry.type == AttributeProto.GRAPH else list(entry.graphs)
        for graph in graphs:
            for inner in graph.node:
                names += [*inner.input, *captured(inner)]
            names += [o.name for o in graph.output]
    return names
