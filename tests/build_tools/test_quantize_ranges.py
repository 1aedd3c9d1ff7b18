"""Scales: levels decode bit for bit, zeros stay zero, clipping never costs, divergence as its plain reference."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from build_tools.model import Grid
from build_tools.passes.quantizing.activation_ranges import clip_range
from build_tools.passes.quantizing.quantizable import on_grid
from build_tools.passes.quantizing.ranges import (
    _kernels,
    entropy_bins,
    entropy_bins_reference,
    find_scales,
    from_levels,
    least_error_scales,
    short,
    squared_errors_reference,
    to_levels,
)

F32 = NDArray[np.float32]
WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.one_of(st.just(0.0), st.floats(-3, 3, width=32), st.floats(-(2.0**-30), 2.0**-30, width=32)),
)
METHODS = st.sampled_from(["mse", "minmax", "percentile", "entropy"])


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(2, 8), METHODS)
def test_levels_times_scales_give_the_stored_weights_bit_for_bit(
    rows: F32, bits: int, method: Literal["mse", "minmax", "percentile", "entropy"]
) -> None:
    scales = find_scales(rows, bits, method)
    levels = to_levels(rows, scales, bits)
    values = from_levels(levels, scales)
    assert on_grid(values, Grid("uniform", bits, scales, 0))
    assert levels.min() >= -(2 ** (bits - 1)) and levels.max() < 2 ** (bits - 1)
    assert (values[rows == 0] == 0).all()
    assert (scales > 0).all()


def test_scales_cost_two_bytes_where_float16_can_hold_them() -> None:
    rows = np.random.default_rng(0).normal(0, 0.1, (50, 40)).astype(np.float32)
    for method in ("mse", "minmax", "percentile", "entropy"):
        scales = find_scales(rows, 8, method)
        assert (scales.astype(np.float16).astype(np.float32) == scales).all()
    tiny = find_scales(rows * np.float32(1e-7), 8, "minmax")
    assert (np.abs(tiny - np.abs(rows * np.float32(1e-7)).max(1) / 127) < 1e-3 * tiny).all()


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(2, 8), st.booleans())
def test_least_error_is_never_more_than_that_of_min_max(rows: F32, bits: int, weighted: bool) -> None:
    cost = np.linspace(0.1, 3, rows.shape[1], dtype=np.float32)[None] if weighted else np.ones((1, 1), np.float32)
    widest = find_scales(rows, bits, "minmax")
    best = find_scales(rows, bits, "mse", importance=np.broadcast_to(cost, (1, rows.shape[1])))
    before, after = (squared_errors_reference(rows, s, bits, cost) for s in (widest, best))
    assert (after <= before * (1 + 1e-5) + 1e-30).all()


def test_clipping_pays_with_few_bits_and_heavy_tails() -> None:
    rows = np.random.default_rng(1).standard_t(3, (8, 6000)).astype(np.float32)
    widest, best = find_scales(rows, 4, "minmax"), find_scales(rows, 4, "mse")
    before, after = (squared_errors_reference(rows, s, 4, np.ones((1, 1), np.float32)) for s in (widest, best))
    assert (after < 0.5 * before).all()


def test_the_fast_error_is_that_of_the_reference() -> None:
    rng = np.random.default_rng(2)
    rows, cost = rng.normal(size=(5, 300)).astype(np.float32), rng.random((5, 300)).astype(np.float32)
    scales = least_error_scales(rows, short(np.abs(rows).max(1) / np.float32(7)), 4, cost)
    fast = _kernels()["errors"](rows, scales[:, None], cost, -8, 7)[:, 0]
    assert fast == pytest.approx(squared_errors_reference(rows, scales, 4, cost), rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, st.integers(8, 90), elements=st.integers(0, 50)), st.sampled_from([4, 8, 16]))
def test_entropy_range_is_that_of_the_plain_reference(counts: NDArray[np.float64], levels: int) -> None:
    assert entropy_bins(counts, levels) == entropy_bins_reference(counts, levels)


def test_entropy_range_cuts_off_a_lonely_outlier() -> None:
    counts = np.zeros(2048)
    counts[:300] = np.exp(-np.arange(300) / 60) * 1e4
    counts[2047] = 1
    assert 128 <= entropy_bins(counts, 128) < 700


def test_percentile_leaves_out_what_lies_beyond() -> None:
    rows = np.concatenate([np.linspace(-1, 1, 999), [50.0]]).astype(np.float32)[None]
    assert find_scales(rows, 8, "percentile", 99.5)[0] == pytest.approx(0.997 / 127, rel=0.01)
    assert find_scales(rows, 8, "minmax")[0] == pytest.approx(50 / 127, rel=0.001)


def test_percentile_of_a_pruned_channel_is_not_zero() -> None:
    rows = np.zeros((1, 1000), np.float32)
    rows[0, 0] = 0.5
    scales = find_scales(rows, 8, "percentile", 99.0)
    assert from_levels(to_levels(rows, scales, 8), scales)[0, 0] == pytest.approx(0.5, rel=0.001)


def rounding_error(x: NDArray[np.float64], low: float, high: float) -> float:
    step = (high - low) / 255
    zero = np.rint(-low / step)
    return float((((np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step - x) ** 2).mean())


def test_activation_ranges_shed_outliers_and_hold_zero() -> None:
    x = np.concatenate([np.random.default_rng(3).normal(0.2, 0.3, 200_000).clip(-0.5), [9.0]])
    counts = np.histogram(x, 2048, (-0.5, 9.0))[0].astype(np.float64)
    assert clip_range(counts, -0.5, 9.0, "minmax", 99.9) == (-0.5, 9.0)
    for method in ("percentile", "entropy", "mse"):
        bottom, top = clip_range(counts, -0.5, 9.0, method, 99.99)
        assert -0.5 <= bottom <= 0 < top < 8
        assert method != "mse" or rounding_error(x, bottom, top) < 0.9 * rounding_error(x, -0.5, 9.0)


def test_activation_ranges_of_positive_tensors_begin_at_zero() -> None:
    counts = np.histogram(np.random.default_rng(4).exponential(1, 10_000), 2048, (0, 12.0))[0].astype(np.float64)
    for method in ("percentile", "entropy", "mse"):
        bottom, top = clip_range(counts, 0.0, 12.0, method, 99.9)
        assert bottom == 0 and 2 < top <= 12
