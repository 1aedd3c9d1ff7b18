"""The codebook pass: weights share a table's values, zeros first, by recipe and on models by others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from build_tools.errors import PassError, RecipeError
from build_tools.model import Model, load_model
from build_tools.passes.activations import session
from build_tools.passes.codebook import Codebook, index_bits
from build_tools.passes.contract import Change, Context
from build_tools.passes.quantizing.quantizable import on_grid
from build_tools.passes.registry import build_steps
from tests.build_tools.quantize_nets import SHARED, Feeds, conv_net, output_error, pictures

PEERS = SHARED / "peers"


def apply(settings: Codebook, model: Model, feeds: Feeds | None = None) -> Change:
    context = Context(model, feeds)
    settings.requires(model, context)
    change = settings.run(model, context)
    settings.ensures(model, change, context)
    return change


def from_recipe(**table: Any) -> Codebook:
    made = build_steps([{"kind": "codebook", **table}], "recipe.toml")[0].settings
    assert isinstance(made, Codebook)
    return made


def pruned(net: Model, share: float = 0.6) -> Model:
    rng = np.random.default_rng(3)
    for name in ("stem", "depth", "point", "head"):
        values = np.array(net.weight(name))
        net.set_weight(name, np.where(rng.random(values.shape) < share, 0, values).astype(np.float32))
    return net


def coded_bits(change: Change, name: str) -> float:
    """Shannon's bound of the weight's indices, in bits a weight."""
    _, counts = np.unique(change.model.weight(name), return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def test_each_weight_takes_a_value_of_its_layers_table() -> None:
    net = conv_net()
    before = net.proto.SerializeToString()
    change = apply(from_recipe(bits=4, layers={"head": 2}), net)
    assert net.proto.SerializeToString() == before
    for name, facts in change.layers.items():
        grid = change.model.grids[name]
        assert grid.kind == "codebook" and grid.bits == facts["bits"] <= (2 if name == "head" else 4)
        assert on_grid(change.model.weight(name), grid)
        assert len(np.unique(change.model.weight(name))) == len(grid.table) <= 2**grid.bits
    assert output_error(change.model, net, pictures()) < 0.5


@pytest.mark.parametrize("method", ["lloyd", "optimal"])
@pytest.mark.parametrize("entropy", [0.0, 0.003])
def test_pruned_weights_stay_zero_which_is_the_tables_first_value(method: str, entropy: float) -> None:
    net = pruned(conv_net())
    change = apply(from_recipe(bits=3, method=method, entropy=entropy), net)
    for name in change.layers:
        values, grid = change.model.weight(name), change.model.grids[name]
        assert grid.table[0] == 0 and not np.signbit(values[values == 0]).any()
        assert (values[net.weight(name) == 0] == 0).all()
        assert entropy or (values[net.weight(name) != 0] != 0).all()
        assert len(grid.table) <= 8


def test_shared_values_are_exact_in_float16_unless_told_otherwise() -> None:
    halves = apply(Codebook(bits=4), conv_net()).model.grids["stem"].table
    assert (halves.astype(np.float16).astype(np.float32) == halves).all()
    floats = apply(Codebook(bits=4, half=False), conv_net()).model.grids["stem"].table
    assert not (floats.astype(np.float16).astype(np.float32) == floats).all()
    assert halves == pytest.approx(floats, rel=1e-3)


def test_values_too_small_for_float16_stay_in_float32() -> None:
    net = conv_net()
    net.set_weight("stem", np.array(net.weight("stem")) * np.float32(1e-7))
    change = apply(Codebook(bits=5), net)
    assert float(change.layers["stem"]["error"]) < 0.2


def test_the_optimum_has_no_more_error_than_k_means() -> None:
    lloyd, best = (apply(Codebook(bits=3, method=m, half=False), conv_net()) for m in ("lloyd", "optimal"))
    for name in lloyd.layers:
        assert float(best.layers[name]["error"]) <= float(lloyd.layers[name]["error"]) + 1e-6


def test_importance_lowers_the_error_of_outputs() -> None:
    feeds, others = pictures(16), pictures(16, seed=9)
    shares = []
    for seed in range(4):
        net = conv_net(seed)
        net.set_weight("head", np.array(net.weight("head")) * np.exp(np.linspace(-3, 3, 16)).astype(np.float32))
        plain, weighted = (
            apply(Codebook(bits=3, method="optimal", importance=i), net, feeds) for i in ("none", "inputs")
        )
        head = [net.copy() for _ in range(2)]
        for made, change in zip(head, (plain, weighted), strict=True):
            made.set_weight("head", change.model.weight("head"))
        shares.append(output_error(head[1], net, others) / output_error(head[0], net, others))
    assert np.median(shares) < 1


def test_the_dearer_a_bit_the_fewer_are_coded() -> None:
    net = pruned(conv_net())
    bits = [coded_bits(apply(Codebook(bits=5, entropy=e), net), "point") for e in (0.0, 0.01, 0.05, 0.2)]
    assert bits == sorted(bits, reverse=True) and bits[0] > 1.3 * bits[3]


def test_a_layer_of_zeros_is_left_and_named() -> None:
    net = conv_net()
    net.set_weight("head", np.zeros((10, 16), np.float32))
    change = apply(Codebook(), net)
    assert "head" not in change.layers
    assert "head: all its weights are zero; prune the layer" in change.refused


def test_bits_of_an_index_are_those_of_the_largest() -> None:
    assert [index_bits(n) for n in (1, 2, 3, 4, 5, 16, 17, 256)] == [1, 1, 2, 2, 3, 4, 5, 8]


def test_what_a_recipe_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(PassError, match=r"codebook\.layers\.stem = 9: must be 1 to 8"):
        apply(from_recipe(layers={"stem": 9}), conv_net())
    with pytest.raises(PassError, match=r"codebook\.skip: the model has no such weight steem; did you mean stem\?"):
        apply(from_recipe(skip=["steem"]), conv_net())
    with pytest.raises(PassError, match=r"codebook\.importance = inputs: needs calibration data"):
        apply(from_recipe(importance="inputs"), conv_net())
    with pytest.raises(RecipeError, match=r"start = .middle.: must be one of linear, density, random"):
        from_recipe(start="middle")


@pytest.mark.skipif(not PEERS.is_dir(), reason="the peer models are not beside the checkout")
@pytest.mark.parametrize("name", ["yunet_s", "mnist_cnn_cntk", "silero_vad_16k", "landmark106"])
def test_models_by_others_run_with_shared_weights(name: str) -> None:
    net = load_model(PEERS / f"{name}.onnx")
    change = apply(Codebook(bits=5), net)
    assert sum(net.weight(n).size for n in change.layers) > 0.9 * net.parameters()
    session(change.model.proto)
