"""Ranks by energy and by variational Bayes, against plain computations of what they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from build_tools.passes.factoring.ranks import aligned, bayes_noise, bayes_rank, energy_rank, noise_edge, tails


def test_energy_rank_is_the_first_that_keeps_enough() -> None:
    spectrum = np.array([3.0, 2.0, 1.0, 0.0])  # energies 9, 4, 1, 0 of 14

    assert energy_rank(spectrum, 9 / 14) == 1
    assert energy_rank(spectrum, 9.1 / 14) == 2
    assert energy_rank(spectrum, 1.0) == 3
    assert tails(spectrum).tolist() == pytest.approx([1.0, 5 / 14, 1 / 14, 0.0, 0.0])


def test_ranks_are_aligned_upwards_but_never_beyond_the_full_rank() -> None:
    assert aligned(9, 8, 64) == 16
    assert aligned(0, 8, 64) == 8
    assert aligned(9, 8, 10) == 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.sampled_from([(40, 60), (60, 40), (30, 200), (64, 64)]))
def test_bayes_finds_the_planted_rank_in_noise(seed: int, rank: int, sides: tuple[int, int]) -> None:
    rows, columns = sides
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rank)))[0] if rank else np.zeros((rows, 0))
    right = np.linalg.qr(rng.normal(size=(columns, rank)))[0] if rank else np.zeros((columns, 0))
    noise = 0.03
    # well above the largest singular value of the noise, about noise * (sqrt(rows) + sqrt(columns))
    strengths = 3 * noise * (math.sqrt(rows) + math.sqrt(columns)) * rng.uniform(1, 3, rank)
    seen = (left * strengths) @ right.T + noise * rng.normal(size=sides)
    spectrum = np.linalg.svd(seen, compute_uv=False)

    assert bayes_rank(spectrum, rows, columns) == rank
    assert bayes_noise(spectrum, rows, columns) == pytest.approx(noise**2, rel=0.25)


def test_bayes_rank_does_not_depend_on_scale() -> None:
    rng = np.random.default_rng(3)
    seen = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 50)) + 0.1 * rng.normal(size=(20, 50))
    spectrum = np.linalg.svd(seen, compute_uv=False)

    assert {bayes_rank(spectrum * scale, 20, 50) for scale in (1e-6, 1.0, 1e6)} == {2}


def test_a_zero_matrix_has_rank_zero() -> None:
    assert bayes_rank(np.zeros(4), 4, 8) == 0


def component_energy(value: float, short: int, long: int, noise: float) -> float:
    """Twice the free energy that one component saves, minimised numerically over posteriors and priors.

    The objective of variational Bayesian matrix factorisation, Nakajima et al. 2013, equation (10), per component:
    factor means a, b with variances sa, sb, and prior variances ca, cb. Only ca * cb matters, so ca is kept at 1.
    """

    def energy(x: np.ndarray) -> float:
        a, b = x[:2]
        sa, sb, cb = np.exp(np.clip(x[2:], -60, 60))
        a2, b2 = a * a + long * sa, b * b + short * sb
        priors = -long * math.log(sa) + short * math.log(cb / sb) + a2 + b2 / cb - (long + short)
        return float(priors + (-2 * a * b * value + a2 * b2) / noise)

    found = [0.0]  # the component switched off
    for start in (0.3, 0.6, 0.9):
        size = math.sqrt(start * value)
        guess = np.array([size, size, -2.0, -2.0, math.log(value)])
        for _ in range(4):
            done = minimize(energy, guess, method="Nelder-Mead", options={"maxiter": 6000, "fatol": 1e-10})
            guess = done.x
        found.append(float(done.fun))
    return min(found)


@pytest.mark.parametrize(("short", "long"), [(6, 9), (5, 20)])
def test_a_component_is_kept_exactly_when_that_lowers_the_free_energy(short: int, long: int) -> None:
    noise = 1.0
    # all others are as a matrix of noise has them, so that only the first is in question
    threshold = None
    for value in np.linspace(1.0, 2.0, 41) * (math.sqrt(short) + math.sqrt(long)):
        saves = component_energy(float(value), short, long, noise) < -1e-6
        if saves:
            threshold = float(value)
            break
    assert threshold is not None
    assert math.sqrt(long * noise * noise_edge(short / long)) == pytest.approx(threshold, rel=0.02)
