"""Whole numbers that operators are told (shapes, places, paddings): their values, and whose sides they are."""

from __future__ import annotations

from typing import Any

import onnx
from numpy.typing import NDArray

from build_tools.graph import Graph, attribute
from build_tools.passes.pruning.channel_shapes import Observation

Side = tuple[str, int]
"""A tensor and one of its axes."""
CARRIERS = ("Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Identity")
"""Operators through which a side's length is followed."""
TAKERS = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""Operators that are told a shape, and at which input."""


class Numbers:
    """Reads whole numbers from attributes (old opsets), constants, and from what one run of the model showed."""

    def __init__(self, graph: Graph, seen: Observation) -> None:
        self._graph = graph
        self._seen = seen
        self._origins: dict[str, list[Side | None]] = {}
        self._constant = set(graph.constants)
        for node in graph.nodes:
            drawn = node.op_type.startswith("Random") or any(a.g.node or a.graphs for a in node.attribute)
            if not drawn and all(name in self._constant for name in node.input if name):
                self._constant.update(node.output)

    def values(self, name: str) -> NDArray[Any] | None:
        """A tensor's values, if it is a constant or a small integer tensor."""
        if name in self._graph.constants:
            return self._graph.constants[name]
        return self._seen.integers.get(name)

    def of(self, node: onnx.NodeProto, place: int, name: str) -> list[int] | None:
        """What a node is told by the attribute `name` or by its input at `place`; None where it is not told."""
        told = attribute(node, name)
        if told is not None:
            return [int(v) for v in told]
        if len(node.input) <= place or not node.input[place]:
            return None
        values = self.values(node.input[place])
        return None if values is None else [int(v) for v in values.reshape(-1)]

    def is_constant(self, node: onnx.NodeProto, place: int) -> bool:
        """Whether what a node is told is the same for every input, so that it can be told something else."""
        return len(node.input) <= place or not node.input[place] or self.fixed(node.input[place])

    def fixed(self, name: str) -> bool:
        """Whether a tensor is a constant or computed from constants alone, and its values are known."""
        return name in self._constant and self.values(name) is not None

    def origin(self, name: str) -> list[Side | None]:
        """For each element of an integer tensor the side it is the length of, or None; empty where nothing is known."""
        if name not in self._origins:
            maker = self._graph.makers.get(name)
            known = maker is not None and maker.op_type in CARRIERS
            self._origins[name] = self._follow(maker) if known and maker is not None else []
        return self._origins[name]

    def sides_read(self, node: onnx.NodeProto) -> list[Side]:
        """Sides whose length a node computes with, other than by passing it on or taking it as a shape."""
        if node.op_type in CARRIERS:
            return []
        taken = TAKERS.get(node.op_type)
        return [s for i, n in enumerate(node.input) if n and i != taken for s in self.origin(n) if s is not None]

    def _follow(self, maker: onnx.NodeProto) -> list[Side | None]:
        source = maker.input[0]
        if maker.op_type == "Shape":
            rank = len(self._seen.shapes.get(source, ()))
            sides: list[Side | None] = [(source, axis) for axis in range(rank)]
            return sides[attribute(maker, "start", 0) : attribute(maker, "end", rank)]
        if maker.op_type == "Concat":
            joined: list[Side | None] = []
            for name in maker.input:
                values = self.values(name)
                joined += self.origin(name) or [None] * (0 if values is None else values.size)
            return joined
        before = self.origin(source)
        if not before or maker.op_type not in ("Gather", "Slice"):
            return before
        if maker.op_type == "Gather":
            picks = self.values(maker.input[1])
            return [] if picks is None else [before[int(i)] for i in picks.reshape(-1)]
        start, end, step = (self.of(maker, i, n) for i, n in ((1, "starts"), (2, "ends"), (4, "steps")))
        if start is None or end is None or len(start) != 1:
            return before  # more sides than it reads: fixes too much rather than too little
        return before[start[0] : end[0] : step[0] if step else 1]
