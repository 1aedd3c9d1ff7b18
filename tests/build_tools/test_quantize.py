"""The quantize pass: through a recipe, on small networks and on models by others."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from build_tools.errors import PassError, RecipeError
from build_tools.model import Grid, Model, load_model
from build_tools.passes.activations import session
from build_tools.passes.contract import Change, Context
from build_tools.passes.quantize import Quantize
from build_tools.passes.quantizing.quantizable import on_grid
from build_tools.passes.registry import build_steps
from tests.build_tools.quantize_nets import (
    SHARED,
    Feeds,
    conv_net,
    model,
    node,
    output_error,
    outputs,
    pictures,
    random_weight,
)

PEERS = SHARED / "peers"
DIGITS = SHARED / "data/mnist/train-images-idx3-ubyte.gz"
needs_peers = pytest.mark.skipif(not PEERS.is_dir(), reason="the peer models are not beside the checkout")


def apply(settings: Quantize, net: Model, feeds: Feeds | None = None) -> Change:
    context = Context(net, feeds)
    settings.requires(net, context)
    change = settings.run(net, context)
    settings.ensures(net, change, context)
    return change


def from_recipe(**table: Any) -> Quantize:
    made = build_steps([{"kind": "quantize", **table}], "recipe.toml")[0].settings
    assert isinstance(made, Quantize)
    return made


def digits(count: int, start: int = 0) -> Feeds:
    raw = np.frombuffer(gzip.decompress(DIGITS.read_bytes()), np.uint8)[16:].reshape(-1, 1, 1, 28, 28)
    return Feeds([{"Input3": x.astype(np.float32)} for x in raw[start : start + count]])


def test_every_weight_lies_on_its_levels_and_the_model_given_is_not_touched() -> None:
    net, feeds = conv_net(), pictures()
    before = net.proto.SerializeToString()
    change = apply(from_recipe(bits=4), net, feeds)
    assert net.proto.SerializeToString() == before
    assert set(change.layers) == {"stem", "depth", "point", "head"}
    for name in change.layers:
        grid = change.model.grids[name]
        assert (grid.kind, grid.bits) == ("uniform", 4)
        assert on_grid(change.model.weight(name), grid)
    assert change.layers["stem"]["bits"] == 4
    assert change.model.grids["stem_bias"].kind == "half"
    assert output_error(change.model, net, feeds) < 0.3


def test_more_bits_cost_less_accuracy() -> None:
    net, feeds = conv_net(), pictures()
    lost = [output_error(apply(Quantize(bits=b), net).model, net, feeds) for b in (2, 4, 8, 16)]
    assert lost == sorted(lost, reverse=True)
    assert lost[3] < 2e-3


def test_sixteen_bits_are_float16() -> None:
    change = apply(Quantize(bits=16), conv_net())
    for name in change.layers:
        assert change.model.grids[name].kind == "half"
        assert on_grid(change.model.weight(name), change.model.grids[name])


def test_single_weights_have_bits_of_their_own_or_are_skipped() -> None:
    change = apply(from_recipe(bits=4, layers={"head": 8, "stem": 16}, skip=["depth"]), conv_net())
    assert {name: facts["bits"] for name, facts in change.layers.items()} == {"stem": 16, "point": 4, "head": 8}
    assert "depth: left as it is, as the recipe asks" in change.refused
    assert "depth" not in change.model.grids


def test_one_scale_a_weight_is_stored_as_one() -> None:
    change = apply(Quantize(bits=8, per_channel=False), conv_net())
    grid = change.model.grids["stem"]
    assert (grid.table.shape, grid.axis) == ((1,), None)


def test_biases_take_eight_bits_when_asked_and_stay_when_not() -> None:
    assert apply(Quantize(bias_bits=8), conv_net()).model.grids["head_bias"].bits == 8
    assert "head_bias" not in apply(Quantize(bias_bits=0), conv_net()).model.grids


def test_pruned_weights_stay_zero_by_each_way_of_rounding() -> None:
    net, feeds = conv_net(), pictures()
    rng = np.random.default_rng(5)
    for name in ("stem", "depth", "point", "head"):
        values = np.array(net.weight(name))
        net.set_weight(name, np.where(rng.random(values.shape) < 0.5, 0, values).astype(np.float32))
    for settings in (
        Quantize(bits=3),
        Quantize(bits=3, rounding="adaptive"),
        Quantize(bits=3, rounding="adaptive", in_turn=True),
        Quantize(bits=3, equalize=True, bias_correction="inputs"),
    ):
        change = apply(settings, net, feeds)
        for name in change.layers:
            assert (change.model.weight(name)[net.weight(name) == 0] == 0).all()


def test_adaptive_rounding_keeps_outputs_better_than_nearest() -> None:
    feeds, others = pictures(16), pictures(16, seed=9)
    shares = []
    for seed in range(3):
        net = conv_net(seed)
        nearest, *rest = (
            output_error(apply(s, net, feeds).model, net, others)
            for s in (
                Quantize(bits=4),
                Quantize(bits=4, rounding="adaptive", bias_correction="inputs"),
                Quantize(bits=4, rounding="adaptive", bias_correction="outputs"),
                Quantize(bits=4, rounding="adaptive", in_turn=True),
                Quantize(bits=4, rounding="adaptive", in_turn=True, bias_correction="outputs"),
            )
        )
        shares.append([error / nearest for error in rest])
    assert np.max(shares) < 0.5


def test_the_same_seed_gives_the_same_weights() -> None:
    net, feeds = conv_net(), pictures()
    settings = Quantize(bits=4, rounding="adaptive", positions=16)
    one, two = (apply(settings, net, feeds).model for _ in range(2))
    assert one.proto.SerializeToString() == two.proto.SerializeToString()


def test_weights_on_a_grid_are_left_alone_unless_named() -> None:
    net = conv_net()
    head = np.where(net.weight("head") > 0, np.float32(0.5), np.float32(-0.5))
    net.set_weight("head", head, Grid("codebook", 1, np.array([-0.5, 0.5], np.float32)))
    change = apply(Quantize(bits=4), net)
    assert np.array_equal(change.model.weight("head"), head)
    assert change.model.grids["head"].kind == "codebook"
    assert any(line.startswith("head: lies on 1 bits already") for line in change.refused)
    assert apply(Quantize(bits=4, layers={"head": 4}), net).model.grids["head"].kind == "uniform"


def test_values_beyond_float16_stay_in_float32_and_are_named() -> None:
    net = conv_net()
    net.set_weight("head", np.array(net.weight("head")) * np.float32(1e7))
    net.set_weight("head_bias", np.full(10, 1e6, np.float32))
    change = apply(Quantize(bits=16), net)
    assert "head" not in change.layers
    assert any(line.startswith("head: left in float32") for line in change.refused)
    assert any(line.startswith("head_bias: left in float32") for line in change.refused)
    weights = apply(Quantize(bits=8), net)
    assert on_grid(weights.model.weight("head"), weights.model.grids["head"])


def test_what_a_recipe_cannot_have_is_refused_by_name() -> None:
    net = conv_net()
    with pytest.raises(PassError, match=r"quantize\.layers: the model has no such weight hed; did you mean head\?"):
        apply(from_recipe(layers={"hed": 4}), net)
    with pytest.raises(PassError, match=r"quantize\.layers\.head = 1: must be 2 to 16"):
        apply(from_recipe(layers={"head": 1}), net)
    for table in ({"rounding": "adaptive"}, {"bias_correction": "inputs"}, {"activations": True}):
        with pytest.raises(PassError, match=r"needs calibration data; add a \[calibration\] table"):
            apply(from_recipe(**table), net)
    with pytest.raises(RecipeError, match=r"passes\[0\]\.bits = 1: must be between 2 and 16"):
        from_recipe(bits=1)
    with pytest.raises(RecipeError, match=r"bias_bits = 4: must be one of 0, 8, 16"):
        from_recipe(bias_bits=4)


@needs_peers
@pytest.mark.skipif(not DIGITS.is_file(), reason="MNIST is not beside the checkout")
def test_adaptive_rounding_serves_a_real_digit_network_better() -> None:
    net = load_model(PEERS / "mnist_cnn_cntk.onnx")
    feeds, others = digits(32), digits(32, 1000)
    nearest = apply(Quantize(bits=4), net, feeds)
    adaptive = apply(Quantize(bits=4, rounding="adaptive"), net, feeds)
    assert len(adaptive.layers) == 3  # the fully connected layer's weight lies behind a Reshape
    assert output_error(adaptive.model, net, others) < 0.7 * output_error(nearest.model, net, others)
    assert (outputs(adaptive.model, others).argmax(1) == outputs(net, others).argmax(1)).all()


def test_a_model_whose_weights_are_all_float16_behind_casts_is_no_model_without_weights() -> None:
    rng = np.random.default_rng(0)
    net = model(
        [node("Cast", ["half"], "w", to=1), node("MatMul", ["x", "w"], "y")],
        {"half": random_weight(rng, 6, 5).astype(np.float16)}, (1, 6), ["y"],
    )  # fmt: skip
    change = apply(Quantize(bits=4, layers={"half": 8}), net)
    assert change.layers["half"]["bits"] == 8 and change.model.weight("half").dtype == np.float32


@needs_peers
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["yunet_s", "silero_vad_16k", "kws_dscnn", "yoloface_50k", "blazeface_front_128"])
def test_models_by_others_run_on_few_bits(name: str, bits: int) -> None:
    net = load_model(PEERS / f"{name}.onnx")
    change = apply(Quantize(bits=bits), net)
    assert len(change.layers) >= 6
    weights = sum(net.weight(n).size for n in change.layers)
    assert weights > 0.9 * net.parameters()
    session(change.model.proto)
