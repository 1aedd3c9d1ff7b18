"""Rounds a layer's weights so that its outputs change least, in closed form: no training, no torch.

Rounding each weight to the nearest level is not what keeps a layer's outputs: errors of neighbouring weights may
cancel. With H the second moments of the layer's input patches, the squared error of its outputs is
(Q - W) H (Q - W)^T for each output channel. `greedy` minimises it column by column, each column's error made good by
those not yet rounded (Frantar et al. 2022, "GPTQ", after LeCun's optimal brain surgeon); `descend` then moves single
weights to a better level as long as that helps (Behdin et al. 2023, "QuantEase"), and `refit` moves the scales.

Arrays are batched over the groups of a convolution: weights [groups, rows, k], H [groups, k, k].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from build_tools.model import F32
from build_tools.passes.quantizing.ranges import short

I32 = NDArray[np.int32]
DAMPING = 0.01
"""Share of H's mean diagonal that is added to it: inputs that never varied must not get weights without bound."""
BLOCK = 64
"""Columns whose updates of later columns are made in one matrix product."""
SWEEPS = 4
SMALL = 128
"""Up to this width, inverting all groups in one call is faster than one by one."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels a weight may have: whole numbers from `low` to `high`; `signs`: only -1 and +1."""

    low: int
    high: int
    signs: bool = False

    @classmethod
    def of_bits(cls, bits: int) -> Levels:
        """Those of two's complement; of one bit, the two signs."""
        return cls(-1, 1, True) if bits == 1 else cls(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def nearest(self, x: F32) -> F32:
        """The nearest level of each number, as float32."""
        if self.signs:
            return np.where(x < 0, np.float32(-1), np.float32(1))
        rounded: F32 = np.clip(np.rint(x), self.low, self.high).astype(np.float32)
        return rounded


def round_adaptively(
    weights: F32, scales: F32, gram: F32, levels: Levels, frozen: NDArray[np.bool_], refit_scales: bool = True
) -> tuple[I32, F32]:
    """Levels and scales whose outputs are nearest to those of the weights; never worse than rounding to the nearest.

    Args:
        weights: float32 [groups, rows, k].
        scales: float32 [groups, rows].
        gram: float32 [groups, k, k], second moments of the inputs.
        levels: that a weight may have.
        frozen: bool [groups, rows, k]: weights that stay zero, as pruning left them.
        refit_scales: the scales may move too (they are one for each row).

    Returns:
        int32 [groups, rows, k] and float32 [groups, rows].
    """
    damped = _damped(gram)
    best = _rounded(weights, scales, levels, frozen)
    best_error = output_error(best, scales, weights, damped)

    def keep_better(trial: F32, trial_scales: F32) -> None:
        nonlocal best, best_error, scales
        error = output_error(trial, trial_scales, weights, damped)
        better = error < best_error
        best = np.where(better[..., None], trial, best)
        scales = np.where(better, trial_scales, scales)
        best_error = np.where(better, error, best_error)

    keep_better(greedy(weights, scales, damped, levels, frozen), scales)
    for _ in range(2 if refit_scales else 1):
        keep_better(descend(best, weights, scales, damped, levels, frozen), scales)
        if refit_scales:
            keep_better(best, refit(best, weights, scales, damped))
    return best.astype(np.int32), scales


def output_error(q: F32, scales: F32, weights: F32, gram: F32) -> NDArray[np.float64]:
    """Mean squared error of each row's output, [groups, rows]."""
    apart = q * scales[..., None] - weights
    total: NDArray[np.float64] = (np.matmul(apart, gram) * apart).sum(-1, dtype=np.float64)
    return total


def greedy(weights: F32, scales: F32, gram: F32, levels: Levels, frozen: NDArray[np.bool_]) -> F32:
    """GPTQ: columns in the order of falling H_jj, each column's error shared out among those to come."""
    order = np.argsort(-np.einsum("gkk->gk", gram), 1)
    back = np.argsort(order, 1)
    w = np.take_along_axis(weights, order[:, None], 2)
    zero = np.take_along_axis(frozen, order[:, None], 2)
    h = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], 1), order[:, None], 2)
    upper = _inverse_root(h.astype(np.float64)).astype(np.float32)
    q = np.zeros_like(w)
    for start in range(0, w.shape[2], BLOCK):
        stop = min(start + BLOCK, w.shape[2])
        errors = np.zeros((*w.shape[:2], stop - start), np.float32)
        for j in range(start, stop):
            q[..., j] = np.where(zero[..., j], 0, levels.nearest(w[..., j] / scales))
            errors[..., j - start] = (w[..., j] - q[..., j] * scales) / upper[:, None, j, j]
            w[..., j:stop] -= errors[..., j - start, None] * upper[:, None, j, j:stop]
        w[..., stop:] -= np.matmul(errors, upper[:, start:stop, stop:])
    return np.take_along_axis(q, back[:, None], 2)


