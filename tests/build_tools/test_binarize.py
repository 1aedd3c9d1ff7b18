"""One bit and ternary: the scale is the best there is, zeros are kept or refused, ends of the network are spared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from build_tools.errors import PassError, RecipeError
from build_tools.model import Model, load_model
from build_tools.passes.activations import session
from build_tools.passes.binarize import Binarize, binary, first_and_last, ternary
from build_tools.passes.contract import Change, Context
from build_tools.passes.quantizing.quantizable import on_grid
from build_tools.passes.quantizing.ranges import from_levels
from build_tools.passes.registry import build_steps
from tests.build_tools.quantize_nets import SHARED, Feeds, conv_net, output_error, pictures

F32 = NDArray[np.float32]
ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.floats(0.125, 4, width=16).flatmap(lambda x: st.sampled_from([x, -x])),
)
PEERS = SHARED / "peers"


def apply(settings: Binarize, model: Model, feeds: Feeds | None = None) -> Change:
    context = Context(model, feeds)
    settings.requires(model, context)
    change = settings.run(model, context)
    settings.ensures(model, change, context)
    return change


def from_recipe(**table: Any) -> Binarize:
    made = build_steps([{"kind": "binarize", **table}], "recipe.toml")[0].settings
    assert isinstance(made, Binarize)
    return made


def squared_error(rows: F32, levels: NDArray[np.int32], scales: F32) -> NDArray[np.float64]:
    total: NDArray[np.float64] = ((levels * scales[:, None].astype(np.float64) - rows) ** 2).sum(1)
    return total


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(0.5, 1.5))
def test_sign_times_mean_magnitude_has_the_least_error_of_all_scales(rows: F32, factor: float) -> None:
    levels, scales = binary(rows)
    best = squared_error(rows, levels, scales)
    assert set(np.unique(levels)) <= {-1, 1}
    # Within a float16 of the mean, no other scale is better; and no sign can be turned to gain.
    other = (scales * np.float32(factor)).astype(np.float32)
    assert (best <= squared_error(rows, levels, other) + 1e-5 * (1 + best)).all()
    assert scales == pytest.approx(np.abs(rows).mean(1), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_ternary_without_a_threshold_has_the_least_error_of_all_thresholds(rows: F32) -> None:
    levels, scales = ternary(rows, 0.0)
    best = squared_error(rows, levels, scales)
    for factor in (0.01, 0.3, 0.7, 0.9, 1.2):
        assert (best <= squared_error(rows, *ternary(rows, factor)) * 1.002 + 1e-5).all()
    assert (best <= squared_error(rows, *binary(rows)) * 1.002 + 1e-5).all()


def test_ternary_with_a_threshold_is_that_of_the_paper() -> None:
    rows = np.array([[1.0, -1.0, 0.1, 0.2, -3.0]], np.float32)  # mean magnitude 1.06, threshold 0.742
    levels, scales = ternary(rows, 0.7)
    assert levels.tolist() == [[1, -1, 0, 0, -1]]
    assert scales[0] == pytest.approx(5 / 3, rel=1e-3)


def test_one_bit_weights_lie_on_their_grid_and_the_ends_are_spared() -> None:
    net = conv_net()
    change = apply(from_recipe(), net)
    assert set(change.layers) == {"depth", "point"}
    for name in change.layers:
        grid = change.model.grids[name]
        assert (grid.kind, grid.bits, grid.axis) == ("uniform", 1, 0)
        assert on_grid(change.model.weight(name), grid)
        assert len(np.unique(np.abs(change.model.weight(name)).reshape(len(grid.table), -1), axis=1).T) == 1
    assert "stem: left as it is, a first or last layer" in change.refused
    assert np.array_equal(change.model.weight("stem"), net.weight("stem"))


def test_the_ends_are_worked_on_when_asked_or_named() -> None:
    assert set(apply(from_recipe(skip_first_last=False), conv_net()).layers) == {"stem", "depth", "point", "head"}
    change = apply(from_recipe(layers={"head": 2}, skip=["depth"]), conv_net())
    assert {name: facts["bits"] for name, facts in change.layers.items()} == {"point": 1, "head": 2}
    assert change.model.grids["head"].bits == 2


def test_pruned_layers_keep_their_zeros_in_ternary_and_are_refused_a_sign() -> None:
    net = conv_net()
    values = np.array(net.weight("point"))
    values[:, ::2] = 0
    net.set_weight("point", values)
    refused = apply(Binarize(), net)
    assert "point" not in refused.layers
    assert any(line.startswith("point: 50% of it is pruned") for line in refused.refused)
    kept = apply(Binarize(bits=2), net)
    assert (kept.model.weight("point")[:, ::2] == 0).all()
    adaptive = apply(Binarize(bits=2, rounding="adaptive"), net, pictures())
    assert (adaptive.model.weight("point")[:, ::2] == 0).all()


def test_adaptive_signs_keep_outputs_better() -> None:
    feeds, others = pictures(16), pictures(16, seed=9)
    shares = []
    for seed in range(4):
        net = conv_net(seed)
        plain, adaptive = (
            output_error(apply(Binarize(rounding=r), net, feeds).model, net, others) for r in ("nearest", "adaptive")
        )
        shares.append(adaptive / plain)
    assert np.median(shares) < 0.8


def test_rows_decode_bit_for_bit() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)
    for levels, scales in (binary(rows), ternary(rows, 0.0), ternary(rows, 0.7)):
        assert (scales.astype(np.float16).astype(np.float32) == scales).all()
        assert set(np.unique(np.abs(from_levels(levels, scales) / scales[:, None]))) <= {0.0, 1.0}


def test_first_and_last_layers_are_those_at_the_ends_of_every_path() -> None:
    assert first_and_last(conv_net()) == {"stem", "head"}


def test_what_a_recipe_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"bits = 3: must be one of 1, 2"):
        from_recipe(bits=3)
    with pytest.raises(PassError, match=r"binarize\.layers\.depth = 4: must be 1 to 2"):
        apply(from_recipe(layers={"depth": 4}), conv_net())
    with pytest.raises(PassError, match=r"needs calibration data"):
        apply(from_recipe(rounding="adaptive"), conv_net())
    with pytest.raises(PassError, match=r"no layer is left to work on"):
        apply(from_recipe(skip=["depth", "point"]), conv_net())


@pytest.mark.skipif(not PEERS.is_dir(), reason="the peer models are not beside the checkout")
@pytest.mark.parametrize("bits", [1, 2])
def test_a_model_by_others_runs_on_one_or_two_bits(bits: int) -> None:
    net = load_model(PEERS / "yunet_s.onnx")
    change = apply(from_recipe(bits=bits), net)
    assert len(change.layers) > 30
    assert len([line for line in change.refused if "a first or last layer" in line]) > 10  # it has 12 heads
    session(change.model.proto)
