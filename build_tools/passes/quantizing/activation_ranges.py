"""The range of every tensor that flows inside a model, found on streamed calibration data.

Two runs over the data: the first finds least and largest values, the second fills one histogram a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from build_tools.passes.activations import stream
from build_tools.passes.contract import Calibration
from build_tools.passes.quantizing.ranges import Method, entropy_bins

F64 = NDArray[np.float64]
BINS = 2048
LEVELS = 256
CLIPS = np.linspace(1.0, 0.3, 36)
"""Shares of either end of the range that `mse` tries."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one tensor.

    Attributes:
        low, high: the range its levels should span; zero lies inside.
        elements: of one feed.
        shape: of one feed.
    """

    low: float
    high: float
    elements: int
    shape: tuple[int, ...]


def find_spreads(
    proto: onnx.ModelProto, tensors: Sequence[str], calibration: Calibration, method: Method, percentile: float
) -> dict[str, Spread]:
    """Ranges of float tensors by name.

    Args:
        proto: the model.
        tensors: inputs, outputs or anything between; those that are not float32 are left out.
        calibration: see `Context`; run over twice, once for `minmax`.
        method: `minmax` | `percentile`: so many per cent are inside | `entropy`: least divergence of magnitudes |
            `mse`: least squared error at 256 levels.
        percentile: for that method.
    """
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for values in stream(proto, tensors, calibration):
        for name, x in values.items():
            if x.dtype == np.float32 and x.size and name in tensors:
                low[name] = min(low.get(name, 0.0), float(x.min()))
                high[name] = max(high.get(name, 0.0), float(x.max()))
                shapes.setdefault(name, x.shape)
    ends = {name: (low[name], high[name]) for name in low}
    if method != "minmax":
        counts = {name: np.zeros(BINS) for name in low}
        for values in stream(proto, list(low), calibration):
            for name, mine in counts.items():
                if high[name] > low[name]:
                    mine += np.histogram(values[name], BINS, ends[name])[0]
        ends = {name: clip_range(counts[name], *ends[name], method, percentile) for name in low}
    return {name: Spread(*ends[name], int(np.prod(shapes[name])), shapes[name]) for name in low}


def clip_range(counts: F64, low: float, high: float, method: Method, percentile: float) -> tuple[float, float]:
    """The part of a histogram's range that levels should span, zero inside.

    Args:
        counts: float64 [bins], evenly from `low` to `high`, which span zero.
        low: the lower end.
        high: the upper end.
        method: see `find_spreads`.
        percentile: for that method.
    """
    if counts.sum() == 0 or method == "minmax" or not high > low:
        return low, high
    width = (high - low) / len(counts)
    centres = low + (np.arange(len(counts)) + 0.5) * width
    if method == "percentile":
        share = (1 - percentile / 100) / (2 if low < 0 else 1)
        running = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(running, share)) if low < 0 else 0
        last = int(np.searchsorted(running, 1 - share))
        return min(low + first * width, 0.0), max(low + (min(last, len(counts) - 1) + 1) * width, 0.0)
    if method == "entropy":
        reach = max(-low, high)
        magnitudes = np.histogram(np.abs(centres), len(counts), (0, reach), weights=counts)[0]
        most = reach * entropy_bins(magnitudes, LEVELS // 2 if low < 0 else LEVELS) / len(counts)
        return max(low, -most), min(high, most)
    return _least_error(counts, centres, low, high)


def _least_error(counts: F64, centres: NDArray[np.floating], low: float, high: float) -> tuple[float, float]:
    """First the upper end, then the lower, of least squared error."""

    def error(bottom: float, top: float) -> float:
        step = (top - bottom) / (LEVELS - 1)
        zero = np.rint(-bottom / step)
        levels = np.clip(np.rint(centres / step) + zero, 0, LEVELS - 1)
        return float((counts * ((levels - zero) * step - centres) ** 2).sum())

    best = min(CLIPS, key=lambda share: error(low, high * share)) if high > 0 else 1.0
    high = high * float(best)
    best = min(CLIPS, key=lambda share: error(low * share, high)) if low < 0 else 1.0
    return low * float(best), high
