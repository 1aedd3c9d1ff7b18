"""Entropy-constrained scalar quantisation: centres that are near the weights and cheap to code.

Least error + weight * bits, with -log2 of a centre's share of all weights as its bits (Chou, Lookabaugh and Gray
1989; for networks, with the importance of each weight, Choi et al. 2017, "Towards the limit of network quantization",
section 5). Iterated like Lloyd: assign, move the centres, count the shares anew; centres nobody takes are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from build_tools.passes.quantizing.clustering import Floats, Line, make_line

F64 = NDArray[np.float64]
CLASSES = 16
"""Weights of about the same importance are taken together: within a class the borders between centres are points."""
RANGE = 1e-4
"""Importance below this share of the greatest is one class."""
MAX_ROUNDS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Centres with what they cost.

    Attributes:
        centres: float64 [k], rising.
        bits: float64 [k], of each.
        importance: float64 [classes], mean importance of each class, all of mean 1.
        class_edges: float64 [classes - 1], importance from which the next class begins.
        price: squared error that a bit is worth.
    """

    centres: F64
    bits: F64
    importance: F64
    class_edges: F64
    price: float


def constrain(values: Floats, importance: Floats | None, centres: F64, weight: float) -> Coded:
    """Centres of least error plus `weight` times bits.

    Args:
        values: any shape. Where some are zero, zero is a centre too, and other weights may join it.
        importance: of each value, broadcast to the shape of `values`; None: all alike.
        centres: float64 [k] to start from.
        weight: share of the weights' variance that a bit is worth; at high rates the best step has a squared error
            of weight / 1.39.
    """
    zeros = int(values.size - np.count_nonzero(values))
    lines, mean, edges = _classes(values, importance)
    total = sum(line.zero[-1] for line in lines)
    spread = sum(line.two[-1] for line in lines) / total - (sum(line.one[-1] for line in lines) / total) ** 2
    price = weight * max(spread, 1e-300)
    centres = np.unique(np.append(centres, 0.0) if zeros else centres)
    counts = np.full(len(centres), values.size / len(centres))
    cost = np.inf
    for _ in range(MAX_ROUNDS):
        bits = -np.log2(counts / counts.sum())
        m0, m1 = np.zeros((2, len(centres))), np.zeros(len(centres))
        error = 0.0
        for line, scale in zip(lines, mean, strict=True):
            alive, borders = lower_envelope(centres, price * bits / scale)
            cut = np.concatenate([[0], np.searchsorted(line.x, borders, side="right"), [len(line.x)]])
            m0[0, alive] += np.diff(line.zero[cut])
            m0[1, alive] += scale * np.diff(line.zero[cut])
            m1[alive] += scale * np.diff(line.one[cut])
            error += scale * float(line.errors(cut, centres[alive]).sum())
        counts = m0[0] + zeros * (centres == 0)
        new_cost = error + price * float((bits * counts).sum())
        moved = np.divide(m1, m0[1], out=centres.copy(), where=m0[1] > 0)
        centres = np.where((centres == 0) & (zeros > 0), 0.0, moved)
        centres, counts = centres[counts > 0], counts[counts > 0]
        if new_cost > cost * (1 - 1e-7):
            break
        cost = new_cost
    stored, place = np.unique(centres.astype(np.float32), return_inverse=True)  # float32 cannot tell all apart
    centres, counts = stored.astype(np.float64), np.bincount(place, counts)
    return Coded(centres, -np.log2(counts / counts.sum()), mean, edges, price)


def assign(values: Floats, importance: Floats | None, coded: Coded, table: Floats) -> NDArray[np.float32]:
    """Each value's centre of least error plus bits, out of `table` (the centres as stored); zeros stay zero."""
    out = np.zeros(values.shape, np.float32)
    classes = None
    if importance is not None:
        scaled = np.broadcast_to(importance / max(float(np.mean(importance)), 1e-300), values.shape)
        classes = np.searchsorted(coded.class_edges, scaled, side="right")
    stored = np.asarray(table, np.float32)
    for index, scale in enumerate(coded.importance):
        alive, borders = lower_envelope(stored.astype(np.float64), coded.price * coded.bits / scale)
        here = slice(None) if classes is None else classes == index
        out[here] = stored[alive][np.searchsorted(borders, values[here])]
    out[values == 0] = 0
    return out


def lower_envelope(centres: F64, offsets: F64) -> tuple[NDArray[np.int64], F64]:
    """Which parabolas (x - centre)^2 + offset are lowest somewhere, and where each gives way to the next.

    Args:
        centres: float64 [k], rising, all different.
        offsets: float64 [k].

    Returns:
        int64 [a], indices of those that are, and float64 [a - 1], the borders between them.
    """
    alive: list[int] = []
    borders: list[float] = []
    for i in range(len(centres)):
        while alive:
            j = alive[-1]
            border = (centres[i] + centres[j]) / 2 + (offsets[i] - offsets[j]) / (2 * (centres[i] - centres[j]))
            if borders and border <= borders[-1]:
                alive.pop()
                borders.pop()
                continue
            borders.append(float(border))
            break
        alive.append(i)
    return np.array(alive, np.int64), np.array(borders)


def _classes(values: Floats, importance: Floats | None) -> tuple[Sequence[Line], F64, F64]:
    """Lines of weights of about the same importance, the mean importance of each, and where the classes part."""
    if importance is None:
        return [make_line(values)], np.ones(1), np.zeros(0)
    scaled = np.broadcast_to(importance / max(float(np.mean(importance)), 1e-300), values.shape)
    most = float(scaled.max())
    edges = np.geomspace(max(float(scaled.min()), RANGE * most, 1e-30), max(most, 2e-30), CLASSES + 1)[1:-1]
    place = np.searchsorted(edges, scaled, side="right")
    lines, mean = [], []
    for index in range(len(edges) + 1):
        here = (place == index) & (values != 0)
        lines.append(make_line(values[here]) if here.any() else Line.of(np.zeros(1), np.full(1, 1e-300)))
        mean.append(max(float(scaled[here].mean()), 1e-6) if here.any() else 1.0)
    return lines, np.array(mean), edges
