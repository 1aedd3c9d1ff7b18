"""Dependency groups: channels that can be cut one by one, each with every slice of every weight that goes with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.graph import node_name
from build_tools.passes.contract import Calibration
from build_tools.passes.pruning.channel_flow import Flow, Role
from build_tools.passes.pruning.channel_moves import MOVES
from build_tools.passes.pruning.channel_rules import RULES
from build_tools.passes.pruning.channel_shapes import observe


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A weight's axis along which a group's channels lie.

    Attributes:
        weight: name of the initialiser (or Constant).
        axis: of the weight.
        positions: int64 [channels, n]: places along the axis that each channel owns (n > 1 behind a Flatten or in a
            grouped convolution).
        role: out: the slices make the channel | in: they read it | each: one parameter (or depthwise filter) a channel.
        node: name of the node that uses the weight.
        index: its place in the graph.
        op: its operator.
        tensor: where the channels are: the node's output for `out` and `each`, its input for `in`.
    """

    weight: str
    axis: int
    positions: NDArray[np.int64]
    role: Role
    node: str
    index: int
    op: str
    tensor: str


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Channels that occur in exactly the same tensors; any of them may be cut as long as one is left.

    Attributes:
        id: name of the weight that makes the channels; `#1`, `#2` where one weight makes several groups (a Split).
        channels: how many there are; channel i is row i of every member's `positions`.
        members: the weights, in graph order.
        width: places that a channel takes in the tensor in which it takes the fewest.
        roots: its labels in the flow, one a channel.
    """

    id: str
    channels: int
    members: tuple[Member, ...]
    width: int
    roots: NDArray[np.int64]

    def makers(self) -> tuple[str, ...]:
        """Weights whose slices make the channels."""
        return tuple(dict.fromkeys(m.weight for m in self.members if m.role == "out"))


@dataclass(frozen=True, slots=True, eq=False)
class Dependencies:
    """What can be cut in a model, and what cannot.

    Attributes:
        groups: in graph order.
        refused: weight that makes channels -> why they cannot be cut.
        flow: labels of every tensor, for those that cut.
    """

    groups: tuple[Group, ...]
    refused: dict[str, str]
    flow: Flow

    def group(self, group_id: str) -> Group | None:
        """The group of that id."""
        return next((g for g in self.groups if g.id == group_id), None)


def find_groups(proto: onnx.ModelProto, calibration: Calibration | None = None) -> list[Group]:
    """The dependency groups of a model; see `dependencies`."""
    return list(dependencies(proto, calibration).groups)


def dependencies(proto: onnx.ModelProto, calibration: Calibration | None = None) -> Dependencies:
    """Follow the channels through the graph (`channel_flow`) and collect those that may be cut.

    The idea of a dependency graph is DepGraph's (Fang et al. 2023); here dependencies are not declared layer by layer
    but follow from labels carried through the graph, element by element.

    Args:
        proto: any ONNX model.
        calibration: its first sample settles free input sides; without it they are guessed.

    Raises:
        PassError: the model does not run.
    """
    flow = Flow(proto, observe(proto, calibration))
    flow.walk(RULES | MOVES)
    touched: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = [*flow.ids.values(), *(use.ids for use in flow.uses)]
    narrowest: dict[int, int] = {}
    for place, ids in enumerate(rows):
        found, counts = np.unique(flow.labels.roots(ids), return_counts=True)
        for root, count in zip(found.tolist(), counts.tolist(), strict=True):
            touched[root].append((place, count))
            if place < len(flow.ids):
                narrowest[root] = min(count, narrowest.get(root, count))
    by_places: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for root, places in touched.items():
        if not flow.labels.reason(root):
            by_places[tuple(places)].append(root)
    uses = _uses_by_root(flow)
    groups: list[Group] = []
    names: dict[str, int] = defaultdict(int)
    for roots in by_places.values():
        members = _members(flow, roots, uses)
        if any(m.role == "out" for m in members):
            first = next(m.weight for m in members if m.role == "out")
        elif members:
            first = members[0].weight  # channels that a Pad makes
        else:
            continue
        names[first] += 1
        name = first if names[first] == 1 else f"{first}#{names[first] - 1}"
        ordered = _in_order(members, np.array(roots))
        groups.append(Group(name, len(roots), ordered[0], narrowest[roots[0]], ordered[1]))
    return Dependencies(tuple(groups), _refused(flow, groups), flow)


def _uses_by_root(flow: Flow) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for place, use in enumerate(flow.uses):
        for root in np.unique(flow.labels.roots(use.ids)).tolist():
            found[root].append(place)
    return found


def _members(flow: Flow, roots: list[int], uses: dict[int, list[int]]) -> list[Member]:
    members = []
    for place in uses.get(roots[0], []):
        use = flow.uses[place]
        mine = flow.labels.roots(use.ids)
        positions = np.stack([np.flatnonzero(mine == root) for root in roots])
        node = flow.graph.nodes[use.node]
        name = node_name(node, use.node)
        members.append(Member(use.weight, use.axis, positions, use.role, name, use.node, node.op_type, use.tensor))
    return members


def _in_order(members: list[Member], roots: NDArray[np.int64]) -> tuple[tuple[Member, ...], NDArray[np.int64]]:
    """Number the channels as the first weight that makes them has them."""
    lead = next((m for m in members if m.role == "out"), members[0])
    order = np.argsort(lead.positions[:, 0])
    sorted_members = tuple(replace(m, positions=m.positions[order]) for m in members)
    return sorted_members, roots[order]


def _refused(flow: Flow, groups: list[Group]) -> dict[str, str]:
    refused: dict[str, str] = {}
    for use in flow.uses:
        if use.role != "out":
            continue
        reasons = [flow.labels.reason(int(root)) for root in np.unique(flow.labels.roots(use.ids))]
        if all(reasons):
            refused[use.weight] = reasons[0]
    return refused
