"""Where int8 should pay: what each node costs in float and in int8, and the cheapest way to part the graph in two.

A layer's times come from a device table: a given one, or one of just this model's layers made on this machine. Where
an int8 part meets a float part, a tensor is converted, which costs about an addition of its elements. The cheapest
choice for all nodes together is a minimum cut (Greig, Porteous and Seheult 1989): source side int8, sink side float.
What is guessed here only orders the candidates; `islands` measures them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from build_tools.graph import Graph, Layer
from build_tools.passes.quantizing.activation_ranges import Spread
from edge_runtime.bench.probes import Probe, measure
from edge_runtime.bench.table import DeviceTable, Kind

LAYERS = ("Conv", "Gemm", "MatMul")
FUSED = ("Relu", "Clip")
"""In int8 these are nothing but the range of the layer before."""
MOVERS = ("MaxPool", "Concat", "Transpose", "Resize", "Split", "Slice", "Pad")
FREE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
COMPUTED = ("Add", "Mul", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid")
INT8 = LAYERS + FUSED + MOVERS + FREE + COMPUTED
"""Operators that ONNX Runtime computes in int8 on a CPU."""
MOVED = 0.4
"""Time of moving int8 against moving float32: a quarter of the bytes, but not of the work."""
COMPUTED_COST = 1.5
"""Time of an int8 addition against a float one: it rescales both sides."""
UNITS_A_MS = 100_000
FOREVER = 1_000_000_000
ALWAYS = tuple(Probe(kind, bits, (16, 16), (20, 15)) for kind in ("pointwise", "full", "depthwise") for bits in (32, 8))
"""Probes that every table has, so that it knows something of each kind of layer."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a node, in milliseconds."""

    float_ms: float
    int8_ms: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a layer multiplies, as a device table knows it."""

    kind: Kind
    channels: tuple[int, int]
    positions: int
    macs: int
    side_wh: tuple[int, int]


def local_table(graph: Graph, spreads: Mapping[str, Spread], rounds: int) -> DeviceTable:
    """A device table of this model's own layers, timed here."""
    asked = dict.fromkeys(ALWAYS)
    asked |= dict.fromkeys(Probe("dense", bits, (64, 64), (1, 1)) for bits in (32, 8))
    asked |= dict.fromkeys(Probe("elementwise", 32, (c, c), (40, 30)) for c in (8, 32, 128))
    for layer in graph.layers():
        work = layer_work(graph, layer, spreads)
        if work is not None and layer.op in LAYERS:
            asked |= dict.fromkeys(Probe(work.kind, bits, work.channels, work.side_wh) for bits in (32, 8))
    return measure(list(asked), rounds, 1)


def node_costs(graph: Graph, spreads: Mapping[str, Spread], table: DeviceTable) -> dict[str, Cost]:
    """Costs of the nodes that int8 could compute, by name."""
    layers = {graph.nodes[layer.index].name: layer for layer in graph.layers()}
    costs = {}
    for node in graph.nodes:
        if node.op_type not in INT8 or node.output[0] not in spreads:
            continue
        if node.op_type in LAYERS:
            work = layer_work(graph, layers[node.name], spreads) if node.name in layers else None
            if work is not None:
                sides = (work.channels, work.positions, work.macs)
                costs[node.name] = Cost(table.layer_ms(work.kind, 32, *sides), table.layer_ms(work.kind, 8, *sides))
            continue
        moved_ms = _moved_ms(node, spreads, table)
        maker = graph.makers.get(node.input[0])
        within = maker is not None and maker.op_type == "Conv" and len(graph.readers[node.input[0]]) == 1
        if node.op_type in FREE or (node.op_type in FUSED and within):
            costs[node.name] = Cost(0.0, 0.0)
        elif node.op_type in MOVERS or node.op_type in FUSED:
            costs[node.name] = Cost(moved_ms, MOVED * moved_ms)
        else:
            fused = within and node.op_type in ("LeakyRelu", "Sigmoid")
            costs[node.name] = Cost(0.0 if fused else moved_ms, COMPUTED_COST * moved_ms)
    return costs


