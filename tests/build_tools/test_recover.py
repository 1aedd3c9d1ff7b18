"""Recovery: least squares from second moments, biases, zeros that stay, models that come closer to what they were."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_tools.errors import PassError
from build_tools.model import Grid, Model
from build_tools.passes.contract import Change, Context, Feed
from build_tools.passes.healing.least_squares import Equations
from build_tools.passes.prune import Prune
from build_tools.passes.pruning.sensitivity import output_error
from build_tools.passes.recover import Recover
from tests.build_tools.pruning_nets import example, exported, net


def feeds(first: int = 0, count: int = 32) -> list[Feed]:
    return [{"x": example(seed).numpy()} for seed in range(first, first + count)]


def equations(x: np.ndarray, y: np.ndarray) -> Equations:
    """Of rows x [p, k] and y [p, outputs], taken in by two halves."""
    made = Equations.empty(1, y.shape[1], x.shape[1])
    half = len(x) // 2
    for rows in (slice(0, half), slice(half, None)):
        made.add(x[None, rows], y[None, rows])
    return made


@given(seed=st.integers(0, 1000), k=st.integers(1, 12), outputs=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_the_solution_is_numpys_least_squares(seed: int, k: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, k)).astype(np.float32)
    y = rng.normal(size=(60, outputs)).astype(np.float32)
    solved = equations(x, y).solve(np.zeros((1, outputs, k)), 0.0, None, False)
    assert np.allclose(solved[0].T, np.linalg.lstsq(x.astype(float), y.astype(float), rcond=None)[0], atol=1e-5)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_masked_rows_are_least_squares_on_their_own_support(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 9)).astype(np.float32)
    y = rng.normal(size=(80, 4)).astype(np.float32)
    mask = rng.random((1, 4, 9)) < 0.5
    solved = equations(x, y).solve(rng.normal(size=(1, 4, 9)) * mask, 0.0, mask, False)
    assert (solved[~mask] == 0).all()
    for row in range(4):
        on = mask[0, row]
        wanted = np.linalg.lstsq(x[:, on].astype(float), y[:, row].astype(float), rcond=None)[0]
        assert np.allclose(solved[0, row, on], wanted, atol=1e-4)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_the_error_is_that_of_the_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    y = rng.normal(size=(50, 3)).astype(np.float32)
    weight, bias = rng.normal(size=(1, 3, 6)), rng.normal(size=(1, 3))
    apart = y - (x @ weight[0].T + bias[0])
    wanted = np.linalg.norm(apart) / np.linalg.norm(y)
    assert equations(x, y).error(weight, bias) == pytest.approx(wanted, rel=1e-4)


def test_a_strong_ridge_leaves_weights_where_they_are() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)
    start = rng.normal(size=(1, 3, 6))
    assert np.allclose(equations(x, y).solve(start, 1e9, None, True), start, atol=1e-6)


@cache
def network() -> Model:
    return exported(net("flattened"))


def healed(original: Model, broken: Model, method: str) -> Change:
    recover, context = Recover(method=method), Context(original, feeds())  # type: ignore[arg-type]
    recover.requires(broken, context)
    change = recover.run(broken, context)
    recover.ensures(broken, change, context)
    return change


def test_least_squares_heals_more_than_biases_and_zeros_stay_zero() -> None:
    original = network()
    error = output_error(original, feeds(first=100))
    broken = Prune(target=0.7).run(original, Context(original)).model
    by_bias, by_squares = (healed(original, broken, m) for m in ("bias", "least_squares"))
    assert error(by_squares.model) < error(by_bias.model) < error(broken)
    for name in ("0.0.weight", "2.0.weight", "4.weight", "6.weight"):
        assert ((by_squares.model.weight(name) == 0) == (broken.weight(name) == 0)).all()
        assert float(by_squares.layers[name]["error"]) < float(by_squares.layers[name]["error_before"])
    assert (by_bias.model.weight("4.weight") == broken.weight("4.weight")).all()


def test_weights_on_a_grid_stay_on_it() -> None:
    original, rounded = network(), network().copy()
    step = np.array([0.1], np.float32)
    rounded.set_weight("4.weight", np.round(rounded.weight("4.weight") / step) * step, Grid("uniform", 4, step))
    change = healed(original, rounded, "least_squares")
    assert (change.model.weight("4.weight") == rounded.weight("4.weight")).all()
    assert "4.weight" in change.model.grids
    assert not (change.model.weight("4.bias") == rounded.weight("4.bias")).all()


def test_a_layer_whose_channels_were_cut_elsewhere_is_left_with_the_reason() -> None:
    original = network()
    cut = Prune(structure="channels", target=0.5, align=4, minimum=4).run(original, Context(original)).model
    change = healed(original, cut, "least_squares")
    why = "lost channels in another pass; set `recover` in the pass that cuts"
    assert f"0.0.weight, 2.0.weight, 4.weight: not healed, {why}" in change.refused
    assert list(change.layers) == ["6.weight"]


def test_without_calibration_data_there_is_nothing_to_recover_from() -> None:
    with pytest.raises(PassError, match="recover needs calibration data"):
        Recover().requires(network(), Context(network()))
