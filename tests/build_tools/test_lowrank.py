"""The pass `lowrank` on small graphs: same outputs at full rank, cheaper graphs below it, refusals with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_tools.errors import PassError
from build_tools.graph import Graph
from build_tools.model import Grid, Model
from build_tools.passes.activations import session
from build_tools.passes.codebook import Codebook
from build_tools.passes.contract import Change, Context, Feed
from build_tools.passes.factoring.factor_nodes import weights_named
from build_tools.passes.lowrank import LowRank, factorise

PEERS = Path(__file__).resolve().parents[2].parent / "shared" / "peers"
ALL_RANKS = {"rank": "energy", "energy": 1.0, "align": 1, "worth": 1.0}


class Feeds:
    """Calibration data that is held in memory."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


def model_of(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: Sequence[int | str]) -> Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto)  # the output has no shape yet
    onnx.checker.check_model(proto)
    return Model(proto)


def low_rank(rng: np.random.Generator, shape: tuple[int, ...], rank: int) -> np.ndarray:
    """A weight [out, in, *kernel] that few vertical filters, few channels, and few filters make."""
    out, into, *kernel = shape
    if not kernel:
        return rng.normal(size=(out, rank)) @ rng.normal(size=(rank, into)) / np.sqrt(into * rank)
    outer = rng.normal(size=(out, rank)), rng.normal(size=(rank, into))
    sides = [rng.normal(size=(rank, k)) for k in kernel]
    letters = "xyz"[: len(sides)]
    inner = ",".join(f"r{c}" for c in letters)
    return np.einsum(f"or,ri,{inner}->oi{letters}", *outer, *sides) / np.sqrt(into * rank)


def conv(shape: tuple[int, ...], x: Sequence[int | str], bias: bool = True, **attributes: Any) -> Model:
    rng = np.random.default_rng(0)
    weights = {"w": low_rank(rng, shape, 2)} | ({"b": rng.normal(size=shape[0])} if bias else {})
    node = helper.make_node("Conv", ["x", *weights], ["y"], "conv", kernel_shape=shape[2:], **attributes)
    return model_of([node], weights, x)


def gemm(turned: bool, c_shape: tuple[int, ...] = (12,), **attributes: Any) -> Model:
    rng = np.random.default_rng(1)
    weight = low_rank(rng, (12, 10), 2)
    weights = {"w": weight if turned else weight.T, "b": rng.normal(size=c_shape)}
    return model_of(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(turned), **attributes)], weights, [4, 10]
    )


