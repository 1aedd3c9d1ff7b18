"""How many ranks a matrix needs: by the energy that is kept, or by what variational Bayes tells from noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

F64 = NDArray[np.float64]


def tails(spectrum: F64) -> F64:
    """The share of energy that is lost when only the first r singular values are kept, for r = 0 .. n.

    Args:
        spectrum: float64 [n] singular values, falling.

    Returns:
        float64 [n + 1], from 1 to 0 (all 0 for a zero matrix).
    """
    energy = np.concatenate([np.cumsum(np.square(spectrum)[::-1])[::-1], [0.0]])
    return energy / energy[0] if energy[0] > 0 else energy


def energy_rank(spectrum: F64, energy: float) -> int:
    """The smallest rank that keeps this share of the squared singular values.

    Args:
        spectrum: float64 [n] singular values, falling.
        energy: 0 .. 1.
    """
    # 1e-12: what is rounded away must not ask for another rank at energy = 1
    return int(np.argmax(tails(spectrum) <= 1.0 - energy + 1e-12))


def aligned(rank: int, align: int, full: int) -> int:
    """The rank rounded up to a multiple, at least one multiple, at most `full`.

    ONNX Runtime computes channels in blocks of 8 or 16: a rank of 9 costs what 16 cost.
    """
    return min(max(math.ceil(rank / align), 1) * align, full)


def bayes_rank(spectrum: F64, rows: int, columns: int) -> int:
    """The rank of a matrix seen through noise whose strength is not known: empirical variational Bayes.

    The analytic global solution of fully observed matrix factorisation with automatic relevance determination:
    Nakajima, Sugiyama, Babacan and Tomioka 2013 (JMLR 14), theorems 2 (threshold) and 3 (noise).

    Args:
        spectrum: float64 [min(rows, columns)] singular values, falling.
        rows: of the matrix.
        columns: of it.

    Returns:
        0 when all of it may be noise.
    """
    if not len(spectrum) or spectrum[0] <= 0:
        return 0
    short, long = min(rows, columns), max(rows, columns)
    noise = bayes_noise(spectrum, rows, columns)
    threshold = math.sqrt(long * noise * noise_edge(short / long))
    return int(np.count_nonzero(spectrum >= threshold))


def bayes_noise(spectrum: F64, rows: int, columns: int) -> float:
    """The noise variance at which the variational free energy is smallest; see `bayes_rank`."""
    short, long = min(rows, columns), max(rows, columns)
    alpha = short / long
    square = np.square(spectrum) / long
    edge = noise_edge(alpha)
    # The minimum lies between these (theorem 3): all is noise, or as much is signal as can be told apart.
    top = float(square.sum() / short)
    most = min(math.ceil(short / (1 + alpha)) - 1, len(square) - 1)
    low = max(float(square[most]) / edge, float(square[most:].mean()), top * 1e-12)
    if low >= top:
        return top

    def free_energy(log_noise: float) -> float:
        x = square * math.exp(-log_noise)
        with np.errstate(divide="ignore"):
            total = float(np.sum(x - np.log(np.maximum(x, 1e-300))))
        signal = x[x > edge]
        # the larger root of tau^2 - (x - 1 - alpha) tau + alpha = 0, equation (17) there
        half = signal - (1 + alpha)
        tau = (half + np.sqrt(np.maximum(half * half - 4 * alpha, 0.0))) / 2
        return total + float(np.sum(np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau))

    # Several minima may lie between two squared singular values: look between all candidates, then refine the best.
    marks = np.log(np.clip(np.concatenate([square / edge, np.geomspace(low, top, 64)]), low, top))
    grid = np.unique(marks)
    values = [free_energy(m) for m in grid]
    best = int(np.argmin(values))
    span = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(free_energy, bounds=span, method="bounded", options={"xatol": 1e-10})
    at = float(found.x) if found.fun <= values[best] else float(grid[best])
    return math.exp(at)


def noise_edge(alpha: float) -> float:
    """The smallest squared singular value over (noise times longer side) that is told from noise.

    (1 + tau)(1 + alpha / tau), where tau is the zero of Phi(tau) + Phi(tau / alpha), Phi(z) = log(z + 1) / z - 1/2.
    """

    def phi(z: float) -> float:
        return math.log1p(z) / z - 0.5

    tau = float(brentq(lambda t: phi(t) + phi(t / alpha), 1e-9 * alpha, 10.0))
    return (1 + tau) * (1 + alpha / tau)
