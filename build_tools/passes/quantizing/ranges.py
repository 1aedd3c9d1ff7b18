"""How far the levels of a weight reach: the scale of each channel by min-max, percentile, entropy or least error."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from build_tools.model import F32

Method = Literal["mse", "minmax", "percentile", "entropy"]
F64 = NDArray[np.float64]
HALF_SCALE_ERROR = 1 / 256
"""Above this relative error (float16's subnormals) the scales of a tensor stay float32."""
LEAST_SCALE = np.float32(1e-30)
"""A scale must have a reciprocal; weights far below this (denormal ones) become zero."""
MSE_RATIOS = np.linspace(1.0, 0.2, 65)
"""Clipping ranges tried, as shares of the largest weight; the first is min-max."""
SAMPLE = 4096
"""Weights of a channel on which the clipping ranges are compared before the best few are tried on all."""
HISTOGRAM_BINS = 2048
WEIGHTS_A_BIN = 8


def find_scales(
    rows: F32, bits: int, method: Method = "mse", percentile: float = 99.9, importance: F32 | None = None
) -> F32:
    """A scale for each row, so that `clip(round(row / scale))` lies on the levels of `bits` bits.

    Args:
        rows: float32 [channels, n].
        bits: 2 and more; levels are those of two's complement, zero is level 0.
        method: `minmax`: the largest weight is a level | `percentile`: so many per cent of each row are inside |
            `entropy`: least Kullback-Leibler divergence | `mse`: least squared error.
        percentile: for `percentile`.
        importance: mse: float32 [channels, n] or [1, n], what a squared error at this place costs.

    Returns:
        float32 [channels], exact in float16 where that serves; 1 for rows of zeros.
    """
    top = 2 ** (bits - 1) - 1
    largest = np.abs(rows).max(1)
    if method == "percentile":
        reach = np.percentile(np.abs(rows), percentile, axis=1).astype(np.float32)
        reach = np.where(reach > 0, reach, largest)  # a sparse row, of which so many per cent are zeros
    elif method == "entropy":
        reach = largest * np.float32(entropy_ratio(rows, largest, top + 1))
    else:
        reach = largest
    reach = np.maximum(reach, top * LEAST_SCALE)
    scales = short(np.where(largest > 0, reach / np.float32(top), 1).astype(np.float32))
    return least_error_scales(rows, scales, bits, importance) if method == "mse" else scales


def short(scales: F32) -> F32:
    """The scales rounded to float16, so that each costs two bytes; as they are where float16 cannot hold them."""
    halves, exact = _halves(scales)
    return halves if exact else scales


def _halves(scales: F32) -> tuple[F32, bool]:
    with np.errstate(over="ignore"):
        halves = scales.astype(np.float16).astype(np.float32)
    return halves, bool((np.abs(halves - scales) <= HALF_SCALE_ERROR * scales).all())


def to_levels(rows: F32, scales: F32, bits: int) -> NDArray[np.int32]:
    """The nearest level of each weight, int32 [channels, n]."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    levels: NDArray[np.int32] = np.clip(np.rint(rows / scales[:, None]), low, high).astype(np.int32)
    return levels


def from_levels(levels: NDArray[np.int32], scales: F32) -> F32:
    """The weights as the runtime decodes them: float32(level) * float32(scale), multiplied in float32."""
    values: F32 = levels.astype(np.float32) * scales[:, None]
    return values


def least_error_scales(rows: F32, widest: F32, bits: int, importance: F32 | None = None) -> F32:
    """Of scales from `widest` downwards, for each row the one of least (weighted) squared error; never a worse one."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    tried = widest[:, None] * MSE_RATIOS.astype(np.float32)
    halves, exact = _halves(tried)
    tried = halves if exact else tried
    cost = np.ones((1, rows.shape[1]), np.float32) if importance is None else np.ascontiguousarray(importance)
    step = -(-rows.shape[1] // SAMPLE)
    errors = _kernels()["errors"]
    if step > 1:
        few, few_cost = np.ascontiguousarray(rows[:, ::step]), np.ascontiguousarray(cost[:, ::step])
        best = np.argsort(errors(few, tried, few_cost, low, high), 1)[:, :3]
        tried = np.concatenate([tried[:, :1], np.take_along_axis(tried, best, 1)], 1)
    found = np.argmin(errors(rows, tried, cost, low, high), 1)
    scales: F32 = tried[np.arange(len(rows)), found]
    return scales


def squared_errors_reference(rows: F32, scales: F32, bits: int, importance: F32) -> F64:
    """Of each row the weighted squared error at its scale, plainly."""
    apart = from_levels(to_levels(rows, scales, bits), scales).astype(np.float64) - rows
    total: F64 = (apart**2 * importance).sum(1)
    return total


def entropy_ratio(rows: F32, largest: F32, levels: int) -> float:
    """The share of each row's largest weight at which clipping loses the least information.

    The histogram is of all rows, each divided by its largest weight: a single channel has too few weights for one.
    It has no more bins than weights fill: among empty bins, clipping nearly everything into one seems to lose nothing.
    """
    scaled = np.abs(rows) / np.where(largest > 0, largest, np.float32(1))[:, None]
    inside = scaled[scaled > 0]  # pruned weights are exact at any scale and would drown the others
    bins = min(HISTOGRAM_BINS, inside.size // WEIGHTS_A_BIN)
    if bins <= levels:
        return 1.0
    return entropy_bins(np.histogram(inside, bins, (0, 1))[0].astype(np.float64), levels) / bins


def entropy_bins(counts: F64, levels: int) -> int:
    """How many bins of a histogram of magnitudes to keep so that `levels` levels tell it best.

    Least Kullback-Leibler divergence between the histogram, clipped into the last kept bin, and its quantised form
    spread over the bins that are not empty (Migacz, "8-bit inference with TensorRT", GTC 2017).
    """
    return int(_kernels()["entropy_bins"](np.ascontiguousarray(counts, np.float64), levels))


def entropy_bins_reference(counts: F64, levels: int) -> int:
    """`entropy_bins`, plainly."""
    best, kept = np.inf, len(counts)
    for bins in range(min(levels, len(counts)), len(counts) + 1):
        clipped = counts[:bins].copy()
        clipped[-1] += counts[bins:].sum()
        spread = np.zeros(bins)
        edges = [level * bins // levels for level in range(levels + 1)]
        for start, stop in pairwise(edges):
            alive = counts[start:stop] > 0
            if alive.any():
                spread[start:stop][alive] = counts[start:stop].sum() / alive.sum()
        if clipped.sum() == 0 or spread.sum() == 0:
            continue
        p, q = clipped / clipped.sum(), spread / spread.sum()
        if ((p > 0) & (q == 0)).any():
            continue
        divergence = float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
        if divergence < best - 1e-12:
            best, kept = divergence, bins
    return kept


@cache
def _kernels() -> dict[str, Any]:
    """The compiled kernels; compiled on first use and kept on disk, so importing this file costs nothing."""
    from numba import njit

    @njit(cache=True, nogil=True, fastmath=True)
    def errors(rows, scales, cost, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        channels, width = rows.shape
        out = np.empty((channels, scales.shape[1]))
        one_cost = cost.shape[0] == 1
        low32, high32 = np.float32(low), np.float32(high)
        for c in range(channels):
            row, mine = rows[c], cost[0 if one_cost else c]
            for k in range(scales.shape[1]):
                scale = scales[c, k]
                inverse = np.float32(1) / scale
                total = 0.0
                for i in range(width):
                    level = min(max(np.rint(row[i] * inverse), low32), high32)
                    apart = level * scale - row[i]
                    total += apart * apart * mine[i]
                out[c, k] = total
        return out

    @njit(cache=True, nogil=True)
    def entropy_bins(counts, levels):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        size = len(counts)
        total = counts.sum()
        sums, alive = np.zeros(size + 1), np.zeros(size + 1)
        for i in range(size):
            sums[i + 1] = sums[i] + counts[i]
            alive[i + 1] = alive[i] + (counts[i] > 0)
        best, kept = np.inf, size
        if total == 0:
            return kept
        for bins in range(min(levels, size), size + 1):
            inside = sums[bins]
            if inside == 0:
                continue
            outliers = total - inside
            # A bin that holds only outliers would have no quantised counterpart: infinite divergence.
            if outliers > 0 and counts[bins - 1] == 0:
                continue
            divergence = 0.0
            for level in range(levels):
                start, stop = level * bins // levels, (level + 1) * bins // levels
                there = alive[stop] - alive[start]
                if there == 0:
                    continue
                q = (sums[stop] - sums[start]) / there / inside
                for i in range(start, stop):
                    p = counts[i] + (outliers if i == bins - 1 else 0.0)
                    if p > 0:
                        divergence += p / total * np.log(p / total / q)
            if divergence < best - 1e-12:
                best, kept = divergence, bins
        return kept

    return {"errors": errors, "entropy_bins": entropy_bins}