def matmul() -> Model:
    rng = np.random.default_rng(2)
    weights = {"w": low_rank(rng, (12, 10), 2).T, "b": rng.normal(size=12)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    return model_of(nodes, weights, [2, 5, 10])


LAYERS = {
    "1x1": lambda: conv((12, 8, 1, 1), [2, 8, 6, 5]),
    "1x1 stride, no bias": lambda: conv((12, 8, 1, 1), [2, 8, 6, 5], bias=False, strides=[2, 2]),
    "3x3 padded": lambda: conv((12, 8, 3, 3), [2, 8, 9, 7], pads=[1, 1, 1, 1]),
    "3x3 stride, lopsided padding": lambda: conv((12, 8, 3, 3), [2, 8, 9, 8], pads=[0, 1, 2, 3], strides=[2, 1]),
    "3x5 dilated": lambda: conv((12, 8, 3, 5), [1, 8, 14, 15], dilations=[2, 3], pads=[2, 1, 2, 1]),
    "same upper": lambda: conv((12, 8, 3, 3), [1, 8, 9, 8], auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": lambda: conv((12, 8, 4, 4), [1, 8, 9, 8], auto_pad="SAME_LOWER", strides=[1, 2]),
    "valid": lambda: conv((12, 8, 3, 3), [1, 8, 9, 8], auto_pad="VALID"),
    "one-sided": lambda: conv((12, 8, 5), [1, 8, 20], pads=[2, 2], strides=[2]),
    "three-sided": lambda: conv((12, 8, 3, 3, 3), [1, 8, 6, 5, 6]),
    "gemm": lambda: gemm(False),
    "gemm transB, alpha, beta": lambda: gemm(True, alpha=0.5, beta=2.0),
    "gemm with a row as C": lambda: gemm(True, (1, 12)),
    "gemm with a matrix as C": lambda: gemm(True, (4, 12), alpha=0.5),
    "matmul": matmul,
}  # fmt: skip


def feeds(model: Model, count: int = 3) -> Feeds:
    rng = np.random.default_rng(7)
    shape = [d.dim_value or 2 for d in model.proto.graph.input[0].type.tensor_type.shape.dim]
    return Feeds([{"x": rng.normal(0.5, 1, shape).astype(np.float32)} for _ in range(count)])


def outputs(model: Model, data: Feeds) -> list[np.ndarray]:
    runner = session(model.proto)
    return [runner.run(None, feed)[0] for feed in data]


def apply(how: LowRank, model: Model, calibration: Feeds | None = None) -> Change:
    context = Context(model, calibration)
    before = model.proto.SerializeToString()
    how.requires(model, context)
    change = how.run(model, context)
    how.ensures(model, change, context)
    assert model.proto.SerializeToString() == before
    return change


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", ["svd", "tucker", "spatial"])
@pytest.mark.parametrize("aware", [False, True])
def test_a_weight_of_low_rank_is_replaced_and_computes_the_same(layer: str, form: Any, aware: bool) -> None:
    model = LAYERS[layer]()
    data = feeds(model)

    change = apply(LowRank(form=form, **ALL_RANKS), model, data if aware else None)  # type: ignore[arg-type]

    assert len(change.model.proto.graph.node) > len(model.proto.graph.node)
    assert change.model.parameters() < model.parameters()
    for was, now in zip(outputs(model, data), outputs(change.model, data), strict=True):
        assert np.abs(was - now).max() < 1e-4


def test_facts_name_the_new_weights_and_the_old_grid_is_forgotten() -> None:
    model = conv((12, 8, 3, 3), [1, 8, 9, 9])
    model.grids["w"] = Grid("half", 16, np.zeros(0, np.float32))

    change = apply(LowRank(form="tucker", **ALL_RANKS), model)  # type: ignore[arg-type]

    assert change.model.weight_names() == ["b", "w.0", "w.1", "w.2"]
    assert change.model.grids == {}
    assert {k: v["rank"] for k, v in change.layers.items()} == {"w.0": "2x2", "w.1": "2x2", "w.2": "2x2"}
    assert all(float(v["error"]) < 1e-6 for v in change.layers.values())
    assert list(model.grids) == ["w"]


def test_new_names_are_free_and_a_bias_of_its_own_keeps_its_name() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "w": low_rank(rng, (12, 8, 1, 1), 2),
        "w.0": rng.normal(size=(8, 8, 1, 1)),
        "w.bias": rng.normal(size=12),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w.0"], ["w.1"], "before"),
        helper.make_node("Conv", ["w.1", "w", "w.bias"], ["y"], "c"),
    ]
    model = model_of(nodes, weights, [1, 8, 6, 5])
    data = feeds(model)

    change = apply(LowRank(only=("w",), **ALL_RANKS), model, data)  # type: ignore[arg-type]

    assert sorted(change.model.weight_names()) == ["w.0", "w.0_", "w.1_", "w.bias"]
    assert np.allclose(outputs(model, data)[0], outputs(change.model, data)[0], atol=1e-4)


def test_a_bias_that_others_read_too_stays_theirs() -> None:
    rng = np.random.default_rng(0)
    weights = {"w": low_rank(rng, (8, 8, 1, 1), 2), "v": np.eye(8)[..., None, None], "b": rng.normal(size=8)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["m"]), helper.make_node("Conv", ["m", "v", "b"], ["y"])]
    model = model_of(nodes, weights, [1, 8, 6, 5])
    data = feeds(model)

    change = apply(LowRank(only=("w",), **ALL_RANKS), model, data)  # type: ignore[arg-type]

    assert sorted(change.model.weight_names()) == ["b", "v", "w.0", "w.1", "w.bias"]
    assert np.array_equal(change.model.weight("b"), model.weight("b"))
    assert np.allclose(outputs(model, data)[0], outputs(change.model, data)[0], atol=1e-4)


def test_a_second_run_takes_parts_apart_again() -> None:
    model = conv((32, 24, 1, 1), [1, 24, 9, 9])
    once = apply(LowRank(rank="share", share=0.9, align=1), model).model
    twice = apply(LowRank(rank="share", share=0.6, align=1), once).model

    assert len(twice.proto.graph.node) == 4
    assert np.allclose(outputs(model, feeds(model))[0], outputs(twice, feeds(model))[0], atol=1e-4)


