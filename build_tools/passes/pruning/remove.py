"""Cuts channels out of a model: every weight that goes with them, and every number that operators are told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from build_tools.errors import PassError
from build_tools.graph import attribute
from build_tools.model import Grid, Model
from build_tools.passes.pruning.channel_flow import Flow, Use, captured
from build_tools.passes.pruning.groups import Dependencies, dependencies

Mask = NDArray[np.bool_]
Kept = Mapping[str, Sequence[int] | NDArray[np.int64]]
"""Group id -> indices of the channels that stay."""


class Cut:
    """Which channels of which tensor stay.

    Args:
        flow: the labels.
        gone: labels (roots) that are cut.
    """

    def __init__(self, flow: Flow, gone: NDArray[np.int64]) -> None:
        self._flow = flow
        self._gone = gone

    @classmethod
    def of(cls, known: Dependencies, kept: Kept) -> Cut:
        """The cut that keeps only these channels of each named group.

        Raises:
            PassError: a group that does not exist, an index it does not have, or no channel left.
        """
        gone = [np.zeros(0, np.int64)]
        for group_id, indices in kept.items():
            group = known.group(group_id)
            if group is None:
                names = ", ".join(g.id for g in known.groups)
                raise PassError(f"no group of channels is called {group_id}; known: {names}")
            stays = np.unique(np.asarray(indices, np.int64))
            if not len(stays) or stays[0] < 0 or stays[-1] >= group.channels:
                raise PassError(f"group {group_id}: the channels kept must be some of 0..{group.channels - 1}")
            gone.append(np.delete(group.roots, stays))
        return cls(known.flow, np.concatenate(gone))

    def kept(self, tensor: str, axis: int) -> Mask:
        """bool [side]: what stays of a tensor along an axis."""
        stays = np.ones(self._flow.shape(tensor)[axis], bool)
        known = [self._flow.ids[tensor]] if tensor in self._flow.ids else self._flow.carried.get(tensor, [])
        for ids in known:
            if ids.shape[axis] > 1:
                stays &= self.kept_ids(np.moveaxis(ids, axis, 0).reshape(len(stays), -1)[:, 0])
        return stays

    def kept_ids(self, ids: NDArray[np.int64]) -> Mask:
        """bool, the labels' shape: what stays."""
        stays: Mask = ~np.isin(self._flow.labels.roots(ids), self._gone)
        return stays

    def shape(self, tensor: str) -> list[int]:
        """The tensor's shape afterwards."""
        return [int(self.kept(tensor, a).sum()) for a in range(len(self._flow.shape(tensor)))]


def remove_channels(model: Model, kept: Kept, known: Dependencies | None = None) -> Model:
    """A copy of the model with only the named channels of each named group.

    Args:
        model: left as it is.
        kept: group id -> indices of the channels that stay; groups not named stay whole.
        known: what `dependencies(model.proto)` gave, to save doing it again.

    Raises:
        PassError: see `Cut.of`.
    """
    known = known or dependencies(model.proto)
    cut = Cut.of(known, kept)
    out = model.copy()
    read_before = _read(out.proto)
    _cut_weights(out, known.flow, cut)
    for node in out.proto.graph.node:
        _rewrite(out.proto, known.flow, node, cut)
    _drop_unread(out.proto, read_before)
    _declare(out.proto)
    return out


def _cut_weights(model: Model, flow: Flow, cut: Cut) -> None:
    masks: dict[str, dict[int, Mask]] = {}
    apart: dict[tuple[str, bytes], str] = {}
    for use in flow.uses:
        mask = cut.kept_ids(use.ids)
        if mask.all():
            continue
        if use.weight in flow.separable:
            _cut_apart(model.proto, flow, use, mask, apart)
        else:
            masks.setdefault(use.weight, {})[use.axis] = mask
    initialisers = set(model.weight_names())
    for name, axes in masks.items():
        values, grid = flow.graph.constants[name], model.grids.get(name)
        for axis, mask in axes.items():
            values = np.compress(mask, values, axis)
            if grid is not None and grid.axis == axis and len(grid.table) == len(mask):
                grid = Grid(grid.kind, grid.bits, grid.table[mask], grid.axis)
        if name in initialisers:
            model.set_weight(name, values, grid)
            continue
        maker = next(n for n in model.proto.graph.node if name in n.output)
        next(a for a in maker.attribute if a.name == "value").t.CopyFrom(numpy_helper.from_array(values, name))


def _cut_apart(proto: onnx.ModelProto, flow: Flow, use: Use, mask: Mask, apart: dict[tuple[str, bytes], str]) -> None:
    """Give a node that shares a vector with others one cut as it needs; nodes that are cut alike still share."""
    node = proto.graph.node[use.node]
    mine = [i for i, n in enumerate(node.input) if flow.is_weight(n) and flow.constant_of(n) == use.weight]
    if not mine:
        return  # it reads the vector twice, and both are done
    cut_alike = (use.weight, mask.tobytes())
    if cut_alike not in apart:
        values = np.compress(mask, flow.graph.constants[use.weight], use.axis)
        apart[cut_alike] = _constant(proto, node, use.weight, values)
    for place in mine:
        node.input[place] = apart[cut_alike]


