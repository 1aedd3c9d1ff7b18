"""Which weights a quantising pass works on, and how they lie as one row for each output channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from build_tools.errors import PassError
from build_tools.graph import Graph, Layer
from build_tools.model import F32, Grid, Model
from build_tools.passes.factoring.factor_nodes import weights_named
from edge_runtime.settings import nearest

OUT_AXES = {"LSTM": 1, "GRU": 1, "RNN": 1, "Gather": 0, "MatMul": -1, "Gemm": 0, "Conv": 0, "ConvTranspose": 1}
"""Operators whose constant matrices are weights, with the axis their outputs lie on where no `Layer` tells it."""

MOVERS = ("Slice", "Split", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Cast")

PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Target:
    """A weight that can be put on a grid.

    Attributes:
        name: of the initialiser.
        axis: of its output channels.
        shape: its shape.
        layers: the layers that read it; none for the weights of recurrent cells and tables.
    """

    name: str
    axis: int
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    def rows(self, values: NDArray[np.generic]) -> F32:
        """The weight as float32 [channels, values of a channel]."""
        moved = np.moveaxis(np.asarray(values, np.float32), self.axis, 0)
        return np.ascontiguousarray(moved).reshape(self.shape[self.axis], -1)

    def unrows(self, rows: NDArray[np.generic]) -> NDArray[np.generic]:
        """The inverse of `rows`."""
        sides = (self.shape[self.axis], *(s for i, s in enumerate(self.shape) if i != self.axis))
        return np.ascontiguousarray(np.moveaxis(rows.reshape(sides), 0, self.axis))


def find_targets(model: Model) -> list[Target]:
    """Every float32 matrix or filter bank that a layer, a recurrent cell or a look-up reads, in file order."""
    graph = Graph(model.proto)
    layers: dict[str, list[Layer]] = {}
    for layer in graph.layers():
        layers.setdefault(layer.weight, []).append(layer)
    read_by: dict[str, list[onnx.NodeProto]] = {}
    for node in _all_nodes(model.proto.graph):
        for name in node.input:
            read_by.setdefault(name, []).append(node)
    targets = []
    for name in model.weight_names():
        values = graph.constants[name]
        if values.dtype != np.float32 or values.size == 0:
            continue
        if name in layers:
            axis = layers[name][0].out_axis
        elif sum(side > 1 for side in values.shape) >= 2:
            direct = sorted({node.op_type for node in read_by.get(name, [])} & OUT_AXES.keys())
            if not direct and not _moves_into_weight(name, read_by):
                continue
            axis = OUT_AXES[direct[0]] % values.ndim if direct else 0
        else:
            continue
        targets.append(Target(name, axis, tuple(values.shape), tuple(layers.get(name, ()))))
    return targets


def find_biases(model: Model) -> list[str]:
    """Names of the float32 biases of layers, in graph order."""
    graph = Graph(model.proto)
    named = dict.fromkeys(layer.bias for layer in graph.layers() if layer.bias)
    return [name for name in named if name and graph.constants[name].dtype == np.float32]


def check_settings(
    model: Model, layers: Mapping[str, int], skip: tuple[str, ...], kind: str, span: tuple[int, int]
) -> None:
    """Refuse names in a recipe that no weight has, bits out of range, and models without weights.

    Raises:
        PassError: with the nearest name there is.
    """
    known = [target.name for target in find_targets(model)]
    if not known:
        raise PassError(f"{kind}: the model has no float32 weight of a layer; leave the pass out")
    for key, named in (("layers", list(layers)), ("skip", list(skip))):
        for name in named:
            if not weights_named(name, known):
                raise PassError(f"{kind}.{key}: the model has no such weight {name}{nearest(name, known, '')}")
    for name, bits in layers.items():
        if not span[0] <= bits <= span[1]:
            raise PassError(f"{kind}.layers.{name} = {bits}: must be {span[0]} to {span[1]}")


def choose(
    model: Model, default_bits: int, layers: Mapping[str, int], kind: str, skip: tuple[str, ...] = ()
) -> tuple[list[tuple[Target, int]], list[str]]:
    """The weights a pass works on with their bits, and why others are left alone, one line each.

    Weights that an earlier pass put on few levels are left alone unless `layers` names them: a float16 grid is none.
    The name of a weight that an earlier pass took apart stands for its factors.
    """
    chosen, refused = [], []
    targets = find_targets(model)
    known = [target.name for target in targets]
    layers = {own: bits for name, bits in layers.items() for own in weights_named(name, known)}
    skip = tuple(own for name in skip for own in weights_named(name, known))
    for target in targets:
        grid = model.grids.get(target.name)
        if target.name in layers:
            chosen.append((target, layers[target.name]))
        elif target.name in skip:
            refused.append(f"{target.name}: left as it is, as the recipe asks")
        elif grid is not None and grid.kind != "half":
            refused.append(f"{target.name}: lies on {grid.bits} bits already; name it in {kind}.layers to redo it")
        elif not np.isfinite(model.weight(target.name)).all():
            refused.append(f"{target.name}: holds values that are not finite; run the doctor first")
        else:
            chosen.append((target, default_bits))
    return chosen, refused + inner_weights(model.proto)


def relocate(model: Model, targets: list[tuple[Target, int]]) -> list[tuple[Target, int]]:
    """The targets as they stand in a model whose other nodes have changed."""
    here = {target.name: target for target in find_targets(model)}
    return [(here[target.name], bits) for target, bits in targets if target.name in here]


def inner_weights(proto: onnx.ModelProto) -> list[str]:
    """A line for each weight that lies inside a branch or loop body, where no grid can name it."""
    found = []
    for node in proto.graph.node:
        for inner in _subgraphs(node):
            for tensor in inner.initializer:
                if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
                    found.append(f"{tensor.name}: lies inside a branch of {node.name or node.op_type}; left as it is")
    return found


def on_grid(values: NDArray[np.generic], grid: Grid) -> bool:
    """Whether the values are, bit for bit, what the grid says of them."""
    if grid.kind == "half":
        with np.errstate(over="ignore"):
            return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))
    if grid.kind == "codebook":
        return len(grid.table) <= 2**grid.bits and _all_in(np.asarray(values, np.float32), grid.table)
    shape = [1] * values.ndim
    if grid.axis is not None:
        shape[grid.axis] = -1
    scales = grid.table.reshape(shape)
    floats = np.asarray(values, np.float32)
    levels = np.rint(floats / scales)
    if grid.bits == 1:
        inside = bool((np.abs(levels) == 1).all())
    else:
        inside = bool((levels >= -(2 ** (grid.bits - 1))).all() and (levels < 2 ** (grid.bits - 1)).all())
    return inside and bool(np.array_equal(levels.astype(np.float32) * scales, floats))


def _all_in(values: F32, table: F32) -> bool:
    """Whether every value is one of the table's; in pieces, for layers of a hundred million weights."""
    rising = np.sort(table)
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        piece = piece[piece != 0] if (table == 0).any() else piece
        place = np.searchsorted(rising, piece).clip(max=len(rising) - 1)
        if not np.array_equal(rising[place], piece):
            return False
    return True


def _moves_into_weight(name: str, read_by: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether a constant's values reach a layer or cell unchanged, only moved (PyTorch's LSTMs are exported so)."""
    waiting, seen = [name], {name}
    while waiting:
        for node in read_by.get(waiting.pop(), []):
            if node.op_type in OUT_AXES:
                return True
            if node.op_type in MOVERS:
                waiting += [out for out in node.output if out not in seen]
                seen |= set(node.output)
    return False


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _all_nodes(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield helper.get_attribute_value(entry)
        elif entry.type == onnx.AttributeProto.GRAPHS:
            yield from helper.get_attribute_value(entry)
