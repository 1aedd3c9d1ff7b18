"""k-means on a line: Lloyd's iteration over sorted points with running sums, so that a step costs k look-ups.

Weights are one-dimensional, so a cluster is an interval and its sum the difference of two running sums. A hundred
million weights are first gathered into 65,536 bins, each of which keeps its weights' exact mean and mass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Floats = NDArray[np.floating]
Start = Literal["linear", "density", "random"]
EXACT_POINTS = 1 << 20
"""Up to so many weights each distinct value is a point of its own; beyond, points are bins."""
BINS = 1 << 16
CHUNK = 1 << 22
MAX_ROUNDS = 300


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Weighted points on a line.

    Attributes:
        x: float64 [m], rising.
        mass: float64 [m], above zero: the importance of all weights at this point.
        zero, one, two: float64 [m + 1], running sums of mass, mass * x and mass * x^2.
    """

    x: F64
    mass: F64
    zero: F64
    one: F64
    two: F64

    @classmethod
    def of(cls, x: F64, mass: F64) -> Line:
        """From points that may lack order."""
        order = np.argsort(x, kind="stable")
        x, mass = x[order], mass[order]
        sums = [np.concatenate([[0.0], np.cumsum(mass * x**power)]) for power in (0, 1, 2)]
        return cls(x, mass, *sums)

    def errors(self, edges: NDArray[np.int64], centres: F64) -> F64:
        """Squared error of each cluster: points `edges[i]` to `edges[i + 1]` at `centres[i]`."""
        m0, m1, m2 = (np.diff(sums[edges]) for sums in (self.zero, self.one, self.two))
        error: F64 = np.maximum(m2 - 2 * centres * m1 + centres**2 * m0, 0)
        return error


def make_line(values: Floats, importance: Floats | None = None, exact: int = EXACT_POINTS, chunk: int = CHUNK) -> Line:
    """The points of a weight; zeros are left out.

    Args:
        values: any shape; not all zero.
        importance: of each value, broadcast to the shape of `values`; None: all alike.
        exact: up to so many values each distinct one is a point; more are gathered into bins.
        chunk: values that are gathered at a time.
    """
    if values.size <= exact:
        flat = values.ravel()
        kept = flat != 0
        x, place = np.unique(flat[kept], return_inverse=True)
        mass = None if importance is None else np.broadcast_to(importance, values.shape).ravel()[kept]
        return _line(x.astype(np.float64), np.bincount(place, mass, len(x)).astype(np.float64))
    low, high = float(values.min()), float(values.max())
    scale = (BINS - 1) / max(high - low, 1e-300)
    mass, moment = np.zeros(BINS), np.zeros(BINS)
    for piece, cost in _chunks(values, importance, chunk):
        kept = piece != 0
        inside = piece[kept]
        bins = ((inside - low) * scale).astype(np.int64)
        weight = None if cost is None else cost[kept]
        mass += np.bincount(bins, weight, BINS)
        moment += np.bincount(bins, inside if weight is None else inside * weight, BINS)
    full = mass > 0
    return _line(moment[full] / mass[full], mass[full])


def start_centres(line: Line, k: int, how: Start, rng: np.random.Generator) -> F64:
    """k centres: evenly from the least to the largest weight, by share of weights, or drawn (Han et al. 2016, 3.2)."""
    if how == "linear":
        return np.linspace(line.x[0], line.x[-1], k)
    if how == "density":
        wanted = (np.arange(k) + 0.5) / k * line.zero[-1]
        centres: F64 = line.x[np.searchsorted(line.zero[1:], wanted).clip(max=len(line.x) - 1)]
        return centres
    drawn: F64 = np.sort(rng.choice(line.x, k, replace=False, p=line.mass / line.mass.sum()))
    return drawn


def lloyd(line: Line, centres: F64) -> F64:
    """Centres to which Lloyd's iteration converges, rising.

    A centre that no point is near stays where it is (as in scipy's `kmeans`).
    """
    centres = np.sort(centres)
    edges = np.zeros(len(centres) + 1, np.int64)
    for _ in range(MAX_ROUNDS):
        new = split(line, centres)
        if np.array_equal(new, edges):
            break
        edges = new
        m0, m1 = np.diff(line.zero[edges]), np.diff(line.one[edges])
        centres = np.sort(np.divide(m1, m0, out=centres.copy(), where=m0 > 0))
    return centres


def split(line: Line, centres: F64) -> NDArray[np.int64]:
    """Where the points of each centre begin and end: int64 [k + 1]."""
    inner = np.searchsorted(line.x, (centres[1:] + centres[:-1]) / 2, side="right")
    return np.concatenate([[0], inner, [len(line.x)]]).astype(np.int64)


def cluster(line: Line, k: int, how: Start, rng: np.random.Generator) -> F64:
    """At most k centres by Lloyd's iteration; centres nobody is near are moved into the worst clusters."""
    if len(line.x) <= k:
        return line.x.copy()
    centres = _alive(line, lloyd(line, start_centres(line, k, how, rng)))
    while len(centres) < k:
        edges = split(line, centres)
        errors = np.where(np.diff(edges) > 1, line.errors(edges, centres), 0.0)
        worst = np.argsort(-errors)[: k - len(centres)]
        worst = worst[errors[worst] > 0]
        # A cluster's two halves: the means on either side of its centre.
        cuts = np.searchsorted(line.x, centres[worst], side="right")
        halves = [
            np.diff(line.one[[a, b, c]]) / np.diff(line.zero[[a, b, c]])
            for a, b, c in zip(edges[worst], cuts, edges[worst + 1], strict=True)
            if a < b < c
        ]
        if not halves:
            break
        more = _alive(line, lloyd(line, np.concatenate([np.delete(centres, worst), *halves])))
        if len(more) <= len(centres):
            break
        centres = more
    return centres


def _alive(line: Line, centres: F64) -> F64:
    """The centres that some point is nearest to."""
    return centres[np.diff(split(line, centres)) > 0]


def snap(values: Floats, centres: Floats) -> NDArray[np.float32]:
    """Each value's nearest centre, float32; zeros stay zero."""
    table = np.asarray(centres, np.float32)
    bounds = ((table[1:].astype(np.float64) + table[:-1]) / 2).astype(np.float32)
    out = np.zeros(values.size, np.float32)
    flat = values.reshape(-1)
    for start in range(0, values.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        alive = np.flatnonzero(chunk)
        out[start + alive] = table[np.searchsorted(bounds, chunk[alive])]
    return out.reshape(values.shape)


def _line(x: F64, mass: F64) -> Line:
    seen = mass > 0  # an input that is always zero gives its weights no importance
    return Line.of(x[seen], mass[seen]) if seen.any() else Line.of(x, np.ones(len(x)))


def _chunks(values: Floats, importance: Floats | None, chunk: int) -> Iterator[tuple[F64, F64 | None]]:
    """Flat pieces of the values with their importance; whole rows where there is one."""
    if importance is None:
        flat = values.reshape(-1)
        for start in range(0, values.size, chunk):
            yield flat[start : start + chunk].astype(np.float64), None
        return
    costs = np.broadcast_to(importance, values.shape)
    rows = max(1, chunk // int(np.prod(values.shape[1:], initial=1)))
    for start in range(0, len(values), rows):
        piece = slice(start, start + rows)
        yield values[piece].astype(np.float64).ravel(), costs[piece].astype(np.float64).ravel()