def _rewrite(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    """Tell a node the new numbers, by constants of its own: the old ones may serve other nodes too."""
    if not all(name in flow.ids or name in flow.carried for name in node.output if name):
        return
    if node.op_type in ("Conv", "ConvTranspose"):
        _regroup(flow, node, cut)
    elif node.op_type in ("Reshape", "Expand"):
        _retell_shape(proto, flow, node, 1, cut)
    elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3]:
        _retell_shape(proto, flow, node, 3, cut)
    elif node.op_type in ("Split", "Slice", "Gather", "Pad"):
        {"Split": _split, "Slice": _slice, "Gather": _gather, "Pad": _pad}[node.op_type](proto, flow, node, cut)


def _regroup(flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    groups = attribute(node, "group", 1)
    if groups > 1 and flow.shape(node.input[0])[1] == groups:
        _set_attribute(node, "group", cut.shape(node.input[0])[1])


def _retell_shape(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, place: int, cut: Cut) -> None:
    name = node.input[place]
    told, before, after = flow.numbers.values(name), flow.shape(node.output[0]), cut.shape(node.output[0])
    if told is None or not flow.numbers.fixed(name) or list(before) == after:
        return
    changed = [now if now != was and old != -1 else int(old) for old, was, now in zip(told, before, after, strict=True)]
    node.input[place] = _constant(proto, node, "shape", np.array(changed, told.dtype))


def _split(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    axis = attribute(node, "axis", 0)
    sizes = [cut.shape(out)[axis] for out in node.output]
    if sizes == [flow.shape(out)[axis] for out in node.output]:
        return
    if flow.opset < 13:
        _set_attribute(node, "split", sizes)
        return
    for entry in [a for a in node.attribute if a.name == "num_outputs"]:
        node.attribute.remove(entry)
    told = _constant(proto, node, "sizes", np.array(sizes, np.int64))
    del node.input[1:]
    node.input.append(told)


def _slice(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    starts, ends = flow.numbers.of(node, 1, "starts"), flow.numbers.of(node, 2, "ends")
    axes = flow.numbers.of(node, 3, "axes") or list(range(len(starts or ())))
    if starts is None or ends is None:
        return
    old = (list(starts), list(ends))
    for place, axis in enumerate(axes):
        mask = cut.kept(node.input[0], axis)
        if mask.all():
            continue
        first, last, _ = slice(starts[place], ends[place]).indices(len(mask))
        starts[place], ends[place] = int(mask[:first].sum()), int(mask[:last].sum())
    if (starts, ends) == old:
        return
    for place, (name, values) in enumerate((("starts", starts), ("ends", ends)), start=1):
        if attribute(node, name) is not None:
            _set_attribute(node, name, values)
        else:
            node.input[place] = _constant(proto, node, name, np.array(values, np.int64))


def _gather(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    mask = cut.kept(node.input[0], attribute(node, "axis", 0))
    if mask.all():
        return
    picks = np.asarray(flow.numbers.values(node.input[1]))
    wanted = picks % len(mask)
    renumbered = np.cumsum(mask) - 1
    left = renumbered[wanted[mask[wanted]]] if picks.ndim else renumbered[wanted]
    node.input[1] = _constant(proto, node, "indices", np.asarray(left, picks.dtype))


def _pad(proto: onnx.ModelProto, flow: Flow, node: onnx.NodeProto, cut: Cut) -> None:
    pads = flow.numbers.of(node, 1, "pads")
    if pads is None:
        return
    rank, old = len(pads) // 2, list(pads)
    for axis in range(rank):
        mask = cut.kept(node.output[0], axis)
        if mask.all():
            continue
        before, after = pads[axis], pads[axis + rank]
        pads[axis], pads[axis + rank] = int(mask[:before].sum()), int(mask[len(mask) - after :].sum())
    if pads == old:
        return
    if attribute(node, "pads") is not None:
        _set_attribute(node, "pads", pads)
    else:
        node.input[1] = _constant(proto, node, "pads", np.array(pads, np.int64))


def _constant(proto: onnx.ModelProto, node: onnx.NodeProto, what: str, values: NDArray[np.generic]) -> str:
    name = f"{node.output[0]}.{what}"
    proto.graph.initializer.append(numpy_helper.from_array(values, name))
    if proto.ir_version < 4:  # there every constant is an input too
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        proto.graph.input.append(helper.make_tensor_value_info(name, kind, values.shape))
    return name


def _set_attribute(node: onnx.NodeProto, name: str, value: int | list[int]) -> None:
    for entry in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(entry)
    node.attribute.append(helper.make_attribute(name, value))


def _drop_unread(proto: onnx.ModelProto, read_before: set[str]) -> None:
    """Take away constants, and what computed constants, that only the old numbers needed."""
    graph = proto.graph
    while unread := read_before - _read(proto):
        nodes = [n for n in graph.node if unread.issuperset(o for o in n.output if o)]
        tensors = [t for t in graph.initializer if t.name in unread]
        if not nodes and not tensors:
            return
        for node in nodes:
            graph.node.remove(node)
        for tensor in tensors:
            graph.initializer.remove(tensor)
        for entry in [i for i in graph.input if i.name in {t.name for t in tensors}]:
            graph.input.remove(entry)


def _read(proto: onnx.ModelProto) -> set[str]:
    names = {o.name for o in proto.graph.output}
    for node in proto.graph.node:
        names.update(node.input, captured(node))
    return names


def _declare(proto: onnx.ModelProto) -> None:
    """Forget shapes noted for inner tensors, and correct those of weights that old models list among their inputs."""
    del proto.graph.value_info[:]
    dims = {t.name: t.dims for t in proto.graph.initializer}
    for entry in proto.graph.input:
        if entry.name in dims:
            for side, size in zip(entry.type.tensor_type.shape.dim, dims[entry.name], strict=True):
                side.dim_value = size
