"""Int8 islands: parts of a model that compute in int8 because that was measured to be faster there.

Int8 is no gain by itself: depthwise convolutions are slower in it on most CPUs, and each border costs a conversion.
So candidates come from the cheapest cut (`int8_costs`), are timed on the whole model against the float one, thinned
out island by island, and taken only where the last timing shows a gain; else the model stays float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.passes.activations import session
from build_tools.passes.contract import Context, Feed
from build_tools.passes.quantizing.activation_ranges import Spread, find_spreads
from build_tools.passes.quantizing.int8 import prepare, quantize_nodes
from build_tools.passes.quantizing.int8_costs import INT8, Cost, cheapest_part, islands_of, local_table, node_costs
from edge_runtime.bench.interleaved import Timing, interleaved, quiet_clock
from edge_runtime.bench.table import DeviceTable, read_table
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.settings import setting

Timer = Callable[[Sequence[onnx.ModelProto]], list[Timing]]
"""Times models against each other; ratios are to the first."""
TRUSTS = (0.25, 1.0, 4.0)
THINNED = 12
"""Parts taken out for a try, at most."""


@dataclass(frozen=True, slots=True)
class Int8:
    """How activations are put on int8, and where."""

    where: Literal["faster", "everywhere"] = setting(
        "faster", "faster: where that is measured to be faster than float | everywhere: each node that can be int8"
    )
    table: str = setting("", "device table (edge-runtime bench --table) to go by instead; relative to the recipe")
    gain: float = setting(0.03, "share of the time that must be gained, else the model stays float", low=0, high=1)
    range: Literal["minmax", "percentile", "entropy", "mse"] = setting("minmax", "how far activations' levels reach")
    percentile: float = setting(99.99, "range = percentile: per cent of values within reach", low=50, high=100)
    reduce_range: bool = setting(True, "weights on 7 bits: x86 without VNNI overflows with 8; ARM can have 8")
    rounds: int = setting(15, "rounds of each timing", low=3)


@dataclass(frozen=True, slots=True, eq=False)
class Islands:
    """What came of it.

    Attributes:
        proto: the model with its islands in QDQ form; None where it should stay float.
        nodes: names of the nodes in int8.
        weights: names of their float weights.
        report: one line for a person.
    """

    proto: onnx.ModelProto | None
    nodes: frozenset[str]
    weights: tuple[str, ...]
    report: str


def find_islands(
    proto: onnx.ModelProto, context: Context, how: Int8, held: Collection[str] = (), timer: Timer | None = None,
    device: DeviceTable | None = None,
) -> Islands:  # fmt: skip
    """Put the nodes in int8 that are faster so.

    Args:
        proto: the float model.
        context: its calibration data give ranges, sizes and the feed that is timed.
        how: see `Int8`.
        held: weights whose layers stay float.
        timer: of whole models, in place of this machine's clock.
        device: times of single layers, in place of timing them here; they only order the candidates.

    Raises:
        PassError: no calibration data, an unreadable table, or ONNX Runtime's quantizer refuses.
    """
    if context.calibration is None or not len(context.calibration):
        raise PassError("quantize.activations = true: needs calibration data; add a [calibration] table")
    feed = one_sample(proto, next(iter(context.calibration)))
    ready = prepare(proto, feed)
    graph = Graph(ready)
    able = [n for n in graph.nodes if n.op_type in INT8 and not held_by(n, held)]
    flowing = dict.fromkeys(t for n in able for t in (*n.input, *n.output) if t and t not in graph.constants)
    context.progress("finding ranges of activations", 0, 1)
    spreads = find_spreads(ready, list(flowing), context.calibration, how.range, how.percentile)

    def build(names: frozenset[str]) -> onnx.ModelProto:
        return quantize_nodes(ready, names, spreads, feed, how.reduce_range)

    everything = frozenset().union(*islands_of(graph, (n.name for n in able if n.output[0] in spreads)))
    if how.where == "everywhere":
        if not everything:
            return Islands(None, everything, (), "no node of the model can be int8")
        return _made(graph, build(everything), everything, f"{len(everything)} nodes in int8, untimed as asked")
    sizes = _of_feed(ready, spreads, feed)
    if how.table:
        device = _table(how.table, context.folder)
    table = device if device is not None else local_table(graph, sizes, max(how.rounds // 3, 3))
    costs = {k: v for k, v in node_costs(graph, sizes, table).items() if k in everything}
    cuts = [cheapest_part(graph, costs, sizes, table, trust) for trust in TRUSTS]
    if how.table:
        return _by_table(graph, costs, cuts[1], build, table.run_ms, how)
    candidates = list(dict.fromkeys(c for c in (*cuts, everything) if c))
    if not candidates:
        return Islands(None, frozenset(), (), "no layer is faster in int8 by itself")
    clock = timer if timer is not None else local_timer(feed, how.rounds)
    return _by_timing(ready, graph, costs, candidates, build, clock, how, context)


def local_timer(feed: Feed, rounds: int) -> Timer:
    """Interleaved rounds on this machine, on one thread and by its own processor time."""

    def timed(models: Sequence[onnx.ModelProto]) -> list[Timing]:
        sessions = [session(model) for model in models]
        runs = [(str(i), partial(s.run, None, feed)) for i, s in enumerate(sessions)]
        return interleaved(runs, rounds, clock_ns=quiet_clock(1))

    return timed


def one_sample(proto: onnx.ModelProto, feed: Feed) -> Feed:
    """The first sample of a batch, where the model leaves the batch free: what is timed is what the node runs."""
    free = {i.name for i in proto.graph.input if _free_batch(i)}
    return {name: values[:1] if name in free and values.ndim else values for name, values in feed.items()}


def held_by(node: onnx.NodeProto, held: Collection[str]) -> bool:
    """Whether a node reads a weight that must stay as it is."""
    return any(name in held for name in node.input)


def _by_timing(
    proto: onnx.ModelProto, graph: Graph, costs: dict[str, Cost], candidates: list[frozenset[str]],
    build: Callable[[frozenset[str]], onnx.ModelProto], timer: Timer, how: Int8, context: Context,
) -> Islands:  # fmt: skip
    """The fastest candidate, thinned out while that helps; measured once more against the float model."""
    made = [build(names) for names in candidates]
    timings = timer([proto, *made])[1:]
    best = int(np.argmin([t.ratio for t in timings]))
    names, model = candidates[best], made[best]
    parts = islands_of(graph, names)
    if len(parts) < 2:  # one island: thin it out layer by layer
        parts = [frozenset({n.name}) for n in graph.nodes if n.name in names and n.name in costs]
    parts.sort(key=lambda part: sum(costs[n].float_ms - costs[n].int8_ms for n in part if n in costs))
    for index, part in enumerate(parts[:THINNED]):
        context.progress("thinning out int8 islands", index, min(len(parts), THINNED))
        fewer = frozenset().union(*islands_of(graph, names - part))
        if not fewer or fewer == names:
            continue
        trial = build(fewer)
        if timer([model, trial])[1].ratio_ci[1] < 1:
            names, model = fewer, trial
    last = timer([proto, model])[1]
    tried = f"{len(candidates)} candidates timed"
    if last.ratio_ci[1] > 1 - how.gain:
        return Islands(
            None, frozenset(), (), f"int8 is not faster: the best takes {last.ratio:.2f} of the time ({tried})"
        )
    count = len(islands_of(graph, names))
    report = f"{len(names)} nodes in {count} int8 islands take {last.ratio:.2f} of the time ({tried})"
    return _made(graph, model, names, report)


def _by_table(
    graph: Graph, costs: dict[str, Cost], names: frozenset[str], build: Callable[[frozenset[str]], onnx.ModelProto],
    run_ms: float, how: Int8,
) -> Islands:  # fmt: skip
    """The cheapest cut, where the table promises the gain."""
    whole = run_ms + sum(c.float_ms for c in costs.values())
    saved = sum(costs[n].float_ms - costs[n].int8_ms for n in names if n in costs)
    ratio = 1 - saved / max(whole, 1e-9)
    if not names or ratio > 1 - how.gain:
        return Islands(None, frozenset(), (), f"int8 is not faster on the table's device: {ratio:.2f} of the time")
    count = len(islands_of(graph, names))
    report = f"{len(names)} nodes in {count} int8 islands take {ratio:.2f} of the time by the device table"
    return _made(graph, build(names), names, report)


def _made(graph: Graph, proto: onnx.ModelProto, names: frozenset[str], report: str) -> Islands:
    weights = tuple(layer.weight for layer in graph.layers() if graph.nodes[layer.index].name in names)
    return Islands(proto, names, weights, report)


def _of_feed(proto: onnx.ModelProto, spreads: dict[str, Spread], feed: Feed) -> dict[str, Spread]:
    """The spreads with the sizes that tensors have for this feed."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    del exposed.graph.output[:]
    names = [name for name in spreads if name not in feed]
    for name in names:
        exposed.graph.output.add().name = name
    shapes = {name: values.shape for name, values in feed.items()}
    shapes |= dict(zip(names, (x.shape for x in session(exposed).run(None, feed)), strict=True))
    return {n: Spread(s.low, s.high, int(np.prod(shapes[n])), tuple(shapes[n])) for n, s in spreads.items()}


def _table(path: str, folder: Path) -> DeviceTable:
    try:
        return read_table(folder / path)
    except EdgeRuntimeError as error:
        raise PassError(f"quantize.int8.table: {error}") from error


def _free_batch(entry: onnx.ValueInfoProto) -> bool:
    dims = entry.type.tensor_type.shape.dim
    return bool(dims) and dims[0].dim_value <= 0