def cheapest_part(
    graph: Graph, costs: Mapping[str, Cost], spreads: Mapping[str, Spread], table: DeviceTable, trust: float
) -> frozenset[str]:
    """The nodes that int8 should compute, by name.

    Args:
        graph: of the model.
        costs: of the nodes that may be int8; all others stay float.
        spreads: of the tensors, for their sizes.
        table: what a conversion costs.
        trust: factor on conversions; above 1 only large gains pay.
    """
    number = {node.name: index + 2 for index, node in enumerate(graph.nodes)}
    edges: list[tuple[int, int, float]] = []
    for node in graph.nodes:
        cost = costs.get(node.name)
        if cost is None:
            edges.append((number[node.name], 1, np.inf))
        else:
            edges += [(0, number[node.name], cost.float_ms), (number[node.name], 1, cost.int8_ms)]
    extra = len(graph.nodes) + 2
    for tensor, spread in spreads.items():
        maker = graph.makers.get(tensor)
        source = 1 if maker is None else number[maker.name]
        readers = [number[r.name] for r in graph.readers[tensor]] + [1] * (tensor in graph.outputs)
        price = trust * table.layer_ms("elementwise", 32, (32, 32), spread.elements, spread.elements)
        into, back = extra, extra + 1  # converted once for all readers, to int8 and back
        extra += 2
        edges += [(into, source, price), (source, back, price)]
        edges += [(reader, into, np.inf) for reader in readers] + [(back, reader, np.inf) for reader in readers]
        ties = [r for r in graph.readers[tensor] if r.op_type in FUSED]
        if maker is not None and len(readers) == 1 and ties and maker.op_type in LAYERS:
            edges += [(source, readers[0], np.inf), (readers[0], source, np.inf)]
    inside = _source_side(edges, extra)
    names = frozenset(node.name for node in graph.nodes if number[node.name] in inside)
    return frozenset().union(*islands_of(graph, names))


def islands_of(graph: Graph, names: Iterable[str]) -> list[frozenset[str]]:
    """Connected runs of the named nodes that hold at least one layer, in graph order."""
    wanted = set(names)
    left = dict.fromkeys(n.name for n in graph.nodes if n.name in wanted)
    nodes = {n.name: n for n in graph.nodes}
    found = []
    while left:
        first = next(iter(left))
        waiting, island = [first], {first}
        del left[first]
        while waiting:
            node = nodes[waiting.pop()]
            near = [graph.makers[t] for t in node.input if t in graph.makers]
            near += [r for t in node.output for r in graph.readers[t]]
            for other in near:
                if other.name in left:
                    del left[other.name]
                    island.add(other.name)
                    waiting.append(other.name)
        if any(nodes[name].op_type in LAYERS for name in island):
            found.append(frozenset(island))
    return found


def layer_work(graph: Graph, layer: Layer, spreads: Mapping[str, Spread]) -> Work | None:
    """What a layer multiplies in one feed; None where its output was not seen."""
    out = spreads.get(graph.nodes[layer.index].output[0])
    if out is None:
        return None
    shape = layer.shape
    positions = out.elements // max(shape[layer.out_axis], 1)
    macs = positions * int(np.prod(shape))
    if layer.op in ("Gemm", "MatMul"):
        return Work("dense", (shape[layer.in_axis], shape[layer.out_axis]), positions, macs, (1, 1))
    h, w = out.shape[2] if len(out.shape) > 2 else 1, out.shape[3] if len(out.shape) > 3 else 1
    kind: Kind = "depthwise" if layer.depthwise else "pointwise" if np.prod(shape[2:]) == 1 else "full"
    channels = (shape[0], shape[0]) if layer.depthwise else (shape[1] * layer.groups, shape[0])
    return Work(kind, channels, positions, macs, (w, h))


def _moved_ms(node: onnx.NodeProto, spreads: Mapping[str, Spread], table: DeviceTable) -> float:
    sizes = [spreads[t].elements for t in (*node.input, *node.output) if t in spreads]
    return table.layer_ms("elementwise", 32, (32, 32), max(sizes), max(sizes))


def _source_side(edges: list[tuple[int, int, float]], size: int) -> set[int]:
    """Nodes on the source's (0) side of a minimum cut from 0 to 1."""
    kept = [(a, b, FOREVER if np.isinf(c) else min(round(c * UNITS_A_MS), FOREVER)) for a, b, c in edges if a != b]
    rows, columns, caps = (np.array(column, np.int32) for column in zip(*kept, strict=True))
    matrix = coo_array((caps, (rows, columns)), (size, size)).tocsr()
    matrix.data = np.minimum(matrix.data, FOREVER).astype(np.int32)
    flow = maximum_flow(matrix, 0, 1).flow
    residual = (matrix - flow).tocsr()
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    return set(breadth_first_order(residual, 0, return_predecessors=False).tolist())
