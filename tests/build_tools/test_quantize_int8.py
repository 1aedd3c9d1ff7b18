"""Int8 islands: computed as asked, chosen by what the timer says, never slower by its own measure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.model import Model
from build_tools.passes.contract import Context
from build_tools.passes.quantize import Quantize
from build_tools.passes.quantizing.activation_ranges import Spread, find_spreads
from build_tools.passes.quantizing.int8 import prepare, quantize_nodes
from build_tools.passes.quantizing.int8_costs import Cost, cheapest_part, islands_of, node_costs
from build_tools.passes.quantizing.islands import Int8, Islands, Timer, find_islands, local_timer
from edge_runtime.bench.interleaved import Timing
from edge_runtime.bench.table import DeviceTable, Kind, Row, write_table
from tests.build_tools.quantize_nets import conv_net, model, node, output_error, pictures, random_weight


def chain(opset: int = 13) -> Model:
    """Three dense 3x3 convolutions with a depthwise one in the middle."""
    rng = np.random.default_rng(0)
    return model(
        [
            node("Conv", ["x", "w0"], "a", pads=[1] * 4), node("Relu", ["a"], "ar"),
            node("Conv", ["ar", "w1"], "b", pads=[1] * 4), node("Relu", ["b"], "br"),
            node("Conv", ["br", "w2"], "c", pads=[1] * 4, group=8), node("Relu", ["c"], "cr"),
            node("Conv", ["cr", "w3"], "y", pads=[1] * 4),
        ],
        {
            "w0": random_weight(rng, 8, 3, 3, 3), "w1": random_weight(rng, 8, 8, 3, 3),
            "w2": random_weight(rng, 8, 1, 3, 3), "w3": random_weight(rng, 4, 8, 3, 3),
        },
        (1, 3, 16, 16), ["y"], opset,
    )  # fmt: skip


def table(full: float, depthwise: float) -> DeviceTable:
    """A device on which an int8 layer takes so many times the float one's time."""
    rows = []
    ratios: dict[Kind, float] = {"full": full, "pointwise": full, "depthwise": depthwise, "dense": 1.0}
    for kind, ratio in ratios.items():
        for channels, positions in (((8, 8), 256), ((32, 32), 1024), ((64, 64), 64)):
            macs = positions * channels[0] * (9 if kind == "depthwise" else channels[1] * 9)
            rows += [Row(kind, 32, channels, positions, macs, macs * 1e-6)]
            rows += [Row(kind, 8, channels, positions, macs, macs * 1e-6 * ratio)]
    rows += [Row("elementwise", 32, (c, c), 256, c * 256, c * 256 * 1e-7) for c in (8, 32, 128)]
    return DeviceTable({"name": "made up"}, tuple(rows), 0.001)


def timer_of(cost_ms: dict[str, float]) -> Timer:
    """A clock that adds up what each operator costs; int8 layers have weights behind a DequantizeLinear."""

    def timed(models: Sequence[onnx.ModelProto]) -> list[Timing]:
        spent = []
        for proto in models:
            made = {out: n.op_type for n in proto.graph.node for out in n.output}
            total = 0.0
            for n in proto.graph.node:
                integer = n.op_type == "Conv" and made.get(n.input[1]) == "DequantizeLinear"
                depthwise = n.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in n.attribute)
                key = ("depthwise" if depthwise else n.op_type) + ("8" if integer else "")
                total += cost_ms.get(key, 0.0)
            spent.append(total)
        return [Timing(str(i), s, s / spent[0], (s / spent[0], s / spent[0])) for i, s in enumerate(spent)]

    return timed


def islands(net: Model, timer: Timer) -> Islands:
    return find_islands(net.proto, Context(net, pictures()), Int8(), timer=timer, device=table(0.5, 2.0))


def quantised_layers(proto: onnx.ModelProto) -> set[str]:
    made = {out: n.op_type for n in proto.graph.node for out in n.output}
    return {n.output[0] for n in proto.graph.node if n.op_type == "Conv" and made.get(n.input[1]) == "DequantizeLinear"}