def test_the_name_of_a_weight_that_was_taken_apart_stands_for_its_factors() -> None:
    model = two_layers()
    first = model.weight_names()[0]
    once = apply(LowRank(rank="share", share=0.6, align=1, only=(first,)), model).model
    twice = apply(LowRank(rank="share", share=0.9, align=1, only=(f"{first}.0",)), once).model
    factors = [n for n in twice.weight_names() if n.startswith(f"{first}.")]
    assert len(factors) == 3
    assert weights_named(first, twice.weight_names()) == factors
    assert weights_named(first, [first, *factors]) == [first]
    assert weights_named("w", ["w.weight", "ww.0", "w.0.bias"]) == []

    for settings in (Codebook(bits=3, layers={first: 2}), Codebook(bits=3, skip=(first,))):
        context = Context(twice)
        settings.requires(twice, context)
        done = {name: facts["bits"] for name, facts in settings.run(twice, context).layers.items()}
        assert done == {"hard": 3} | (dict.fromkeys(factors, 2) if settings.layers else {})


def random_conv(shape: tuple[int, ...] = (32, 24, 3, 3), side: int = 12) -> Model:
    rng = np.random.default_rng(3)
    weights = {"w": rng.normal(size=shape), "b": rng.normal(size=shape[0])}
    pads = [k // 2 for k in shape[2:]] * 2
    return model_of(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], "c", pads=pads)], weights, [1, shape[1], side, side]
    )


@pytest.mark.parametrize("form", ["svd", "tucker", "spatial"])
def test_calibration_data_makes_the_outputs_better_than_plain_factors_do(form: Any) -> None:
    model = random_conv()
    rng = np.random.default_rng(4)
    mix = rng.normal(size=(24, 24)) * np.geomspace(2, 0.05, 24)
    maps = np.einsum("ij,njhw->nihw", mix, rng.normal(0.4, 1, (6, 24, 12, 12))).astype(np.float32)
    data = Feeds([{"x": m[None]} for m in maps])
    how = LowRank(form=form, rank="share", share=0.5, align=8, positions=0)

    plain, aware = apply(how, model).model, apply(how, model, data).model

    truth = outputs(model, data)
    lost = [sum(np.square(a - b).sum() for a, b in zip(truth, outputs(m, data), strict=True)) for m in (plain, aware)]
    assert lost[1] < 0.8 * lost[0]


@pytest.mark.parametrize("counted", ["macs", "params"])
@pytest.mark.parametrize("form", ["svd", "tucker", "spatial"])
def test_a_share_is_kept_to_and_ranks_are_aligned(form: Any, counted: Any) -> None:
    model = random_conv()

    change = apply(LowRank(form=form, rank="share", share=0.6, counted=counted, align=4), model)

    weights = [change.model.weight(n) for n in change.model.weight_names() if n.startswith("w.")]
    assert sum(w.size for w in weights) <= 0.6 * 32 * 24 * 9
    assert all(w.shape[0] % 4 == 0 for w in weights)


def test_random_weights_that_need_all_ranks_are_left_alone_with_a_reason() -> None:
    model = random_conv()

    change = apply(LowRank(rank="energy", energy=0.99), model)

    assert change.model.proto.graph.node[0].op_type == "Conv"
    assert len(change.model.proto.graph.node) == 1
    assert change.layers == {}
    assert change.refused == (
        "w (32x24x3x3): no rank that keeps 0.99 of its energy leaves 90% or less of its MACs and weights",
    )


def test_what_is_timed_slower_is_left_alone_and_the_fastest_form_is_taken() -> None:
    model = random_conv()
    how = LowRank(rank="share", share=0.6, measure=True)
    asked: list[int] = []

    def slower(models: Sequence[onnx.ModelProto]) -> list[float]:
        asked.append(len(models))
        for one in models:
            runner = session(one)
            assert runner.run(None, {"x": np.zeros((1, 24, 12, 12), np.float32)})[0].shape == (1, 32, 12, 12)
        return [1.0, 1.3, 1.2, 1.1]

    left = factorise(model, Context(model), how, slower)
    taken = factorise(model, Context(model), how, lambda models: [1.0, 0.9, 0.5, 0.8])

    assert asked == [4]
    assert left.layers == {}
    assert left.refused == ("w (32x24x3x3): spatial takes 1.10 of its time",)
    assert {fact["form"] for fact in taken.layers.values()} == {"tucker"}


def test_timing_needs_the_size_of_the_maps() -> None:
    model = conv((12, 8, 3, 3), ["n", 8, "h", "w"])

    with pytest.raises(PassError, match=r"conv: measure = true needs the size of its maps; give calibration data"):
        apply(LowRank(measure=True), model)
    sized = Feeds([{"x": np.zeros((1, 8, 9, 9), np.float32)}])
    how = LowRank(measure=True, data="never", **ALL_RANKS)  # type: ignore[arg-type]
    assert factorise(model, Context(model, sized), how, lambda models: [1.0, 0.5, 0.6, 0.7]).layers


