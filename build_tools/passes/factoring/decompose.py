"""Weights as products of thin factors: truncated SVD, Tucker-2, and vertical times horizontal filters.

Every weight is seen as a convolution's [out, in, *kernel]; a fully connected layer has no kernel sides. With the
statistics of the inputs the error of the *outputs* is made small, without them that of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

F64 = NDArray[np.float64]
Form = Literal["svd", "tucker", "spatial"]
DAMPING = 0.01
"""Share of the mean variance added to every direction of the inputs: where calibration saw nothing, weights count."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What is known of a layer's inputs, over positions and samples.

    Attributes:
        mean: float64 [d], d = in * kernel sides: what one output position sees (zeros where padding is).
        moment: float64 [d, d], the mean of x x^T.
    """

    mean: F64
    moment: F64

    def spread(self, centred: bool) -> F64:
        """Damped covariance [d, d] (`centred`: the bias can take up what is constant), else damped second moment."""
        about = self.moment - np.outer(self.mean, self.mean) if centred else self.moment
        return about + np.eye(len(about)) * (DAMPING * max(float(np.trace(about)), 1e-30) / len(about))


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A weight in parts.

    Attributes:
        form: how it was taken apart.
        ranks: (rank,), or (input rank, output rank) of Tucker-2.
        parts: weights of the layers in place of the one, [out, in, *kernel] each, in the order in which they run.
        product: the weight that the parts together are, of the first one's shape.
    """

    form: Form
    ranks: tuple[int, ...]
    parts: tuple[F64, ...]
    product: F64


def forms_of(shape: tuple[int, ...]) -> tuple[Form, ...]:
    """What a weight [out, in, *kernel] can be taken apart into."""
    kernel = shape[2:]
    if all(side == 1 for side in kernel):
        return ("svd",)
    two_sided = len(kernel) == 2 and min(kernel) > 1
    return ("svd", "tucker", "spatial") if two_sided else ("svd", "tucker")


def spectra(weight: F64, form: Form, spread: F64 | None = None) -> tuple[F64, ...]:
    """Singular values, falling, of the matrix each rank of the form is of; weighted by the inputs' `spread`.

    Args:
        weight: [out, in, *kernel].
        form: see `Factors`.
        spread: [d, d] of the inputs, see `Inputs.spread`; None: plain.
    """
    flat = weight.reshape(len(weight), -1)
    if form == "spatial":
        columns = _columns(weight)
        return (_singular(columns.T @ _seen(columns, _column_spread(weight, spread)), min(columns.shape)),)
    outputs = _singular(_smaller_gram(flat) if spread is None else flat @ spread @ flat.T, min(flat.shape))
    if form == "svd":
        return (outputs,)
    channels = _unfolded(weight)
    return _singular(_whitened_gram(weight, spread)[0], min(channels.shape)), outputs


def decompose(weight: F64, form: Form, ranks: tuple[int, ...], spread: F64 | None = None) -> Factors:
    """The parts of a weight at the given ranks.

    Without `spread` the product is the nearest to the weight (Tucker-2: from HOSVD by two rounds of HOOI); with it
    the one nearest in its outputs: for svd exactly (Zhang et al. 2015, equation 7), for the others the best of two
    choices of the first part, with everything behind it solved for.

    Args:
        weight: [out, in, *kernel].
        form: see `Factors`.
        ranks: as many as `spectra` gives spectra.
        spread: see `spectra`.
    """
    if form == "svd":
        return _svd(weight, ranks[0], spread)
    split = _tucker if form == "tucker" else _spatial
    if spread is None:
        return split(weight, ranks, None, None)
    tried = split(weight, ranks, None, spread), split(weight, ranks, spread, spread)
    return min(tried, key=lambda f: squared_error(weight - f.product, spread))


def squared_error(difference: F64, spread: F64 | None) -> float:
    """The mean squared error of outputs that a difference of weights makes; plain: its squared Frobenius norm."""
    flat = difference.reshape(len(difference), -1)
    return float(np.sum(_seen(flat.T, spread).T * flat))


