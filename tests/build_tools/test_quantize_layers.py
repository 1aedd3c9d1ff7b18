"""What layers see and how they may be changed: patches, equalisation, biases, weights behind Cast and Reshape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.graph import Graph
from build_tools.model import Model
from build_tools.passes.constant_weights import plain_weights
from build_tools.passes.layer_inputs import gather_moments, patches, supported
from build_tools.passes.quantizing.bias_correction import correct_by_inputs, correct_by_outputs, mean_outputs
from build_tools.passes.quantizing.equalize import balance, equalize, find_pairs
from build_tools.passes.quantizing.quantizable import find_targets
from build_tools.passes.quantizing.ranges import find_scales, from_levels, to_levels
from tests.build_tools.quantize_nets import Feeds, conv_net, model, node, outputs, pictures, random_weight

ALL = 10**9


def layer_outputs(made: Model, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first layer's outputs by patches times weight, as [places, channels]."""
    graph = Graph(made.proto)
    layer = graph.layers()[0]
    rows = patches(x, layer, graph.nodes[layer.index], ALL, np.random.default_rng(0)).astype(np.float64)
    weight = find_targets(made)[0].rows(made.weight(layer.weight)).reshape(rows.shape[0], -1, rows.shape[2])
    return np.concatenate(np.matmul(rows, weight.transpose(0, 2, 1)), 1)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([1, 2, 4]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_patches_times_weights_are_the_convolution(
    seed: int, groups: int, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int], pad: str
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(8, 4 // groups, *kernel)).astype(np.float32)
    how: dict[str, Any] = {"pads": [1, 0, 2, 1]} if pad == "pads" else {"auto_pad": pad}
    if pad.startswith("SAME"):
        dilations = (1, 1)  # ONNX Runtime refuses both
    net = model(
        [node("Conv", ["x", "w"], "y", group=groups, strides=list(strides), dilations=list(dilations), **how)],
        {"w": weight}, (2, 4, 9, 8), ["y"],
    )  # fmt: skip
    x = rng.normal(size=(2, 4, 9, 8)).astype(np.float32)
    told = outputs(net, Feeds([{"x": x}])).reshape(2, 8, -1).transpose(0, 2, 1).reshape(-1, 8)
    assert layer_outputs(net, x) == pytest.approx(told, abs=1e-4)


def test_patches_of_one_dimension_and_of_matrices_are_right_too() -> None:
    rng = np.random.default_rng(0)
    line = model(
        [node("Conv", ["x", "w"], "y", pads=[1, 1], strides=[2])],
        {"w": rng.normal(size=(5, 3, 4)).astype(np.float32)}, (2, 3, 20), ["y"],
    )  # fmt: skip
    x = rng.normal(size=(2, 3, 20)).astype(np.float32)
    told = outputs(line, Feeds([{"x": x}])).reshape(2, 5, -1).transpose(0, 2, 1).reshape(-1, 5)
    assert layer_outputs(line, x) == pytest.approx(told, abs=1e-4)
    for net in (
        model([node("MatMul", ["x", "w"], "y")], {"w": random_weight(rng, 6, 5)}, (4, 6), ["y"]),
        model([node("Gemm", ["x", "w"], "y", transB=1)], {"w": random_weight(rng, 5, 6)}, (4, 6), ["y"]),
        model([node("Gemm", ["x", "w"], "y")], {"w": random_weight(rng, 6, 5)}, (4, 6), ["y"]),
    ):
        x = rng.normal(size=(4, 6)).astype(np.float32)
        assert layer_outputs(net, x) == pytest.approx(outputs(net, Feeds([{"x": x}])).reshape(4, 5), abs=1e-5)


def test_moments_are_those_of_all_patches_however_they_are_fed() -> None:
    net = conv_net()
    graph = Graph(net.proto)
    layers = [x for x in graph.layers() if supported(x, graph.nodes[x.index])]
    whole = pictures(1, shape=(4, 3, 16, 16))
    batch = next(iter(whole))["x"]
    # The net's batch is 1; the moments of four feeds of one are those of the four together.
    singles = Feeds([{"x": batch[i : i + 1]} for i in range(4)])
    found = gather_moments(net.proto, layers, singles, ALL, np.random.default_rng(0))
    stem = layers[0]
    rows = patches(np.asarray(batch), stem, graph.nodes[stem.index], ALL, np.random.default_rng(0))[0].astype(float)
    gram = found["stem"].gram
    assert gram is not None
    assert gram[0] == pytest.approx(rows.T @ rows / len(rows), rel=1e-3, abs=1e-4)
    assert found["stem"].mean[0] == pytest.approx(rows.mean(0), rel=1e-4)
    assert found["stem"].diagonal[0] == pytest.approx((rows**2).mean(0), rel=1e-4)
    assert found["depth"].mean.shape == (8, 9)


@pytest.mark.parametrize("act", ["Relu", "PRelu", "LeakyRelu"])
def test_equalised_networks_compute_the_same_bit_for_bit(act: str) -> None:
    net, feeds = conv_net(act=act), pictures()
    made = net.copy()
    pairs, refused = equalize(made)
    assert pairs == 2  # stem to depthwise, depthwise to pointwise; the pooled flat vector is not followed
    assert any("head" in line for line in refused)
    assert (outputs(made, feeds) == outputs(net, feeds)).all()
    assert not np.array_equal(made.weight("depth"), net.weight("depth"))


def test_equalising_brings_the_ranges_of_both_layers_together() -> None:
    net = conv_net()
    made = net.copy()
    equalize(made)

    def apart(of: Model) -> float:
        first = np.abs(of.weight("depth")).reshape(8, -1).max(1)
        second = np.abs(of.weight("point")).reshape(16, 8).max(0)
        return float(np.abs(np.log2(first / second)).max())

    assert apart(made) <= 1.01 < apart(net)


def test_relu6_and_held_weights_are_not_equalised() -> None:
    clipped = conv_net(act="Clip")
    pairs, refused = find_pairs(Graph(clipped.proto))
    assert [p.first.weight for p in pairs] == []
    assert any("stem: not equalised, a Clip lies behind it" in line for line in refused)
    net = conv_net()
    pairs, refused = find_pairs(Graph(net.proto), frozenset({"depth"}))
    assert pairs == [] and any("depth lies on a grid" in line for line in refused)


def test_balance_is_a_power_of_two_and_leaves_dead_channels() -> None:
    assert balance(np.array([16.0, 1.0, 0.0, 3.0]), np.array([1.0, 4.0, 1.0, 0.0])).tolist() == [4.0, 0.5, 1.0, 1.0]


def coarse(net: Model) -> Model:
    """All weights to two bits, which shifts outputs badly."""
    made = net.copy()
    for target in find_targets(made):
        rows = target.rows(made.weight(target.name))
        scales = find_scales(rows, 2, "minmax")
        made.set_weight(target.name, target.unrows(from_levels(to_levels(rows, scales, 2), scales)))
    return made


def shifts(before: Model, now: Model, feeds: Feeds) -> dict[str, float]:
    layers = Graph(before.proto).layers()
    then, since = mean_outputs(before, layers, feeds), mean_outputs(now, layers, feeds)
    return {x.weight: float(np.abs(then[x.index] - since[x.index]).max()) for x in layers}


def test_bias_correction_from_inputs_lowers_the_mean_shift_of_outputs() -> None:
    net, feeds = conv_net(), pictures(8)
    graph = Graph(net.proto)
    layers = graph.layers()
    made = coarse(net)
    before = shifts(net, made, feeds)
    refused = correct_by_inputs(
        net, made, layers, gather_moments(net.proto, layers, feeds, ALL, np.random.default_rng(0), grams=False)
    )
    after = shifts(net, made, feeds)
    assert refused == []
    assert after["stem"] < 1e-4 < before["stem"]  # the first layer's input is not shifted: exact
    assert after["head"] < before["head"]
    assert "point_bias" in made.weight_names()  # a layer without a bias was given one


def test_bias_correction_from_outputs_makes_every_mean_right() -> None:
    net, feeds = conv_net(), pictures(8)
    made = coarse(net)
    lines: list[str] = []
    refused = correct_by_outputs(net, made, Graph(net.proto).layers(), feeds, lambda text, done, of: lines.append(text))
    assert refused == [] and len(lines) == 5
    assert max(shifts(net, made, feeds).values()) < 1e-3


def test_a_matrix_product_is_corrected_in_the_bias_added_behind_it() -> None:
    rng = np.random.default_rng(1)
    net = model(
        [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y")],
        {"w": random_weight(rng, 6, 5), "b": np.zeros(5, np.float32)}, (1, 6), ["y"],
    )  # fmt: skip
    feeds = pictures(6, shape=(1, 6))
    made = coarse(net)
    assert correct_by_outputs(net, made, Graph(net.proto).layers(), feeds, lambda *_: None) == []
    assert outputs(made, feeds).mean(0) == pytest.approx(outputs(net, feeds).mean(0), abs=1e-5)


def test_weights_behind_cast_and_reshape_become_plain_and_compute_the_same() -> None:
    rng = np.random.default_rng(2)
    net = model(
        [
            node("Cast", ["half"], "w", to=1),
            node("Conv", ["x", "w"], "a", pads=[1] * 4),
            node("GlobalAveragePool", ["a"], "p"),
            node("Reshape", ["p", "flat"], "f"),
            node("Reshape", ["wide", "sides"], "v"),
            node("MatMul", ["f", "v"], "y"),
        ],
        {
            "half": random_weight(rng, 4, 3, 3, 3).astype(np.float16),
            "wide": random_weight(rng, 2, 2, 1, 5),
            "flat": np.array([1, 4]),
            "sides": np.array([4, 5]),
        },
        (1, 3, 16, 16),
        ["y"],
    )
    made = net.copy()
    assert plain_weights(made) == ["half", "wide"]
    assert (outputs(made, pictures()) == outputs(net, pictures())).all()
    assert [(t.name, t.shape) for t in find_targets(made)] == [("half", (4, 3, 3, 3)), ("wide", (4, 5))]
    assert plain_weights(made) == []


def test_rows_and_back_is_the_weight_itself() -> None:
    for target in find_targets(conv_net()):
        values = conv_net().weight(target.name)
        assert np.array_equal(target.unrows(target.rows(values)), values)


def test_weights_of_recurrent_cells_and_tables_are_found() -> None:
    rng = np.random.default_rng(3)
    net = model(
        [node("LSTM", ["x", "w", "r"], "all", hidden_size=4), node("Gather", ["table", "picks"], "rows")],
        {
            "w": rng.normal(size=(1, 16, 6)).astype(np.float32),
            "r": rng.normal(size=(1, 16, 4)).astype(np.float32),
            "table": rng.normal(size=(9, 7)).astype(np.float32),
            "picks": np.array([1, 2]),
        },
        (3, 1, 6),
        ["all", "rows"],
    )
    assert [(t.name, t.axis, len(t.layers)) for t in find_targets(net)] == [("w", 1, 0), ("r", 1, 0), ("table", 0, 0)]
