"""Optimal assignment: which detection belongs to which track, so that the sum of costs is least.

The shortest augmenting path method of Jonker and Volgenant (1987), in the form Crouse (2016, "On implementing 2D
rectangular assignment algorithms") gives for rectangular matrices. Plain Python over rows of numbers: 20 x 20 takes
well under a millisecond, and a compiled version would cost seconds at a cold start.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def assign(cost: NDArray[np.float64], cost_max: float) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, with the least total cost.

    Args:
        cost: float64 [n, m], finite.
        cost_max: a pair may not cost more than this. Leaving a row unmatched costs `cost_max`, so of two solutions
            the one with one more admissible pair is never the dearer one.

    Returns:
        Pairs in order of row.

    Raises:
        ValueError: a cost is not finite.
    """
    if not np.isfinite(cost).all():
        raise ValueError("costs must be finite")
    rows, columns = cost.shape
    # One private way out per row, at cost_max, makes the problem square enough to be always solvable.
    table = np.full((rows, columns + rows), cost_max * 2 + 1.0)
    table[:, :columns] = np.where(cost <= cost_max, cost, cost_max * 2 + 1.0)
    table[np.arange(rows), columns + np.arange(rows)] = cost_max
    matched = _shortest_paths(table.tolist(), rows, columns + rows)
    return [(i, j) for i, j in enumerate(matched) if j < columns]


def _shortest_paths(table: list[list[float]], rows: int, columns: int) -> list[int]:
    """The column of each row in a least-cost assignment; `columns` is at least `rows`."""
    u, v = [0.0] * rows, [0.0] * columns
    row_of, column_of = [-1] * columns, [-1] * rows
    for start in range(rows):
        shortest, parent = [math.inf] * columns, [-1] * columns
        in_tree = [False] * columns
        reached: list[int] = []
        i, distance, sink = start, 0.0, -1
        while sink < 0:
            best, best_j = math.inf, -1
            row, ui = table[i], u[i]
            for j in range(columns):
                if in_tree[j]:
                    continue
                length = distance + row[j] - ui - v[j]
                if length < shortest[j]:
                    shortest[j], parent[j] = length, i
                # Among equals a free column is taken first: it ends the path.
                if shortest[j] < best or (shortest[j] == best and row_of[j] < 0 <= row_of[best_j]):
                    best, best_j = shortest[j], j
            distance, in_tree[best_j] = best, True
            reached.append(best_j)
            if row_of[best_j] < 0:
                sink = best_j
            else:
                i = row_of[best_j]
        u[start] += distance
        for j in reached:
            if j != sink:
                u[row_of[j]] += distance - shortest[j]
                v[j] -= distance - shortest[j]
        j = sink
        while True:
            i = parent[j]
            row_of[j] = i
            column_of[i], j = j, column_of[i]
            if i == start:
                break
    return column_of