def _svd(weight: F64, rank: int, spread: F64 | None) -> Factors:
    """First all inputs to `rank` filters, then these to the outputs."""
    flat = weight.reshape(len(weight), -1)
    if spread is None and len(flat) > flat.shape[1]:
        first = _leading(flat.T @ flat, rank).T
        last = flat @ first.T
    else:
        last = _leading(flat @ _seen(flat.T, spread), rank)
        first = last.T @ flat
    return _factors("svd", weight, (rank,), (first.reshape(rank, *weight.shape[1:]),), last, last @ first)


def _tucker(weight: F64, ranks: tuple[int, ...], inner: F64 | None, outer: F64 | None) -> Factors:
    """Tucker-2 (Kim et al. 2016): to `ranks[0]` channels, the kernel between few channels, from `ranks[1]` to all.

    Args:
        weight: [out, in, *kernel].
        ranks: channels before and behind the kernel.
        inner: the spread by which the channels before the kernel are chosen.
        outer: the spread by which the rest is solved for.
    """
    taps = int(np.prod(weight.shape[2:]))
    gram, back = _whitened_gram(weight, inner)
    rows = _unit_rows(_leading(gram, ranks[0]).T @ back)
    if outer is None:
        for _ in range(2):  # HOOI: each side again, seen through the other
            seen = np.tensordot(rows, weight, (1, 1))  # [b, out, *kernel]
            left = _leading(_smaller_gram(np.moveaxis(seen, 0, 1).reshape(len(weight), -1), rows=True), ranks[1])
            few = np.tensordot(left, weight, (0, 0))  # [a, in, *kernel]
            rows = _leading(_unfolded(few).T @ _unfolded(few), ranks[0]).T
    project = np.asarray(
        np.kron(rows, np.eye(taps)), np.float64
    )  # [b * taps, in * taps], as `reshape` orders [in, *kernel]
    left, core = _regress(weight.reshape(len(weight), -1), project, outer, ranks[1])
    ones = (1,) * (weight.ndim - 2)
    parts = rows.reshape(ranks[0], -1, *ones), core.reshape(ranks[1], ranks[0], *weight.shape[2:])
    return _factors("tucker", weight, ranks, parts, left, left @ core @ project)


def _spatial(weight: F64, ranks: tuple[int, ...], inner: F64 | None, outer: F64 | None) -> Factors:
    """`ranks[0]` vertical filters, then horizontal ones on them (Jaderberg et al. 2014, scheme 2).

    Args:
        weight: [out, in, kh, kw].
        ranks: (rank,).
        inner: the spread by which the vertical filters are chosen.
        outer: the spread by which the horizontal ones are solved for.
    """
    out, into, high, wide = weight.shape
    columns = _columns(weight)
    right = _leading(columns.T @ _seen(columns, _column_spread(weight, inner)), ranks[0])
    vertical = _unit_rows((columns @ right).T)
    # every vertical filter at every column of the kernel: [r, kw, in, kh, kw] as [r * kw, d]
    placed = np.einsum("riy,xz->rxiyz", vertical.reshape(-1, into, high), np.eye(wide))
    project = placed.reshape(ranks[0] * wide, -1)
    _, horizontal = _regress(weight.reshape(out, -1), project, outer, None)
    first = vertical.reshape(ranks[0], into, high, 1)
    last = horizontal.reshape(out, ranks[0], 1, wide)
    return _factors("spatial", weight, ranks, (first,), last, horizontal @ project)


def _regress(flat: F64, project: F64, spread: F64 | None, rank: int | None) -> tuple[F64, F64]:
    """The best map of rank `rank` from projected inputs to the outputs (reduced-rank regression).

    Args:
        flat: [out, d] weight.
        project: [p, d], the inputs that are left.
        spread: [d, d] of the inputs.
        rank: None: free.

    Returns:
        [out, rank] and [rank, p], whose product is the map; the first is the identity where the rank is free.
    """
    seen = _seen(project.T, spread)  # [d, p]
    inner = project @ seen
    # Filters of weights that are zero leave zero rows: the pseudo-inverse lets them be.
    free = flat @ seen @ linalg.pinvh(inner)
    if rank is None:
        return np.eye(len(flat)), free
    left = _leading(free @ inner @ free.T, rank)
    return left, left.T @ free