def descend(q: F32, weights: F32, scales: F32, gram: F32, levels: Levels, frozen: NDArray[np.bool_]) -> F32:
    """Coordinate descent: each weight in turn to its best level, all others fixed, until none moves."""
    q = q.copy()
    slope = np.matmul(q * scales[..., None] - weights, gram)  # half the gradient by the weights
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, q.shape[2], BLOCK):
            stop = min(start + BLOCK, q.shape[2])
            near = slope[..., start:stop].copy()
            steps = np.zeros_like(near)
            for j in range(start, stop):
                wish = q[..., j] - near[..., j - start] / (gram[:, None, j, j] * scales)
                new = np.where(frozen[..., j], 0, levels.nearest(wish))
                step = (new - q[..., j]) * scales
                if step.any():
                    moved = True
                    q[..., j] = new
                    steps[..., j - start] = step
                    near += step[..., None] * gram[:, None, j, start:stop]
            slope += np.matmul(steps, gram[:, start:stop])
        if not moved:
            break
    return q


def refit(q: F32, weights: F32, scales: F32, gram: F32) -> F32:
    """The scale of each row that is best for its levels: (w H q) / (q H q)."""
    hq = np.matmul(q, gram)
    below = (hq * q).sum(-1)
    fitted = np.divide((hq * weights).sum(-1), below, out=scales.copy(), where=below > 0)
    fitted = np.where(fitted > 0, fitted, scales).astype(np.float32)
    return short(fitted.ravel()).reshape(fitted.shape)


def adaptive_rows(
    rows: F32, scales: F32, gram: F32, levels: Levels, refit_scales: bool = True, keep_zeros: bool = True
) -> tuple[I32, F32]:
    """`round_adaptively` for a weight laid out as rows [channels, k], whose groups follow from H [groups, k, k]."""
    groups, width = gram.shape[0], gram.shape[2]
    shaped = rows.reshape(groups, -1, width)
    frozen = (shaped == 0) & keep_zeros
    made, fitted = round_adaptively(shaped, scales.reshape(groups, -1), gram, levels, frozen, refit_scales)
    return made.reshape(rows.shape), fitted.ravel()


def _rounded(weights: F32, scales: F32, levels: Levels, frozen: NDArray[np.bool_]) -> F32:
    nearest: F32 = np.where(frozen, np.float32(0), levels.nearest(weights / scales[..., None]))
    return nearest


def _damped(gram: F32) -> F32:
    """H at a mean diagonal of 1, as only its shape matters (inputs may be so small that squares underflow), damped.

    Where a variance was left over of two large numbers, H may have lost its positive eigenvalues: damped further.
    """
    mean = np.einsum("gkk->gk", gram).mean(1)[:, None, None]
    scaled = np.divide(gram, mean, out=np.zeros_like(gram), where=mean > 0).astype(np.float64)
    identity = np.eye(gram.shape[1])
    scaled += np.where(mean > 0, DAMPING, 1) * identity  # inputs that were never seen: nearest level
    while True:
        try:
            np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            scaled += 10 * DAMPING * identity
            continue
        damped: F32 = scaled.astype(np.float32)
        return damped


def _inverse_root(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper triangular U with U^T U = H^-1, [groups, k, k].

    H = R R^T with R upper triangular is Cholesky's factorisation with rows and columns in reverse, and U = R^-1.
    """
    lower = np.linalg.cholesky(h[:, ::-1, ::-1])
    if h.shape[1] <= SMALL:
        return np.asarray(np.linalg.inv(lower[:, ::-1, ::-1]), np.float64)
    # A triangular inverse is less work than a general one: 0.42 s, not 2.6 s, for the 3,136 inputs of a 7x7 filter.
    roots = [lapack.dtrtri(one, lower=1)[0][::-1, ::-1] for one in lower]
    return np.ascontiguousarray(np.stack(roots), np.float64)
