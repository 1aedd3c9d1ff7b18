"""Rounding that keeps a layer's outputs: never worse than to the nearest, near the best there is, zeros kept."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_tools.passes.quantizing.learned import Example, learn_rounding
from build_tools.passes.quantizing.ranges import find_scales, from_levels, to_levels
from build_tools.passes.quantizing.rounding import Levels, _damped, adaptive_rows, output_error, round_adaptively

F32 = NDArray[np.float32]


def inputs(rng: np.random.Generator, groups: int, width: int, count: int = 200) -> F32:
    """Patches whose entries go together, as those of pictures do."""
    mixed = rng.normal(size=(groups, count, width)) @ rng.normal(size=(width, width)) / np.sqrt(width)
    return (mixed + 0.5).astype(np.float32)


def second_moments(x: F32) -> F32:
    return np.matmul(x.transpose(0, 2, 1), x) / np.float32(x.shape[1])


def errors(q: NDArray[np.int32], scales: F32, weights: F32, gram: F32) -> NDArray[np.float64]:
    return output_error(q.astype(np.float32), scales, weights, gram)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 5), st.integers(1, 20), st.integers(2, 8))
def test_adaptive_rounding_is_never_worse_than_nearest(
    seed: int, groups: int, rows: int, width: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(groups, rows, width)).astype(np.float32)
    gram = second_moments(inputs(rng, groups, width))
    scales = find_scales(weights.reshape(-1, width), bits).reshape(groups, rows)
    nearest = np.clip(np.rint(weights / scales[..., None]), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int32)
    frozen = weights == 0
    levels, fitted = round_adaptively(weights, scales, gram, Levels.of_bits(bits), frozen)
    damped = _damped(gram)
    before, after = errors(nearest, scales, weights, damped), errors(levels, fitted, weights, damped)
    assert (after <= before * (1 + 1e-4) + 1e-6).all()
    assert levels.min() >= -(2 ** (bits - 1)) and levels.max() < 2 ** (bits - 1)


def test_adaptive_rounding_comes_near_the_best_of_all_choices() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(10):
        weights = rng.normal(size=(1, 1, 5)).astype(np.float32)
        gram = second_moments(inputs(rng, 1, 5))
        scales = find_scales(weights[0], 3).reshape(1, 1)
        levels, _ = round_adaptively(weights, scales, gram, Levels.of_bits(3), weights == 0, refit_scales=False)
        damped = _damped(gram)
        all_ways = np.array(list(product(range(-4, 4), repeat=5)), np.float32)
        apart = all_ways * scales[0, 0] - weights[0]
        best = float(((apart @ damped[0]) * apart).sum(1).min())
        shares.append(float(errors(levels, scales, weights, damped)[0, 0]) / best)
    assert np.median(shares) < 1.1


def test_inputs_that_do_not_go_together_leave_nothing_to_gain() -> None:
    weights = np.random.default_rng(1).normal(size=(1, 4, 12)).astype(np.float32)
    scales = find_scales(weights[0], 4).reshape(1, 4)
    gram = np.diag(np.linspace(0.5, 2, 12)).astype(np.float32)[None]
    levels, _ = round_adaptively(weights, scales, gram, Levels.of_bits(4), weights == 0, refit_scales=False)
    assert (levels[0] == to_levels(weights[0], scales[0], 4)).all()


def test_a_wide_layer_is_rounded_as_well_as_a_narrow_one() -> None:
    rng = np.random.default_rng(2)
    weights, gram = rng.normal(size=(6, 150)).astype(np.float32), second_moments(inputs(rng, 1, 150, 2000))
    scales = find_scales(weights, 4)
    levels, fitted = adaptive_rows(weights, scales, gram, Levels.of_bits(4))
    apart = from_levels(levels, fitted) - weights
    nearest = from_levels(to_levels(weights, scales, 4), scales) - weights
    assert ((apart @ gram[0]) * apart).sum() < 0.4 * ((nearest @ gram[0]) * nearest).sum()


def test_groups_are_rounded_as_if_each_stood_alone() -> None:
    rng = np.random.default_rng(3)
    rows, gram = rng.normal(size=(6, 9)).astype(np.float32), second_moments(inputs(rng, 3, 9))
    scales = find_scales(rows, 4)
    together, _ = adaptive_rows(rows, scales, gram, Levels.of_bits(4))
    for group in range(3):
        part = slice(2 * group, 2 * group + 2)
        alone, _ = adaptive_rows(rows[part], scales[part], gram[group : group + 1], Levels.of_bits(4))
        assert (together[part] == alone).all()


def test_pruned_weights_stay_zero_and_dead_inputs_do_no_harm() -> None:
    rng = np.random.default_rng(4)
    rows = np.where(rng.random((5, 30)) < 0.6, 0, rng.normal(size=(5, 30))).astype(np.float32)
    x = inputs(rng, 1, 30)
    x[:, :, :4] = 0
    levels, fitted = adaptive_rows(rows, find_scales(rows, 4), second_moments(x), Levels.of_bits(4))
    assert (levels[rows == 0] == 0).all()
    assert np.isfinite(fitted).all() and (fitted.astype(np.float16).astype(np.float32) == fitted).all()


@pytest.mark.parametrize("size", [1e-25, 1e-3, 1e15])
def test_inputs_of_any_size_and_variances_lost_to_rounding_do_no_harm(size: float) -> None:
    rng = np.random.default_rng(7)
    rows, gram = rng.normal(size=(4, 12)).astype(np.float32), second_moments(inputs(rng, 1, 12))
    scales = find_scales(rows, 4)
    told, _ = adaptive_rows(rows, scales, gram, Levels.of_bits(4))
    found, _ = adaptive_rows(rows, scales, (gram * np.float32(size)).astype(np.float32), Levels.of_bits(4))
    assert (found == told).all()
    broken = gram - 0.2 * np.eye(12, dtype=np.float32) * np.einsum("gkk->gk", gram).mean()
    levels, fitted = adaptive_rows(rows, scales, broken, Levels.of_bits(4))
    assert np.isfinite(fitted).all() and levels.min() >= -8 and levels.max() <= 7


def test_signs_are_chosen_for_the_outputs_too() -> None:
    rng = np.random.default_rng(5)
    rows, gram = rng.normal(size=(4, 40)).astype(np.float32), second_moments(inputs(rng, 1, 40))
    scales = np.abs(rows).mean(1)
    plain = np.where(rows < 0, -1, 1).astype(np.int32)
    levels, fitted = adaptive_rows(rows, scales, gram, Levels.of_bits(1), keep_zeros=False)
    assert set(np.unique(levels)) == {-1, 1}
    before, after = (from_levels(q, s) - rows for q, s in ((plain, scales), (levels, fitted)))
    assert ((after @ gram[0]) * after).sum() < 0.8 * ((before @ gram[0]) * before).sum()


def test_learned_rounding_lowers_the_error_of_activated_outputs() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(6)
    weights, x = rng.normal(size=(1, 4, 12)).astype(np.float32), inputs(rng, 1, 12, 400)
    weights[0, :, 3] = 0
    scales = find_scales(weights[0], 3).reshape(1, 4)
    target = np.matmul(x, weights.transpose(0, 2, 1))
    example = Example(x, target, np.full((1, 4), 0.1, np.float32), slope=0.0)
    learned = learn_rounding(weights, scales, example, Levels.of_bits(3), steps=250, seed=1)
    nearest = to_levels(weights[0], scales[0], 3)[None]

    def error(q: NDArray[np.int32]) -> float:
        made = np.matmul(x, (q * scales[..., None]).transpose(0, 2, 1))
        return float(((np.maximum(made + 0.1, 0) - np.maximum(target + 0.1, 0)) ** 2).mean())

    assert error(learned) < 0.8 * error(nearest)
    assert (learned[0, :, 3] == 0).all()
    assert (np.abs(learned - weights / scales[..., None]) < 1 + 1e-5)[np.abs(nearest) < 3].all()