def _factors(
    form: Form, weight: F64, ranks: tuple[int, ...], parts: tuple[F64, ...], last: F64, product: F64
) -> Factors:
    """Factors whose channels in between are scaled so that both sides weigh alike: what is quantised later is even."""
    ones = (1,) * (weight.ndim - last.ndim)
    scaled = [*parts, last.reshape(*last.shape, *ones)]
    for index in range(len(scaled) - 1):
        before, behind = scaled[index], scaled[index + 1]
        to = np.sqrt(np.square(before.reshape(len(before), -1)).sum(1))
        of = np.sqrt(np.square(np.moveaxis(behind, 1, 0).reshape(len(before), -1)).sum(1))
        factor = np.sqrt(np.where((to > 0) & (of > 0), of / np.maximum(to, 1e-300), 1.0))
        scaled[index] = before * factor.reshape(-1, *(1,) * (before.ndim - 1))
        scaled[index + 1] = behind / factor.reshape(1, -1, *(1,) * (behind.ndim - 2))
    return Factors(form, ranks, tuple(scaled), product.reshape(weight.shape))


def _columns(weight: F64) -> F64:
    """[out, in, kh, kw] as [in * kh, kw * out]: a vertical filter is a column."""
    out, into, high, wide = weight.shape
    return weight.transpose(1, 2, 3, 0).reshape(into * high, wide * out)


def _unfolded(weight: F64) -> F64:
    """[out, in, *kernel] as [out * taps, in]."""
    return np.moveaxis(weight, 1, -1).reshape(-1, weight.shape[1])


def _column_spread(weight: F64, spread: F64 | None) -> F64 | None:
    """The spread [in * kh, in * kh] of what one column of the kernel sees, the mean over its columns."""
    if spread is None:
        return None
    _, into, high, wide = weight.shape
    whole = spread.reshape(into * high, wide, into * high, wide)
    found: F64 = np.einsum("axbx->ab", whole) / wide
    return found


def _whitened_gram(weight: F64, spread: F64 | None) -> tuple[F64, F64]:
    """The Gram matrix of the input channels, whitened by their spread, and what brings its eigenvectors back.

    With S the root of the channels' spread and M the unfolded weight: S M^T M S, whose leading eigenvectors V give
    the rows V^T S M^T M, up to scale the V^T S^-1 of the truncated product (M S) V V^T S^-1.
    """
    unfolded = _unfolded(weight)
    gram = unfolded.T @ unfolded
    if spread is None:
        return gram, np.eye(len(gram))
    into, taps = weight.shape[1], int(np.prod(weight.shape[2:]))
    channels = np.einsum("itjt->ij", spread.reshape(into, taps, into, taps)) / taps
    values, vectors = linalg.eigh(channels)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root @ gram @ root, root @ gram


def _seen(columns: F64, spread: F64 | None) -> F64:
    return columns if spread is None else spread @ columns


def _smaller_gram(flat: F64, rows: bool = False) -> F64:
    return flat @ flat.T if rows or len(flat) <= flat.shape[1] else flat.T @ flat


def _singular(gram: F64, count: int) -> F64:
    """The `count` largest singular values, falling, of a matrix with this Gram matrix."""
    values: F64 = np.sqrt(np.maximum(linalg.eigvalsh(gram)[::-1], 0.0))
    return values[:count]


def _leading(symmetric: F64, count: int) -> F64:
    """Eigenvectors [n, count] of the largest eigenvalues, largest first."""
    n = len(symmetric)
    _, vectors = linalg.eigh(symmetric, subset_by_index=(n - count, n - 1))
    return np.asarray(vectors[:, ::-1])


def _unit_rows(rows: F64) -> F64:
    found: F64 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return found
