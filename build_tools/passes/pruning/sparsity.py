"""Unstructured pruning: which single weights of a layer become zero, and how the zeros are shared among layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from build_tools.graph import Layer
from build_tools.model import F32, Grid

BITS = 16
"""Magnitudes are counted in bins of equal leading bits of their float32 form, whose order is that of the numbers."""
PIECE = 1 << 22


def zero_smallest(weight: F32, share: float, importance: F32 | None = None) -> F32:
    """A copy with the least important share of the weights at zero, exactly `round(share * size)` of them or more.

    Args:
        weight: any shape.
        share: 0..1; zeros that are there already count.
        importance: same shape, in place of the magnitudes; overwritten.
    """
    count = round(share * weight.size)
    pruned = weight.copy()
    if count <= 0:
        return pruned
    ranked = np.abs(weight).ravel() if importance is None else importance.ravel()
    if count >= weight.size:
        pruned[...] = 0
        return pruned
    threshold = np.partition(ranked, count - 1)[count - 1]
    flat = pruned.reshape(-1)
    flat[ranked < threshold] = 0
    # Of equals (weights on few levels) only as many go as are needed, the first ones: deterministic.
    equal = np.flatnonzero(ranked == threshold)
    below = int((ranked < threshold).sum())
    flat[equal[: count - below]] = 0
    return pruned


def sparsity(weight: NDArray[np.generic]) -> float:
    """Share of zeros."""
    return 1 - np.count_nonzero(weight) / max(weight.size, 1)


def grid_with_zero(grid: Grid | None) -> Grid | None:
    """The grid, if zero is one of its levels; else None."""
    if grid is None or grid.kind == "half" or (grid.kind == "uniform" and grid.bits > 1):
        return grid
    return grid if grid.kind == "codebook" and bool((grid.table == 0).any()) else None


def erdos_renyi(layers: Iterable[Layer], target: float) -> dict[str, float]:
    """Shares of zeros by weight name: the more weights a layer has for each of its ends, the more it loses.

    ERK (Evci et al. 2020, "Rigging the Lottery", section 3): a layer's density is proportional to the sum of its
    weight's sides over their product; layers that would be denser than 1 stay whole and the others make up for them.
    """
    shapes = {layer.weight: layer.shape for layer in layers}
    sizes = {name: float(np.prod(shape)) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in whole]
        budget = (1 - target) * sum(sizes.values()) - sum(sizes[n] for n in whole)
        scale = budget / max(sum(raw[n] * sizes[n] for n in rest), 1e-30)
        over = {n for n in rest if raw[n] * scale > 1}
        if not over or not rest:
            return {n: 0.0 if n in whole else 1 - max(raw[n] * scale, 0.0) for n in shapes}
        whole |= over


def global_threshold(weights: Callable[[], Iterable[F32]], target: float) -> float:
    """The magnitude at or below which lie at least the target share of all weights, by counting: no copy, no sort.

    Args:
        weights: gives the weights anew at each call (it is called twice).
        target: share of zeros overall.
    """
    counts = np.zeros(1 << BITS, np.int64)
    for weight in weights():
        for part in _parts(weight):
            counts += np.bincount(_leading(part), minlength=1 << BITS)
    wanted = round(target * int(counts.sum()))
    if wanted <= 0:
        return -1.0
    cumulated = np.cumsum(counts)
    bin_index = int(np.searchsorted(cumulated, wanted))
    before = int(cumulated[bin_index - 1]) if bin_index else 0
    inside = [np.abs(part[_leading(part) == bin_index]) for w in weights() for part in _parts(w)]
    return float(np.partition(np.concatenate(inside), wanted - before - 1)[wanted - before - 1])


def equal_slopes(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], sizes: Mapping[str, float], target: float
) -> dict[str, float]:
    """Shares by name that reach the target with the least summed error: the errors' slopes a weight are made equal.

    Args:
        curves: measured shares (rising, from above 0) and the error at each.
        sizes: weights (or channels) by name.
        target: share of all that goes.
    """
    shares = np.linspace(0, 0.99, 100)
    errors = {}
    for name, (levels, measured) in curves.items():
        rising = np.maximum.accumulate(np.concatenate([[0.0], measured]))
        last = (rising[-1] - rising[-2]) / max(levels[-1] - (levels[-2] if len(levels) > 1 else 0), 1e-9)
        inner = np.interp(shares, np.concatenate([[0.0], levels]), rising)
        errors[name] = inner + np.maximum(shares - levels[-1], 0) * max(last, 1e-6) * 2
    total = sum(sizes.values())

    def chosen(slope: float) -> dict[str, float]:
        return {n: float(shares[np.argmin(errors[n] - slope * sizes[n] / total * shares)]) for n in curves}

    low, high = 0.0, 1e-6
    while sum(sizes[n] * s for n, s in chosen(high).items()) < target * total and high < 1e12:
        high *= 4
    for _ in range(60):
        middle = (low + high) / 2
        enough = sum(sizes[n] * s for n, s in chosen(middle).items()) >= target * total
        low, high = (low, middle) if enough else (middle, high)
    return _exactly(chosen(low), chosen(high), sizes, target * total)


def _exactly(
    under: dict[str, float], over: dict[str, float], sizes: Mapping[str, float], wanted: float
) -> dict[str, float]:
    """Between two neighbouring choices, the mixture that meets the target."""
    less, more = (sum(sizes[n] * s for n, s in choice.items()) for choice in (under, over))
    part = 1.0 if more <= less else min(max((wanted - less) / (more - less), 0.0), 1.0)
    return {n: under[n] + part * (over[n] - under[n]) for n in under}


def _parts(weight: F32) -> Iterator[F32]:
    """A large weight in pieces, so that no second array of its size is made."""
    flat = np.asarray(weight, np.float32).reshape(-1)
    return (flat[start : start + PIECE] for start in range(0, flat.size, PIECE))


def _leading(part: F32) -> NDArray[np.int64]:
    bits = np.ascontiguousarray(part).view(np.uint32) & np.uint32(0x7FFFFFFF)
    return (bits >> np.uint32(32 - BITS)).astype(np.int64)