def test_chosen_nodes_compute_in_int8_and_the_rest_in_float() -> None:
    net, feeds = chain(), pictures()
    feed = next(iter(feeds))
    ready = prepare(net.proto, feed)
    spreads = find_spreads(ready, ["x", "a", "ar", "b", "br"], feeds, "minmax", 99.9)
    made = quantize_nodes(ready, ["Conv_a", "Relu_ar", "Conv_b", "Relu_br"], spreads, feed, reduce_range=True)
    assert [n.op_type for n in made.graph.node].count("Conv") == 4
    assert len(quantised_layers(made)) == 2
    stored = {t.name: t.data_type for t in made.graph.initializer}
    assert [stored[n] for n in ("w0_quantized", "w1_quantized")] == [onnx.TensorProto.INT8] * 2
    assert stored["w2"] == stored["w3"] == onnx.TensorProto.FLOAT
    assert 0 < output_error(Model(made), net, feeds) < 0.05


def test_ranges_of_activations_are_found_over_all_data() -> None:
    net, feeds = chain(), pictures(5)
    spreads = find_spreads(net.proto, ["x", "ar"], feeds, "minmax", 99.9)
    top = max(float(np.asarray(f["x"]).max()) for f in feeds)
    assert (spreads["x"].low, spreads["x"].high) == (0.0, pytest.approx(top))
    assert spreads["ar"].low == 0.0 and spreads["ar"].shape == (1, 8, 16, 16)
    clipped = find_spreads(net.proto, ["ar"], feeds, "percentile", 99.0)
    assert clipped["ar"].high < spreads["ar"].high


def test_an_old_opset_is_converted_and_its_outputs_stay() -> None:
    net, feeds = chain(opset=11), pictures()
    ready = prepare(net.proto, next(iter(feeds)))
    assert next(o.version for o in ready.opset_import if o.domain == "") == 13
    assert output_error(Model(ready), net, feeds) < 1e-6
    assert len({n.name for n in ready.graph.node}) == len(ready.graph.node)


def test_a_model_stays_float_where_the_timer_says_that_int8_is_slower() -> None:
    slow = timer_of({"Conv": 1.0, "Conv8": 1.5, "depthwise": 0.5, "depthwise8": 2.0})
    found = islands(chain(), slow)
    assert found.proto is None and found.nodes == frozenset()
    assert "int8 is not faster" in found.report
    change = Quantize(activations=True, int8=Int8(gain=1.0, rounds=3))
    context = Context(chain(), pictures())
    made = change.run(chain(), context)
    change.ensures(chain(), made, context)
    assert any(line.startswith("activations: ") for line in made.refused)
    assert set(made.layers) == {"w0", "w1", "w2", "w3"} and not quantised_layers(made.model.proto)


def test_what_the_timer_finds_slow_is_thinned_out_and_the_result_is_never_slower_by_it() -> None:
    timer = timer_of({"Conv": 1.0, "Conv8": 0.4, "depthwise": 0.3, "depthwise8": 1.0})
    net = chain()
    found = islands(net, timer)
    assert found.proto is not None
    assert timer([net.proto, found.proto])[1].ratio < 0.97
    assert "Conv_c" not in found.nodes and "w2" not in found.weights
    assert found.nodes >= {"Conv_a", "Conv_b"}
    assert quantised_layers(found.proto)


@pytest.mark.parametrize(("int8", "depthwise8"), [(0.2, 4.0), (0.8, 0.1), (0.99, 0.6), (1.2, 0.2), (3.0, 4.0)])
def test_no_result_is_slower_than_the_input_by_its_own_measure(int8: float, depthwise8: float) -> None:
    timer = timer_of({"Conv": 1.0, "Conv8": int8, "depthwise": 0.5, "depthwise8": depthwise8, "QuantizeLinear": 0.05})
    net = conv_net()
    found = islands(net, timer)
    assert found.proto is None or timer([net.proto, found.proto])[1].ratio <= 0.97


def test_everywhere_means_everywhere_and_needs_no_timer() -> None:
    net, feeds = conv_net(), pictures()
    found = find_islands(net.proto, Context(net, feeds), Int8(where="everywhere"))
    assert found.proto is not None
    assert set(found.weights) == {"stem", "depth", "point", "head"}
    assert output_error(Model(found.proto), net, feeds) < 0.2


def test_held_weights_stay_float() -> None:
    net = chain()
    found = find_islands(net.proto, Context(net, pictures()), Int8(where="everywhere"), held={"w1"})
    assert "w1" not in found.weights and set(found.weights) >= {"w0", "w3"}


