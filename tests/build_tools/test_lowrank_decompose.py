"""Factors of a weight: how near their product is, against the optimum where one is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from build_tools.passes.factoring.decompose import Factors, Form, Inputs, decompose, forms_of, spectra, squared_error
from build_tools.passes.factoring.ranks import tails

SHAPES = [(12, 10), (10, 12), (8, 6, 1, 1), (6, 8, 3, 3), (9, 4, 3, 5), (6, 5, 3)]


def made_from(factors: Factors, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the parts make when they run one after the other."""
    parts = factors.parts
    if factors.form == "svd":
        return np.tensordot(parts[1].reshape(shape[0], -1), parts[0], (1, 0))
    if factors.form == "tucker":
        first, core, last = parts
        inner = np.moveaxis(np.tensordot(core, first.reshape(len(first), -1), (1, 0)), -1, 1)
        return np.tensordot(last.reshape(shape[0], -1), inner, (1, 0))
    vertical, horizontal = parts
    return np.einsum("orx,riy->oiyx", horizontal[:, :, 0], vertical[..., 0])


def correlated(rng: np.random.Generator, size: int) -> np.ndarray:
    mix = rng.normal(size=(size, size)) * np.geomspace(3, 0.03, size)
    return rng.normal(size=(400, size)) @ mix.T + rng.normal(size=size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("aware", [False, True])
def test_parts_multiply_to_the_product_and_at_full_rank_to_the_weight(shape: tuple[int, ...], aware: bool) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape)
    seen = correlated(rng, weight[0].size)
    spread = Inputs(seen.mean(0), seen.T @ seen / len(seen)).spread(centred=True) if aware else None
    for form in forms_of(shape):
        full = tuple(len(s) for s in spectra(weight, form, spread))
        few = tuple(max(n // 2, 1) for n in full)

        assert np.allclose(decompose(weight, form, full, spread).product, weight, atol=1e-7)
        half = decompose(weight, form, few, spread)
        assert np.allclose(made_from(half, shape), half.product, atol=1e-9)
        assert half.ranks == few


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.data())
def test_plain_svd_is_scipys_optimum(seed: int, out: int, into: int, data: st.DataObject) -> None:
    weight = np.random.default_rng(seed).normal(size=(out, into))
    rank = data.draw(st.integers(1, min(out, into)))
    left, values, right = linalg.svd(weight, full_matrices=False)

    product = decompose(weight, "svd", (rank,)).product

    assert np.allclose(product, (left[:, :rank] * values[:rank]) @ right[:rank], atol=1e-6)
    assert np.allclose(spectra(weight, "svd")[0], values, atol=1e-6)


def test_plain_spatial_filters_are_the_optimum_of_their_matrix() -> None:
    weight = np.random.default_rng(1).normal(size=(6, 4, 3, 5))
    matrix = weight.transpose(1, 2, 3, 0).reshape(4 * 3, 5 * 6)
    values = linalg.svdvals(matrix)

    product = decompose(weight, "spatial", (5,)).product

    assert squared_error(weight - product, None) == pytest.approx(float(np.square(values[5:]).sum()))
    assert np.allclose(spectra(weight, "spatial")[0], values)


def test_tucker_loses_no_more_than_is_cut_off_on_both_sides() -> None:
    weight = np.random.default_rng(2).normal(size=(10, 8, 3, 3))
    into, out = spectra(weight, "tucker")
    assert np.allclose(into, linalg.svdvals(np.moveaxis(weight, 1, 0).reshape(8, -1)))
    assert np.allclose(out, linalg.svdvals(weight.reshape(10, -1)))
    for ranks in ((3, 4), (6, 5), (8, 2)):
        bound = tails(into)[ranks[0]] + tails(out)[ranks[1]]
        lost = squared_error(weight - decompose(weight, "tucker", ranks).product, None)
        assert lost / squared_error(weight, None) <= bound


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["svd", "tucker", "spatial"]))
def test_outputs_on_calibration_data_are_no_worse_than_of_the_plain_factors(seed: int, form: Form) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(8, 5, 3, 3))
    seen = correlated(rng, 45)
    spread = Inputs(seen.mean(0), seen.T @ seen / len(seen)).spread(centred=True)
    ranks = (3, 4) if form == "tucker" else (4,)

    plain = weight - decompose(weight, form, ranks).product
    aware = weight - decompose(weight, form, ranks, spread).product

    centred = seen - seen.mean(0)
    lost = [np.square(centred @ d.reshape(8, -1).T).mean() for d in (aware, plain)]
    assert lost[0] <= lost[1] * (1 + 1e-9)
    assert squared_error(plain, None) <= squared_error(aware, None) * (1 + 1e-6)


def test_weighted_svd_is_the_optimum_by_whitening() -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(7, 9))
    seen = correlated(rng, 9)
    spread = Inputs(seen.mean(0), seen.T @ seen / len(seen)).spread(centred=False)
    root = linalg.cholesky(spread, lower=True)  # SVD-LLM's whitening
    left, values, right = linalg.svd(weight @ root, full_matrices=False)
    whitened = (left[:, :3] * values[:3]) @ right[:3] @ linalg.inv(root)

    product = decompose(weight, "svd", (3,), spread).product

    assert np.allclose(product, whitened, atol=1e-8)
    assert np.allclose(spectra(weight, "svd", spread)[0], values)


def test_channels_between_the_parts_weigh_alike_on_both_sides() -> None:
    weight = np.random.default_rng(6).normal(size=(8, 6, 3, 3))
    for form in forms_of(weight.shape):
        ranks = (3, 4) if form == "tucker" else (4,)
        first, second = decompose(weight, form, ranks).parts[-2:]
        before = np.square(first).reshape(len(first), -1).sum(1)
        behind = np.square(second).sum((0, 2, 3))
        assert np.allclose(before, behind)
