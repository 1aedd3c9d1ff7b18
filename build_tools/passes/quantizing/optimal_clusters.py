"""The k-means optimum on a line, exactly, by dynamic programming.

Best k clusters of the first j points: least over i of best k - 1 clusters of the first i points, plus one cluster of
the points from i on. The best i never falls as j grows, so each row of the table takes m log m steps by divide and
conquer (Wang and Song 2011, "Ckmeans.1d.dp"; Grønlund et al. 2017, "Fast exact k-means in 1D").
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_tools.passes.quantizing.clustering import Line

F64 = NDArray[np.float64]


def optimal_centres(line: Line, k: int) -> F64:
    """The centres of the k clusters of least squared error: float64 [min(k, m)], rising."""
    if len(line.x) <= k:
        return line.x.copy()
    middle = line.one[-1] / line.zero[-1]
    moved = Line.of(line.x - middle, line.mass)  # far from zero, the running sums would lose the small differences
    edges = _kernels()["edges"](moved.zero, moved.one, moved.two, k)
    centres: F64 = np.diff(moved.one[edges]) / np.diff(moved.zero[edges]) + middle
    return centres


def optimal_error_reference(line: Line, k: int) -> float:
    """The least squared error of k clusters, by trying all ways to cut."""
    best = np.inf
    size = len(line.x)
    for cuts in combinations(range(1, size), min(k, size) - 1):
        edges = np.array([0, *cuts, size])
        centres = np.diff(line.one[edges]) / np.diff(line.zero[edges])
        best = min(best, float(line.errors(edges, centres).sum()))
    return best


@cache
def _kernels() -> dict[str, Any]:
    """The compiled kernels; compiled on first use and kept on disk, so importing this file costs nothing."""
    from numba import njit

    @njit(cache=True, nogil=True)
    def edges(zero, one, two, k):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
        size = len(zero) - 1
        before, now = np.empty(size + 1), np.empty(size + 1)
        cuts = np.zeros((k, size + 1), np.int32)
        before[0] = 0.0
        for j in range(1, size + 1):
            before[j] = max(two[j] - one[j] * one[j] / zero[j], 0.0)
        stack = np.empty((128, 4), np.int64)
        for row in range(1, k):
            now[:] = 0.0
            # Points j of this row from row + 1 on; with fewer points each is its own cluster.
            top = 0
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = row + 1, size, row, size - 1
            for j in range(row + 1):
                cuts[row, j] = max(j - 1, 0)
            while top >= 0:
                first, last, low, high = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
                top -= 1
                if first > last:
                    continue
                j = (first + last) // 2
                best, place = np.inf, low
                for i in range(low, min(high, j - 1) + 1):
                    m0, m1 = zero[j] - zero[i], one[j] - one[i]
                    cost = before[i] + max(two[j] - two[i] - m1 * m1 / m0, 0.0)
                    if cost < best:
                        best, place = cost, i
                now[j], cuts[row, j] = best, place
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = first, j - 1, low, place
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = j + 1, last, place, high
            before, now = now, before
        out = np.zeros(k + 1, np.int64)
        out[k] = size
        for row in range(k - 1, 0, -1):
            out[row] = cuts[row, out[row + 1]]
        return out

    return {"edges": edges}
