"""k-means on a line: equal to scipy's, its optimum equal to trying everything, large layers by bins, bits priced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.cluster import vq

from build_tools.passes.quantizing.clustering import Line, Start, cluster, lloyd, make_line, snap, split, start_centres
from build_tools.passes.quantizing.entropy_clusters import assign, constrain, lower_envelope
from build_tools.passes.quantizing.optimal_clusters import optimal_centres, optimal_error_reference

F64 = NDArray[np.float64]
POINTS = hnp.arrays(np.float64, st.integers(2, 9), elements=st.floats(-10, 10, width=32), unique=True)


def weights(count: int = 3000, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_t(5, count) * 0.1).astype(np.float32)


def error(line: Line, centres: F64) -> float:
    centres = np.sort(centres)
    return float(line.errors(split(line, centres), centres).sum())


@pytest.mark.parametrize("k", [2, 5, 16])
@pytest.mark.parametrize("how", ["linear", "density", "random"])
def test_lloyd_ends_where_scipys_k_means_does(k: int, how: Start) -> None:
    values = weights()
    line = make_line(values)
    start = start_centres(line, k, how, np.random.default_rng(1))
    told, _ = vq.kmeans2(values.astype(np.float64), start, iter=1000, minit="matrix", missing="warn")
    assert lloyd(line, start) == pytest.approx(np.sort(np.ravel(told)), abs=1e-9)


def test_starts_are_even_by_range_or_by_share_of_weights() -> None:
    line = make_line(np.array([0.5, 1, 2, 3, 4, 100], np.float32))
    rng = np.random.default_rng(0)
    assert start_centres(line, 3, "linear", rng).tolist() == [0.5, 50.25, 100.0]
    assert start_centres(line, 3, "density", rng).tolist() == [0.5, 2.0, 4.0]
    assert set(start_centres(line, 3, "random", rng)) <= set(line.x)


def test_centres_nobody_is_near_are_put_to_use() -> None:
    values = np.concatenate([weights(2000), [50.0]]).astype(np.float32)
    line = make_line(values)
    start = start_centres(line, 16, "linear", np.random.default_rng(0))
    left = lloyd(line, start)
    assert (np.diff(split(line, left)) == 0).sum() > 5
    found = cluster(line, 16, "linear", np.random.default_rng(0))
    assert (np.diff(split(line, found)) > 0).all() and len(found) == 16
    assert error(line, found) < 0.1 * error(line, left)


@settings(max_examples=50, deadline=None)
@given(POINTS, st.integers(1, 5), st.integers(0, 100))
def test_the_optimum_is_that_of_trying_every_cut(x: F64, k: int, seed: int) -> None:
    line = Line.of(x, np.random.default_rng(seed).uniform(0.1, 3, len(x)))
    found = optimal_centres(line, k)
    assert len(found) == min(k, len(x)) and (np.diff(found) > 0).all()
    assert error(line, found) == pytest.approx(optimal_error_reference(line, k), abs=1e-6)


def test_the_optimum_beats_k_means_on_a_layer() -> None:
    line = make_line(weights(20_000))
    for k in (8, 31):
        plain = cluster(line, k, "linear", np.random.default_rng(0))
        assert error(line, optimal_centres(line, k)) <= error(line, plain)


def test_large_layers_are_clustered_by_bins_as_well_as_by_points() -> None:
    values = np.where(np.random.default_rng(5).random(60_000) < 0.5, 0, weights(60_000)).astype(np.float32)
    importance = np.random.default_rng(6).random(60_000).astype(np.float32)
    for cost in (None, importance):
        exact = make_line(values, cost)
        binned = make_line(values, cost, exact=100, chunk=999)
        assert binned.zero[-1] == pytest.approx(exact.zero[-1])
        assert binned.one[-1] == pytest.approx(exact.one[-1])
        found, told = (cluster(line, 15, "density", np.random.default_rng(0)) for line in (binned, exact))
        assert error(exact, found) == pytest.approx(error(exact, told), rel=0.02)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-2, 2, width=16)), st.integers(1, 8))
def test_each_weight_takes_its_nearest_value_and_zeros_stay(values: NDArray[np.float32], k: int) -> None:
    table = np.unique(np.linspace(-1.7, 1.9, k).astype(np.float32))
    shared = snap(values, table)
    told = np.abs(values[:, None].astype(np.float64) - table).min(1)
    alive = values != 0
    assert np.abs(shared.astype(np.float64) - values)[alive] == pytest.approx(told[alive], abs=1e-6)
    assert (shared[~alive] == 0).all() and not np.signbit(shared[~alive]).any()


def test_importance_draws_centres_to_what_matters() -> None:
    values = np.array([1.0, 2.0, 10.0], np.float32)
    assert optimal_centres(make_line(values, np.array([1, 3, 1.0])), 2).tolist() == [1.75, 10.0]
    assert optimal_centres(make_line(values, np.array([1e6, 1e6, 1e-6])), 2).tolist() == pytest.approx([1, 2], abs=1e-4)
    assert len(make_line(values, np.zeros(3)).x) == 3  # inputs that were never seen leave all weights alike


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 8), elements=st.integers(-20, 20), unique=True),
    st.lists(st.floats(0, 30), min_size=8, max_size=8),
)
def test_borders_are_where_one_parabola_falls_below_the_next(centres: F64, offsets: list[float]) -> None:
    centres, cost = np.sort(centres), np.array(offsets[: len(centres)])
    alive, borders = lower_envelope(centres, cost)
    assert (np.diff(borders) > 0).all()
    for x in np.linspace(-40, 40, 41):
        chosen = alive[np.searchsorted(borders, x)]
        assert (x - centres[chosen]) ** 2 + cost[chosen] == pytest.approx(((x - centres) ** 2 + cost).min(), abs=1e-6)


def lagrangian(values: NDArray[np.float32], shared: NDArray[np.float32], weight: float) -> float:
    """Mean squared error over the variance of the weights that are not zero, plus weight times coded bits."""
    _, place, counts = np.unique(shared, return_inverse=True, return_counts=True)
    bits = -np.log2(counts / counts.sum())[place]
    return float(((shared.astype(np.float64) - values) ** 2).sum() / values[values != 0].var() + weight * bits.sum())


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weight", [0.001, 0.01, 0.1])
def test_priced_bits_lower_error_plus_price(sparse: bool, weight: float) -> None:
    values = weights()
    if sparse:
        values = np.where(np.random.default_rng(1).random(3000) < 0.7, 0, values).astype(np.float32)
    start = optimal_centres(make_line(values), 31)
    coded = constrain(values, None, start, weight)
    priced = assign(values, None, coded, coded.centres)
    assert lagrangian(values, priced, weight) < lagrangian(values, snap(values, start), weight)
    assert (priced[values == 0] == 0).all() and len(coded.centres) <= 32


def test_priced_bits_cost_less_than_k_means_at_equal_error() -> None:
    values = weights(20_000)
    best = optimal_centres(make_line(values), 16)
    plain = snap(values, best)
    coded = constrain(values, None, optimal_centres(make_line(values), 63), 0.024)
    priced = assign(values, None, coded, coded.centres)
    errors = [float(((x.astype(np.float64) - values) ** 2).sum()) for x in (plain, priced)]
    assert errors[1] <= errors[0]
    shares = [np.unique(x, return_counts=True)[1] / len(values) for x in (plain, priced)]
    bits = [float(-(p * np.log2(p)).sum()) for p in shares]
    assert bits[1] < bits[0] - 0.1


def test_priced_bits_spare_what_matters() -> None:
    values = weights()
    importance = np.where(np.arange(3000) < 300, 10.0, 0.1).astype(np.float32)
    start = optimal_centres(make_line(values, importance), 31)
    coded = constrain(values, importance, start, 0.02)
    apart = (assign(values, importance, coded, coded.centres) - values) ** 2
    assert apart[:300].mean() < 0.3 * apart[300:].mean()
