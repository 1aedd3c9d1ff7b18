"""How channels pass through operators that only move elements: reshape, transpose, join, split, gather, pad, repeat.

Where such an operator is told sizes or places along a channel axis, they must be rewritten after a cut: so they must be
constants of its own, or computed from a tensor that is cut alike; else the channels are fixed.
"""

from __future__ import annotations

import numpy as np

from build_tools.graph import attribute
from build_tools.passes.pruning.channel_flow import Flow
from build_tools.passes.pruning.channel_labels import Ids, reshape_labels, varying
from build_tools.passes.pruning.channel_rules import Rule


def _reshape(flow: Flow, index: int, where: str) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze."""
    node = flow.graph.nodes[index]
    data, out = node.input[0], node.output[0]
    ids = flow.labels.roots(flow.ids[data])
    flow.put(out, reshape_labels(ids, flow.shape(data), flow.shape(out)))
    if node.op_type == "Reshape":
        _sizes(flow, index, where, 1)


def _transpose(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    ids = flow.ids[node.input[0]]
    flow.put(node.output[0], ids.transpose(attribute(node, "perm") or range(ids.ndim)[::-1]))


def _concat(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    rank = len(flow.shape(node.output[0]))
    axis = attribute(node, "axis", 1) % rank
    parts = []
    for name in node.input:
        if flow.is_weight(name):
            flow.whole(name, where)
            parts.append(flow.labels.fresh(1, f"{where} joins a constant").reshape((1,) * rank))
        else:
            parts.append(flow.labels.roots(flow.ids[name]))
    if all(not varying(p) for p in parts) and len({int(p.flat[0]) for p in parts}) == 1:
        return flow.put(node.output[0], parts[0])
    sides = [max(p.shape[a] for p in parts) for a in range(rank)]
    full = []
    for name, part in zip(node.input, parts, strict=True):
        sides[axis] = flow.shape(name)[axis]
        full.append(np.broadcast_to(part, sides))
    return flow.put(node.output[0], np.concatenate(full, axis))


def _split(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    ids = flow.labels.roots(flow.ids[node.input[0]])
    axis = attribute(node, "axis", 0) % ids.ndim
    if ids.shape[axis] > 1 and not flow.numbers.is_constant(node, 1):
        flow.labels.fix(ids, f"{where} is told computed sizes")
    start = 0
    for out in node.output:
        stop = start + flow.shape(out)[axis]
        flow.put(out, ids if ids.shape[axis] == 1 else ids[(slice(None),) * axis + (slice(start, stop),)])
        start = stop


def _slice(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    data = node.input[0]
    ids = flow.labels.roots(flow.ids[data])
    starts, ends = (flow.numbers.of(node, i, name) for i, name in ((1, "starts"), (2, "ends")))
    steps = flow.numbers.of(node, 4, "steps")
    if starts is None or ends is None:
        return flow.fix_inputs(node, f"{where} has bounds that cannot be told")
    axes = flow.numbers.of(node, 3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    cut = [slice(None)] * ids.ndim
    for place, axis in enumerate(axes):
        side, step = ids.shape[axis], 1 if steps is None else steps[place]
        if side > 1 and (step != 1 or not flow.numbers.is_constant(node, 1) or not flow.numbers.is_constant(node, 2)):
            flow.labels.fix(ids, f"{where} takes channels at computed places or in steps")
        if side > 1:
            cut[axis] = slice(starts[place], ends[place], step)
    return flow.put(node.output[0], ids[tuple(cut)])


def _gather(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    data, picks = node.input[:2]
    if flow.is_weight(data):
        return flow.whole(data, where)
    ids = flow.labels.roots(flow.ids[data])
    axis = attribute(node, "axis", 0) % ids.ndim
    places = flow.numbers.values(picks)
    if ids.shape[axis] == 1:
        shape = flow.shape(picks)
        rest = ids.reshape(ids.shape[:axis] + (1,) * len(shape) + ids.shape[axis + 1 :])
        return flow.put(node.output[0], rest)
    if places is None or places.ndim > 1 or not flow.numbers.fixed(picks):
        return flow.fix_inputs(node, f"{where} picks channels by computed places")
    return flow.put(node.output[0], ids.take(places, axis))


def _pad(flow: Flow, index: int, where: str) -> None:
    """Channels padded on are channels too: they can go when what they are added to goes."""
    node = flow.graph.nodes[index]
    data, out = node.input[0], node.output[0]
    ids = flow.labels.roots(flow.ids[data])
    rank = ids.ndim
    old, new = flow.shape(data), flow.shape(out)
    pads = flow.numbers.of(node, 1, "pads")
    zeros = attribute(node, "mode", b"constant") == b"constant" and len(node.input) < 4
    plain = zeros and flow.numbers.is_constant(node, 1)
    axes = [a for a in range(rank) if old[a] != new[a] and ids.shape[a] > 1]
    if pads is None or (axes and not plain) or len(pads) != 2 * rank or any(p < 0 for p in pads):
        flow.labels.fix(ids, f"{where} pads channels in a way that is not understood")
        return flow.put(out, ids) if not axes else flow.fixed(out, f"{where} pads channels")
    for axis in axes:
        more: list[Ids] = []
        for count in (pads[axis], pads[axis + rank]):
            row = flow.labels.fresh(count).reshape([count if a == axis else 1 for a in range(rank)])
            more.append(np.broadcast_to(row, [count if a == axis else side for a, side in enumerate(ids.shape)]))
        ids = np.concatenate([more[0], ids, more[1]], axis)
    return flow.put(out, ids)


def _expand(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    ids = flow.ids[node.input[0]]
    flow.put(node.output[0], ids.reshape((1,) * (len(flow.shape(node.output[0])) - ids.ndim) + ids.shape))
    _sizes(flow, index, where, 1)


def _tile(flow: Flow, index: int, where: str) -> None:
    node = flow.graph.nodes[index]
    ids = flow.labels.roots(flow.ids[node.input[0]])
    repeats = flow.numbers.values(node.input[1])
    if repeats is None:
        return flow.fix_inputs(node, f"{where} repeats an unknown number of times")
    return flow.put(node.output[0], np.tile(ids, [r if ids.shape[a] > 1 else 1 for a, r in enumerate(repeats)]))


def _resize(flow: Flow, index: int, where: str) -> None:
    """Resize and Upsample: pixels only, unless channels are interpolated."""
    node = flow.graph.nodes[index]
    data, out = node.input[0], node.output[0]
    ids = flow.labels.roots(flow.ids[data])
    if any(flow.shape(data)[a] != flow.shape(out)[a] for a in varying(ids)):
        flow.labels.fix(ids, f"{where} interpolates channels")
        return flow.fixed(out, where)
    flow.put(out, ids)
    if len(node.input) > 3 and node.input[3] and attribute(node, "axes") is None:
        _sizes(flow, index, where, 3)
    return None


def _blocks(flow: Flow, index: int, where: str) -> None:
    """DepthToSpace and SpaceToDepth, as the reshape, transpose and reshape that define them."""
    node = flow.graph.nodes[index]
    ids = flow.labels.roots(flow.along(node.input[0], 1, where))
    block = int(attribute(node, "blocksize"))
    if node.op_type == "SpaceToDepth":
        made = np.tile(ids, block * block)
    else:
        crd = attribute(node, "mode", b"DCR") == b"CRD"
        cells = ids.reshape(-1, block * block) if crd else ids.reshape(block * block, -1).T
        flow.labels.join(cells, cells[:, :1])
        made = cells[:, 0]
    flow.put(node.output[0], made.reshape(1, -1, 1, 1))


def _nothing(flow: Flow, index: int, where: str) -> None:
    """Shape and the like read no channel's values."""