def test_a_device_table_takes_the_place_of_timing(tmp_path: Path) -> None:
    write_table(table(full=0.3, depthwise=5.0), tmp_path / "fast.json")
    write_table(table(full=1.5, depthwise=5.0), tmp_path / "slow.json")
    net = chain()
    context = Context(net, pictures(), folder=tmp_path)
    found = find_islands(net.proto, context, Int8(table="fast.json"))
    assert found.proto is not None and "Conv_c" not in found.nodes and found.nodes >= {"Conv_a", "Conv_b"}
    assert find_islands(net.proto, context, Int8(table="slow.json")).proto is None
    with pytest.raises(PassError, match=r"quantize\.int8\.table: .*none\.json: cannot be read"):
        find_islands(net.proto, context, Int8(table="none.json"))


def test_islands_are_connected_runs_with_a_layer_in_them() -> None:
    graph = Graph(prepare(chain().proto, next(iter(pictures()))))
    found = islands_of(graph, ["Conv_a", "Relu_ar", "Relu_br", "Relu_cr", "Conv_y"])
    assert found == [frozenset({"Conv_a", "Relu_ar"}), frozenset({"Relu_cr", "Conv_y"})]


def test_the_cut_is_the_cheapest_of_all_choices() -> None:
    graph = Graph(chain().proto)
    tensors = {"x": 768, "a": 2048, "ar": 2048, "b": 2048, "br": 2048, "c": 2048, "cr": 2048, "y": 1024}
    spreads = {name: Spread(0, 1, size, (1, size)) for name, size in tensors.items()}
    names = [n.name for n in graph.nodes]
    made = table(1.0, 1.0)
    rng = np.random.default_rng(0)
    for _ in range(15):
        costs = {n: Cost(*rng.uniform(0, 6e-4, 2)) for n in names}
        chosen = cheapest_part(graph, costs, spreads, made, trust=1.0)

        def spent(inside: frozenset[str], costs: dict[str, Cost] = costs) -> float:
            total = sum(c.int8_ms if n in inside else c.float_ms for n, c in costs.items())
            for tensor, spread in spreads.items():
                maker = graph.makers.get(tensor)
                source = maker is not None and maker.name in inside
                ends = [r.name in inside for r in graph.readers[tensor]] + [False] * (tensor in graph.outputs)
                if any(end != source for end in ends):
                    total += made.layer_ms("elementwise", 32, (32, 32), spread.elements, spread.elements)
            return total

        ways = [frozenset(n for n, bit in zip(names, bits, strict=True) if bit) for bits in product((0, 1), repeat=7)]
        tied = [w for w in ways if all((f"Conv_{t}" in w) == (f"Relu_{t}r" in w) for t in "abc")]
        assert spent(chosen) == pytest.approx(min(spent(w) for w in tied), abs=1e-4)


def test_costs_come_from_the_table_and_fused_activations_are_free() -> None:
    graph = Graph(chain().proto)
    spreads = find_spreads(chain().proto, ["x", "a", "ar", "b", "br", "c", "cr", "y"], pictures(1), "minmax", 99.9)
    costs = node_costs(graph, spreads, table(full=0.5, depthwise=4.0))
    assert costs["Conv_b"].int8_ms == pytest.approx(0.5 * costs["Conv_b"].float_ms, rel=0.01)
    assert costs["Conv_c"].int8_ms == pytest.approx(4 * costs["Conv_c"].float_ms, rel=0.01)
    assert costs["Relu_ar"] == Cost(0.0, 0.0)


def test_the_clock_of_this_machine_times_models_against_each_other() -> None:
    net = chain()
    timings = local_timer(next(iter(pictures())), rounds=3)([net.proto, net.proto])
    assert len(timings) == 2 and timings[0].ratio == 1.0 and timings[1].median_ms > 0


def test_the_pass_stores_what_is_no_island_on_few_bits() -> None:
    net, feeds = conv_net(), pictures()
    settings = Quantize(bits=4, activations=True, skip=("depth",), int8=Int8(where="everywhere"))
    context = Context(net, feeds)
    settings.requires(net, context)
    change = settings.run(net, context)
    settings.ensures(net, change, context)
    assert "nodes in int8" in change.summary
    assert {name: facts["bits"] for name, facts in change.layers.items()} == {"stem": 8, "point": 8, "head": 8}
    assert np.array_equal(change.model.weight("depth"), net.weight("depth"))
    assert not change.model.grids.keys() & {"stem", "point", "head"}
    assert output_error(change.model, net, feeds) < 0.2
