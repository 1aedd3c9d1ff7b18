"""Channels that carry nothing: constant whatever the input, or read by nobody. They can go without any loss.

That a channel is constant is proved from the graph: its filter is all zeros, and nothing on its way makes it vary. What
it is constant at is read off one run. A constant other than zero is moved into the biases of its readers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.graph import Graph, Layer, attribute
from build_tools.model import Model
from build_tools.passes.activations import session
from build_tools.passes.pruning.channel_labels import varying
from build_tools.passes.pruning.channel_rules import ARITHMETIC
from build_tools.passes.pruning.groups import Dependencies, Group, Member
from build_tools.passes.quantizing.bias_correction import add_to_bias

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A channel in a tensor where it does not vary.

    Attributes:
        places: along the tensor's channel axis.
        values: float64, one a place.
    """

    places: NDArray[np.int64]
    values: NDArray[np.float64]

    def is_zero(self) -> bool:
        """Whether nothing is there."""
        return not self.values.any()


class DeadChannels:
    """Finds dead channels.

    Args:
        model: weights plain (`constant_weights`).
        known: its groups.
    """

    def __init__(self, model: Model, known: Dependencies) -> None:
        self._model = model
        self._known = known
        self._graph = known.flow.graph
        self._layers: dict[int, Layer] = {layer.index: layer for layer in Graph(model.proto).layers()}
        self._ranges = self._watch()
        self._constant: dict[str, dict[int, Constant]] = defaultdict(dict)
        for index, node in enumerate(self._graph.nodes):
            for out in node.output:
                if out in known.flow.ids and out in self._ranges:
                    self._follow(index, node, out)
        trial = model.copy()
        self._stuck = {
            index for index, layer in self._layers.items() if add_to_bias(trial, layer, np.zeros(_outputs(layer)))
        }

    def dead(self, group: Group) -> NDArray[np.bool_]:
        """bool [channels]: which channels can go without loss."""
        dead = np.ones(group.channels, bool)
        for member in group.members:
            if member.role == "in":
                silent = self._silent(member)
                for channel in range(group.channels):
                    dead[channel] &= silent[channel] or self._foldable(member, int(group.roots[channel]))
        return dead

    def fold(self, out: Model, group: Group, gone: NDArray[np.int64]) -> None:
        """Add to the biases of `out` (the same graph) what readers get from constant channels that go."""
        for member in group.members:
            if member.role != "in":
                continue
            layer = self._layers[member.index]
            shift = np.zeros(_outputs(layer))
            weight = np.moveaxis(np.asarray(self._model.weight(layer.weight), np.float64), layer.in_axis, 0)
            summed = weight.reshape(*weight.shape[:2], -1).sum(2)  # [inputs, outputs]
            for channel in gone.tolist():
                constant = self._constant[member.tensor].get(int(group.roots[channel]))
                if constant is not None and not constant.is_zero() and layer.groups == 1:
                    shift += constant.values @ summed[member.positions[channel]]
            if shift.any():
                add_to_bias(out, layer, shift)

    def _silent(self, member: Member) -> NDArray[np.bool_]:
        """Which channels a reader multiplies with zeros only."""
        flat = np.moveaxis(self._graph.constants[member.weight], member.axis, 0)
        read = np.atleast_1d(np.any(flat.reshape(len(flat), -1) != 0, axis=1))
        silent: NDArray[np.bool_] = ~np.any(read[member.positions], axis=1)
        return silent

    def _foldable(self, member: Member, root: int) -> bool:
        constant = self._constant[member.tensor].get(root)
        if constant is None or constant.is_zero():
            return constant is not None
        layer = self._layers.get(member.index)
        node = self._graph.nodes[member.index]
        if layer is None or layer.op == "ConvTranspose" or layer.groups > 1 or _pads(node):
            return False  # at its borders such a reader does not see the constant everywhere
        return member.index not in self._stuck

    def _watch(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Smallest and largest value by place along the channel axis, of each tensor in one run."""
        flow = self._known.flow
        exposed = onnx.ModelProto()
        exposed.CopyFrom(self._model.proto)
        names = [n for n in flow.ids if n in flow.seen.shapes and n not in flow.graph.inputs and self._axis(n) >= 0]
        del exposed.graph.output[:]
        for name in names:
            exposed.graph.output.add().name = name
        found = {}
        for name, values in zip(names, session(exposed, optimise=False).run(names, flow.seen.feed), strict=True):
            if values.dtype.kind == "f" and values.size:
                axis = self._axis(name)
                flat = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
                found[name] = (flat.min(1), flat.max(1))
        return found

    def _axis(self, tensor: str) -> int:
        moving = varying(self._known.flow.labels.roots(self._known.flow.ids[tensor]))
        return moving[0] if moving else -1

    def _follow(self, index: int, node: onnx.NodeProto, out: str) -> None:
        row = self._known.flow.labels.roots(self._known.flow.ids[out]).reshape(-1)
        low, high = self._ranges[out]
        still = high - low <= 1e-6 * np.maximum(np.abs(high), np.abs(low))
        for root in np.unique(row[still]).tolist():
            places = np.flatnonzero(row == root)
            if still[places].all() and self._proved(index, node, root, places):
                self._constant[out][root] = Constant(places, low[places])

    def _proved(self, index: int, node: onnx.NodeProto, root: int, places: NDArray[np.int64]) -> bool:
        """Whether the channel is the same whatever the model's input is; that it is flat was seen in the run."""
        if node.op_type in LAYERS:
            layer = self._layers.get(index)
            return layer is not None and self._layer_proved(node, layer, root, places)
        several = node.op_type == "Concat" or node.op_type in ARITHMETIC.split()
        for name in node.input if several else node.input[:1]:
            if self._known.flow.is_weight(name):
                continue
            if self._holds(name, root):
                if root not in self._constant[name]:
                    return False
            elif node.op_type not in ("Pad", "Concat"):
                return False
        return True

    def _holds(self, tensor: str, root: int) -> bool:
        ids = self._known.flow.ids.get(tensor)
        return ids is not None and bool((self._known.flow.labels.roots(ids) == root).any())

    def _layer_proved(self, node: onnx.NodeProto, layer: Layer, root: int, places: NDArray[np.int64]) -> bool:
        weight = self._graph.constants[layer.weight]
        inputs = self._constant[node.input[0]]
        own_inputs = weight.shape[0] if layer.op == "ConvTranspose" else weight.shape[1] * layer.groups
        if layer.groups == own_inputs > 1:
            return root in inputs or not weight.reshape(_outputs(layer), -1)[places].any()
        if layer.groups > 1:
            return layer.op == "Conv" and not weight[places].any()
        by_ends = np.moveaxis(weight, (layer.out_axis, layer.in_axis), (0, 1))[places]
        still = [constant.places for constant in inputs.values()]
        return not (np.delete(by_ends, np.concatenate(still), 1) if still else by_ends).any()


def _pads(node: onnx.NodeProto) -> bool:
    return any(attribute(node, "pads", [])) or attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")


def _outputs(layer: Layer) -> int:
    return layer.shape[layer.out_axis] * (layer.groups if layer.op == "ConvTranspose" else 1)