def _sizes(flow: Flow, index: int, where: str, place: int) -> None:
    """Fix channels whose number is told to the node by something that would not follow a cut."""
    node = flow.graph.nodes[index]
    name, out = node.input[place], node.output[0]
    ids = flow.labels.roots(flow.ids[out])
    told = flow.numbers.values(name)
    for axis in varying(ids):
        if flow.numbers.fixed(name) or (told is not None and told.reshape(-1)[axis] == -1):
            continue
        sides = flow.numbers.origin(name)
        source = sides[axis] if len(sides) > axis else None
        if source is not None:
            tensor, side = source
            theirs = flow.labels.roots(flow.ids[tensor])
            if theirs.shape[side] > 1 and np.array_equal(np.sort(theirs, side).ravel(), np.sort(ids, axis).ravel()):
                continue
            flow.labels.fix(theirs, f"{where} takes its size from it")
        flow.labels.fix(ids, f"{where} is told a computed number of channels")


MOVES: dict[str, Rule] = {
    **dict.fromkeys(["Reshape", "Flatten", "Squeeze", "Unsqueeze"], _reshape),
    **dict.fromkeys(["Resize", "Upsample"], _resize),
    **dict.fromkeys(["DepthToSpace", "SpaceToDepth"], _blocks),
    **dict.fromkeys(["Shape", "Size"], _nothing),
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
}