def test_groups_transposed_and_shared_weights_are_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    weights = {"d": rng.normal(size=(16, 1, 3, 3)), "g": rng.normal(size=(16, 4, 3, 3)),
               "s": rng.normal(size=(16, 16, 1, 1)), "t": rng.normal(size=(16, 8, 2, 2))}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "d"], ["a"], group=16),
        helper.make_node("Conv", ["a", "g"], ["b"], group=4),
        helper.make_node("Conv", ["b", "s"], ["c"], "first"),
        helper.make_node("Conv", ["c", "s"], ["e"], "second"),
        helper.make_node("ConvTranspose", ["e", "t"], ["y"]),
    ]
    model = model_of(nodes, weights, [1, 16, 12, 12])

    change = apply(LowRank(), model)

    assert change.layers == {}
    assert change.refused == (
        "g: 4 groups: each mixes few channels already",
        "s: its weight is shared by first, second",
        "s: its weight is shared by first, second",
        "t: a ConvTranspose is not taken apart",
        "1 depthwise convolutions: there is nothing between channels to take apart",
    )


def two_layers() -> Model:
    rng = np.random.default_rng(9)
    weights = {"easy": low_rank(rng, (32, 32, 1, 1), 4) + 0.02 * rng.normal(size=(32, 32, 1, 1)),
               "hard": rng.normal(size=(32, 32, 1, 1))}  # fmt: skip
    nodes = [helper.make_node("Conv", ["x", "easy"], ["m"]), helper.make_node("Conv", ["m", "hard"], ["y"])]
    return model_of(nodes, weights, [1, 32, 8, 8])


def test_a_share_of_the_model_is_taken_where_it_costs_least() -> None:
    change = apply(LowRank(rank="model", share=0.75, align=4), two_layers())

    assert {name: fact["rank"] for name, fact in change.layers.items()} == {"easy.0": 8, "easy.1": 8}
    assert "share is reached without it" in change.refused[0]


def test_a_share_of_the_model_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(PassError, match=r"share = 0\.1: at least 0\.500 of the cost is left with align = 8"):
        apply(LowRank(rank="model", share=0.1), two_layers())


def test_variational_bayes_takes_the_planted_rank() -> None:
    change = apply(LowRank(rank="vbmf", align=1), two_layers())

    assert {fact["rank"] for name, fact in change.layers.items() if name.startswith("easy")} == {4}


def test_shares_by_name_hold_for_these_layers_only_and_one_leaves_alone() -> None:
    how = LowRank(rank="share", share=0.5, align=4, layers={"easy": 1.0, "hard": 0.25})

    change = apply(how, two_layers())

    assert {name: fact["rank"] for name, fact in change.layers.items()} == {"hard.0": 4, "hard.1": 4}


def test_only_the_named_weights_are_taken_apart_and_names_are_checked() -> None:
    change = apply(LowRank(rank="share", only=("hard",)), two_layers())

    assert set(change.layers) == {"hard.0", "hard.1"}
    with pytest.raises(PassError, match="hart is no layer's weight; did you mean hard"):
        apply(LowRank(only=("hart",)), two_layers())


def test_data_can_be_demanded() -> None:
    with pytest.raises(PassError, match='data = "always" needs calibration data'):
        apply(LowRank(data="always"), two_layers())


@pytest.mark.skipif(not PEERS.is_dir(), reason="peer models are not here")
@pytest.mark.parametrize("name", ["resnet8_cifar10", "mnist_cnn_cntk", "landmark106"])
def test_real_models_run_afterwards_and_each_layer_keeps_its_energy(name: str) -> None:
    from build_tools.model import load_model

    model = load_model(PEERS / f"{name}.onnx")
    change = apply(LowRank(energy=0.9, align=4), model)

    entry = next(i for i in model.proto.graph.input if i.name not in model.weight_names())
    shape = [d.dim_value or 1 for d in entry.type.tensor_type.shape.dim]
    feed = {entry.name: np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)}
    was, now = (session(m.proto).run(None, feed)[0] for m in (model, change.model))
    assert was.shape == now.shape
    assert np.isfinite(now).all()
    assert Graph(change.model.proto).outputs == Graph(model.proto).outputs
    assert change.layers
    assert all(float(fact["error"]) ** 2 <= 0.1 for fact in change.layers.values())  # a tenth of the energy is lost
